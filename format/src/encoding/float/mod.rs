//! Floating point: `f32` and `f64`, bit for bit (NaN payloads, −0.0, infinities and subnormals included).
//!
//! * [`encode`] – the choice of a form, and the writing of it;
//! * [`decode`] – opening a node, ranges, rows and tests;
//! * [`native`] – the two types and their total order.
//!
//! | kind | buffers | children | parameters |
//! |---|---|---|---|
//! | plain | the values | | |
//! | constant | one value, or none when the node is empty | | |

pub mod decode;
pub mod encode;
pub mod native;

pub use decode::FloatDecoder;
pub use encode::FloatEncoder;
pub use native::Float;

#[cfg(test)]
mod tests;
