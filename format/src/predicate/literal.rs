//! Values as people write them: not yet of any column's type.

use std::fmt;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Date32Array, Float64Array, IntervalMonthDayNanoArray, Time64NanosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, TimeUnit};

use super::temporal::{parse_date, parse_instant, parse_interval, parse_time};
use crate::error::{FormatError, Result};

/// A value to compare with. What it means depends on the column's type, to which it is brought without loss.
///
/// ```
/// use deltalite_format::predicate::Literal;
///
/// assert_eq!(Literal::from(0.1), Literal::Number("0.1".into()));
/// assert_eq!(Literal::from("it's").to_string(), "'it''s'");
/// ```
#[derive(Debug, Clone)]
pub enum Literal {
    /// NULL: comparing with it is never true.
    Null,
    /// TRUE or FALSE.
    Bool(bool),
    /// A number by its decimal text: sign, digits, point, exponent. Never rounded before the column's type is known.
    Number(String),
    /// A text; also a date, time, timestamp, interval or number where the column is one.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A value of an Arrow type: the one row of the array.
    Typed(ArrayRef),
}

impl Literal {
    /// Row `row` of an array.
    pub fn of(array: &dyn Array, row: usize) -> Self {
        Self::Typed(array.slice(row, 1))
    }

    /// `DATE 'text'`: `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the text is no date.
    ///
    /// ```
    /// use deltalite_format::predicate::{Literal, col};
    ///
    /// assert_eq!(col("day").lt(Literal::date("1998-09-02")?).to_string(), "day < DATE '1998-09-02'");
    /// # Ok::<(), deltalite_format::FormatError>(())
    /// ```
    pub fn date(text: &str) -> Result<Self> {
        let days = parse_date(text).and_then(|days| i32::try_from(days).ok());
        let days =
            days.ok_or_else(|| invalid(format!("'{text}' is not a date; write it as '2024-12-31'")))?;
        Ok(Self::Typed(Arc::new(Date32Array::from(vec![days]))))
    }

    /// `TIME 'text'`: `HH:MM[:SS[.fraction]]`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the text is no time of day.
    pub fn time(text: &str) -> Result<Self> {
        let nanos = parse_time(text).map_err(invalid)?;
        Ok(Self::Typed(Arc::new(Time64NanosecondArray::from(vec![nanos as i64]))))
    }

    /// `TIMESTAMP 'text'`: a date and time, with an offset from UTC or on the column's wall clock.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the text is no instant.
    pub fn timestamp(text: &str) -> Result<Self> {
        let (nanos, zone) = match parse_instant(text, None) {
            Ok(wall) => (wall, None),
            // With an offset the text is an instant in every zone.
            Err(_) => (parse_instant(text, Some("+00:00")).map_err(invalid)?, Some("+00:00")),
        };
        let array: ArrayRef = if let Ok(nanos) = i64::try_from(nanos) {
            Arc::new(TimestampNanosecondArray::from(vec![nanos]).with_timezone_opt(zone))
        } else {
            let micros = nanos.div_euclid(1000);
            let micros =
                i64::try_from(micros).ok().filter(|_| nanos.rem_euclid(1000) == 0).ok_or_else(|| {
                    invalid(format!(
                        "'{text}' is too far from 1970 to be told to the nanosecond; leave some digits away"
                    ))
                })?;
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone_opt(zone))
        };
        Ok(Self::Typed(array))
    }

    /// `INTERVAL 'text'`, such as `1 month 2 days 3 hours`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the text is no interval.
    pub fn interval(text: &str) -> Result<Self> {
        let interval = parse_interval(text).map_err(invalid)?;
        Ok(Self::Typed(Arc::new(IntervalMonthDayNanoArray::from(vec![interval]))))
    }
}

fn invalid(why: String) -> FormatError {
    FormatError::invalid("literal", why)
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) | (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Typed(a), Self::Typed(b)) => a.as_ref() == b.as_ref(),
            _ => false,
        }
    }
}

macro_rules! number_literal {
    ($($t:ty),*) => {$(
        impl From<$t> for Literal {
            fn from(v: $t) -> Self {
                Self::Number(v.to_string())
            }
        }
    )*};
}
number_literal!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, isize, usize);

impl From<f64> for Literal {
    /// The shortest decimal that is this double, so that `0.1` means 0.1 to a decimal column too.
    fn from(v: f64) -> Self {
        if v.is_finite() {
            Self::Number(format!("{v:?}"))
        } else {
            Self::Typed(Arc::new(Float64Array::from(vec![v])))
        }
    }
}

impl From<f32> for Literal {
    fn from(v: f32) -> Self {
        if v.is_finite() { Self::Number(format!("{v:?}")) } else { Self::from(f64::from(v)) }
    }
}

impl From<bool> for Literal {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<&str> for Literal {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}

impl From<String> for Literal {
    fn from(v: String) -> Self {
        Self::Text(v)
    }
}

impl From<&[u8]> for Literal {
    fn from(v: &[u8]) -> Self {
        Self::Bytes(v.to_vec())
    }
}

impl From<Vec<u8>> for Literal {
    fn from(v: Vec<u8>) -> Self {
        Self::Bytes(v)
    }
}

impl From<ArrayRef> for Literal {
    /// The first row; NULL of an empty array.
    fn from(v: ArrayRef) -> Self {
        if v.is_empty() { Self::Null } else { Self::of(v.as_ref(), 0) }
    }
}

impl<T: Into<Literal>> From<Option<T>> for Literal {
    fn from(v: Option<T>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(true) => f.write_str("TRUE"),
            Self::Bool(false) => f.write_str("FALSE"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Bytes(bytes) => {
                f.write_str("X'")?;
                bytes.iter().try_for_each(|b| write!(f, "{b:02X}"))?;
                f.write_str("'")
            }
            Self::Typed(array) => fmt_typed(array.as_ref(), f),
        }
    }
}

fn fmt_typed(array: &dyn Array, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if array.is_empty() || array.logical_nulls().is_some_and(|n| n.is_null(0)) {
        return f.write_str("NULL");
    }
    let Ok(text) = array_value_to_string(array, 0) else { return write!(f, "<{}>", array.data_type()) };
    let quoted = text.replace('\'', "''");
    match array.data_type() {
        DataType::Date32 | DataType::Date64 => write!(f, "DATE '{quoted}'"),
        DataType::Time32(_) | DataType::Time64(_) => write!(f, "TIME '{quoted}'"),
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            _,
        ) => {
            write!(f, "TIMESTAMP '{quoted}'")
        }
        DataType::Interval(_) | DataType::Duration(_) => write!(f, "INTERVAL '{quoted}'"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            write!(f, "X'{}'", quoted.to_ascii_uppercase())
        }
        t if t.is_numeric() || t == &DataType::Boolean => f.write_str(&text),
        _ => write!(f, "'{quoted}'"),
    }
}
