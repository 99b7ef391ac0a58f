//! The harness that compares DeltaLite with Parquet and other formats.
