//! The ratios the project set out to reach, on TPC-H lineitem at scale factor 1, one core, warm unless said otherwise.

/// The aimed-at ratio of a case against a peer, if there is one.
pub fn aim(case: &str, peer: &str) -> Option<f64> {
    Some(match (case, peer) {
        ("decode", "parquet_zstd") => 8.0,
        ("decode_materialized", "parquet_zstd") => 4.0,
        ("decode_materialized" | "projection", "vortex") => 1.7,
        ("projection", "parquet_zstd") => 10.0,
        ("filter", "parquet_zstd" | "parquet_tuned") => 15.0,
        ("decode" | "filter" | "write", "vortex") => 3.0,
        ("random", "vortex") => 60.0,
        ("random" | "open_wide" | "open_wide_project", "parquet_tuned" | "parquet_zstd") => 100.0,
        ("write", "parquet_zstd") => 2.0,
        ("size", "parquet_zstd") => 1.02,
        ("size_compact", "vortex_compact") => 1.03,
        ("size_tables", "parquet_zstd") | ("size_tables_compact", "vortex_compact") => 1.0,
        ("cold_scan", "raw_ring") => 0.97,
        ("cold_cpu", "raw_ring") => 1.0 / 1.3,
        ("foreground_p99", "alone") => 0.5,
        ("checksum", "off") => 0.98,
        ("cores", "1_core") => 1.9,
        _ => return None,
    })
}

/// The aimed-at limit of our own figure, in the unit of the row.
pub fn limit(case: &str) -> Option<f64> {
    Some(match case {
        "random" | "open_wide_project" => 1.0,
        "open_wide" => 0.2,
        "copies" => 0.0,
        _ => return None,
    })
}
