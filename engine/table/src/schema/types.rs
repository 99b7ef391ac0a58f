//! Which Arrow types a table has, and what Delta calls them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};

use crate::error::{Result, TableError};

/// The type that a table has for columns given as another form of it: strings and binaries in their plain form, values of dictionaries,
/// lists in one form. Nullability, names and metadata of nested fields stay.
pub(super) fn canonical(data_type: &DataType) -> DataType {
    let field =
        |f: &FieldRef| -> FieldRef { Arc::new(f.as_ref().clone().with_data_type(canonical(f.data_type()))) };
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => canonical(value),
        DataType::RunEndEncoded(_, values) => canonical(values.data_type()),
        DataType::List(f) | DataType::LargeList(f) | DataType::ListView(f) | DataType::LargeListView(f) => {
            DataType::List(field(f))
        }
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(field(f), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(f, sorted) => DataType::Map(field(f), *sorted),
        other => other.clone(),
    }
}

/// Delta's name for a primitive type, the nearest where it has none.
pub(super) fn delta_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 | DataType::UInt8 => "short",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64
        | DataType::UInt32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_) => "long",
        DataType::UInt64 => "decimal(20,0)",
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *s >= 0 => {
            return format!("decimal({p},{s})");
        }
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(_, Some(_)) => "timestamp",
        DataType::Timestamp(_, None) => "timestamp_ntz",
        DataType::Binary | DataType::FixedSizeBinary(_) => "binary",
        DataType::Null => "void",
        _ => "string",
    };
    name.to_owned()
}

/// The Arrow type that stands for one of Delta's primitive types.
///
/// # Errors
/// When Delta has no such type.
pub(super) fn of_delta(name: &str) -> Result<DataType> {
    Ok(match name {
        "string" => DataType::Utf8,
        "long" => DataType::Int64,
        "integer" => DataType::Int32,
        "short" => DataType::Int16,
        "byte" => DataType::Int8,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "void" => DataType::Null,
        other => {
            let decimal = other.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
            let parts = decimal.and_then(|text| text.split_once(','));
            let parsed = parts.and_then(|(p, s)| Some((p.trim().parse().ok()?, s.trim().parse().ok()?)));
            match parsed {
                Some((precision @ 1..=38, scale)) if scale >= 0 && scale as u8 <= precision => {
                    DataType::Decimal128(precision, scale)
                }
                _ => return Err(TableError::Unsupported { feature: format!("columns of type {other:?}") }),
            }
        }
    })
}

/// The same type without metadata in nested fields.
pub(super) fn bare(data_type: &DataType) -> DataType {
    let field =
        |f: &FieldRef| -> FieldRef { Arc::new(Field::new(f.name(), bare(f.data_type()), f.is_nullable())) };
    match data_type {
        DataType::List(f) => DataType::List(field(f)),
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(field(f), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Fields>()),
        DataType::Map(f, sorted) => DataType::Map(field(f), *sorted),
        other => other.clone(),
    }
}
