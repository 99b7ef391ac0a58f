//! Zone statistics from arrays: on the write path, so bound by memory, not by arithmetic.
//!
//! Each zone is reduced in its native type by loops that the compiler vectorises for the machine at hand. A zone with nulls is
//! first copied to a scratch of one zone, its nulls overwritten by its first value, so that the same loops serve.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use half::f16;
use multiversion::multiversion;

use super::ZoneStats;
use crate::key::{
    array_keys, bytes_key, day_time_number, f16_key, f32_key, f64_key, i256_key, int_key, is_narrow,
    month_day_nano_number,
};
use crate::native::{BytesRef, Native};

/// The statistics of each `zone_rows` rows of a column, the last zone with what is left.
///
/// A dictionary's values count, not its codes. Of nested types, only nulls are counted (see [`ZoneStats::counts_only`]).
///
/// ```
/// use arrow_array::Int32Array;
/// use deltalite_format::key::{int_key, key_int};
/// use deltalite_format::stats::zone_stats;
///
/// let zones = zone_stats(&Int32Array::from(vec![Some(3), None, Some(-5), Some(8)]), 3);
/// assert_eq!((key_int(zones[0].min), key_int(zones[0].max), zones[0].nulls), (-5, 3, 1));
/// assert_eq!((zones[1].min, zones[1].rows), (int_key(8), 1));
/// ```
pub fn zone_stats(array: &dyn Array, zone_rows: usize) -> Vec<ZoneStats> {
    let nulls = array.logical_nulls().filter(|n| n.null_count() > 0);
    let zones = Zones { rows: array.len(), zone_rows: zone_rows.max(1), nulls: nulls.as_ref() };
    let Some(native) = Native::of(array) else {
        // Dictionaries are reduced over the keys of their values; nested types have none.
        return match (array.as_any_dictionary_opt(), array_keys(array)) {
            (Some(dictionary), Some(keys)) => {
                let finite = finite_keys(dictionary.values().data_type());
                let is_nan = |k: &u128| !finite.contains(k);
                let dense = |v: &[u128]| {
                    let (min, max) = by_key(v, |&k| k);
                    (min, max, v.iter().filter(|k| is_nan(k)).count() as u32)
                };
                zones.reduce(&keys, dense, is_nan)
            }
            _ => zones.counts_only(),
        };
    };
    match native {
        Native::Bool(v) => zones.bools(v),
        Native::I8(v) => zones.ints(v),
        Native::I16(v) => zones.ints(v),
        Native::I32(v) => zones.ints(v),
        Native::I64(v) => zones.ints(v),
        Native::U8(v) => zones.ints(v),
        Native::U16(v) => zones.ints(v),
        Native::U32(v) => zones.ints(v),
        Native::U64(v) => zones.ints(v),
        Native::I128(v) => zones.reduce(v, i128_stats, |_| false),
        Native::I256(v) => {
            let narrow = is_narrow(array.data_type());
            zones.reduce(v, |v| no_nans(by_key(v, |&v| i256_key(v, narrow))), |_| false)
        }
        Native::F16(v) => zones.reduce(v, f16_stats, |v| v.is_nan()),
        Native::F32(v) => zones.reduce(v, f32_stats, |v| v.is_nan()),
        Native::F64(v) => zones.reduce(v, f64_stats, |v| v.is_nan()),
        Native::DayTime(v) => {
            zones.reduce(v, |v| no_nans(by_key(v, |&v| int_key(day_time_number(v).into()))), |_| false)
        }
        Native::MonthDayNano(v) => {
            zones.reduce(v, |v| no_nans(by_key(v, |&v| int_key(month_day_nano_number(v)))), |_| false)
        }
        Native::Bytes(v) => zones.bytes(v),
    }
}

/// Keys of the values that are not NaN; all keys where a type has no NaN.
fn finite_keys(data_type: &DataType) -> std::ops::RangeInclusive<u128> {
    let range = |lo: i64, hi: i64| int_key(lo.into())..=int_key(hi.into());
    match data_type {
        DataType::Float16 => range(f16_key(f16::NEG_INFINITY), f16_key(f16::INFINITY)),
        DataType::Float32 => range(f32_key(f32::NEG_INFINITY), f32_key(f32::INFINITY)),
        DataType::Float64 => range(f64_key(f64::NEG_INFINITY), f64_key(f64::INFINITY)),
        _ => 0..=u128::MAX,
    }
}

/// How an array is cut, and which of its rows count.
struct Zones<'a> {
    rows: usize,
    zone_rows: usize,
    nulls: Option<&'a NullBuffer>,
}

impl Zones<'_> {
    /// `(start, rows, nulls)` of each zone.
    fn cuts(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (0..self.rows).step_by(self.zone_rows).map(|start| {
            let rows = self.zone_rows.min(self.rows - start);
            let valid = self.nulls.map_or(rows, |n| n.inner().slice(start, rows).count_set_bits());
            (start, rows, rows - valid)
        })
    }

    fn counts_only(&self) -> Vec<ZoneStats> {
        self.cuts().map(|(_, rows, nulls)| ZoneStats::counts_only(rows as u32, nulls as u32)).collect()
    }

    /// Reduces each zone by `dense`, which gives the smallest and largest key and the number of NaNs of values without nulls.
    fn reduce<T: Copy>(
        &self,
        values: &[T],
        dense: impl Fn(&[T]) -> (u128, u128, u32),
        is_nan: impl Fn(&T) -> bool,
    ) -> Vec<ZoneStats> {
        let mut scratch: Vec<T> = Vec::new();
        let zone = |(start, rows, nulls): (usize, usize, usize)| {
            let (zone_rows, zone_nulls) = (rows as u32, nulls as u32);
            let values = &values[start..start + rows];
            let (min, max, nans) = match self.nulls {
                _ if nulls == rows => return ZoneStats::counts_only(zone_rows, zone_nulls),
                Some(validity) if nulls > 0 => {
                    let validity = validity.inner().slice(start, rows);
                    let Some(first) = validity.set_indices().next() else {
                        return ZoneStats::counts_only(zone_rows, zone_nulls);
                    };
                    let fill = values[first];
                    fill_nulls(values, &validity, fill, &mut scratch);
                    let (min, max, nans) = dense(&scratch);
                    (min, max, if is_nan(&fill) { nans - zone_nulls } else { nans })
                }
                _ => dense(values),
            };
            ZoneStats { min, max, nulls: zone_nulls, nans, rows: zone_rows }
        };
        self.cuts().map(zone).collect()
    }

    fn ints<T: Copy + Ord + Into<i128>>(&self, values: &[T]) -> Vec<ZoneStats> {
        let dense = |v: &[T]| match int_min_max(v) {
            Some((min, max)) => (int_key(min.into()), int_key(max.into()), 0),
            None => no_nans(NO_KEYS),
        };
        self.reduce(values, dense, |_| false)
    }

    fn bools(&self, values: &BooleanBuffer) -> Vec<ZoneStats> {
        let zone = |(start, rows, nulls): (usize, usize, usize)| {
            if nulls == rows {
                return ZoneStats::counts_only(rows as u32, nulls as u32);
            }
            let values = values.slice(start, rows);
            let trues = match self.nulls {
                Some(n) if nulls > 0 => (&values & &n.inner().slice(start, rows)).count_set_bits(),
                _ => values.count_set_bits(),
            };
            let (min, max) = (int_key(i128::from(trues == rows - nulls)), int_key(i128::from(trues > 0)));
            ZoneStats { min, max, nulls: nulls as u32, nans: 0, rows: rows as u32 }
        };
        self.cuts().map(zone).collect()
    }

    fn bytes(&self, values: BytesRef<'_>) -> Vec<ZoneStats> {
        let zone = |(start, rows, nulls): (usize, usize, usize)| {
            let mut bounds = NO_KEYS;
            match self.nulls {
                Some(n) if nulls > 0 => {
                    let valid = n.inner().slice(start, rows);
                    valid.set_indices().for_each(|i| widen_by_bytes(&mut bounds, &values, start + i));
                }
                _ => (start..start + rows).for_each(|i| widen_by_bytes(&mut bounds, &values, i)),
            }
            ZoneStats { min: bounds.0, max: bounds.1, nulls: nulls as u32, nans: 0, rows: rows as u32 }
        };
        self.cuts().map(zone).collect()
    }
}

/// The bounds of no values.
const NO_KEYS: (u128, u128) = (u128::MAX, 0);

fn no_nans((min, max): (u128, u128)) -> (u128, u128, u32) {
    (min, max, 0)
}

/// Copies `values` to `out` with `fill` in the slots that are null.
fn fill_nulls<T: Copy>(values: &[T], validity: &BooleanBuffer, fill: T, out: &mut Vec<T>) {
    out.clear();
    out.reserve(values.len());
    let words = validity.bit_chunks();
    let (full, tail) = values.split_at(words.chunk_len() * 64);
    for (chunk, word) in full.chunks_exact(64).zip(words.iter()) {
        out.extend(chunk.iter().enumerate().map(|(i, &v)| if word >> i & 1 != 0 { v } else { fill }));
    }
    let word = words.remainder_bits();
    out.extend(tail.iter().enumerate().map(|(i, &v)| if word >> i & 1 != 0 { v } else { fill }));
}

#[inline(always)]
fn widen_by_bytes(bounds: &mut (u128, u128), values: &BytesRef<'_>, i: usize) {
    if let BytesRef::View { views, .. } = values {
        // The first four bytes are in the view: a long string that they place inside the bounds need not be fetched.
        let head = ((views[i] >> 32) as u32).swap_bytes();
        let (min_head, max_head) = ((bounds.0 >> 96) as u32, (bounds.1 >> 96) as u32);
        if views[i] as u32 > 12 && min_head < head && head < max_head {
            return;
        }
    }
    let key = bytes_key(values.get(i));
    bounds.0 = bounds.0.min(key);
    bounds.1 = bounds.1.max(key);
}

fn by_key<T>(values: &[T], key: impl Fn(&T) -> u128) -> (u128, u128) {
    values.iter().map(key).fold(NO_KEYS, |(min, max), k| (min.min(k), max.max(k)))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2", "x86_64+avx2+bmi2"))]
fn int_min_max<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
    let &first = values.first()?;
    let (mut min, mut max) = (first, first);
    for &v in values {
        min = min.min(v);
        max = max.max(v);
    }
    Some((min, max))
}

/// Decimals rarely need their high halves: where every one is the sign of its low half, the low halves decide.
fn i128_stats(values: &[i128]) -> (u128, u128, u32) {
    let (min, max, fits) = low_halves(bytemuck::must_cast_slice(values));
    if fits && !values.is_empty() {
        return (int_key(min.into()), int_key(max.into()), 0);
    }
    no_nans(by_key(values, |&v| int_key(v)))
}

/// Smallest and largest low half, and whether every high half is the sign of its low half.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2", "x86_64+avx2+bmi2"))]
fn low_halves(values: &[[i64; 2]]) -> (i64, i64, bool) {
    let (mut min, mut max, mut differs) = (i64::MAX, i64::MIN, 0);
    for &[a, b] in values {
        // Low half first on little-endian machines, the only ones supported.
        min = min.min(a);
        max = max.max(a);
        differs |= b ^ (a >> 63);
    }
    (min, max, differs == 0)
}

macro_rules! float_stats {
    ($name:ident, $t:ty, $int:ty, $uint:ty) => {
        #[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2", "x86_64+avx2+bmi2"))]
        fn $name(values: &[$t]) -> (u128, u128, u32) {
            const INFINITY: $int = <$t>::INFINITY.to_bits() as $int;
            let (mut min, mut max, mut nans) = (<$int>::MAX, <$int>::MIN, 0u32);
            for v in values {
                let bits = v.to_bits() as $int;
                let key = bits ^ ((bits >> (<$int>::BITS - 1)) as $uint >> 1) as $int;
                min = min.min(key);
                max = max.max(key);
                nans += u32::from(bits & <$int>::MAX > INFINITY);
            }
            (int_key(min.into()), int_key(max.into()), nans)
        }
    };
}
float_stats!(f16_stats, f16, i16, u16);
float_stats!(f32_stats, f32, i32, u32);
float_stats!(f64_stats, f64, i64, u64);

#[cfg(test)]
mod tests {
    use arrow_ord::ord::make_comparator;
    use arrow_schema::SortOptions;
    use proptest::prelude::*;

    use super::super::BoundsBuilder;
    use super::*;
    use crate::key::KeyType;
    use crate::test_arrays::{any_column, leaf_types};

    /// Rows of the smallest and the largest value, by Arrow's order.
    fn extremes(array: &dyn Array, rows: std::ops::Range<usize>) -> Option<(usize, usize)> {
        let compare = make_comparator(array, array, SortOptions::default()).unwrap();
        let nulls = array.logical_nulls();
        let valid: Vec<usize> = rows.filter(|&i| nulls.as_ref().is_none_or(|n| n.is_valid(i))).collect();
        let min = valid.iter().copied().min_by(|&a, &b| compare(a, b))?;
        let max = valid.iter().copied().max_by(|&a, &b| compare(a, b))?;
        Some((min, max))
    }

    fn is_nan(array: &dyn Array, i: usize) -> bool {
        match array.data_type() {
            DataType::Float16 => array.as_primitive::<arrow_array::types::Float16Type>().value(i).is_nan(),
            DataType::Float32 => array.as_primitive::<arrow_array::types::Float32Type>().value(i).is_nan(),
            DataType::Float64 => array.as_primitive::<arrow_array::types::Float64Type>().value(i).is_nan(),
            DataType::Dictionary(..) => {
                let d = array.as_any_dictionary();
                is_nan(d.values(), d.normalized_keys()[i])
            }
            _ => false,
        }
    }

    /// The bytes of row `i` as bounds give them.
    fn value_bytes(array: &dyn Array, i: usize) -> Vec<u8> {
        if let Some(d) = array.as_any_dictionary_opt() {
            return value_bytes(d.values(), d.normalized_keys()[i]);
        }
        if let Some(Native::Bytes(v)) = Native::of(array) {
            return v.get(i).to_vec();
        }
        let data = array.to_data();
        let width = if array.data_type() == &DataType::Boolean {
            return vec![u8::from(array.as_boolean().value(i))];
        } else {
            array.data_type().primitive_width().unwrap()
        };
        data.buffers()[0].as_slice()[(data.offset() + i) * width..][..width].to_vec()
    }

    fn fits(bound: &[u8], exact: bool, value: &[u8]) -> bool {
        if exact { bound == value } else { value.starts_with(bound) && bound.len() > 60 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        #[test]
        fn zones_and_bounds_are_the_naive_ones(array in any_column(200), zone_rows in 1usize..80) {
            let array = array.as_ref();
            let zones = zone_stats(array, zone_rows);
            prop_assert_eq!(zones.len(), array.len().div_ceil(zone_rows));
            let keys = array_keys(array).unwrap();
            let nulls = array.logical_nulls();
            for (i, zone) in zones.iter().enumerate() {
                let rows = i * zone_rows..((i + 1) * zone_rows).min(array.len());
                prop_assert_eq!(zone.rows as usize, rows.len());
                let valid: Vec<usize> = rows.clone().filter(|&i| nulls.as_ref().is_none_or(|n| n.is_valid(i))).collect();
                prop_assert_eq!(zone.values() as usize, valid.len());
                prop_assert_eq!(zone.nans as usize, valid.iter().filter(|&&i| is_nan(array, i)).count());
                match extremes(array, rows) {
                    Some((min, max)) => prop_assert_eq!((zone.min, zone.max), (keys[min], keys[max])),
                    None => prop_assert!(zone.min > zone.max),
                }
            }

            let mut stored = Vec::new();
            ZoneStats::write_all(&zones, array.data_type(), &mut stored);
            prop_assert_eq!(&ZoneStats::read_all(&stored, array.data_type()).unwrap(), &zones);
            let one = zone_stats(array, usize::MAX);
            prop_assert_eq!(ZoneStats::merged(&zones), one.first().copied().unwrap_or(ZoneStats::EMPTY));

            let mut bounds = BoundsBuilder::default();
            let half = array.len() / 2;
            for part in [array.slice(0, half), array.slice(half, array.len() - half)] {
                bounds.update(part.as_ref(), &zone_stats(part.as_ref(), zone_rows), zone_rows);
            }
            match (bounds.finish(), extremes(array, 0..array.len())) {
                (None, None) => {}
                (Some(b), Some((min, max))) => {
                    let (min, max) = (value_bytes(array, min), value_bytes(array, max));
                    prop_assert!(fits(&b.min, b.min_exact, &min));
                    prop_assert!(fits(&b.max, b.max_exact, &max));
                }
                (a, b) => prop_assert!(false, "{:?} but {:?}", a, b),
            }
        }

        #[test]
        fn any_bytes_are_zones_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            for data_type in leaf_types() {
                if let Ok(zones) = ZoneStats::read_all(&bytes, &data_type) {
                    prop_assert!(zones.iter().all(|z| z.nulls <= z.rows && (z.values() == 0 || z.min <= z.max)));
                }
            }
        }
    }

    #[test]
    fn every_leaf_has_a_key_and_nested_types_count_nulls() {
        assert!(leaf_types().iter().all(|t| KeyType::of(t).is_some()));
        let list = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Int8Type, _, _>([
            Some(vec![Some(1)]),
            None,
            Some(vec![]),
        ]);
        assert_eq!(zone_stats(&list, 8), [ZoneStats::counts_only(3, 1)]);
        assert_eq!(zone_stats(&arrow_array::NullArray::new(2), 8), [ZoneStats::counts_only(2, 2)]);
    }
}
