//! Tests of tables from the outside.
//!
//! * [`common`] – rows, tables, contexts; [`arrays`] – leaf arrays of any type; [`model`] – random statements against a list of rows in memory;
//! * [`pruning`] – conditions, files and partitions;
//! * [`features`] – columns, constraints, keys, partitions, history, clones; [`concurrent`] – many writers; [`anomalies`] – what levels promise; [`vacuuming`] – what goes and what stays;
//! * [`inlining`] – small files in the log;
//! * [`crash`] – states that failing machines leave; [`kill`] – processes killed while they write;
//! * [`together`] – transactions of several statements and tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod anomalies;
#[path = "../../../../format/src/test_arrays.rs"]
#[allow(dead_code, reason = "shared with the format's tests, which use more of it")]
mod arrays;
mod common;
mod concurrent;
mod crash;
mod features;
mod inlining;
mod kill;
mod model;
mod pruning;
mod together;
mod vacuuming;
