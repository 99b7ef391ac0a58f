//! Integers of at most 64 bits.
//!
//! * [`decode`] – [`IntDecoder`]: opens a node and decodes ranges, takes rows, evaluates tests;
//! * [`encode`] – [`IntEncoder`] for streams and [`encode_ints`] for children; `choose` – which encoding, from a sample;
//! * one file an encoding: [`bitpack`], `delta`, `run_end`, `sparse`, `dictionary`, `pcodec`; constants, sequences and plain
//!   values are a line each and stand in `decode` and `encode`;
//! * `scratch` – vectors that decoders reuse; `test` – [`IntPred`](crate::predicate::IntPred) in the domain of 64 bits.
//!
//! | kind | buffers | children | parameters |
//! |---|---|---|---|
//! | plain | the values | | |
//! | constant | | | `p0`: the value |
//! | sequence | | | `p0`: the first value, `p1`: the step, wrapping in the type's width |
//! | others | as their files say | | |
//!
//! Values travel as *canonical* bits: 64 bits, sign-extended when the type is signed, else zero-extended.

pub mod bitpack;
mod choose;
pub mod decode;
mod delta;
mod dictionary;
pub mod encode;
pub(crate) mod pcodec;
mod run_end;
mod scratch;
mod sparse;
mod test;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::kernels::widen::OutInt;
pub use decode::IntDecoder;
pub use encode::{IntEncoder, encode_ints};

use crate::phys::{Lane, PhysType};

/// The canonical bits of a stored lane.
#[inline(always)]
fn canonical<T: Lane>(v: T, signed: bool) -> u64 {
    extend(v.to_u64(), T::BITS as u32, signed)
}

/// Extends the low `bits` bits (1 ..= 64) to 64.
#[inline(always)]
fn extend(v: u64, bits: u32, signed: bool) -> u64 {
    let shift = 64 - bits;
    if signed { ((v << shift) as i64 >> shift) as u64 } else { v << shift >> shift }
}

/// Bits of an integer type, 8 ..= 64.
fn bits_of(ptype: PhysType) -> u32 {
    ptype.width().map_or(64, |w| w as u32 * 8)
}

/// Bits that a value takes.
#[inline(always)]
fn bit_width(v: u64) -> usize {
    (64 - v.leading_zeros()) as usize
}
