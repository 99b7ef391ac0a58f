//! The `deltalite-bench` binary.
fn main() {}
