//! The two types of floating point, as the encodings see them.

use bytemuck::Pod;

use crate::kernels::widen::OutInt;
use crate::phys::{Lane, PhysType};
use crate::predicate::leaf::{f32_key, f64_key};

/// `1.5 * 2^52`. Added to a double of magnitude below 2^51 it leaves the nearest integer in the low bits of the mantissa: a
/// conversion to and from integers that every processor does in one addition, vectorised.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// `f32` or `f64`.
///
/// The `alp_*` functions are the arithmetic of ALP, which both types do in double precision. They are total: any integer
/// decodes to something, and no value traps.
pub trait Float:
    Pod + PartialOrd + pco::data_types::Number + std::fmt::Debug + Send + Sync + 'static
{
    /// The unsigned integer of the same width.
    type Bits: Lane + OutInt;
    /// The stored type.
    const PTYPE: PhysType;
    /// The type that ALP's integers are stored as: signed, of the same width.
    const SIGNED: PhysType;
    /// The type that low bits are stored as: unsigned, of the same width.
    const UNSIGNED: PhysType;
    /// Smallest and largest integer that ALP may use; between them decoding is exact before it scales.
    const ALP_RANGE: (i64, i64);
    /// Powers of ten that scale, at most.
    const ALP_EXPONENT_MAX: u8;
    /// The value's bits.
    fn bits(self) -> Self::Bits;
    /// The value with these bits.
    fn of_bits(bits: Self::Bits) -> Self;
    /// The value's place in IEEE 754 total order, as [`crate::predicate::FloatPred`] counts.
    fn key(self) -> i64;
    /// The value in double precision, exactly.
    fn to_f64(self) -> f64;
    /// The value of this type nearest to a double.
    fn of_f64(v: f64) -> Self;
    /// The integer stored as these bits, as a double.
    fn alp_integer(bits: Self::Bits) -> f64;
    /// The integer nearest to a double, or one outside [`Float::ALP_RANGE`].
    #[inline(always)]
    fn alp_round(v: f64) -> i64 {
        (v + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i64
    }
}

impl Float for f32 {
    type Bits = u32;
    const PTYPE: PhysType = PhysType::F32;
    const SIGNED: PhysType = PhysType::I32;
    const UNSIGNED: PhysType = PhysType::U32;
    const ALP_RANGE: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
    const ALP_EXPONENT_MAX: u8 = 10;
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
    #[inline(always)]
    fn of_f64(v: f64) -> Self {
        v as f32
    }
    #[inline(always)]
    fn alp_integer(bits: u32) -> f64 {
        f64::from(bits as i32)
    }
}

impl Float for f64 {
    type Bits = u64;
    const PTYPE: PhysType = PhysType::F64;
    const SIGNED: PhysType = PhysType::I64;
    const UNSIGNED: PhysType = PhysType::U64;
    const ALP_RANGE: (i64, i64) = (-(1 << 51), (1 << 51) - 1);
    const ALP_EXPONENT_MAX: u8 = 18;
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
    #[inline(always)]
    fn of_f64(v: f64) -> Self {
        v
    }
    #[inline(always)]
    fn alp_integer(bits: u64) -> f64 {
        f64::from_bits(bits.wrapping_add(MAGIC.to_bits())) - MAGIC
    }
}
