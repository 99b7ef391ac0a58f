//! Type names as people write them.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::{EngineError, Result};

/// The type a name means: `int`, `bigint`, `double`, `text`, `date`, `timestamp`, `decimal(15,2)` and the like, or Arrow's own
/// spelling (`Int64`, `Timestamp(Microsecond, None)`).
///
/// # Errors
/// For names that mean no type, with the ones that do.
///
/// ```
/// use arrow_schema::DataType;
/// use deltalite::convert::parse_type;
/// assert_eq!(parse_type("decimal(15,2)")?, DataType::Decimal128(15, 2));
/// assert_eq!(parse_type("Int64")?, DataType::Int64);
/// # Ok::<(), deltalite::EngineError>(())
/// ```
pub fn parse_type(text: &str) -> Result<DataType> {
    let lower = text.trim().to_ascii_lowercase();
    Ok(match lower.as_str() {
        "bool" | "boolean" => DataType::Boolean,
        "int8" | "tinyint" => DataType::Int8,
        "int16" | "smallint" => DataType::Int16,
        "int32" | "int" | "integer" => DataType::Int32,
        "int64" | "bigint" | "long" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" | "float" | "real" => DataType::Float32,
        "float64" | "double" => DataType::Float64,
        "text" | "string" | "varchar" | "utf8" => DataType::Utf8,
        "binary" | "blob" | "bytea" => DataType::Binary,
        "date" | "date32" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" | "datetime" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        _ => {
            if let Some(arguments) = lower.strip_prefix("decimal(").and_then(|r| r.strip_suffix(')'))
                && let Some((p, s)) = arguments.split_once(',')
                && let (Ok(p), Ok(s)) = (p.trim().parse::<u8>(), s.trim().parse::<i8>())
                && (1..=76).contains(&p)
            {
                return Ok(if p <= 38 { DataType::Decimal128(p, s) } else { DataType::Decimal256(p, s) });
            }
            return DataType::from_str(text.trim()).map_err(|_| {
                const NAMES: [&str; 21] = [
                    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "integer",
                    "bigint", "smallint", "float", "double", "text", "string", "binary", "date", "time",
                    "timestamp", "decimal(p,s)",
                ];
                let hint = nearest(text.trim(), NAMES.into_iter());
                EngineError::usage(
                    format!("type {text:?}"),
                    format!("known are bool, int8–int64, uint8–uint64, float, double, text, binary, date, time, timestamp, timestamptz, decimal(p,s) and Arrow's own names{hint}"),
                )
            });
        }
    })
}

/// A type as Arrow prints it, without the metadata of nested fields, such as the stable ids that every one has.
pub(crate) fn type_text(data_type: &DataType) -> String {
    fn plain(field: &FieldRef) -> FieldRef {
        let data_type = without_metadata(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type).with_metadata(HashMap::new()))
    }
    fn without_metadata(data_type: &DataType) -> DataType {
        match data_type {
            DataType::List(f) => DataType::List(plain(f)),
            DataType::LargeList(f) => DataType::LargeList(plain(f)),
            DataType::ListView(f) => DataType::ListView(plain(f)),
            DataType::LargeListView(f) => DataType::LargeListView(plain(f)),
            DataType::FixedSizeList(f, n) => DataType::FixedSizeList(plain(f), *n),
            DataType::Map(f, sorted) => DataType::Map(plain(f), *sorted),
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
            other => other.clone(),
        }
    }
    without_metadata(data_type).to_string()
}

/// Columns written as `name:type,name:type`.
///
/// # Errors
/// For a part without a colon or a name that means no type.
pub fn parse_columns(text: &str) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    for part in parts {
        let (name, data_type) = part.split_once(':').ok_or_else(|| {
            EngineError::usage(
                format!("schema part {part:?}"),
                "write it as name:type, as in id:bigint,price:decimal(15,2)",
            )
        })?;
        fields.push(Field::new(name.trim(), parse_type(data_type)?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Puts types asked for in place of inferred ones.
pub(super) fn override_types(schema: &Schema, types: &[(String, DataType)]) -> Result<SchemaRef> {
    for (name, _) in types {
        if schema.field_with_name(name).is_err() {
            let hint = nearest(name, schema.fields().iter().map(|f| f.name().as_str()));
            return Err(EngineError::usage(
                format!("--type {name}"),
                format!("there is no such column{hint}"),
            ));
        }
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| match types.iter().find(|(name, _)| name == f.name()) {
            Some((_, t)) => Field::new(f.name(), t.clone(), true),
            None => f.as_ref().clone(),
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// `; did you mean "…"?` with the nearest of some names, where one is near.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    const NEAR: f64 = 0.75;
    names
        .map(|n| (strsim::jaro_winkler(&n.to_lowercase(), &name.to_lowercase()), n))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, n)| format!("; did you mean {n:?}?"))
}
