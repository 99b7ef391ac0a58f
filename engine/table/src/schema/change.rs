//! Changes of a schema. Each makes a new schema; files stay as they are.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use deltalite_format::schema::{FIELD_ID_KEY, SchemaDefinition, field_id};
use uuid::Uuid;

use super::table_schema::TableSchema;
use super::types::canonical;
use super::{CURRENT_DEFAULT, INITIAL_DEFAULT, PHYSICAL_NAME};
use crate::error::{Result, TableError};

/// Where a column is put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Position {
    /// Before all others.
    First,
    /// After all others.
    #[default]
    Last,
    /// After another.
    After(String),
}

fn refuse(detail: impl Into<String>) -> TableError {
    TableError::invalid("changing a table's columns", detail)
}

impl TableSchema {
    /// Replaces the fields of the struct that a path leads to (of the table itself for a path of one name).
    fn with_fields(
        &self,
        path: &str,
        change: impl FnOnce(Vec<FieldRef>, &str) -> Result<Vec<FieldRef>>,
    ) -> Result<Self> {
        fn descend(
            schema: &TableSchema,
            fields: &Fields,
            path: &[&str],
            change: impl FnOnce(Vec<FieldRef>, &str) -> Result<Vec<FieldRef>>,
        ) -> Result<Fields> {
            let all: Vec<FieldRef> = fields.iter().cloned().collect();
            match path {
                [] => Err(refuse("no column is named")),
                [name] => Ok(change(all, name)?.into()),
                [name, rest @ ..] => {
                    let at = all.iter().position(|f| f.name() == name);
                    let at = at.ok_or_else(|| schema.no_column(name))?;
                    let DataType::Struct(inner) = all[at].data_type() else {
                        return Err(refuse(format!("column {name:?} is no struct, it has no fields")));
                    };
                    let inner = descend(schema, inner, rest, change)?;
                    let mut all = all;
                    all[at] = Arc::new(all[at].as_ref().clone().with_data_type(DataType::Struct(inner)));
                    Ok(all.into())
                }
            }
        }
        let whole = self.arrow().fields().iter().any(|f| f.name() == path);
        let parts: Vec<&str> = if whole { vec![path] } else { path.split('.').collect() };
        let fields = descend(self, self.arrow().fields(), &parts, change)?;
        Self::of_arrow(&Schema::new(fields))
    }

    fn with_field(&self, path: &str, change: impl FnOnce(&Field) -> Result<Field>) -> Result<Self> {
        self.with_fields(path, |mut fields, name| {
            let at = fields.iter().position(|f| f.name() == name).ok_or_else(|| self.no_column(name))?;
            fields[at] = Arc::new(change(&fields[at])?);
            Ok(fields)
        })
    }

    /// Adds a column, or a field to a struct by a path such as `address.city`. `max_id` is the highest id that was ever given.
    ///
    /// Rows that are there get its default (`CURRENT_DEFAULT` in its metadata, a literal), or null.
    ///
    /// # Errors
    /// When there is one of that name, its type can't be stored, or it may not be null and has no default.
    pub fn add_column(&self, path: &str, column: &Field, position: &Position, max_id: u32) -> Result<Self> {
        let default = column.metadata().get(CURRENT_DEFAULT).cloned();
        if !column.is_nullable() && default.is_none() {
            let detail =
                format!("column {path:?} must not be null; give it a default for the rows that are there");
            return Err(refuse(detail));
        }
        self.with_fields(path, |mut fields, name| {
            if fields.iter().any(|f| f.name() == name) {
                return Err(refuse(format!("there is a column {path:?} already")));
            }
            let mut metadata = column.metadata().clone();
            metadata.remove(FIELD_ID_KEY);
            metadata.insert(PHYSICAL_NAME.to_owned(), format!("col-{}", Uuid::new_v4()));
            if let Some(default) = default {
                metadata.insert(INITIAL_DEFAULT.to_owned(), default);
            }
            let field = Field::new(name, canonical(column.data_type()), column.is_nullable());
            let field = numbered(&field.with_metadata(metadata), max_id)?;
            let at = match position {
                Position::First => 0,
                Position::Last => fields.len(),
                Position::After(other) => {
                    1 + fields.iter().position(|f| f.name() == other).ok_or_else(|| self.no_column(other))?
                }
            };
            fields.insert(at, field);
            Ok(fields)
        })
    }

    /// Columns in the place of all that a table had, whose ids go on where they were: files of older versions must not be taken for
    /// having the new columns. `max_id` is the highest id that was ever given.
    ///
    /// # Errors
    /// As [`TableSchema::create`].
    pub fn create_after(arrow: &Schema, max_id: u32) -> Result<Self> {
        let fresh = Self::create(arrow)?;
        let fields = fresh.arrow().fields().iter().map(|field| {
            let shifted = shift(field, max_id);
            let mut metadata = shifted.metadata().clone();
            metadata.insert(PHYSICAL_NAME.to_owned(), format!("col-{}", Uuid::new_v4()));
            Arc::new(shifted.as_ref().clone().with_metadata(metadata))
        });
        Self::of_arrow(&Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Drops a column. `in_use` are those that constraints, keys, partitioning and generated columns refer to.
    ///
    /// # Errors
    /// When there is none, it is in use, or it is the last.
    pub fn drop_column(&self, path: &str, in_use: &[String]) -> Result<Self> {
        not_in_use(path, in_use, "dropped")?;
        self.with_fields(path, |mut fields, name| {
            let at = fields.iter().position(|f| f.name() == name).ok_or_else(|| self.no_column(name))?;
            fields.remove(at);
            if fields.is_empty() {
                return Err(refuse(format!(
                    "{path:?} is the only one; a table or struct keeps at least one"
                )));
            }
            Ok(fields)
        })
    }

    /// Gives a column another name; `to` is a single name.
    ///
    /// # Errors
    /// When there is none, it is in use, or the name is taken.
    pub fn rename_column(&self, path: &str, to: &str, in_use: &[String]) -> Result<Self> {
        not_in_use(path, in_use, "renamed")?;
        self.with_fields(path, |mut fields, name| {
            let at = fields.iter().position(|f| f.name() == name).ok_or_else(|| self.no_column(name))?;
            if fields.iter().any(|f| f.name() == to) {
                return Err(refuse(format!("there is a column {to:?} already")));
            }
            fields[at] = Arc::new(fields[at].as_ref().clone().with_name(to));
            Ok(fields)
        })
    }

    /// Moves a column among its siblings.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn move_column(&self, path: &str, position: &Position) -> Result<Self> {
        self.with_fields(path, |mut fields, name| {
            let at = fields.iter().position(|f| f.name() == name).ok_or_else(|| self.no_column(name))?;
            let field = fields.remove(at);
            let to = match position {
                Position::First => 0,
                Position::Last => fields.len(),
                Position::After(other) => {
                    1 + fields.iter().position(|f| f.name() == other).ok_or_else(|| self.no_column(other))?
                }
            };
            fields.insert(to, field);
            Ok(fields)
        })
    }

    /// Gives a column a type that has all values of the one it has.
    ///
    /// # Errors
    /// When there is none of that name, or the type does not.
    pub fn widen_column(&self, path: &str, to: &DataType) -> Result<Self> {
        let to = canonical(to);
        self.with_field(path, |field| {
            if !widens(field.data_type(), &to) {
                return Err(refuse(format!(
                    "column {path:?} is of type {}, of which not all values are {to}; write the rows to a new column instead",
                    field.data_type()
                )));
            }
            Ok(field.clone().with_data_type(to))
        })
    }

    /// Says whether a column may be null. That no row has a null must have been checked.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_nullable(&self, path: &str, nullable: bool) -> Result<Self> {
        self.with_field(path, |field| Ok(field.clone().with_nullable(nullable)))
    }

    /// Sets or takes away what is said of a column: `CURRENT_DEFAULT`, `comment`, and the like.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_column_metadata(&self, path: &str, key: &str, value: Option<&str>) -> Result<Self> {
        self.with_field(path, |field| {
            let mut metadata = field.metadata().clone();
            match value {
                Some(value) => metadata.insert(key.to_owned(), value.to_owned()),
                None => metadata.remove(key),
            };
            Ok(field.clone().with_metadata(metadata))
        })
    }

    /// The schema that rows of another can be added under: with columns that are new, and types as wide as needed. `None` if this is
    /// it.
    ///
    /// # Errors
    /// When a column's types have nothing in common.
    pub fn merge(&self, incoming: &Schema, max_id: u32) -> Result<Option<Self>> {
        let mut merged = self.clone();
        let mut max_id = max_id;
        for field in incoming.fields() {
            merged = merged.merge_field(field.name(), field, &mut max_id)?;
        }
        Ok((merged != *self).then_some(merged))
    }

    fn merge_field(self, path: &str, given: &Field, max_id: &mut u32) -> Result<Self> {
        let Some(known) = self.find(path) else {
            let column = given.clone().with_nullable(true);
            let added = self.add_column(path, &column, &Position::Last, *max_id)?;
            *max_id = (*max_id).max(added.max_id());
            return Ok(added);
        };
        let to = canonical(given.data_type());
        if let (DataType::Struct(_), DataType::Struct(fields)) = (known.data_type(), &to) {
            let mut merged = self;
            for field in fields {
                merged = merged.merge_field(&format!("{path}.{}", field.name()), field, max_id)?;
            }
            return Ok(merged);
        }
        if known.data_type() != &to && widens(known.data_type(), &to) {
            return self.widen_column(path, &to);
        }
        // Anything else is for preparing the rows to decide: narrower types and other forms fit.
        Ok(self)
    }

    /// A field by its path.
    fn find(&self, path: &str) -> Option<Field> {
        let top = self.arrow().fields().iter().find(|f| f.name() == path);
        if let Some(field) = top {
            return Some(field.as_ref().clone());
        }
        let mut fields = self.arrow().fields().clone();
        let mut found = None;
        for name in path.split('.') {
            let field = fields.iter().find(|f| f.name() == name)?.clone();
            fields = match field.data_type() {
                DataType::Struct(inner) => inner.clone(),
                _ => Fields::empty(),
            };
            found = Some(field.as_ref().clone());
        }
        found
    }
}

/// Gives a new field, and all below it, ids from `max_id + 1` on.
fn numbered(field: &Field, max_id: u32) -> Result<FieldRef> {
    // A column with the highest id in front makes the others follow it.
    let first = Field::new("\u{0}", DataType::Boolean, true)
        .with_metadata([(FIELD_ID_KEY.to_owned(), "1".to_owned())].into());
    let shifted = SchemaDefinition::assign_ids(&Schema::new(vec![first, field.clone()]))?;
    Ok(shift(&shifted.arrow().fields()[1], max_id.saturating_sub(1)))
}

/// A field whose id, and those of all below it, are higher.
fn shift(field: &FieldRef, by: u32) -> FieldRef {
    let mut metadata = field.metadata().clone();
    if let Some(id) = field_id(field) {
        metadata.insert(FIELD_ID_KEY.to_owned(), (id + by).to_string());
    }
    let below = |f: &FieldRef| shift(f, by);
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(below).collect()),
        DataType::List(f) => DataType::List(below(f)),
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(below(f), *n),
        DataType::Map(f, sorted) => DataType::Map(below(f), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type).with_metadata(metadata))
}

fn not_in_use(path: &str, in_use: &[String], done: &str) -> Result<()> {
    let uses = in_use.iter().find(|used| *used == path || path.split('.').next() == Some(used.as_str()));
    match uses {
        Some(_) => Err(refuse(format!(
            "column {path:?} can't be {done}: a constraint, a key, a generated column or the partitioning refers to it"
        ))),
        None => Ok(()),
    }
}

/// Whether every value of one type is one of another, and files of the first can be read as the second.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32,
        UInt64,
    };
    match (from, to) {
        (Int8, Int16 | Int32 | Int64 | Float64)
        | (Int16, Int32 | Int64 | Float64)
        | (Int32, Int64 | Float64)
        | (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64)
        | (UInt16, UInt32 | UInt64 | Int32 | Int64)
        | (UInt32, UInt64 | Int64)
        | (Float32, Float64)
        | (Date32, Timestamp(_, None)) => true,
        (Decimal128(p, s), Decimal128(q, t)) => t >= s && q - p >= (t - s) as u8 && q >= p,
        _ => false,
    }
}
