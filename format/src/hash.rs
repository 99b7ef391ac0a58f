//! The hash of a value, the same whatever width or layout it is stored in.
//!
//! XXH64 with seed 0 over the value's canonical bytes, so that a value keeps its hash when its column is widened:
//!
//! * integers, booleans, dates, times, decimals (unscaled), intervals (their [key numbers](crate::key)): two's complement,
//!   little-endian, in the fewest bytes of 8, 16 or 32;
//! * floats: the bits of the value as a double, little-endian, all NaNs as one;
//! * strings and binaries: their bytes.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_buffer::i256;
use twox_hash::XxHash64;

use crate::key::{day_time_number, month_day_nano_number};
use crate::native::Native;

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

/// XXH64 of eight bytes: most values are that, and a call costs more than the arithmetic.
#[inline(always)]
fn hash_u64(v: u64) -> u64 {
    let lane = v.wrapping_mul(P2).rotate_left(31).wrapping_mul(P1);
    let mut h = (P5.wrapping_add(8) ^ lane).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    h = (h ^ (h >> 33)).wrapping_mul(P2);
    h = (h ^ (h >> 29)).wrapping_mul(P3);
    h ^ (h >> 32)
}

/// Hash of an integer.
#[inline(always)]
pub(crate) fn hash_int(v: i128) -> u64 {
    match i64::try_from(v) {
        Ok(v) => hash_u64(v as u64),
        Err(_) => hash_bytes(&v.to_le_bytes()),
    }
}

/// Hash of a 256-bit integer.
pub(crate) fn hash_wide(v: i256) -> u64 {
    v.to_i128().map_or_else(|| hash_bytes(&v.to_le_bytes()), hash_int)
}

/// Hash of a float.
#[inline(always)]
pub(crate) fn hash_float(v: f64) -> u64 {
    hash_u64(if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() })
}

/// Hash of a byte string.
#[inline(always)]
pub(crate) fn hash_bytes(v: &[u8]) -> u64 {
    XxHash64::oneshot(0, v)
}

/// Calls `f` with the hash of every value of a leaf array that is not null; nested types have none.
pub(crate) fn for_each_hash(array: &dyn Array, f: &mut dyn FnMut(u64)) {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = dictionary.values();
        let mut hashes = vec![None; values.len()];
        let nulls = values.logical_nulls();
        let mut next = 0;
        for_each_hash(values.as_ref(), &mut |h| {
            while nulls.as_ref().is_some_and(|n| n.is_null(next)) {
                next += 1;
            }
            hashes[next] = Some(h);
            next += 1;
        });
        if hashes.is_empty() {
            return;
        }
        let keys = dictionary.normalized_keys();
        for (i, key) in keys.into_iter().enumerate() {
            if let (true, Some(h)) = (dictionary.keys().is_valid(i), hashes[key]) {
                f(h);
            }
        }
        return;
    }
    let Some(native) = Native::of(array) else { return };
    let nulls = array.logical_nulls().filter(|n| n.null_count() > 0);
    let mut each = |hash: &dyn Fn(usize) -> u64| match &nulls {
        Some(nulls) => nulls.valid_indices().for_each(|i| f(hash(i))),
        None => (0..array.len()).for_each(|i| f(hash(i))),
    };
    macro_rules! ints {
        ($v:expr) => {
            each(&|i| hash_int($v[i].into()))
        };
    }
    match native {
        Native::Bool(v) => each(&|i| hash_int(v.value(i).into())),
        Native::I8(v) => ints!(v),
        Native::I16(v) => ints!(v),
        Native::I32(v) => ints!(v),
        Native::I64(v) => ints!(v),
        Native::U8(v) => ints!(v),
        Native::U16(v) => ints!(v),
        Native::U32(v) => ints!(v),
        Native::U64(v) => ints!(v),
        Native::I128(v) => ints!(v),
        Native::I256(v) => each(&|i| hash_wide(v[i])),
        Native::F16(v) => each(&|i| hash_float(v[i].to_f64())),
        Native::F32(v) => each(&|i| hash_float(v[i].into())),
        Native::F64(v) => each(&|i| hash_float(v[i])),
        Native::DayTime(v) => each(&|i| hash_int(day_time_number(v[i]).into())),
        Native::MonthDayNano(v) => each(&|i| hash_int(month_day_nano_number(v[i]))),
        Native::Bytes(v) => each(&|i| hash_bytes(v.get(i))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, DictionaryArray, Int8Array, Int32Array, Int64Array, StringArray, StringViewArray,
    };
    use proptest::prelude::*;

    use super::*;

    fn hashes(array: &dyn Array) -> Vec<u64> {
        let mut out = Vec::new();
        for_each_hash(array, &mut |h| out.push(h));
        out
    }

    #[test]
    fn width_and_layout_do_not_matter() {
        let narrow = Int8Array::from(vec![Some(-3), None, Some(7)]);
        let wide = Int64Array::from(vec![-3, 7]);
        assert_eq!(hashes(&narrow), hashes(&wide));
        assert_eq!(hash_wide(i256::from_i128(-3)), hash_int(-3));
        let text = ["a", "a string that is longer than a view", "a"];
        let keys = Int32Array::from(vec![Some(0), None, Some(2), Some(1), Some(0)]);
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(text[1])]));
        let dictionary = DictionaryArray::new(keys, values);
        assert_eq!(
            hashes(&dictionary),
            hashes(&StringViewArray::from_iter_values([text[0], text[1], text[0]]))
        );
    }

    proptest! {
        #[test]
        fn eight_bytes_hash_as_the_library_does(v: u64) {
            prop_assert_eq!(hash_u64(v), XxHash64::oneshot(0, &v.to_le_bytes()));
        }
    }
}
