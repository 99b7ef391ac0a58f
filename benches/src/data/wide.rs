//! Wide synthetic tables: what feature stores and telemetry look like, and what footers suffer from.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::table::Table;
use crate::error::{BenchError, Result};

/// Columns of the table for opening.
pub const OPEN_COLUMNS: usize = 10_000;
/// Blocks (row groups) of the table for opening.
pub const OPEN_BLOCKS: usize = 10;
/// Rows in each of them: few, because opening must not depend on them.
pub const OPEN_BLOCK_ROWS: usize = 128;

const MIXED_COLUMNS: usize = 400;
const MIXED_ROWS: usize = 131_072;
const MIXED_BATCH_ROWS: usize = 16_384;

const NUMBERS_BATCH_ROWS: usize = 65_536;
const NUMBERS_BATCHES: usize = 64;
const NUMBERS: [Shape; 12] = [
    Shape::Noise,
    Shape::Uniform,
    Shape::Noise,
    Shape::Uniform,
    Shape::Noise,
    Shape::Uniform,
    Shape::Noise,
    Shape::Uniform,
    Shape::ShortNoise,
    Shape::Float,
    Shape::ShortNoise,
    Shape::Float,
];

const WORDS: [&str; 24] = [
    "alpha", "amber", "basalt", "cedar", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "jasper",
    "krill", "lantern", "meadow", "nickel", "opal", "pewter", "quartz", "russet", "sable", "thistle",
    "umber", "velvet", "willow",
];

/// 10,000 columns × 10 blocks: integers, doubles, decimals and short strings in turn.
pub fn open(folder: &Path) -> Result<Table> {
    let path = folder.join(format!("open-{OPEN_COLUMNS}x{OPEN_BLOCKS}.arrow"));
    cached("open-10000x10", &path, OPEN_COLUMNS, OPEN_BLOCKS, OPEN_BLOCK_ROWS, |column| match column % 4 {
        0 => Shape::SmallInteger,
        1 => Shape::Double,
        2 => Shape::Price,
        _ => Shape::Category,
    })
}

/// 400 columns of mixed types and distributions, some with nulls.
pub fn mixed(folder: &Path) -> Result<Table> {
    let path = folder.join(format!("wide-{MIXED_COLUMNS}x{MIXED_ROWS}.arrow"));
    let batches = MIXED_ROWS / MIXED_BATCH_ROWS;
    cached("wide-400", &path, MIXED_COLUMNS, batches, MIXED_BATCH_ROWS, |column| {
        SHAPES[column % SHAPES.len()]
    })
}

/// 12 columns of integers and floats without a pattern: values that lie in a plain page as they lie in Arrow's arrays.
pub fn numbers(folder: &Path) -> Result<Table> {
    let path = folder.join(format!("numbers-{}x{NUMBERS_BATCHES}.arrow", NUMBERS.len()));
    cached("numbers", &path, NUMBERS.len(), NUMBERS_BATCHES, NUMBERS_BATCH_ROWS, |column| NUMBERS[column])
}

/// What a column of the wide tables looks like.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// An increasing key with gaps, 64 bits.
    Key,
    /// Uniform 0..1000, 32 bits.
    SmallInteger,
    /// Skewed towards small, 64 bits, 5 % null.
    Skewed,
    /// Uniform over 16 bits.
    Short,
    /// A flag of 8 bits that hardly ever changes.
    Flag,
    /// A walk with two decimals.
    Double,
    /// Noise.
    Float,
    /// Noise of 64 bits.
    Noise,
    /// Noise of 32 bits.
    ShortNoise,
    /// Uniform over 0..1, 64 bits.
    Uniform,
    /// Decimal with 2 places, up to 100,000.
    Price,
    /// One of 24 words.
    Category,
    /// Free text of one to eight words.
    Text,
    /// A code that is nearly unique.
    Code,
    /// A day within ten years, 2 % null.
    Day,
    /// Rising microseconds.
    Time,
    /// True in one of ten rows, 10 % null.
    Boolean,
}

const SHAPES: [Shape; 14] = [
    Shape::Key,
    Shape::SmallInteger,
    Shape::Skewed,
    Shape::Double,
    Shape::Category,
    Shape::Price,
    Shape::Boolean,
    Shape::Short,
    Shape::Float,
    Shape::Day,
    Shape::Time,
    Shape::Flag,
    Shape::Code,
    Shape::Text,
];

impl Shape {
    fn array(
        self,
        random: &mut StdRng,
        rows: usize,
        first: usize,
    ) -> std::result::Result<ArrayRef, ArrowError> {
        let at = first as i64;
        Ok(match self {
            Self::Key => {
                let mut key = at * 7;
                Arc::new(Int64Array::from_iter_values((0..rows).map(|_| {
                    key += random.random_range(1..13);
                    key
                })))
            }
            Self::SmallInteger => {
                Arc::new(Int32Array::from_iter_values((0..rows).map(|_| random.random_range(0..1000))))
            }
            Self::Skewed => Arc::new(
                (0..rows)
                    .map(|_| {
                        let bits = random.random_range(0..40);
                        random.random_bool(0.95).then(|| random.random_range(0..=(1_i64 << bits)))
                    })
                    .collect::<Int64Array>(),
            ),
            Self::Short => Arc::new(Int16Array::from_iter_values((0..rows).map(|_| random.random::<i16>()))),
            Self::Flag => {
                Arc::new(Int8Array::from_iter_values((0..rows).map(|_| i8::from(random.random_bool(0.001)))))
            }
            Self::Double => {
                let mut level = 100.0_f64;
                Arc::new(Float64Array::from_iter_values((0..rows).map(|_| {
                    level += random.random_range(-1.0..1.0);
                    (level * 100.0).round() / 100.0
                })))
            }
            Self::Float => {
                Arc::new(Float32Array::from_iter_values((0..rows).map(|_| random.random::<f32>())))
            }
            Self::Noise => Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.random::<i64>()))),
            Self::ShortNoise => {
                Arc::new(Int32Array::from_iter_values((0..rows).map(|_| random.random::<i32>())))
            }
            Self::Uniform => {
                Arc::new(Float64Array::from_iter_values((0..rows).map(|_| random.random::<f64>())))
            }
            Self::Price => Arc::new(
                Decimal128Array::from_iter_values((0..rows).map(|_| random.random_range(0..10_000_000_i128)))
                    .with_precision_and_scale(15, 2)?,
            ),
            Self::Category => Arc::new(StringViewArray::from_iter_values(
                (0..rows).map(|_| WORDS[random.random_range(0..WORDS.len())]),
            )),
            Self::Text => Arc::new(StringViewArray::from_iter_values((0..rows).map(|_| {
                let words: Vec<&str> = (0..random.random_range(1..=8))
                    .map(|_| WORDS[random.random_range(0..WORDS.len())])
                    .collect();
                words.join(" ")
            }))),
            Self::Code => Arc::new(StringViewArray::from_iter_values(
                (0..rows).map(|_| format!("DL-{:010}", random.random_range(0..10_000_000_000_u64))),
            )),
            Self::Day => Arc::new(
                (0..rows)
                    .map(|_| random.random_bool(0.98).then(|| random.random_range(16_000..19_650)))
                    .collect::<Date32Array>(),
            ),
            Self::Time => {
                let mut now = 1_700_000_000_000_000 + at * 1_000_000;
                Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(|_| {
                    now += random.random_range(1..2_000_000);
                    now
                })))
            }
            Self::Boolean => Arc::new(
                (0..rows)
                    .map(|_| random.random_bool(0.9).then(|| random.random_bool(0.1)))
                    .collect::<BooleanArray>(),
            ),
        })
    }
}

fn cached(
    name: &str,
    path: &Path,
    columns: usize,
    batches: usize,
    batch_rows: usize,
    shape: impl Fn(usize) -> Shape,
) -> Result<Table> {
    let batch = |number: usize| -> std::result::Result<RecordBatch, ArrowError> {
        let arrays = (0..columns).map(|column| {
            // Each column has its own seed, so that a column looks the same however many there are.
            let mut random = StdRng::seed_from_u64(((column as u64) << 32) | number as u64);
            let array = shape(column).array(&mut random, batch_rows, number * batch_rows)?;
            Ok((format!("c{column:05}"), array))
        });
        let arrays = arrays.collect::<std::result::Result<Vec<_>, ArrowError>>()?;
        RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|(name, array)| (name, array, true)))
    };
    let schema = || -> Result<SchemaRef> {
        let mut random = StdRng::seed_from_u64(0);
        let fields = (0..columns).map(|column| {
            let array = shape(column).array(&mut random, 1, 0)?;
            Ok(arrow::datatypes::Field::new(format!("c{column:05}"), array.data_type().clone(), true))
        });
        let fields = fields
            .collect::<std::result::Result<Vec<_>, ArrowError>>()
            .map_err(BenchError::format("data", "making the wide schema"))?;
        Ok(Arc::new(Schema::new(fields)))
    };
    Table::cached(name, path, (batches * batch_rows) as u64, schema, || Ok((0..batches).map(batch)))
}
