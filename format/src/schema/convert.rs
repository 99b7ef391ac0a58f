//! Conversions of stored values to a wider type, and of the statistics over them.
//!
//! Every conversion keeps order and loses nothing, so what is known of stored values is known of converted ones too: keys are
//! converted as the values are, and the files of a table are pruned under its newest schema.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray, StructArray,
    make_array,
};
use arrow_buffer::{ArrowNativeType, Buffer, i256};
use arrow_schema::{DataType, Fields, TimeUnit};
use half::f16;

use super::evolve::repeat;
use crate::error::{FormatError, Result};
use crate::key::{f16_key, f32_key, f64_key, int_key, key_int, wide_key};
use crate::native::Native;
use crate::stats::ZoneStats;

const MILLIS_PER_DAY: i128 = 86_400_000;
/// Most digits of decimals whose keys are their values.
const NARROW_DIGITS_MAX: u8 = 38;

/// How a stored column becomes the column asked for.
#[derive(Debug, Clone)]
pub(crate) enum Conversion {
    /// The types are read alike.
    Keep,
    /// Integers in a wider integer type.
    Integer { to: DataType },
    /// Integers or floats as a float that holds each of them exactly.
    Float { from: DataType, to: DataType },
    /// Numbers in finer units: decimals with more digits, dates and times in smaller units.
    Scale { from: DataType, to: DataType, factor: i256 },
    /// A column of the null type, which has no values to convert.
    Nulls { to: DataType },
    /// Fields picked and converted one by one.
    Struct { fields: Fields, children: Vec<Child> },
    /// Elements of a list, or entries of a map, converted.
    List { to: DataType, child: Box<Conversion> },
}

/// Where the field of a struct comes from.
#[derive(Debug, Clone)]
pub(crate) enum Child {
    /// The stored field at this position.
    From(usize, Conversion),
    /// Not stored: one row that stands for all.
    Constant(ArrayRef),
}

impl Conversion {
    /// The conversion between leaf types in read form, if every value has one.
    pub(crate) fn of_leaf(from: &DataType, to: &DataType) -> Option<Self> {
        if from == to {
            return Some(Self::Keep);
        }
        if *from == DataType::Null {
            return Some(Self::Nulls { to: to.clone() });
        }
        if let (Some(a), Some(b)) = (int_bits(from), int_bits(to)) {
            // (signed, bits): unsigned fits signed with one bit more.
            let fits = if a.0 == b.0 { a.1 <= b.1 } else { b.0 && a.1 < b.1 };
            return fits.then(|| Self::Integer { to: to.clone() });
        }
        if let Some(digits) = mantissa_bits(to) {
            let fits = match (int_bits(from), mantissa_bits(from)) {
                (Some((_, bits)), _) => bits <= digits && digits > 11,
                (None, Some(have)) => have <= digits,
                (None, None) => false,
            };
            return fits.then(|| Self::Float { from: from.clone(), to: to.clone() });
        }
        let factor = scale_factor(from, to)?;
        Some(Self::Scale { from: from.clone(), to: to.clone(), factor })
    }

    /// Whether tests bound to the new type may be run on the stored values: numbers are equal, only their width differs.
    pub(crate) fn keeps_numbers(&self) -> bool {
        match self {
            Self::Keep | Self::Integer { .. } => true,
            Self::Scale { to, factor, .. } => *factor == i256::ONE && !is_wide(to),
            _ => false,
        }
    }

    /// Whether values keep the hash that bloom filters go by.
    pub(crate) fn keeps_hashes(&self) -> bool {
        match self {
            Self::Keep | Self::Integer { .. } => true,
            Self::Scale { factor, .. } => *factor == i256::ONE,
            Self::Float { from, .. } => from.is_floating(),
            _ => false,
        }
    }

    /// What is known of the converted values; `None` where nothing is.
    pub(crate) fn stats(&self, stored: &ZoneStats) -> Option<ZoneStats> {
        if stored.values() == 0 {
            return Some(*stored);
        }
        let keys = |min, max| Some(ZoneStats { min, max, ..*stored });
        match self {
            Self::Keep | Self::Integer { .. } => Some(*stored),
            Self::Scale { from, to, factor } => {
                if is_wide(from) {
                    return None;
                }
                let key = |key: u128| {
                    let number = i256::from_i128(key_int(key));
                    let scaled = number.checked_mul(*factor).unwrap_or(if number.is_negative() {
                        i256::MIN
                    } else {
                        i256::MAX
                    });
                    if is_wide(to) { wide_key(scaled) } else { int_key(saturated(scaled)) }
                };
                keys(key(stored.min), key(stored.max))
            }
            Self::Float { from, to } => {
                let number = |key| i64::try_from(key_int(key)).ok();
                let (min, max) = (number(stored.min)?, number(stored.max)?);
                let single = *to == DataType::Float32;
                if !from.is_floating() {
                    let key =
                        |n: i64| int_key(if single { f32_key(n as f32) } else { f64_key(n as f64) }.into());
                    return keys(key(min), key(max));
                }
                // NaNs lie beyond the infinities in an order that widening need not keep, so they count as the farthest.
                let infinity = match from {
                    DataType::Float16 => f16_key(f16::INFINITY),
                    _ => f32_key(f32::INFINITY),
                };
                let (top, bottom) = if single {
                    (f32_key(f32::INFINITY), f32_key(f32::NEG_INFINITY))
                } else {
                    (f64_key(f64::INFINITY), f64_key(f64::NEG_INFINITY))
                };
                let widened = |key: i64| {
                    let value = if *from == DataType::Float16 {
                        let key = key as i16;
                        f16::from_bits((key ^ ((key >> 15) as u16 >> 1) as i16) as u16).to_f64()
                    } else {
                        let key = key as i32;
                        f64::from(f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32))
                    };
                    if single { f32_key(value as f32) } else { f64_key(value) }
                };
                let low = match min {
                    nan if nan > infinity => top + 1,
                    nan if nan < -infinity - 1 => i64::MIN,
                    key => widened(key),
                };
                let high = match max {
                    nan if nan > infinity => i64::MAX,
                    nan if nan < -infinity - 1 => bottom - 1,
                    key => widened(key),
                };
                keys(int_key(low.into()), int_key(high.into()))
            }
            Self::Nulls { .. } | Self::Struct { .. } | Self::List { .. } => None,
        }
    }

    /// The converted array.
    ///
    /// # Errors
    /// When a value does not fit the new type after all (a date beyond the range of nanoseconds, a decimal beyond its precision).
    pub(crate) fn apply(&self, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::Keep => array.clone(),
            Self::Integer { to } | Self::Float { to, .. } => arrow_cast::cast(array, to)?,
            Self::Nulls { to } => arrow_array::new_null_array(to, array.len()),
            Self::Scale { to, factor, .. } => scale(array, to, *factor)?,
            Self::Struct { fields, children } => {
                Arc::new(convert_struct(array.as_struct(), fields, children)?)
            }
            Self::List { to, child } => convert_list(array, to, child)?,
        })
    }
}

fn convert_struct(array: &StructArray, fields: &Fields, children: &[Child]) -> Result<StructArray> {
    let arrays = children
        .iter()
        .map(|child| match child {
            Child::From(i, conversion) => {
                let stored = array.columns().get(*i).ok_or_else(|| {
                    FormatError::invalid("converting a struct", format!("it has no field {i}"))
                })?;
                conversion.apply(stored)
            }
            Child::Constant(one) => repeat(one, array.len()),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(StructArray::try_new_with_length(fields.clone(), arrays, array.nulls().cloned(), array.len())?)
}

fn convert_list(array: &ArrayRef, to: &DataType, child: &Conversion) -> Result<ArrayRef> {
    macro_rules! list {
        ($f:ident, $o:ty) => {{
            let a = array.as_list::<$o>();
            let values = child.apply(a.values())?;
            Arc::new(GenericListArray::<$o>::try_new(
                $f.clone(),
                a.offsets().clone(),
                values,
                a.nulls().cloned(),
            )?)
        }};
    }
    macro_rules! view {
        ($f:ident, $o:ty) => {{
            let a = array.as_list_view::<$o>();
            let values = child.apply(a.values())?;
            let (offsets, sizes) = (a.offsets().clone(), a.sizes().clone());
            Arc::new(GenericListViewArray::<$o>::try_new(
                $f.clone(),
                offsets,
                sizes,
                values,
                a.nulls().cloned(),
            )?)
        }};
    }
    Ok(match to {
        DataType::List(f) => list!(f, i32),
        DataType::LargeList(f) => list!(f, i64),
        DataType::ListView(f) => view!(f, i32),
        DataType::LargeListView(f) => view!(f, i64),
        DataType::FixedSizeList(f, n) => {
            let a = array.as_fixed_size_list();
            let values = child.apply(a.values())?;
            Arc::new(FixedSizeListArray::try_new_with_length(
                f.clone(),
                *n,
                values,
                a.nulls().cloned(),
                a.len(),
            )?)
        }
        DataType::Map(f, sorted) => {
            let a = array.as_map();
            let entries: ArrayRef = Arc::new(a.entries().clone());
            let entries = child.apply(&entries)?.as_struct().clone();
            Arc::new(MapArray::try_new(f.clone(), a.offsets().clone(), entries, a.nulls().cloned(), *sorted)?)
        }
        other => {
            return Err(FormatError::invalid("converting a list", format!("{other} is not a list")));
        }
    })
}

/// Signedness and width of an integer type.
fn int_bits(data_type: &DataType) -> Option<(bool, u32)> {
    Some(match data_type {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

/// Bits of the integers that a float type holds exactly.
fn mantissa_bits(data_type: &DataType) -> Option<u32> {
    match data_type {
        DataType::Float16 => Some(11),
        DataType::Float32 => Some(24),
        DataType::Float64 => Some(53),
        _ => None,
    }
}

/// Decimal digits and scale of a number type.
fn digits(data_type: &DataType) -> Option<(i32, i32)> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i32::from(*p), i32::from(*s)),
        _ => return None,
    })
}

/// Units of a second.
fn per_second(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// What stored numbers are multiplied with, where `to` is a finer type of the same kind.
fn scale_factor(from: &DataType, to: &DataType) -> Option<i256> {
    use DataType as D;
    let finer = |a: TimeUnit, b: TimeUnit| (b >= a).then(|| i256::from_i128(per_second(b) / per_second(a)));
    match (from, to) {
        (D::Date32, D::Date64) => Some(i256::from_i128(MILLIS_PER_DAY)),
        (D::Date32, D::Timestamp(unit, None)) => {
            Some(i256::from_i128(MILLIS_PER_DAY / 1_000 * per_second(*unit)))
        }
        (D::Date64, D::Timestamp(unit, None)) => finer(TimeUnit::Millisecond, *unit),
        (D::Timestamp(a, zone), D::Timestamp(b, zone_now)) if zone == zone_now => finer(*a, *b),
        (D::Time32(a) | D::Time64(a), D::Time32(b) | D::Time64(b)) | (D::Duration(a), D::Duration(b)) => {
            finer(*a, *b)
        }
        (_, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..)) => {
            let ((p, s), (p_now, s_now)) = (digits(from)?, digits(to)?);
            if s_now < s || p_now - s_now < p - s {
                return None;
            }
            i256::from_i128(10).checked_pow(u32::try_from(s_now - s).ok()?)
        }
        _ => None,
    }
}

/// Whether keys of the type are the high half of its values.
fn is_wide(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal256(p, _) if *p > NARROW_DIGITS_MAX)
}

/// The nearest 128-bit integer.
fn saturated(v: i256) -> i128 {
    v.to_i128().unwrap_or(if v.is_negative() { i128::MIN } else { i128::MAX })
}

/// Multiplies every value that is not null.
fn scale(array: &ArrayRef, to: &DataType, factor: i256) -> Result<ArrayRef> {
    let Some(native) = Native::of(array.as_ref()) else {
        return Err(FormatError::invalid(
            "widening a column",
            format!("{} holds no numbers", array.data_type()),
        ));
    };
    let values: Box<dyn Iterator<Item = i256> + '_> = match native {
        Native::I8(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::I16(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::I32(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::I64(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::U8(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::U16(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::U32(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::U64(v) => Box::new(v.iter().map(|&v| i256::from_i128(v.into()))),
        Native::I128(v) => Box::new(v.iter().map(|&v| i256::from_i128(v))),
        Native::I256(v) => Box::new(v.iter().copied()),
        _ => {
            return Err(FormatError::invalid(
                "widening a column",
                format!("{} holds no numbers", array.data_type()),
            ));
        }
    };
    match to {
        DataType::Decimal256(..) => scaled(array, to, values, factor, Some),
        DataType::Decimal128(..) => scaled(array, to, values, factor, i256::to_i128),
        DataType::Decimal32(..) | DataType::Time32(_) => {
            scaled(array, to, values, factor, |v| v.to_i128().and_then(|v| i32::try_from(v).ok()))
        }
        _ => scaled(array, to, values, factor, |v| v.to_i128().and_then(|v| i64::try_from(v).ok())),
    }
}

fn scaled<T: ArrowNativeType>(
    array: &ArrayRef,
    to: &DataType,
    values: impl Iterator<Item = i256>,
    factor: i256,
    narrow: impl Fn(i256) -> Option<T>,
) -> Result<ArrayRef> {
    let nulls = array.nulls();
    let mut out: Vec<T> = Vec::with_capacity(array.len());
    for (i, v) in values.enumerate() {
        match v.checked_mul(factor).and_then(&narrow) {
            Some(v) => out.push(v),
            None if nulls.is_some_and(|n| n.is_null(i)) => out.push(T::default()),
            None => {
                return Err(FormatError::invalid(
                    "widening a column",
                    format!(
                        "the value {v} of type {} is out of range of {to}; read it as its own type",
                        array.data_type()
                    ),
                ));
            }
        }
    }
    let data = arrow_data::ArrayData::builder(to.clone())
        .len(out.len())
        .add_buffer(Buffer::from_vec(out))
        .nulls(nulls.cloned())
        .build()?;
    Ok(make_array(data))
}
