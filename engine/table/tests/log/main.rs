//! The log seen from outside.
//!
//! * `common` – random tables, and a naive model of them;
//! * `actions` – lines to actions and back; `hostile` – lines nobody should write; `bodies`, `fuzz` – the bodies of the fuzz targets;
//! * `replay` – any way to a state gives that state; `flips` – any flipped byte is noticed; `retiring` – old versions go;
//! * `crash` – every state a crash could leave, and faults; `race` – threads and processes at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod actions;
#[path = "../../fuzz/bodies.rs"]
mod bodies;
mod common;
mod crash;
mod flips;
mod fuzz;
mod hostile;
mod race;
mod replay;
mod retiring;
