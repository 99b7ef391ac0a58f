//! Arrow arrays by what lies in memory: one enum over the native types, whatever the logical type above them.
//!
//! Statistics, filters over arrays and hashing care for a date as little as for a decimal: both are integers. [`Native::of`]
//! takes a leaf array apart once, so that they have a dozen cases instead of fifty.

use arrow_array::cast::AsArray;
use arrow_array::types as t;
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_buffer::{BooleanBuffer, Buffer, IntervalDayTime, IntervalMonthDayNano, i256};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use half::f16;

/// The values of a leaf array that is no dictionary. Null slots hold anything.
#[derive(Debug, Clone)]
pub(crate) enum Native<'a> {
    Bool(&'a BooleanBuffer),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    I128(&'a [i128]),
    I256(&'a [i256]),
    F16(&'a [f16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    DayTime(&'a [IntervalDayTime]),
    MonthDayNano(&'a [IntervalMonthDayNano]),
    Bytes(BytesRef<'a>),
}

/// Byte strings in any of Arrow's layouts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BytesRef<'a> {
    Small { offsets: &'a [i32], data: &'a [u8] },
    Large { offsets: &'a [i64], data: &'a [u8] },
    View { views: &'a [u128], buffers: &'a [Buffer] },
    Fixed { width: usize, data: &'a [u8], len: usize },
}

impl<'a> BytesRef<'a> {
    /// The bytes of slot `i`. Slots that are null may hold anything, also views that point nowhere: they give `b""`.
    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> &'a [u8] {
        match *self {
            Self::Small { offsets, data } => &data[offsets[i] as usize..offsets[i + 1] as usize],
            Self::Large { offsets, data } => &data[offsets[i] as usize..offsets[i + 1] as usize],
            Self::View { views, buffers } => view_bytes(&views[i], buffers),
            Self::Fixed { width, data, .. } => &data[i * width..(i + 1) * width],
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small { offsets, .. } => offsets.len() - 1,
            Self::Large { offsets, .. } => offsets.len() - 1,
            Self::View { views, .. } => views.len(),
            Self::Fixed { len, .. } => *len,
        }
    }
}

/// The bytes a view stands for.
#[inline(always)]
fn view_bytes<'a>(view: &'a u128, buffers: &'a [Buffer]) -> &'a [u8] {
    let len = *view as u32 as usize;
    if len <= 12 {
        return &bytemuck::bytes_of(view)[4..4 + len];
    }
    let (buffer, offset) = ((*view >> 64) as u32 as usize, (*view >> 96) as usize);
    buffers.get(buffer).and_then(|b| b.get(offset..offset + len)).unwrap_or_default()
}

impl<'a> Native<'a> {
    /// Takes a leaf array apart; `None` for nested types, dictionaries and the null type.
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        fn p<T: ArrowPrimitiveType>(array: &dyn Array) -> &[T::Native] {
            array.as_primitive::<T>().values()
        }
        use DataType as D;
        Some(match array.data_type() {
            D::Boolean => Self::Bool(array.as_boolean().values()),
            D::Int8 => Self::I8(p::<t::Int8Type>(array)),
            D::Int16 => Self::I16(p::<t::Int16Type>(array)),
            D::Int32 => Self::I32(p::<t::Int32Type>(array)),
            D::Int64 => Self::I64(p::<t::Int64Type>(array)),
            D::UInt8 => Self::U8(p::<t::UInt8Type>(array)),
            D::UInt16 => Self::U16(p::<t::UInt16Type>(array)),
            D::UInt32 => Self::U32(p::<t::UInt32Type>(array)),
            D::UInt64 => Self::U64(p::<t::UInt64Type>(array)),
            D::Float16 => Self::F16(p::<t::Float16Type>(array)),
            D::Float32 => Self::F32(p::<t::Float32Type>(array)),
            D::Float64 => Self::F64(p::<t::Float64Type>(array)),
            D::Decimal32(..) => Self::I32(p::<t::Decimal32Type>(array)),
            D::Decimal64(..) => Self::I64(p::<t::Decimal64Type>(array)),
            D::Decimal128(..) => Self::I128(p::<t::Decimal128Type>(array)),
            D::Decimal256(..) => Self::I256(p::<t::Decimal256Type>(array)),
            D::Date32 => Self::I32(p::<t::Date32Type>(array)),
            D::Date64 => Self::I64(p::<t::Date64Type>(array)),
            D::Time32(TimeUnit::Second) => Self::I32(p::<t::Time32SecondType>(array)),
            D::Time32(TimeUnit::Millisecond) => Self::I32(p::<t::Time32MillisecondType>(array)),
            D::Time64(TimeUnit::Microsecond) => Self::I64(p::<t::Time64MicrosecondType>(array)),
            D::Time64(TimeUnit::Nanosecond) => Self::I64(p::<t::Time64NanosecondType>(array)),
            D::Timestamp(TimeUnit::Second, _) => Self::I64(p::<t::TimestampSecondType>(array)),
            D::Timestamp(TimeUnit::Millisecond, _) => Self::I64(p::<t::TimestampMillisecondType>(array)),
            D::Timestamp(TimeUnit::Microsecond, _) => Self::I64(p::<t::TimestampMicrosecondType>(array)),
            D::Timestamp(TimeUnit::Nanosecond, _) => Self::I64(p::<t::TimestampNanosecondType>(array)),
            D::Duration(TimeUnit::Second) => Self::I64(p::<t::DurationSecondType>(array)),
            D::Duration(TimeUnit::Millisecond) => Self::I64(p::<t::DurationMillisecondType>(array)),
            D::Duration(TimeUnit::Microsecond) => Self::I64(p::<t::DurationMicrosecondType>(array)),
            D::Duration(TimeUnit::Nanosecond) => Self::I64(p::<t::DurationNanosecondType>(array)),
            D::Interval(IntervalUnit::YearMonth) => Self::I32(p::<t::IntervalYearMonthType>(array)),
            D::Interval(IntervalUnit::DayTime) => Self::DayTime(p::<t::IntervalDayTimeType>(array)),
            D::Interval(IntervalUnit::MonthDayNano) => {
                Self::MonthDayNano(p::<t::IntervalMonthDayNanoType>(array))
            }
            D::Utf8 => small(array.as_string::<i32>()),
            D::LargeUtf8 => large(array.as_string::<i64>()),
            D::Binary => small(array.as_binary::<i32>()),
            D::LargeBinary => large(array.as_binary::<i64>()),
            D::Utf8View => {
                let a = array.as_string_view();
                Self::Bytes(BytesRef::View { views: a.views(), buffers: a.data_buffers() })
            }
            D::BinaryView => {
                let a = array.as_binary_view();
                Self::Bytes(BytesRef::View { views: a.views(), buffers: a.data_buffers() })
            }
            D::FixedSizeBinary(width) => {
                let a = array.as_fixed_size_binary();
                Self::Bytes(BytesRef::Fixed { width: *width as usize, data: a.value_data(), len: a.len() })
            }
            _ => return None,
        })
    }
}

fn small<T: t::ByteArrayType<Offset = i32>>(a: &arrow_array::GenericByteArray<T>) -> Native<'_> {
    Native::Bytes(BytesRef::Small { offsets: a.value_offsets(), data: a.value_data() })
}

fn large<T: t::ByteArrayType<Offset = i64>>(a: &arrow_array::GenericByteArray<T>) -> Native<'_> {
    Native::Bytes(BytesRef::Large { offsets: a.value_offsets(), data: a.value_data() })
}
