//! Delta's schema strings (PROTOCOL.md, "Schema Serialization Format").
//!
//! A type that Delta does not have is written as the nearest it has, and exactly, as Arrow prints it, under `deltalite.arrowType` in the
//! metadata of the column or struct field. Ids of list elements and of maps' entries, which have no metadata of their own, stand
//! under `delta.columnMapping.nested.ids` by path.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use deltalite_format::schema::FIELD_ID_KEY;
use serde_json::{Map, Value, json};

use super::types::{bare, delta_name, of_delta};
use crate::error::{Result, TableError};

const COLUMN_ID: &str = "delta.columnMapping.id";
const NESTED_IDS: &str = "delta.columnMapping.nested.ids";
const ARROW_TYPE: &str = "deltalite.arrowType";
/// Marks, in Arrow's metadata, values that are no strings in JSON.
const JSON_MARK: &str = "json:";

fn wrong(detail: impl Into<String>) -> TableError {
    TableError::invalid("reading a table's schema", detail)
}

pub(super) fn to_json(schema: &Schema) -> String {
    struct_type(schema.fields()).to_string()
}

fn struct_type(fields: &Fields) -> Value {
    json!({"type": "struct", "fields": fields.iter().map(|f| field_json(f)).collect::<Vec<_>>()})
}

fn field_json(field: &Field) -> Value {
    let mut metadata = Map::new();
    let mut known: Vec<_> = field.metadata().iter().collect();
    known.sort();
    for (key, value) in known {
        if key == FIELD_ID_KEY {
            metadata.insert(COLUMN_ID.to_owned(), value.parse::<u32>().map_or(Value::Null, Value::from));
        } else if let Some(key) = key.strip_prefix(JSON_MARK) {
            metadata.insert(key.to_owned(), serde_json::from_str(value).unwrap_or(Value::Null));
        } else {
            metadata.insert(key.clone(), Value::from(value.clone()));
        }
    }
    let mut ids = BTreeMap::new();
    let kind = type_json(field.data_type(), field.name(), &mut ids);
    if !ids.is_empty() {
        metadata.insert(NESTED_IDS.to_owned(), json!(ids));
    }
    let exact = parse_type(&kind, field.name(), &HashMap::new()).map(|t| bare(&t));
    let plain = bare(field.data_type());
    if exact.is_ok_and(|exact| !exact.equals_datatype(&plain)) {
        metadata.insert(ARROW_TYPE.to_owned(), Value::from(plain.to_string()));
    }
    json!({"name": field.name(), "type": kind, "nullable": field.is_nullable(), "metadata": metadata})
}

/// A type below a column. Ids of fields that have no metadata in Delta's form are gathered by path.
fn type_json(data_type: &DataType, path: &str, ids: &mut BTreeMap<String, u32>) -> Value {
    let mut note = |path: String, field: &Field| {
        if let Some(id) = deltalite_format::schema::field_id(field) {
            ids.insert(path, id);
        }
    };
    match data_type {
        DataType::Struct(fields) => struct_type(fields),
        DataType::List(element) | DataType::FixedSizeList(element, _) => {
            let below = format!("{path}.element");
            note(below.clone(), element);
            let kind = type_json(element.data_type(), &below, ids);
            json!({"type": "array", "elementType": kind, "containsNull": element.is_nullable()})
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let (key, value) = (format!("{path}.key"), format!("{path}.value"));
                note(format!("{path}.entries"), entries);
                note(key.clone(), &pair[0]);
                note(value.clone(), &pair[1]);
                json!({
                    "type": "map",
                    "keyType": type_json(pair[0].data_type(), &key, ids),
                    "valueType": type_json(pair[1].data_type(), &value, ids),
                    "valueContainsNull": pair[1].is_nullable(),
                })
            }
            _ => Value::from("string"),
        },
        primitive => Value::from(delta_name(primitive)),
    }
}

pub(super) fn parse(text: &str) -> Result<Schema> {
    let value: Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    match parse_type(&value, "", &HashMap::new())? {
        DataType::Struct(fields) => Ok(Schema::new(fields)),
        other => Err(wrong(format!("it is a {other}, not a struct of columns"))),
    }
}

/// A column's id, which other numbers would be no more once they are written again.
fn id_of(name: &str, value: &Value) -> Result<u64> {
    let id = value.as_u64().filter(|id| u32::try_from(*id).is_ok());
    id.ok_or_else(|| wrong(format!("column {name} has the id {value}, which is no whole number of 32 bits")))
}

fn parse_field(value: &Value) -> Result<Field> {
    let name = value.get("name").and_then(Value::as_str).ok_or_else(|| wrong("a column has no name"))?;
    let nullable = value.get("nullable").and_then(Value::as_bool).unwrap_or(true);
    let none = Map::new();
    let given = value.get("metadata").and_then(Value::as_object).unwrap_or(&none);
    let (mut metadata, mut ids, mut exact) = (HashMap::new(), HashMap::new(), None);
    for (key, value) in given {
        match (key.as_str(), value) {
            (COLUMN_ID, id) => {
                metadata.insert(FIELD_ID_KEY.to_owned(), id_of(name, id)?.to_string());
            }
            (NESTED_IDS, Value::Object(nested)) => {
                let id = |(path, id): (&String, &Value)| Ok((path.clone(), id_of(path, id)?));
                ids = nested.iter().map(id).collect::<Result<_>>()?;
            }
            (ARROW_TYPE, Value::String(text)) => {
                let parsed = text.parse::<DataType>();
                exact = Some(parsed.map_err(|e| wrong(format!("column {name}, {ARROW_TYPE}: {e}")))?);
            }
            (_, Value::String(text)) => {
                metadata.insert(key.clone(), text.clone());
            }
            (_, other) => {
                metadata.insert(format!("{JSON_MARK}{key}"), other.to_string());
            }
        }
    }
    let kind = value.get("type").ok_or_else(|| wrong(format!("column {name} has no type")))?;
    let data_type = parse_type(kind, name, &ids)?;
    let data_type = match exact {
        Some(exact) => with_ids_of(&exact, &data_type),
        None => data_type,
    };
    Ok(Field::new(name, data_type, nullable).with_metadata(metadata))
}

fn parse_type(kind: &Value, path: &str, ids: &HashMap<String, u64>) -> Result<DataType> {
    if let Some(name) = kind.as_str() {
        return of_delta(name);
    }
    let flag = |key: &str| kind.get(key).and_then(Value::as_bool).unwrap_or(true);
    let below = |key: &str, name: &str, nullable: bool| -> Result<FieldRef> {
        let inner = kind.get(key).ok_or_else(|| wrong(format!("{path:?} has no {key}")))?;
        let path = format!("{path}.{name}");
        let field = Field::new(name, parse_type(inner, &path, ids)?, nullable);
        Ok(Arc::new(numbered(field, ids.get(&path))))
    };
    match kind.get("type").and_then(Value::as_str) {
        Some("struct") => {
            let fields = kind.get("fields").and_then(Value::as_array);
            let fields = fields.ok_or_else(|| wrong(format!("struct {path:?} has no fields")))?;
            Ok(DataType::Struct(fields.iter().map(parse_field).collect::<Result<Fields>>()?))
        }
        Some("array") => Ok(DataType::List(below("elementType", "element", flag("containsNull"))?)),
        Some("map") => {
            let key = below("keyType", "key", false)?;
            let value = below("valueType", "value", flag("valueContainsNull"))?;
            let entries = Field::new("entries", DataType::Struct(vec![key, value].into()), false);
            Ok(DataType::Map(Arc::new(numbered(entries, ids.get(&format!("{path}.entries")))), false))
        }
        other => Err(wrong(format!("{path:?} is of the unknown type {other:?}"))),
    }
}

fn numbered(field: Field, id: Option<&u64>) -> Field {
    match id {
        Some(id) => field.with_metadata([(FIELD_ID_KEY.to_owned(), id.to_string())].into()),
        None => field,
    }
}

/// An exact type with the metadata that nested fields of the nearest Delta type have at the same places.
fn with_ids_of(exact: &DataType, near: &DataType) -> DataType {
    let field = |a: &FieldRef, b: &FieldRef| -> FieldRef {
        let data_type = with_ids_of(a.data_type(), b.data_type());
        Arc::new(a.as_ref().clone().with_data_type(data_type).with_metadata(b.metadata().clone()))
    };
    match (exact, near) {
        (DataType::List(a), DataType::List(b)) => DataType::List(field(a, b)),
        (DataType::FixedSizeList(a, n), DataType::List(b)) => DataType::FixedSizeList(field(a, b), *n),
        (DataType::Map(a, sorted), DataType::Map(b, _)) => DataType::Map(field(a, b), *sorted),
        (DataType::Struct(a), DataType::Struct(b)) if a.len() == b.len() => {
            DataType::Struct(a.iter().zip(b).map(|(a, b)| field(a, b)).collect())
        }
        (exact, _) => exact.clone(),
    }
}
