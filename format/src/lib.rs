//! The DeltaLite block file format: encodings, statistics, blocks, footer, splits and salvage.
