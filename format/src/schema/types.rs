//! Arrow types to and from the type codes on disk.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

use super::{FIELD_ID_KEY, children_of, field_id};
use crate::error::{FormatError, Result};
use crate::limits::TYPE_DEPTH_MAX;
use crate::meta::v1::{ArchivedFieldV1, FieldV1, KeyValueV1};

const UNITS: [TimeUnit; 4] =
    [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];

fn unit_code(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// Code, two parameters and a text: everything of a type but its children.
fn encode_type(data_type: &DataType) -> Option<(u8, i64, i64, String)> {
    use DataType as T;
    let none = String::new;
    Some(match data_type {
        T::Null => (0, 0, 0, none()),
        T::Boolean => (1, 0, 0, none()),
        T::Int8 => (2, 0, 0, none()),
        T::Int16 => (3, 0, 0, none()),
        T::Int32 => (4, 0, 0, none()),
        T::Int64 => (5, 0, 0, none()),
        T::UInt8 => (6, 0, 0, none()),
        T::UInt16 => (7, 0, 0, none()),
        T::UInt32 => (8, 0, 0, none()),
        T::UInt64 => (9, 0, 0, none()),
        T::Float16 => (10, 0, 0, none()),
        T::Float32 => (11, 0, 0, none()),
        T::Float64 => (12, 0, 0, none()),
        T::Decimal32(p, s) => (13, i64::from(*p), i64::from(*s), none()),
        T::Decimal64(p, s) => (14, i64::from(*p), i64::from(*s), none()),
        T::Decimal128(p, s) => (15, i64::from(*p), i64::from(*s), none()),
        T::Decimal256(p, s) => (16, i64::from(*p), i64::from(*s), none()),
        T::Date32 => (17, 0, 0, none()),
        T::Date64 => (18, 0, 0, none()),
        T::Time32(u) => (19, unit_code(*u), 0, none()),
        T::Time64(u) => (20, unit_code(*u), 0, none()),
        T::Timestamp(u, tz) => {
            (21, unit_code(*u), i64::from(tz.is_some()), tz.as_deref().unwrap_or("").to_owned())
        }
        T::Duration(u) => (22, unit_code(*u), 0, none()),
        T::Interval(IntervalUnit::YearMonth) => (23, 0, 0, none()),
        T::Interval(IntervalUnit::DayTime) => (24, 0, 0, none()),
        T::Interval(IntervalUnit::MonthDayNano) => (25, 0, 0, none()),
        T::Utf8 => (26, 0, 0, none()),
        T::LargeUtf8 => (27, 0, 0, none()),
        T::Utf8View => (28, 0, 0, none()),
        T::Binary => (29, 0, 0, none()),
        T::LargeBinary => (30, 0, 0, none()),
        T::BinaryView => (31, 0, 0, none()),
        T::FixedSizeBinary(n) => (32, i64::from(*n), 0, none()),
        T::Struct(_) => (33, 0, 0, none()),
        T::List(_) => (34, 0, 0, none()),
        T::LargeList(_) => (35, 0, 0, none()),
        // A list of nothing has a number of rows that Arrow's kernels lose.
        T::FixedSizeList(_, n) if *n < 1 => return None,
        T::FixedSizeList(_, n) => (36, i64::from(*n), 0, none()),
        T::Map(_, sorted) => (37, i64::from(*sorted), 0, none()),
        T::ListView(_) => (38, 0, 0, none()),
        T::LargeListView(_) => (39, 0, 0, none()),
        // The key type's code, and the value type's own code and parameters in the text: dictionaries hold leaves only.
        T::Dictionary(key, value) => {
            let (key_code, ..) = encode_type(key)?;
            let (code, p0, p1, text) = encode_type(value)?;
            if code > 32 {
                return None;
            }
            (40, i64::from(key_code), i64::from(code), format!("{p0},{p1},{text}"))
        }
        T::Union(..) | T::RunEndEncoded(..) => return None,
    })
}

fn decode_type(code: u8, p0: i64, p1: i64, text: &str, mut children: Vec<FieldRef>) -> Option<DataType> {
    use DataType as T;
    let unit = || UNITS.get(usize::try_from(p0).ok()?).copied();
    let decimal = || Some((u8::try_from(p0).ok()?, i8::try_from(p1).ok()?));
    let width = || i32::try_from(p0).ok().filter(|&n| n >= 0);
    let mut only = || (children.len() == 1).then(|| children.remove(0));
    let t = match code {
        0 => T::Null,
        1 => T::Boolean,
        2 => T::Int8,
        3 => T::Int16,
        4 => T::Int32,
        5 => T::Int64,
        6 => T::UInt8,
        7 => T::UInt16,
        8 => T::UInt32,
        9 => T::UInt64,
        10 => T::Float16,
        11 => T::Float32,
        12 => T::Float64,
        13 => decimal().filter(|d| (1..=9).contains(&d.0)).map(|(p, s)| T::Decimal32(p, s))?,
        14 => decimal().filter(|d| (1..=18).contains(&d.0)).map(|(p, s)| T::Decimal64(p, s))?,
        15 => decimal().filter(|d| (1..=38).contains(&d.0)).map(|(p, s)| T::Decimal128(p, s))?,
        16 => decimal().filter(|d| (1..=76).contains(&d.0)).map(|(p, s)| T::Decimal256(p, s))?,
        17 => T::Date32,
        18 => T::Date64,
        19 => unit().filter(|u| matches!(u, TimeUnit::Second | TimeUnit::Millisecond)).map(T::Time32)?,
        20 => unit().filter(|u| matches!(u, TimeUnit::Microsecond | TimeUnit::Nanosecond)).map(T::Time64)?,
        21 => T::Timestamp(unit()?, (p1 != 0).then(|| Arc::from(text))),
        22 => T::Duration(unit()?),
        23 => T::Interval(IntervalUnit::YearMonth),
        24 => T::Interval(IntervalUnit::DayTime),
        25 => T::Interval(IntervalUnit::MonthDayNano),
        26 => T::Utf8,
        27 => T::LargeUtf8,
        28 => T::Utf8View,
        29 => T::Binary,
        30 => T::LargeBinary,
        31 => T::BinaryView,
        32 => T::FixedSizeBinary(width()?),
        33 => return Some(T::Struct(Fields::from(children))),
        34 => T::List(only()?),
        35 => T::LargeList(only()?),
        36 => T::FixedSizeList(only()?, width().filter(|&n| n >= 1)?),
        37 => {
            let entries = only()?;
            // Arrow's own accessors rely on exactly this shape.
            if !matches!(entries.data_type(), T::Struct(f) if f.len() == 2) {
                return None;
            }
            T::Map(entries, p0 != 0)
        }
        38 => T::ListView(only()?),
        39 => T::LargeListView(only()?),
        40 => {
            let key = decode_type(u8::try_from(p0).ok()?, 0, 0, "", Vec::new())
                .filter(T::is_dictionary_key_type)?;
            let mut parts = text.splitn(3, ',');
            let (v0, v1) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let code = u8::try_from(p1).ok().filter(|&c| c <= 32)?;
            T::Dictionary(Box::new(key), Box::new(decode_type(code, v0, v1, parts.next()?, Vec::new())?))
        }
        _ => return None,
    };
    children.is_empty().then_some(t)
}

/// Refuses what the format has no code for, naming the field.
pub(crate) fn check_supported(field: &Field) -> Result<()> {
    if encode_type(field.data_type()).is_none() {
        return Err(FormatError::invalid(
            "schema",
            format!(
                "column {:?} has type {}, which can't be stored; cast it first",
                field.name(),
                field.data_type()
            ),
        ));
    }
    children_of(field.data_type()).iter().try_for_each(|f| check_supported(f))
}

/// Appends a field and those below it, in pre-order.
///
/// # Errors
/// When the type can't be stored.
pub(crate) fn push_field(field: &Field, out: &mut Vec<FieldV1>) -> Result<()> {
    let Some((type_code, p0, p1, text)) = encode_type(field.data_type()) else {
        return check_supported(field);
    };
    let children = children_of(field.data_type());
    let mut metadata: Vec<KeyValueV1> = field
        .metadata()
        .iter()
        .filter(|(k, _)| k.as_str() != FIELD_ID_KEY)
        .map(|(k, v)| KeyValueV1 { key: k.clone(), value: v.clone() })
        .collect();
    metadata.sort_by(|a, b| a.key.cmp(&b.key));
    out.push(FieldV1 {
        name: field.name().clone(),
        id: field_id(field).unwrap_or(0),
        type_code,
        nullable: field.is_nullable(),
        children: children.len() as u32,
        p0,
        p1,
        text,
        metadata,
    });
    children.iter().try_for_each(|c| push_field(c, out))
}

/// Reads the field at `*next` and those below it, and moves `*next` behind them.
///
/// # Errors
/// [`FormatError::Corrupt`] when the list is not a pre-order of fields or a type has no meaning.
pub(crate) fn pull_field(fields: &[ArchivedFieldV1], next: &mut usize, depth: usize) -> Result<FieldRef> {
    let bad = |detail: String| FormatError::corrupt("schema", detail);
    if depth > TYPE_DEPTH_MAX {
        return Err(bad(format!("types are nested deeper than {TYPE_DEPTH_MAX} levels")));
    }
    let field = fields.get(*next).ok_or_else(|| bad(format!("field {next} is missing")))?;
    *next += 1;
    let count = field.children.to_native() as usize;
    if count > fields.len() - *next {
        return Err(bad(format!("field {:?} claims {count} children", field.name.as_str())));
    }
    let children = (0..count).map(|_| pull_field(fields, next, depth + 1)).collect::<Result<Vec<_>>>()?;
    let data_type = decode_type(
        field.type_code,
        field.p0.to_native(),
        field.p1.to_native(),
        field.text.as_str(),
        children,
    )
    .ok_or_else(|| {
        bad(format!(
            "field {:?} has type code {} with parameters that have no meaning",
            field.name.as_str(),
            field.type_code
        ))
    })?;
    let mut metadata: std::collections::HashMap<String, String> =
        field.metadata.iter().map(|kv| (kv.key.as_str().to_owned(), kv.value.as_str().to_owned())).collect();
    metadata.insert(FIELD_ID_KEY.to_owned(), field.id.to_native().to_string());
    Ok(Arc::new(Field::new(field.name.as_str(), data_type, field.nullable).with_metadata(metadata)))
}
