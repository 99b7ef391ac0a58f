//! What tests of several crates share.
//!
//! * [`fuzz`] – the bodies of fuzz targets, run without a fuzzer: over committed corpora, and over seeded mutations of them;
//! * [`memory`] – an allocator that counts what is in use.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up its data has failed")]

pub mod fuzz;
pub mod memory;
mod mutate;
