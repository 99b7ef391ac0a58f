//! Predicates: SQL conditions over columns, bound to a schema, pruned by statistics and evaluated on encoded data.
//!
//! The way through, from top to bottom:
//!
//! * [`leaf`] – tests on stored values, which the encodings evaluate without decoding; [`like`] – `LIKE` patterns.

pub mod leaf;
pub mod like;

pub use leaf::{BytesPred, FloatPred, IntPred, Pruned};
pub use like::LikePattern;
mod stub2;
pub use stub2::*;
