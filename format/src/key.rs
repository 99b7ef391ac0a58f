//! Order-preserving keys: 128 bits that compare as the values do.
//!
//! Statistics and pruning need an order, not values, so every type has one kind of key:
//!
//! | type | number that becomes the key |
//! |---|---|
//! | booleans | 0, 1 |
//! | integers, decimals (unscaled), dates, times, timestamps, durations, year-month intervals | the value |
//! | floats | the total-order key: the bits as a signed integer, all but the sign inverted when negative |
//! | 256-bit decimals of more than 38 digits | the high 128 bits |
//! | day-time intervals | days, then milliseconds |
//! | month-day-nano intervals | months, then days, then nanoseconds |
//!
//! A number `n` has the key `n + 2^127`, so that unsigned keys compare as the signed numbers do; the key of an integer does
//! not depend on its width. A byte string's key is its first 16 bytes, big-endian, filled up with zeros.
//!
//! Keys never lie about order: `a < b` implies `key(a) <= key(b)`. Where a key is [exact](KeyType::exact), `key(a) == key(b)`
//! also implies `a == b`.

use arrow_array::Array;
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, i256};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType, IntervalUnit};
use half::f16;

use crate::native::Native;
pub use crate::predicate::leaf::{f32_key, f64_key};

const SIGN: u128 = 1 << 127;

/// How values of a type map to keys, and how keys are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyType {
    width: u8,
    class: KeyClass,
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyClass {
    Signed,
    Unsigned,
    Bytes,
}

impl KeyType {
    /// The key type of a leaf type, of a dictionary by its values; `None` for nested types and the null type.
    pub fn of(data_type: &DataType) -> Option<Self> {
        use DataType as D;
        let number = |width, class| Some(Self { width, class, exact: true });
        match data_type {
            D::Boolean | D::UInt8 => number(1, KeyClass::Unsigned),
            D::UInt16 => number(2, KeyClass::Unsigned),
            D::UInt32 => number(4, KeyClass::Unsigned),
            D::UInt64 => number(8, KeyClass::Unsigned),
            D::Int8 => number(1, KeyClass::Signed),
            D::Int16 | D::Float16 => number(2, KeyClass::Signed),
            D::Int32
            | D::Float32
            | D::Decimal32(..)
            | D::Date32
            | D::Time32(_)
            | D::Interval(IntervalUnit::YearMonth) => number(4, KeyClass::Signed),
            D::Int64
            | D::Float64
            | D::Decimal64(..)
            | D::Date64
            | D::Time64(_)
            | D::Timestamp(..)
            | D::Duration(_)
            | D::Interval(IntervalUnit::DayTime) => number(8, KeyClass::Signed),
            D::Decimal128(..) | D::Interval(IntervalUnit::MonthDayNano) => number(16, KeyClass::Signed),
            D::Decimal256(..) if is_narrow(data_type) => number(16, KeyClass::Signed),
            D::Decimal256(..) => Some(Self { width: 16, class: KeyClass::Signed, exact: false }),
            D::FixedSizeBinary(n) => Some(Self { width: 16, class: KeyClass::Bytes, exact: *n <= 16 }),
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => {
                Some(Self { width: 16, class: KeyClass::Bytes, exact: false })
            }
            D::Dictionary(_, value) => Self::of(value),
            _ => None,
        }
    }

    /// Whether equal keys mean equal values.
    pub fn exact(self) -> bool {
        self.exact
    }

    /// Bytes of a stored key.
    pub fn width(self) -> usize {
        self.width as usize
    }

    /// Appends the key as it is stored: the low bytes of its number, little-endian; of a byte string the whole key.
    pub fn write(self, key: u128, out: &mut Vec<u8>) {
        let number = if self.class == KeyClass::Bytes { key } else { key ^ SIGN };
        out.extend_from_slice(&number.to_le_bytes()[..self.width()]);
    }

    /// The key that [`KeyType::write`] stored. `bytes` must be [`KeyType::width`] long; missing bytes count as zeros.
    pub fn read(self, bytes: &[u8]) -> u128 {
        let mut wide = [0; 16];
        let n = bytes.len().min(self.width());
        wide[..n].copy_from_slice(&bytes[..n]);
        let shift = 128 - 8 * u32::from(self.width);
        let number = u128::from_le_bytes(wide);
        match self.class {
            KeyClass::Bytes => number,
            KeyClass::Unsigned => number ^ SIGN,
            KeyClass::Signed => (((number << shift) as i128 >> shift) as u128) ^ SIGN,
        }
    }
}

/// The key of a number.
#[inline(always)]
pub fn int_key(v: i128) -> u128 {
    v as u128 ^ SIGN
}

/// The number with this key.
#[inline(always)]
pub fn key_int(key: u128) -> i128 {
    (key ^ SIGN) as i128
}

/// The key of a byte string.
#[inline(always)]
pub fn bytes_key(v: &[u8]) -> u128 {
    if let Some(head) = v.first_chunk::<16>() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; 16];
    head[..v.len()].copy_from_slice(v);
    u128::from_be_bytes(head)
}

/// The key of a 256-bit integer: its floor in units of 2^128.
#[inline(always)]
pub fn wide_key(v: i256) -> u128 {
    int_key(v.to_parts().1)
}

/// Whether the values of a 256-bit decimal type fit 128 bits.
pub(crate) fn is_narrow(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal256(precision, _) if *precision <= DECIMAL128_MAX_PRECISION)
}

/// The nearest 128-bit integer.
pub(crate) fn saturated(v: i256) -> i128 {
    v.to_i128().unwrap_or(if v.is_negative() { i128::MIN } else { i128::MAX })
}

/// The key of a 256-bit integer of this type.
pub(crate) fn i256_key(v: i256, narrow: bool) -> u128 {
    if narrow { int_key(saturated(v)) } else { wide_key(v) }
}

/// The total-order key of a half: 16 bits, sign-extended.
#[inline(always)]
pub fn f16_key(v: f16) -> i64 {
    let bits = v.to_bits() as i16;
    i64::from(bits ^ ((bits >> 15) as u16 >> 1) as i16)
}

/// The number of a day-time interval, which orders by days, then milliseconds.
#[inline(always)]
pub fn day_time_number(v: IntervalDayTime) -> i64 {
    (i64::from(v.days) << 32) | i64::from(v.milliseconds as u32 ^ (1 << 31))
}

/// The number of a month-day-nano interval, which orders by months, then days, then nanoseconds.
#[inline(always)]
pub fn month_day_nano_number(v: IntervalMonthDayNano) -> i128 {
    (i128::from(v.months) << 96)
        | (i128::from(v.days as u32 ^ (1 << 31)) << 64)
        | i128::from(v.nanoseconds as u64 ^ (1 << 63))
}

/// The key of every value of a leaf array; null slots have any. `None` for nested types and the null type.
pub(crate) fn array_keys(array: &dyn Array) -> Option<Vec<u128>> {
    if let Some(dictionary) = arrow_array::cast::AsArray::as_any_dictionary_opt(array) {
        let values = array_keys(dictionary.values().as_ref())?;
        if values.is_empty() {
            return Some(vec![0; array.len()]);
        }
        return Some(dictionary.normalized_keys().into_iter().map(|k| values[k]).collect());
    }
    macro_rules! ints {
        ($v:expr) => {
            $v.iter().map(|&v| int_key(v.into())).collect()
        };
    }
    Some(match Native::of(array)? {
        Native::Bool(v) => v.iter().map(|v| int_key(v.into())).collect(),
        Native::I8(v) => ints!(v),
        Native::I16(v) => ints!(v),
        Native::I32(v) => ints!(v),
        Native::I64(v) => ints!(v),
        Native::U8(v) => ints!(v),
        Native::U16(v) => ints!(v),
        Native::U32(v) => ints!(v),
        Native::U64(v) => ints!(v),
        Native::I128(v) => ints!(v),
        Native::I256(v) => {
            let narrow = is_narrow(array.data_type());
            v.iter().map(|&v| i256_key(v, narrow)).collect()
        }
        Native::F16(v) => v.iter().map(|&v| int_key(f16_key(v).into())).collect(),
        Native::F32(v) => v.iter().map(|&v| int_key(f32_key(v).into())).collect(),
        Native::F64(v) => v.iter().map(|&v| int_key(f64_key(v).into())).collect(),
        Native::DayTime(v) => v.iter().map(|&v| int_key(day_time_number(v).into())).collect(),
        Native::MonthDayNano(v) => v.iter().map(|&v| int_key(month_day_nano_number(v))).collect(),
        Native::Bytes(v) => (0..v.len()).map(|i| bytes_key(v.get(i))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::ArrowNativeTypeOp;
    use proptest::prelude::*;

    use super::*;

    fn day_time() -> impl Strategy<Value = IntervalDayTime> {
        (any::<i32>(), any::<i32>()).prop_map(|(d, m)| IntervalDayTime::new(d % 3, m))
    }

    fn month_day_nano() -> impl Strategy<Value = IntervalMonthDayNano> {
        (any::<i32>(), any::<i32>(), any::<i64>())
            .prop_map(|(m, d, n)| IntervalMonthDayNano::new(m % 2, d.saturating_mul(m % 2), n))
    }

    proptest! {
        #[test]
        fn numbers_order_as_arrow_orders(a in day_time(), b in day_time(), c in month_day_nano(), d in month_day_nano(),
                                         e: u16, f: u16) {
            prop_assert_eq!(day_time_number(a).cmp(&day_time_number(b)), a.compare(b));
            prop_assert_eq!(month_day_nano_number(c).cmp(&month_day_nano_number(d)), c.compare(d));
            let (e, f) = (f16::from_bits(e), f16::from_bits(f));
            prop_assert_eq!(f16_key(e).cmp(&f16_key(f)), e.total_cmp(&f));
        }

        #[test]
        fn keys_order_as_values(a: i128, b: i128, c in prop::collection::vec(0u8..3, 0..20), d in prop::collection::vec(0u8..3, 0..20)) {
            prop_assert_eq!(int_key(a).cmp(&int_key(b)), a.cmp(&b));
            prop_assert_eq!(key_int(int_key(a)), a);
            let (wa, wb) = (i256::from_parts(7, a), i256::from_parts(3, b));
            if wa < wb { prop_assert!(wide_key(wa) <= wide_key(wb)) }
            if c <= d { prop_assert!(bytes_key(&c) <= bytes_key(&d)) }
        }

        #[test]
        fn stored_keys_come_back(a: i64, b: i128, c: u32, d: [u8; 16]) {
            let back = |t: DataType, key| {
                let t = KeyType::of(&t).unwrap();
                let mut out = Vec::new();
                t.write(key, &mut out);
                assert_eq!(out.len(), t.width());
                t.read(&out)
            };
            for v in [a, i64::MIN, i64::MAX, -1] {
                prop_assert_eq!(back(DataType::Int64, int_key(v.into())), int_key(v.into()));
                prop_assert_eq!(back(DataType::Int8, int_key((v as i8).into())), int_key((v as i8).into()));
                prop_assert_eq!(back(DataType::UInt64, int_key((v as u64).into())), int_key((v as u64).into()));
            }
            prop_assert_eq!(back(DataType::Decimal128(38, 0), int_key(b)), int_key(b));
            prop_assert_eq!(back(DataType::UInt32, int_key(c.into())), int_key(c.into()));
            prop_assert_eq!(back(DataType::Utf8, bytes_key(&d)), bytes_key(&d));
        }
    }
}
