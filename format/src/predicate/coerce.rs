//! Literals brought to a column's type, without loss.
//!
//! A number is compared with integers and decimals exactly as it was written: `a > 5.5` on an integer column is `a >= 6`,
//! and `a = 5.5` is true of no row. On a float column a decimal text stands for the float nearest to it, as in every
//! language, and a typed double keeps its exact value. Times of all kinds are compared by their exact instants, whatever the
//! column's unit.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_buffer::{IntervalMonthDayNano, i256};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

use super::literal::Literal;
use super::number::{Exact, Position, f64_among_f16, f64_among_f32};
use super::temporal::{
    NANOS_PER_DAY, among_units, day_of, instant_in_zone, nanos_per, parse_date, parse_instant,
    parse_interval, parse_time,
};
use crate::key::{day_time_number, f64_key, month_day_nano_number};
use crate::native::Native;

/// A literal as a value of a column's type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Coerced {
    /// NULL.
    Null,
    /// Where it lies among the column's numbers.
    Number(Position),
    /// A byte string.
    Bytes(Vec<u8>),
}

/// What a literal says, before a column's type gives it meaning.
enum Value {
    Null,
    Bool(bool),
    Number(Exact),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i64),
    /// Nanoseconds since 1970-01-01, in UTC where `zoned`, else on the wall clock.
    Instant {
        nanos: i128,
        zoned: bool,
    },
    /// Nanoseconds since midnight.
    Time(i128),
    /// Nanoseconds.
    Duration(i128),
    Interval(IntervalMonthDayNano),
}

/// Brings a literal to a leaf type. The error says why it can't be, to be put after the comparison's text.
pub(super) fn coerce(literal: &Literal, data_type: &DataType) -> Result<Coerced, String> {
    use DataType as D;
    let value = Value::of(literal)?;
    if matches!(value, Value::Null) || data_type == &D::Null {
        return Ok(Coerced::Null);
    }
    let position = match data_type {
        D::Dictionary(_, value) => return coerce(literal, value),
        D::Boolean => boolean(&value).map(|b| at(b.into())),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => {
            decimal(&value, 0)?
        }
        D::Decimal32(_, scale)
        | D::Decimal64(_, scale)
        | D::Decimal128(_, scale)
        | D::Decimal256(_, scale) => decimal(&value, *scale)?,
        D::Float16 => float(&value, Exact::among_f16, f64_among_f16)?,
        D::Float32 => float(&value, Exact::among_f32, f64_among_f32)?,
        D::Float64 => float(&value, Exact::among_f64, |v| at(f64_key(v).into()))?,
        D::Date32 => instant(&value, None)?.map(|nanos| among_units(nanos, NANOS_PER_DAY)),
        D::Date64 => instant(&value, None)?.map(|nanos| among_units(nanos, nanos_per(TimeUnit::Millisecond))),
        D::Timestamp(unit, zone) => {
            instant(&value, zone.as_deref())?.map(|nanos| among_units(nanos, nanos_per(*unit)))
        }
        D::Time32(unit) | D::Time64(unit) => time(&value)?.map(|nanos| among_units(nanos, nanos_per(*unit))),
        D::Duration(unit) => duration(&value)?.map(|nanos| among_units(nanos, nanos_per(*unit))),
        D::Interval(unit) => interval(&value, *unit)?,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => return text(value, data_type),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
            return match value {
                Value::Bytes(b) => Ok(Coerced::Bytes(b)),
                Value::Text(t) => Ok(Coerced::Bytes(t.into_bytes())),
                _ => Err(mismatch(data_type)),
            };
        }
        _ => {
            return Err(format!("{data_type} has no order; compare one of its fields, or use IS [NOT] NULL"));
        }
    };
    position.map(Coerced::Number).ok_or_else(|| mismatch(data_type))
}

fn at(v: i128) -> Position {
    Position::At(i256::from_i128(v))
}

fn mismatch(data_type: &DataType) -> String {
    use DataType as D;
    let hint = match data_type {
        D::Boolean => "write TRUE or FALSE",
        D::Date32 | D::Date64 => "write a date as DATE '2024-12-31'",
        D::Timestamp(..) => "write an instant as TIMESTAMP '2024-12-31 23:59:59'",
        D::Time32(_) | D::Time64(_) => "write a time as TIME '23:59:59'",
        D::Duration(_) | D::Interval(_) => "write an interval as INTERVAL '1 day 2 hours'",
        D::Utf8 | D::LargeUtf8 | D::Utf8View => "write a text in single quotes: 'text'",
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "write bytes as X'00FF'",
        _ => "write a number",
    };
    format!("the column is {data_type}; {hint}")
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Text(t) if t.eq_ignore_ascii_case("true") => Some(true),
        Value::Text(t) if t.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn parse_number(text: &str) -> Result<Exact, String> {
    Exact::parse(text).ok_or_else(|| format!("'{text}' is not a number"))
}

fn decimal(value: &Value, scale: i8) -> Result<Option<Position>, String> {
    Ok(Some(match value {
        Value::Number(n) => n.among_decimals(scale),
        Value::Text(t) => parse_number(t)?.among_decimals(scale),
        Value::Double(v) => match Exact::of_f64(*v) {
            Some(exact) => exact.among_decimals(scale),
            // In total order every number lies between the infinities, and NaNs beyond them.
            None if v.is_sign_negative() => Position::Below,
            None => Position::Above,
        },
        _ => return Ok(None),
    }))
}

fn float(
    value: &Value,
    near: impl Fn(&Exact) -> Position,
    among: impl Fn(f64) -> Position,
) -> Result<Option<Position>, String> {
    Ok(Some(match value {
        Value::Number(n) => near(n),
        Value::Double(v) => among(*v),
        Value::Text(t) => match (Exact::parse(t), t.trim().parse::<f64>()) {
            (Some(n), _) => near(&n),
            // NaN, inf and infinity, in any case.
            (None, Ok(v)) => among(v),
            _ => return Err(format!("'{t}' is not a number")),
        },
        _ => return Ok(None),
    }))
}

/// Nanoseconds since 1970 of a date or instant: in UTC for a column with a zone, else on the wall clock.
fn instant(value: &Value, zone: Option<&str>) -> Result<Option<i128>, String> {
    Ok(Some(match value {
        Value::Date(days) => instant_in_zone(i128::from(*days) * NANOS_PER_DAY, zone)?,
        Value::Instant { nanos, zoned: true } if zone.is_some() => *nanos,
        Value::Instant { zoned: true, .. } => {
            return Err(
                "the literal has a time zone, but the column has none; leave the zone away".to_owned()
            );
        }
        Value::Instant { nanos, zoned: false } => instant_in_zone(*nanos, zone)?,
        Value::Text(t) => match parse_date(t) {
            Some(days) => instant_in_zone(i128::from(days) * NANOS_PER_DAY, zone)?,
            None => parse_instant(t, zone)?,
        },
        _ => return Ok(None),
    }))
}

fn time(value: &Value) -> Result<Option<i128>, String> {
    match value {
        Value::Time(nanos) => Ok(Some(*nanos)),
        Value::Text(t) => parse_time(t).map(Some),
        _ => Ok(None),
    }
}

fn duration(value: &Value) -> Result<Option<i128>, String> {
    let of = |v: IntervalMonthDayNano| {
        if v.months != 0 {
            return Err("months have no fixed length; write the duration in days or smaller units".to_owned());
        }
        Ok(i128::from(v.days) * NANOS_PER_DAY + i128::from(v.nanoseconds))
    };
    match value {
        Value::Duration(nanos) => Ok(Some(*nanos)),
        Value::Interval(v) => of(*v).map(Some),
        Value::Text(t) => of(parse_interval(t)?).map(Some),
        _ => Ok(None),
    }
}

fn interval(value: &Value, unit: IntervalUnit) -> Result<Option<Position>, String> {
    let v = match value {
        Value::Interval(v) => *v,
        Value::Text(t) => parse_interval(t)?,
        _ => return Ok(None),
    };
    Ok(Some(match unit {
        IntervalUnit::YearMonth if v.days == 0 && v.nanoseconds == 0 => at(v.months.into()),
        IntervalUnit::DayTime if v.months == 0 => {
            let nanos = nanos_per(TimeUnit::Millisecond) as i64;
            let Ok(millis) = i32::try_from(v.nanoseconds.div_euclid(nanos)) else {
                return Err("its milliseconds don't fit 32 bits; write whole days as days".to_owned());
            };
            let number =
                i256::from_i128(day_time_number(arrow_buffer::IntervalDayTime::new(v.days, millis)).into());
            if v.nanoseconds % nanos == 0 { Position::At(number) } else { Position::After(number) }
        }
        IntervalUnit::MonthDayNano => at(month_day_nano_number(v)),
        IntervalUnit::YearMonth => return Err("the column holds years and months only".to_owned()),
        IntervalUnit::DayTime => return Err("the column holds days and milliseconds, no months".to_owned()),
    }))
}

fn text(value: Value, data_type: &DataType) -> Result<Coerced, String> {
    match value {
        Value::Text(t) => Ok(Coerced::Bytes(t.into_bytes())),
        Value::Bytes(b) if std::str::from_utf8(&b).is_ok() => Ok(Coerced::Bytes(b)),
        Value::Bytes(_) => Err("the bytes are not UTF-8, which every text is".to_owned()),
        _ => Err(mismatch(data_type)),
    }
}

impl Value {
    fn of(literal: &Literal) -> Result<Self, String> {
        Ok(match literal {
            Literal::Null => Self::Null,
            Literal::Bool(b) => Self::Bool(*b),
            Literal::Number(text) => Self::Number(parse_number(text)?),
            Literal::Text(text) => Self::Text(text.clone()),
            Literal::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Literal::Typed(array) => Self::of_array(array.as_ref())?,
        })
    }

    /// The one row of an array.
    fn of_array(array: &dyn Array) -> Result<Self, String> {
        use DataType as D;
        if array.is_empty() || array.logical_nulls().is_some_and(|n| n.is_null(0)) {
            return Ok(Self::Null);
        }
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let key = dictionary.normalized_keys()[0];
            return Self::of_array(dictionary.values().slice(key, 1).as_ref());
        }
        let unsupported = || format!("a value of type {} can't be compared", array.data_type());
        let native = Native::of(array).ok_or_else(unsupported)?;
        let int: Option<i128> = match &native {
            Native::I8(v) => Some(v[0].into()),
            Native::I16(v) => Some(v[0].into()),
            Native::I32(v) => Some(v[0].into()),
            Native::I64(v) => Some(v[0].into()),
            Native::U8(v) => Some(v[0].into()),
            Native::U16(v) => Some(v[0].into()),
            Native::U32(v) => Some(v[0].into()),
            Native::U64(v) => Some(v[0].into()),
            Native::I128(v) => Some(v[0]),
            _ => None,
        };
        let nanos = |unit: TimeUnit| int.map(|v| v * nanos_per(unit));
        let value = match (array.data_type(), &native) {
            (_, Native::Bool(v)) => Some(Self::Bool(v.value(0))),
            (_, Native::F16(v)) => Some(Self::Double(v[0].to_f64())),
            (_, Native::F32(v)) => Some(Self::Double(v[0].into())),
            (_, Native::F64(v)) => Some(Self::Double(v[0])),
            (D::Decimal256(_, scale), Native::I256(v)) => Exact::of_decimal(v[0], *scale).map(Self::Number),
            (D::Decimal32(_, s) | D::Decimal64(_, s) | D::Decimal128(_, s), _) => {
                int.and_then(|v| Exact::of_decimal(i256::from_i128(v), *s)).map(Self::Number)
            }
            (D::Date32, _) => int.map(|v| Self::Date(v as i64)),
            (D::Date64, _) => nanos(TimeUnit::Millisecond).map(|nanos| match day_of(nanos) {
                Some(days) => Self::Date(days),
                None => Self::Instant { nanos, zoned: false },
            }),
            (D::Timestamp(unit, zone), _) => {
                nanos(*unit).map(|nanos| Self::Instant { nanos, zoned: zone.is_some() })
            }
            (D::Time32(unit) | D::Time64(unit), _) => nanos(*unit).map(Self::Time),
            (D::Duration(unit), _) => nanos(*unit).map(Self::Duration),
            (D::Interval(IntervalUnit::YearMonth), _) => {
                int.map(|v| Self::Interval(IntervalMonthDayNano::new(v as i32, 0, 0)))
            }
            (_, Native::DayTime(v)) => Some(Self::Interval(IntervalMonthDayNano::new(
                0,
                v[0].days,
                i64::from(v[0].milliseconds) * nanos_per(TimeUnit::Millisecond) as i64,
            ))),
            (_, Native::MonthDayNano(v)) => Some(Self::Interval(v[0])),
            (D::Utf8 | D::LargeUtf8 | D::Utf8View, Native::Bytes(v)) => {
                std::str::from_utf8(v.get(0)).ok().map(|s| Self::Text(s.to_owned()))
            }
            (_, Native::Bytes(v)) => Some(Self::Bytes(v.get(0).to_vec())),
            _ => int.and_then(|v| Exact::of_decimal(i256::from_i128(v), 0)).map(Self::Number),
        };
        value.ok_or_else(unsupported)
    }
}
