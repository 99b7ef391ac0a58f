//! Thread-per-core shards: block devices, page cache and scan pipelines for DeltaLite files.
