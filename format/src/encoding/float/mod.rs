//! Floating point: `f32` and `f64`, bit for bit (NaN payloads, −0.0, infinities and subnormals included).
//!
//! * [`encode`] – the choice of a form, and the writing of it;
//! * [`decode`] – opening a node, ranges, rows and tests;
//! * one file a form: `alp`, `alp_rd`, `dictionary`, `run_end`, `pcodec`; plain and constant values are a line each and stand in
//!   `decode` and `encode`; `patches` – what a form could not represent;
//! * [`native`] – the two types, their total order, and the arithmetic of ALP.
//!
//! | kind | buffers | children | parameters |
//! |---|---|---|---|
//! | plain | the values | | |
//! | constant | one value, or none when the node is empty | | |
//! | alp | patched rows, their values | integers | `width`, flags: `alp` |
//! | alp-rd | left parts; patched rows, their left parts | codes; right parts | `width`: right bits |
//! | dictionary | | codes; distinct values | |
//! | run-end | | row after each run; their values | |
//! | pco | head; parts; where each ends | | |

mod alp;
mod alp_rd;
pub mod decode;
mod dictionary;
pub mod encode;
pub mod native;
mod patches;
mod pcodec;
mod run_end;

pub use decode::FloatDecoder;
pub use encode::FloatEncoder;
pub use native::Float;

#[cfg(test)]
mod tests;
