//! The smallest and the largest value themselves, as far as they are short enough to keep.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, IntervalUnit};

use super::ZoneStats;
use crate::key::{KeyType, bytes_key, key_int, wide_key};
use crate::limits::BOUND_BYTES_MAX;
use crate::native::{BytesRef, Native};

/// Smallest and largest value of a column, in the column's order.
///
/// Numbers are the little-endian bytes of Arrow's native type, strings and binaries their bytes. A bound longer than 64 bytes is cut: then
/// it is a prefix of the value (whole characters of text), every value is ≥ the cut `min`, and no value's first bytes exceed
/// the cut `max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactBounds {
    /// Smallest value, or its first bytes.
    pub min: Vec<u8>,
    /// Largest value, or its first bytes.
    pub max: Vec<u8>,
    /// Whether `min` is whole.
    pub min_exact: bool,
    /// Whether `max` is whole.
    pub max_exact: bool,
}

/// Finds the bounds of a column over its arrays, block by block.
#[derive(Debug, Clone, Default)]
pub struct BoundsBuilder {
    found: Option<Found>,
}

/// Extremes with the keys that tell, mostly without looking at values, that a zone can't move them.
#[derive(Debug, Clone)]
struct Found {
    min_key: u128,
    max_key: u128,
    /// Values themselves where keys are not exact.
    inexact: Option<(Vec<u8>, Vec<u8>)>,
    data_type: DataType,
}

impl BoundsBuilder {
    /// Adds the values of an array, given its [`zone_stats`](super::zone_stats) of `zone_rows` rows each. All arrays are of
    /// one type; nested ones are ignored.
    pub fn update(&mut self, array: &dyn Array, zones: &[ZoneStats], zone_rows: usize) {
        let data_type = match array.data_type() {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        let Some(key_type) = KeyType::of(data_type) else { return };
        for (i, zone) in zones.iter().enumerate().filter(|(_, z)| z.values() > 0) {
            let found = self.found.get_or_insert_with(|| Found {
                min_key: u128::MAX,
                max_key: 0,
                inexact: None,
                data_type: data_type.clone(),
            });
            if !key_type.exact() && (zone.min <= found.min_key || zone.max >= found.max_key) {
                let start = i * zone_rows;
                found.widen(array, start..(start + zone_rows).min(array.len()));
            }
            found.min_key = found.min_key.min(zone.min);
            found.max_key = found.max_key.max(zone.max);
        }
    }

    /// The bounds; `None` without values.
    pub fn finish(&self) -> Option<ExactBounds> {
        let found = self.found.as_ref()?;
        let (min, max) = match &found.inexact {
            Some((min, max)) => (min.clone(), max.clone()),
            None => {
                (key_value(found.min_key, &found.data_type)?, key_value(found.max_key, &found.data_type)?)
            }
        };
        let text = matches!(found.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let ((min, min_exact), (max, max_exact)) = (cut(min, text), cut(max, text));
        Some(ExactBounds { min, max, min_exact, max_exact })
    }
}

impl Found {
    /// Looks at every value of the rows.
    fn widen(&mut self, array: &dyn Array, rows: std::ops::Range<usize>) {
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            // Only values in use count.
            let keys = dictionary.normalized_keys();
            let nulls = array.logical_nulls();
            let valid = rows.filter(|&i| nulls.as_ref().is_none_or(|n| n.is_valid(i)));
            let mut used: Vec<usize> = valid.map(|i| keys[i]).collect();
            used.sort_unstable();
            used.dedup();
            self.widen_by(dictionary.values().as_ref(), used.into_iter());
            return;
        }
        let nulls = array.logical_nulls();
        self.widen_by(array, rows.filter(|&i| nulls.as_ref().is_none_or(|n| n.is_valid(i))));
    }

    fn widen_by(&mut self, array: &dyn Array, rows: impl Iterator<Item = usize>) {
        match Native::of(array) {
            Some(Native::Bytes(v)) => self.widen_by_bytes(&v, rows),
            Some(Native::I256(v)) => {
                for i in rows {
                    let key = wide_key(v[i]);
                    // Little-endian bytes do not compare as numbers do, so the extremes are compared as values.
                    let read = |b: &[u8]| b.first_chunk().map(|b| arrow_buffer::i256::from_le_bytes(*b));
                    let (min, max) = self.inexact.get_or_insert_with(|| {
                        let bytes = v[i].to_le_bytes().to_vec();
                        (bytes.clone(), bytes)
                    });
                    if key <= self.min_key && read(min).is_some_and(|m| v[i] < m) {
                        *min = v[i].to_le_bytes().to_vec();
                    }
                    if key >= self.max_key && read(max).is_some_and(|m| v[i] > m) {
                        *max = v[i].to_le_bytes().to_vec();
                    }
                }
            }
            _ => {}
        }
    }

    fn widen_by_bytes(&mut self, values: &BytesRef<'_>, rows: impl Iterator<Item = usize>) {
        let (mut min, mut max) = self.inexact.take().map_or((None, None), |(a, b)| (Some(a), Some(b)));
        let (mut min_key, mut max_key) = (self.min_key, self.max_key);
        for i in rows {
            let v = values.get(i);
            let key = bytes_key(v);
            if key <= min_key && min.as_deref().is_none_or(|m: &[u8]| v < m) {
                (min, min_key) = (Some(v.to_vec()), key);
            }
            if key >= max_key && max.as_deref().is_none_or(|m: &[u8]| v > m) {
                (max, max_key) = (Some(v.to_vec()), key);
            }
        }
        self.inexact = min.zip(max);
    }
}

/// The stored bytes of the number with this key.
fn key_value(key: u128, data_type: &DataType) -> Option<Vec<u8>> {
    let number = key_int(key);
    let width = KeyType::of(data_type)?.width();
    let bytes = match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            // The map from bits to key is its own inverse.
            let key = number as i64;
            let magnitude = (1i64 << (8 * width - 1)).wrapping_sub(1);
            if key < 0 { key ^ magnitude } else { key }.to_le_bytes().to_vec()
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            (number as u64 ^ (1 << 31)).rotate_left(32).to_le_bytes().to_vec()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let number = number as u128 ^ (1 << 63) ^ (1 << 95);
            let mut bytes = ((number >> 96) as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(&((number >> 64) as u32).to_le_bytes());
            bytes.extend_from_slice(&(number as u64).to_le_bytes());
            bytes
        }
        DataType::Decimal256(..) => {
            return Some(arrow_buffer::i256::from_i128(number).to_le_bytes().to_vec());
        }
        DataType::FixedSizeBinary(n) => {
            let n = usize::try_from(*n).ok()?;
            return Some(key.to_be_bytes().get(..n)?.to_vec());
        }
        _ => number.to_le_bytes().to_vec(),
    };
    Some(bytes.get(..width)?.to_vec())
}

/// The first bytes of a bound, and whether they are all.
fn cut(mut bytes: Vec<u8>, text: bool) -> (Vec<u8>, bool) {
    if bytes.len() <= BOUND_BYTES_MAX {
        return (bytes, true);
    }
    let mut at = BOUND_BYTES_MAX;
    while text && at > BOUND_BYTES_MAX - 3 && bytes[at] & 0xc0 == 0x80 {
        at -= 1;
    }
    bytes.truncate(at);
    (bytes, false)
}
