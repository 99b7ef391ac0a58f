//! Arrays of every type for property tests: few distinct values, so that equalities happen, with the extremes among them.

use std::sync::Arc;

use arrow_array::types as t;
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray,
    FixedSizeBinaryArray, Int8Array, LargeBinaryArray, LargeStringArray, NullArray, PrimitiveArray,
    StringArray, StringViewArray,
};
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, i256};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use half::f16;
use proptest::prelude::*;

/// One of each kind of leaf type.
pub(crate) fn leaf_types() -> Vec<DataType> {
    use DataType as D;
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let mut types = vec![
        D::Boolean,
        D::Int8,
        D::Int16,
        D::Int32,
        D::Int64,
        D::UInt8,
        D::UInt16,
        D::UInt32,
        D::UInt64,
        D::Float16,
        D::Float32,
        D::Float64,
        D::Decimal32(9, 2),
        D::Decimal64(18, 4),
        D::Decimal128(38, 10),
        D::Decimal128(5, -2),
        D::Decimal256(76, 20),
        D::Decimal256(30, 5),
        D::Date32,
        D::Date64,
        D::Time32(Second),
        D::Time32(Millisecond),
        D::Time64(Microsecond),
        D::Time64(Nanosecond),
        D::Interval(IntervalUnit::YearMonth),
        D::Interval(IntervalUnit::DayTime),
        D::Interval(IntervalUnit::MonthDayNano),
        D::Utf8,
        D::LargeUtf8,
        D::Utf8View,
        D::Binary,
        D::LargeBinary,
        D::BinaryView,
        D::FixedSizeBinary(3),
        D::FixedSizeBinary(20),
        D::Dictionary(Box::new(D::Int8), Box::new(D::Utf8)),
        D::Dictionary(Box::new(D::Int8), Box::new(D::Float64)),
        D::Dictionary(Box::new(D::Int8), Box::new(D::Decimal256(76, 20))),
    ];
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        types.extend([
            D::Timestamp(unit, None),
            D::Timestamp(unit, Some("+02:00".into())),
            D::Duration(unit),
        ]);
    }
    types
}

/// A leaf type.
pub(crate) fn any_leaf() -> impl Strategy<Value = DataType> {
    prop::sample::select(leaf_types())
}

/// What rows are made of: `None` is null.
pub(crate) fn seeds(max_rows: usize) -> impl Strategy<Value = Vec<Option<u64>>> {
    let dense = prop::collection::vec(any::<u64>().prop_map(Some), 0..max_rows);
    let sparse = prop::collection::vec(prop::option::of(any::<u64>()), 0..max_rows);
    let empty = prop::collection::vec(Just(None), 0..max_rows.min(20));
    prop_oneof![3 => dense, 3 => sparse, 1 => empty]
}

fn int(seed: u64) -> i128 {
    let rest = seed >> 3;
    match seed % 8 {
        0..=4 => (rest % 12) as i128 - 6,
        5 => i128::MIN,
        6 => i128::MAX,
        _ => i128::from(rest as i64) << (rest % 40),
    }
}

fn clamped<T: TryFrom<i128>>(seed: u64, min: T, max: T) -> T {
    let v = int(seed);
    T::try_from(v).unwrap_or(if v < 0 { min } else { max })
}

fn float(seed: u64) -> f64 {
    let special = [
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        1e300,
    ];
    match seed % 4 {
        0 => special[(seed >> 2) as usize % special.len()],
        1 => ((seed >> 2) % 9) as f64 - 4.0,
        2 => (((seed >> 2) % 9) as f64 - 4.0) / 10.0,
        _ => f64::from_bits(seed.rotate_left(17)),
    }
}

fn text(seed: u64) -> String {
    let parts = [
        "",
        "a",
        "b",
        "ab",
        "ä",
        "0123456789abcdef",
        "0123456789abcdefX",
        "0123456789abcdefY",
        "%",
        "\0",
        "zz",
        "€",
    ];
    let n = parts.len() as u64;
    match seed % 3 {
        0 => parts[(seed / 3 % n) as usize].to_owned(),
        1 => format!("{}{}", parts[(seed / 3 % n) as usize], parts[(seed / 64 % n) as usize]),
        _ => format!(
            "{}{}",
            parts[(seed / 3 % n) as usize].repeat((seed / 64 % 9) as usize),
            parts[(seed / 1000 % n) as usize]
        ),
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    match seed % 4 {
        0 => vec![0xff; (seed >> 2) as usize % 20],
        _ => text(seed >> 2).into_bytes(),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    data_type: &DataType,
    rows: &[Option<u64>],
    value: impl Fn(u64) -> T::Native,
) -> ArrayRef {
    Arc::new(
        rows.iter().map(|r| r.map(&value)).collect::<PrimitiveArray<T>>().with_data_type(data_type.clone()),
    )
}

/// An array of the type with one row for each seed.
pub(crate) fn array_of(data_type: &DataType, rows: &[Option<u64>]) -> ArrayRef {
    use DataType as D;
    let texts = || rows.iter().map(|r| r.map(text));
    let blobs = || rows.iter().map(|r| r.map(bytes));
    let i32s = |s| clamped(s, i32::MIN, i32::MAX);
    let i64s = |s| clamped(s, i64::MIN, i64::MAX);
    macro_rules! p {
        ($t:ident, $f:expr) => {
            primitive::<t::$t>(data_type, rows, $f)
        };
    }
    match data_type {
        D::Null => Arc::new(NullArray::new(rows.len())),
        D::Boolean => Arc::new(rows.iter().map(|r| r.map(|s| s % 2 == 1)).collect::<BooleanArray>()),
        D::Int8 => p!(Int8Type, |s| clamped(s, i8::MIN, i8::MAX)),
        D::Int16 => p!(Int16Type, |s| clamped(s, i16::MIN, i16::MAX)),
        D::Int32 => p!(Int32Type, i32s),
        D::Int64 => p!(Int64Type, i64s),
        D::UInt8 => p!(UInt8Type, |s| clamped(s, 0, u8::MAX)),
        D::UInt16 => p!(UInt16Type, |s| clamped(s, 0, u16::MAX)),
        D::UInt32 => p!(UInt32Type, |s| clamped(s, 0, u32::MAX)),
        D::UInt64 => p!(UInt64Type, |s| clamped(s, 0, u64::MAX)),
        D::Float16 => p!(Float16Type, |s| f16::from_f64(float(s))),
        D::Float32 => p!(Float32Type, |s| float(s) as f32),
        D::Float64 => p!(Float64Type, float),
        D::Decimal32(..) => p!(Decimal32Type, |s| i32s(s) % 1_000_000_000),
        D::Decimal64(..) => p!(Decimal64Type, |s| i64s(s) % 1_000_000_000_000_000_000),
        D::Decimal128(p, _) => p!(Decimal128Type, |s| int(s) % 10i128.pow(u32::from(*p))),
        D::Decimal256(30, _) => p!(Decimal256Type, |s| i256::from_i128(int(s) % 10i128.pow(30))),
        D::Decimal256(..) => p!(Decimal256Type, |s| match s % 3 {
            0 => i256::from_i128(int(s / 3)),
            1 => i256::from_parts((s >> 3) as u128 % 3, (s % 5) as i128 - 2),
            _ => i256::from_i128(int(s / 3)).wrapping_mul(i256::from_i128(1 << 100)),
        }),
        D::Date32 => p!(Date32Type, i32s),
        D::Date64 => p!(Date64Type, |s| i64s(s) / 86_400_000 * 86_400_000),
        D::Time32(TimeUnit::Second) => p!(Time32SecondType, |s| i32s(s).rem_euclid(86_400)),
        D::Time32(_) => p!(Time32MillisecondType, |s| i32s(s).rem_euclid(86_400_000)),
        D::Time64(TimeUnit::Microsecond) => p!(Time64MicrosecondType, |s| i64s(s).rem_euclid(86_400_000_000)),
        D::Time64(_) => p!(Time64NanosecondType, |s| i64s(s).rem_euclid(86_400_000_000_000)),
        D::Timestamp(TimeUnit::Second, _) => p!(TimestampSecondType, i64s),
        D::Timestamp(TimeUnit::Millisecond, _) => p!(TimestampMillisecondType, i64s),
        D::Timestamp(TimeUnit::Microsecond, _) => p!(TimestampMicrosecondType, i64s),
        D::Timestamp(TimeUnit::Nanosecond, _) => p!(TimestampNanosecondType, i64s),
        D::Duration(TimeUnit::Second) => p!(DurationSecondType, i64s),
        D::Duration(TimeUnit::Millisecond) => p!(DurationMillisecondType, i64s),
        D::Duration(TimeUnit::Microsecond) => p!(DurationMicrosecondType, i64s),
        D::Duration(TimeUnit::Nanosecond) => p!(DurationNanosecondType, i64s),
        D::Interval(IntervalUnit::YearMonth) => p!(IntervalYearMonthType, i32s),
        D::Interval(IntervalUnit::DayTime) => {
            p!(IntervalDayTimeType, |s| IntervalDayTime::new(i32s(s) % 3, i32s(s.rotate_left(30))))
        }
        D::Interval(IntervalUnit::MonthDayNano) => p!(IntervalMonthDayNanoType, |s| {
            IntervalMonthDayNano::new(i32s(s) % 2, i32s(s.rotate_left(20)) % 3, i64s(s.rotate_left(40)))
        }),
        D::Utf8 => Arc::new(texts().collect::<StringArray>()),
        D::LargeUtf8 => Arc::new(texts().collect::<LargeStringArray>()),
        D::Utf8View => Arc::new(texts().collect::<StringViewArray>()),
        D::Binary => Arc::new(blobs().collect::<BinaryArray>()),
        D::LargeBinary => Arc::new(blobs().collect::<LargeBinaryArray>()),
        D::BinaryView => Arc::new(blobs().collect::<BinaryViewArray>()),
        D::FixedSizeBinary(n) => {
            let fixed =
                |b: Vec<u8>| (0..*n as usize).map(|i| b.get(i).copied().unwrap_or(0)).collect::<Vec<_>>();
            let rows = rows.iter().map(|r| r.map(|s| fixed(bytes(s))));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows, *n).unwrap())
        }
        D::Dictionary(_, value) => {
            // Eight entries, one of them null and one of them never used.
            let entries: Vec<Option<u64>> =
                (0..8u64).map(|i| (i != 3).then(|| i * 0x9e37_79b9 + 5)).collect();
            let keys: Int8Array = rows.iter().map(|r| r.map(|s| (s % 7) as i8)).collect();
            Arc::new(DictionaryArray::new(keys, array_of(value, &entries)))
        }
        other => panic!("no test arrays of {other}"),
    }
}

/// A column: its type and its values.
pub(crate) fn any_column(max_rows: usize) -> impl Strategy<Value = ArrayRef> {
    (any_leaf(), seeds(max_rows), 0..5usize).prop_map(|(data_type, rows, skip)| {
        let array = array_of(&data_type, &rows);
        // Sliced arrays have offsets, which code forgets.
        let skip = skip.min(array.len());
        array.slice(skip, array.len() - skip)
    })
}
