//! Peers that are not to be trusted: the bodies of the fuzz targets, and real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../fuzz/end.rs"]
mod end;
mod fuzz;
#[path = "../../fuzz/reseal.rs"]
mod reseal;
#[path = "../../fuzz/script.rs"]
mod script;
