//! Physical types: what a stream of pages holds once a column's logical type is taken apart.

use bytemuck::Pod;

/// The type of the values of one stream, as stored.
///
/// Logical types map to these in [`crate::schema`]: dates to `I32`, timestamps and decimals of at most 18 digits to
/// `I64`, wider decimals to `I128` or `I256`, strings and binaries to `Bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PhysType {
    /// One bit a value.
    Bool = 0,
    /// Signed 8-bit integer.
    I8 = 1,
    /// Signed 16-bit integer.
    I16 = 2,
    /// Signed 32-bit integer.
    I32 = 3,
    /// Signed 64-bit integer.
    I64 = 4,
    /// Unsigned 8-bit integer.
    U8 = 5,
    /// Unsigned 16-bit integer.
    U16 = 6,
    /// Unsigned 32-bit integer.
    U32 = 7,
    /// Unsigned 64-bit integer.
    U64 = 8,
    /// IEEE 754 binary32.
    F32 = 9,
    /// IEEE 754 binary64.
    F64 = 10,
    /// Signed 128-bit integer, little-endian.
    I128 = 11,
    /// Signed 256-bit integer, little-endian.
    I256 = 12,
    /// Byte strings of one length, given beside the type.
    Fixed = 13,
    /// Byte strings of any length.
    Bytes = 14,
}

impl PhysType {
    /// The type with this code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        use PhysType::{Bool, Bytes, F32, F64, Fixed, I8, I16, I32, I64, I128, I256, U8, U16, U32, U64};
        Some(match code {
            0 => Bool,
            1 => I8,
            2 => I16,
            3 => I32,
            4 => I64,
            5 => U8,
            6 => U16,
            7 => U32,
            8 => U64,
            9 => F32,
            10 => F64,
            11 => I128,
            12 => I256,
            13 => Fixed,
            14 => Bytes,
            _ => return None,
        })
    }

    /// Bytes of one value, where all values have the same and the type alone tells it.
    pub fn width(self) -> Option<usize> {
        use PhysType::{Bool, Bytes, F32, F64, Fixed, I8, I16, I32, I64, I128, I256, U8, U16, U32, U64};
        match self {
            I8 | U8 => Some(1),
            I16 | U16 => Some(2),
            I32 | U32 | F32 => Some(4),
            I64 | U64 | F64 => Some(8),
            I128 => Some(16),
            I256 => Some(32),
            Bool | Fixed | Bytes => None,
        }
    }

    /// Whether this is an integer of at most 64 bits.
    pub fn is_int(self) -> bool {
        (PhysType::I8 as u8..=PhysType::U64 as u8).contains(&(self as u8))
    }

    /// Whether this is a signed integer of at most 64 bits.
    pub fn is_signed_int(self) -> bool {
        (PhysType::I8 as u8..=PhysType::I64 as u8).contains(&(self as u8))
    }
}

/// An unsigned lane that integers of its width are stored as.
///
/// Signed integers are stored as the unsigned lane of the same bits; arithmetic on lanes wraps.
pub trait Lane: Pod + Ord + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static {
    /// Bits of the lane.
    const BITS: usize;
    /// Widens with zeros.
    fn to_u64(self) -> u64;
    /// Narrows by dropping the high bits.
    fn from_u64(v: u64) -> Self;
}

macro_rules! lane {
    ($($t:ty),*) => {$(
        impl Lane for $t {
            const BITS: usize = <$t>::BITS as usize;
            #[inline(always)]
            fn to_u64(self) -> u64 { self as u64 }
            #[inline(always)]
            fn from_u64(v: u64) -> Self { v as $t }
        }
    )*};
}
lane!(u8, u16, u32, u64);
