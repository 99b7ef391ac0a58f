//! Digests of results, so that formats are compared for equality before they are timed.
//!
//! A digest is independent of how rows are cut into batches and of representation where the value is the same: string
//! views and offsets, dictionaries, decimals of different width, timestamps of different unit. It is independent of
//! row order unless [`Digest::ordered`] is asked for.

use std::fmt;
use std::sync::Mutex;

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt64Type,
};

use crate::error::{BenchError, Result};

const NULL: u64 = 0x9ae1_6a3b_2f90_404f;
const SEED: u64 = 0x51_7c_c1_b7_27_22_0a_95;

/// What identifies a result: its number of rows and a 128-bit combination of the hashes of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Number of rows.
    pub rows: u64,
    low: u64,
    high: u64,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows (digest {:016x}{:016x})", self.rows, self.high, self.low)
    }
}

/// Collects the digest of a stream of batches; threads may add at the same time unless the order matters.
#[derive(Debug, Default)]
pub struct Digest {
    ordered: bool,
    sum: Mutex<Sum>,
}

impl Digest {
    /// A digest that doesn't depend on the order of rows.
    pub fn unordered() -> Self {
        Self::default()
    }

    /// A digest that depends on the order of rows.
    pub fn ordered() -> Self {
        Self { ordered: true, sum: Mutex::default() }
    }

    /// Adds all rows of a batch.
    pub fn add(&self, batch: &RecordBatch) -> Result<()> {
        let mut rows = vec![SEED; batch.num_rows()];
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let name = hash_bytes(field.name().as_bytes());
            let hashes = hash_values(column).map_err(BenchError::format("digest", "hashing a column"))?;
            for (row, hash) in rows.iter_mut().zip(hashes) {
                // The name is part of the cell, so that swapped columns are seen; addition makes the order of
                // columns, which formats may choose, irrelevant.
                *row = row.wrapping_add(mix(hash ^ name));
            }
        }
        let mut sum = self.sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for row in rows {
            let row = if self.ordered { mix(row ^ sum.rows.wrapping_mul(SEED)) } else { mix(row) };
            let (low, carry) = sum.low.overflowing_add(row);
            sum.low = low;
            sum.high = sum.high.wrapping_add(mix(row)).wrapping_add(u64::from(carry));
            sum.rows += 1;
        }
        Ok(())
    }

    /// The digest of everything added.
    pub fn sum(&self) -> Sum {
        *self.sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn mix(value: u64) -> u64 {
    let wide = u128::from(value ^ SEED).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (wide as u64) ^ ((wide >> 64) as u64)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash ^ u64::from_le_bytes(last))
}

fn hash_integer(value: i128) -> u64 {
    mix((value as u64) ^ mix((value >> 64) as u64))
}

fn hash_float(value: f64) -> u64 {
    // All NaN are one value and so are both zeros: text formats keep neither apart.
    let bits = if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    };
    mix(bits)
}

fn hash_boolean(values: &BooleanArray) -> Vec<u64> {
    (0..values.len()).map(|row| hash_integer(i128::from(values.value(row)))).collect()
}

/// One hash a row.
fn hash_values(array: &ArrayRef) -> std::result::Result<Vec<u64>, arrow::error::ArrowError> {
    let mut hashes: Vec<u64> = match array.data_type() {
        DataType::Null => vec![NULL; array.len()],
        DataType::Boolean => hash_boolean(array.as_boolean()),
        DataType::UInt64 => {
            array.as_primitive::<UInt64Type>().values().iter().map(|v| hash_integer(i128::from(*v))).collect()
        }
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => {
            let wide = cast(array, &DataType::Int64)?;
            wide.as_primitive::<Int64Type>().values().iter().map(|v| hash_integer(i128::from(*v))).collect()
        }
        DataType::Float16 => {
            return hash_values(&cast(array, &DataType::Float32)?);
        }
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().values().iter().map(|v| hash_float(f64::from(*v))).collect()
        }
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().values().iter().map(|v| hash_float(*v)).collect()
        }
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            return hash_values(&cast(array, &DataType::Decimal128(*precision, *scale))?);
        }
        DataType::Decimal128(_, scale) => {
            let scale = u64::from(scale.unsigned_abs());
            array.as_primitive::<Decimal128Type>().values().iter().map(|v| hash_integer(*v) ^ scale).collect()
        }
        DataType::Decimal256(_, scale) => {
            let scale = u64::from(scale.unsigned_abs());
            array
                .as_primitive::<Decimal256Type>()
                .values()
                .iter()
                .map(|v| v.to_i128().map_or_else(|| hash_bytes(&v.to_le_bytes()), hash_integer) ^ scale)
                .collect()
        }
        DataType::Date32 => {
            array.as_primitive::<Date32Type>().values().iter().map(|v| hash_integer(i128::from(*v))).collect()
        }
        DataType::Date64 => return hash_values(&cast(array, &DataType::Date32)?),
        DataType::Timestamp(unit, _) => {
            let (values, factor): (&[i64], i128) = match unit {
                TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().values(), 1_000_000_000),
                TimeUnit::Millisecond => {
                    (array.as_primitive::<TimestampMillisecondType>().values(), 1_000_000)
                }
                TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().values(), 1_000),
                TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().values(), 1),
            };
            values.iter().map(|v| hash_integer(i128::from(*v) * factor)).collect()
        }
        DataType::Utf8View => {
            let strings = array.as_string_view();
            (0..strings.len()).map(|row| hash_bytes(strings.value(row).as_bytes())).collect()
        }
        DataType::BinaryView => {
            let strings = array.as_binary_view();
            (0..strings.len()).map(|row| hash_bytes(strings.value(row))).collect()
        }
        DataType::Utf8 => {
            let strings = array.as_string::<i32>();
            (0..strings.len()).map(|row| hash_bytes(strings.value(row).as_bytes())).collect()
        }
        DataType::Binary => {
            let strings = array.as_binary::<i32>();
            (0..strings.len()).map(|row| hash_bytes(strings.value(row))).collect()
        }
        DataType::LargeUtf8 => return hash_values(&cast(array, &DataType::Utf8View)?),
        DataType::LargeBinary => return hash_values(&cast(array, &DataType::BinaryView)?),
        DataType::FixedSizeBinary(_) => {
            let strings = array.as_fixed_size_binary();
            (0..strings.len()).map(|row| hash_bytes(strings.value(row))).collect()
        }
        DataType::Dictionary(_, values) => return hash_values(&cast(array, values)?),
        DataType::Struct(_) => {
            let fields = array.as_struct();
            let mut hashes = vec![SEED; fields.len()];
            for column in fields.columns() {
                for (hash, child) in hashes.iter_mut().zip(hash_values(column)?) {
                    *hash = mix(*hash ^ child);
                }
            }
            hashes
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends: Vec<usize> = list.value_offsets().iter().map(|o| *o as usize).collect();
            fold_children(&hash_values(list.values())?, &ends)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends: Vec<usize> = list.value_offsets().iter().map(|o| *o as usize).collect();
            fold_children(&hash_values(list.values())?, &ends)
        }
        DataType::ListView(field) => return hash_values(&cast(array, &DataType::List(field.clone()))?),
        DataType::LargeListView(field) => {
            return hash_values(&cast(array, &DataType::LargeList(field.clone()))?);
        }
        DataType::FixedSizeList(_, size) => {
            let list = array.as_fixed_size_list();
            let ends: Vec<usize> = (0..=list.len()).map(|row| row * *size as usize).collect();
            fold_children(&hash_values(list.values())?, &ends)
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let ends: Vec<usize> = map.value_offsets().iter().map(|o| *o as usize).collect();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            fold_children(&hash_values(&entries)?, &ends)
        }
        // Times, durations and intervals: their bits, which no format here changes.
        _ => {
            let data = array.to_data();
            let width = data.data_type().primitive_width().ok_or_else(|| {
                arrow::error::ArrowError::NotYetImplemented(format!("digest of {}", data.data_type()))
            })?;
            let start = data.offset() * width;
            let bytes = &data.buffers()[0].as_slice()[start..start + data.len() * width];
            bytes.chunks_exact(width).map(hash_bytes).collect()
        }
    };
    if let Some(nulls) = array.logical_nulls() {
        for (row, hash) in hashes.iter_mut().enumerate() {
            if nulls.is_null(row) {
                *hash = NULL;
            }
        }
    }
    Ok(hashes)
}

/// Combines the hashes of children, in order, into one hash for each pair of neighbouring ends.
fn fold_children(children: &[u64], ends: &[usize]) -> Vec<u64> {
    ends.windows(2)
        .map(|pair| {
            let count = (pair[1] - pair[0]) as u64;
            children[pair[0]..pair[1]].iter().fold(mix(count), |hash, child| mix(hash ^ child))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int32Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn digest(digest: &Digest, columns: Vec<(&str, ArrayRef)>) -> Sum {
        digest.add(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        digest.sum()
    }

    #[test]
    fn representation_and_batching_do_not_matter() {
        let whole = digest(
            &Digest::unordered(),
            vec![
                ("a", Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef),
                ("b", Arc::new(StringArray::from(vec!["x", "a longer string than twelve", ""]))),
            ],
        );
        let parts = Digest::unordered();
        digest(
            &parts,
            vec![
                ("b", Arc::new(StringViewArray::from(vec!["", "x"])) as ArrayRef),
                ("a", Arc::new(Int64Array::from(vec![3, 1]))),
            ],
        );
        let parts = digest(
            &parts,
            vec![
                ("a", Arc::new(Int64Array::from(vec![None])) as ArrayRef),
                ("b", Arc::new(StringViewArray::from(vec!["a longer string than twelve"]))),
            ],
        );
        assert_eq!(whole, parts);
    }

    #[test]
    fn a_changed_value_scale_column_or_null_is_seen() {
        let of = |array: ArrayRef, name: &str| digest(&Digest::unordered(), vec![(name, array)]);
        let decimals = |values: Vec<Option<i128>>, scale| {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(20, scale).unwrap()) as ArrayRef
        };
        let reference = of(decimals(vec![Some(1), Some(2)], 2), "a");
        assert_ne!(reference, of(decimals(vec![Some(1), Some(3)], 2), "a"));
        assert_ne!(reference, of(decimals(vec![Some(1), Some(2)], 3), "a"));
        assert_ne!(reference, of(decimals(vec![Some(1), None], 2), "a"));
        assert_ne!(reference, of(decimals(vec![Some(1), Some(2)], 2), "b"));
    }

    #[test]
    fn order_is_seen_when_asked_for() {
        let of = |values: Vec<i64>, ordered: bool| {
            let digest_of = if ordered { Digest::ordered() } else { Digest::unordered() };
            digest(&digest_of, vec![("a", Arc::new(Int64Array::from(values)) as ArrayRef)])
        };
        assert_eq!(of(vec![1, 2, 3], false), of(vec![3, 1, 2], false));
        assert_ne!(of(vec![1, 2, 3], true), of(vec![3, 1, 2], true));
    }
}
