//! Tests of whole files, from the outside: what is written is read, whatever the data, the cuts and the damage.
//!
//! * [`tables`] – schemas, data and files for all of them; [`arrays`] – leaf arrays, shared with the crate's own tests;
//! * [`roundtrip`], [`splits`], [`pruning`], [`evolution`] – intact files;
//! * [`salvage`], [`corruption`], [`hostile`] – cut, flipped and forged ones;
//! * [`golden`] – bytes that must not change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../src/test_arrays.rs"]
#[allow(dead_code, reason = "shared with unit tests, each of which uses a part")]
mod arrays;
#[path = "../../fuzz/bodies.rs"]
mod bodies;
mod corruption;
mod evolution;
mod golden;
mod hostile;
mod pruning;
#[path = "../../fuzz/reseal.rs"]
mod reseal;
mod roundtrip;
mod salvage;
mod splits;
mod tables;
