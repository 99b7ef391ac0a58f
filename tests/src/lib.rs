//! Tests that cross crates live in this crate's `tests/` folder; the library holds what they share.
