//! The `deltalite` binary.
fn main() {}
