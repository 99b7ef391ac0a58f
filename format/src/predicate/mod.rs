//! Predicates: SQL conditions over columns, bound to a schema, pruned by statistics and evaluated on encoded data.
//!
//! The way through, from top to bottom:
//!
//! * [`ast`] – conditions as people write them, built by [`col`] and printed as SQL; [`literal`] – their values;
//! * [`bind`](mod@bind) – ties them to a schema and pushes NOT into the leaves; `coerce`, `number` and `temporal` bring literals to the
//!   columns' types exactly;
//! * [`bound`] – the bound tree and its evaluation from masks of single leaves; `simplify` makes it smaller and orders it, `explain`
//!   prints it;
//! * `prune` – what statistics and bloom filters say of it; `arrays` – its evaluation on decoded arrays;
//! * [`leaf`] – tests on stored values, which the encodings evaluate without decoding; [`like`] – `LIKE` patterns.

mod arrays;
pub mod ast;
pub mod bind;
pub mod bound;
mod coerce;
mod explain;
pub mod leaf;
pub mod like;
pub mod literal;
mod number;
mod prune;
mod simplify;
mod temporal;
#[cfg(test)]
mod tests;

pub use ast::{CmpOp, Column, Predicate, col, lit};
pub use bind::{bind, nearest_name};
pub use bound::{ArrowTest, BoundPredicate, Leaf, LeafTest};
pub use leaf::{BytesPred, FloatPred, IntPred, Pruned};
pub use like::LikePattern;
pub use literal::Literal;
