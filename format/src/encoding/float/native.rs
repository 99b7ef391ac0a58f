//! The two types of floating point, as the encodings see them.

use bytemuck::Pod;

use crate::phys::{Lane, PhysType};
use crate::predicate::leaf::{f32_key, f64_key};

/// `f32` or `f64`.
pub trait Float: Pod + PartialOrd + std::fmt::Debug + Send + Sync + 'static {
    /// The unsigned integer of the same width.
    type Bits: Lane;
    /// The stored type.
    const PTYPE: PhysType;
    /// The value's bits.
    fn bits(self) -> Self::Bits;
    /// The value with these bits.
    fn of_bits(bits: Self::Bits) -> Self;
    /// The value's place in IEEE 754 total order, as [`crate::predicate::FloatPred`] counts.
    fn key(self) -> i64;
    /// The value in double precision, exactly.
    fn to_f64(self) -> f64;
}

impl Float for f32 {
    type Bits = u32;
    const PTYPE: PhysType = PhysType::F32;
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
    #[inline(always)]
    fn of_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
    #[inline(always)]
    fn key(self) -> i64 {
        f32_key(self)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Float for f64 {
    type Bits = u64;
    const PTYPE: PhysType = PhysType::F64;
    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits()
    }
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    #[inline(always)]
    fn key(self) -> i64 {
        f64_key(self)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}
