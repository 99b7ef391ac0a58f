//! Tests of tables from the outside.
//!
//! * [`common`] – rows, tables, contexts; [`model`] – random statements against a list of rows in memory;
//! * [`features`] – columns, constraints, keys, partitions, history, clones; [`concurrent`] – many writers; [`vacuuming`] – what goes and what stays;
//! * [`crash`] – states that failing machines leave; [`kill`] – processes killed while they write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
mod concurrent;
mod crash;
mod features;
mod kill;
mod model;
mod vacuuming;
