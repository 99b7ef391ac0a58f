//! Reading files under a newer schema: columns are matched by field id, so a file never has to be rewritten.
//!
//! | change | what a file written before it gives |
//! |---|---|
//! | renamed, reordered | the same values |
//! | dropped | nothing: the column is not read |
//! | added | its default, else null |
//! | integer, float, decimal, date, time or timestamp widened | the same values in the wider type, exactly |
//! | made nullable | the same values |
//!
//! All of them also inside structs, lists and maps. Fields of structs are matched by id; the element of a list and the key and
//! value of a map by their place, because there is only one.
//!
//! [`EvolvedSchema`] is what is asked for; [`super::convert`] is how arrays and statistics follow.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::convert::{Child, Conversion};
use super::{SchemaDefinition, children_of, field_id};
use crate::error::{FormatError, Result};
use crate::reader::read_type;

/// A schema to read files under, whatever older schema they were written with.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, UInt8Array};
/// use arrow_schema::{DataType, Field, Schema};
/// use deltalite_format::schema::{EvolvedSchema, FIELD_ID_KEY};
/// use deltalite_format::{FileReader, FileWriter, ScanOptions, WriterOptions};
///
/// let field = |name: &str, id: u32, data_type| {
///     Field::new(name, data_type, false).with_metadata([(FIELD_ID_KEY.to_owned(), id.to_string())].into())
/// };
/// let written = Schema::new(vec![field("id", 1, DataType::Int32)]);
/// let ids: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
/// let batch = RecordBatch::try_new(Arc::new(written.clone()), vec![ids])?;
/// let mut writer = FileWriter::new(Vec::new(), &written, WriterOptions::default())?;
/// writer.write(&batch)?;
/// let (_, file) = writer.finish_into()?;
///
/// // Since then `id` was renamed and widened, and `version` was added.
/// let now = Schema::new(vec![field("version", 2, DataType::UInt8), field("key", 1, DataType::Int64)]);
/// let schema = EvolvedSchema::new(&now)?.with_default(2, &UInt8Array::from(vec![1]))?;
/// let options = ScanOptions { schema: Some(Arc::new(schema)), ..ScanOptions::default() };
/// let batch = FileReader::open_bytes(file)?.scan(options)?.next().unwrap()?;
/// assert_eq!(batch["version"].as_ref(), &UInt8Array::from(vec![1, 1]));
/// assert_eq!(batch["key"].as_ref(), &Int64Array::from(vec![7, 8]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EvolvedSchema {
    schema: SchemaDefinition,
    /// One-row arrays in read form, by field id.
    defaults: HashMap<u32, ArrayRef>,
}

impl EvolvedSchema {
    /// A schema whose columns and struct fields all carry their id under [`FIELD_ID_KEY`](super::FIELD_ID_KEY).
    ///
    /// # Errors
    /// When a field has no id: ids can't be invented here, because they say which stored column is meant. Take the schema of a
    /// written file ([`FileMeta::schema`](crate::FileMeta::schema)) and change that. Also as [`SchemaDefinition::assign_ids`].
    pub fn new(arrow: &Schema) -> Result<Self> {
        arrow.fields().iter().try_for_each(|f| require_ids(f, f.name()))?;
        Ok(Self { schema: SchemaDefinition::assign_ids(arrow)?, defaults: HashMap::new() })
    }

    /// What files written before the field with this id was added give for it, instead of null. `value` has one row.
    ///
    /// # Errors
    /// When there is no such field, the value is of another type or null where the field may not be.
    pub fn with_default(mut self, id: u32, value: &dyn Array) -> Result<Self> {
        let bad = |detail: String| Err(FormatError::invalid("default value", detail));
        let Some(field) = self.schema.arrow().fields().iter().find_map(|f| find_field(f, id)) else {
            return bad(format!("no field has the id {id}"));
        };
        let wanted = read_type(field.data_type());
        if value.len() != 1 || read_type(value.data_type()) != wanted {
            return bad(format!(
                "field {:?} takes one value of type {}, not {} of type {}",
                field.name(),
                field.data_type(),
                value.len(),
                value.data_type()
            ));
        }
        if !field.is_nullable() && value.logical_null_count() > 0 {
            return bad(format!("field {:?} is not nullable, so its default can't be null", field.name()));
        }
        let value = arrow_cast::cast(value, &wanted)?;
        self.defaults.insert(id, value);
        Ok(self)
    }

    /// The schema, as fields were given.
    pub fn arrow(&self) -> &SchemaRef {
        self.schema.arrow()
    }

    /// The one-row array that rows of files without `field` have in it.
    ///
    /// # Errors
    /// When it has no default and may not be null.
    pub(crate) fn absent(&self, field: &Field, path: &str) -> Result<ArrayRef> {
        if let Some(value) = field_id(field).and_then(|id| self.defaults.get(&id)) {
            return Ok(value.clone());
        }
        if field.is_nullable() {
            return Ok(new_null_array(&read_type(field.data_type()), 1));
        }
        Err(impossible(
            path,
            "the file was written before it was added, it has no default and may not be null; give it a default or make it \
             nullable",
        ))
    }

    /// How values of a stored field become those of `to`, which has the same id.
    ///
    /// # Errors
    /// When not every value could be represented exactly, or a field moved between structs.
    pub(crate) fn conversion(&self, from: &Field, to: &Field, path: &str) -> Result<Conversion> {
        if from.is_nullable() && !to.is_nullable() {
            return Err(impossible(
                path,
                "the file may hold nulls in it, the schema says it has none; make it nullable",
            ));
        }
        let (read_from, read_to) = (read_type(from.data_type()), read_type(to.data_type()));
        if read_from == read_to {
            return Ok(Conversion::Keep);
        }
        let child = |a: &FieldRef, b: &FieldRef| self.conversion(a, b, &format!("{path}.{}", b.name()));
        match (&read_from, &read_to) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                let children =
                    b.iter().map(|field| self.struct_child(a, field, path)).collect::<Result<_>>()?;
                Ok(Conversion::Struct { fields: b.clone(), children })
            }
            (DataType::List(a), DataType::List(b))
            | (DataType::LargeList(a), DataType::LargeList(b))
            | (DataType::ListView(a), DataType::ListView(b))
            | (DataType::LargeListView(a), DataType::LargeListView(b)) => {
                Ok(Conversion::List { to: read_to.clone(), child: Box::new(child(a, b)?) })
            }
            (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, m)) if n == m => {
                Ok(Conversion::List { to: read_to.clone(), child: Box::new(child(a, b)?) })
            }
            (DataType::Map(a, sorted), DataType::Map(b, sorted_now)) if *sorted || !sorted_now => {
                let (DataType::Struct(from), DataType::Struct(to)) = (a.data_type(), b.data_type()) else {
                    return Err(impossible(path, "a map's entries are not a struct of key and value"));
                };
                let children = from
                    .iter()
                    .zip(to)
                    .enumerate()
                    .map(|(i, (a, b))| Ok(Child::From(i, child(a, b)?)))
                    .collect::<Result<_>>()?;
                let entries = Conversion::Struct { fields: to.clone(), children };
                Ok(Conversion::List { to: read_to.clone(), child: Box::new(entries) })
            }
            _ => Conversion::of_leaf(&read_from, &read_to).ok_or_else(|| {
                impossible(
                    path,
                    &format!(
                        "the file holds {}, which can't become {} without losing values; read it as a type that holds every {} \
                         or rewrite the file",
                        from.data_type(),
                        to.data_type(),
                        from.data_type()
                    ),
                )
            }),
        }
    }

    fn struct_child(&self, from: &arrow_schema::Fields, to: &FieldRef, path: &str) -> Result<Child> {
        let path = format!("{path}.{}", to.name());
        match from.iter().enumerate().find(|(_, f)| field_id(f) == field_id(to)) {
            Some((i, f)) => Ok(Child::From(i, self.conversion(f, to, &path)?)),
            None => Ok(Child::Constant(self.absent(to, &path)?)),
        }
    }

    /// Refuses fields that a file has in one struct (or at the top) and this schema in another: their values would silently be
    /// null.
    ///
    /// # Errors
    /// Naming the field.
    pub(crate) fn check_unmoved(file: &Schema, wanted: &Field) -> Result<()> {
        let mut parents = HashMap::new();
        file.fields().iter().for_each(|f| note_parents(f, 0, &mut parents));
        check_parent(wanted, 0, &parents, wanted.name())
    }
}

/// Ids of structs' fields by the id of the column or field that holds them, 0 at the top.
fn note_parents(field: &Field, parent: u32, out: &mut HashMap<u32, u32>) {
    let id = field_id(field).unwrap_or(0);
    out.insert(id, parent);
    for member in members(field.data_type()) {
        note_parents(&member, id, out);
    }
}

fn check_parent(field: &Field, parent: u32, parents: &HashMap<u32, u32>, path: &str) -> Result<()> {
    let id = field_id(field).unwrap_or(0);
    if parents.get(&id).is_some_and(|&p| p != parent) {
        return Err(impossible(
            path,
            &format!(
                "the file has the field with id {id} in another struct; fields can't move between structs, give it a new id"
            ),
        ));
    }
    members(field.data_type())
        .iter()
        .try_for_each(|f| check_parent(f, id, parents, &format!("{path}.{}", f.name())))
}

/// The struct fields that belong to a type directly or through lists and maps: those that are matched by id.
fn members(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::Struct(fields) => fields.iter().cloned().collect(),
        DataType::Map(entries, _) => {
            children_of(entries.data_type()).iter().flat_map(|f| members(f.data_type())).collect()
        }
        other => children_of(other).iter().flat_map(|f| members(f.data_type())).collect(),
    }
}

fn require_ids(field: &Field, path: &str) -> Result<()> {
    if field_id(field).is_none() {
        return Err(FormatError::invalid(
            "schema to read under",
            format!(
                "field {path:?} has no id under {:?}; take the schema of a written file and change that",
                super::FIELD_ID_KEY
            ),
        ));
    }
    members(field.data_type()).iter().try_for_each(|f| require_ids(f, &format!("{path}.{}", f.name())))
}

fn find_field(field: &FieldRef, id: u32) -> Option<FieldRef> {
    if field_id(field) == Some(id) {
        return Some(field.clone());
    }
    children_of(field.data_type()).iter().find_map(|f| find_field(f, id))
}

#[cold]
fn impossible(path: &str, why: &str) -> FormatError {
    FormatError::invalid("reading under another schema", format!("column {path:?}: {why}"))
}

/// Rows of a constant.
///
/// # Errors
/// When Arrow can't repeat the type.
pub(crate) fn repeat(one: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    if one.is_null(0) && one.data_type() != &DataType::Null {
        return Ok(new_null_array(one.data_type(), rows));
    }
    if one.data_type() == &DataType::Null {
        return Ok(Arc::new(arrow_array::NullArray::new(rows)));
    }
    let zeros = arrow_array::UInt32Array::from(vec![0; rows]);
    Ok(arrow_select::take::take(one.as_ref(), &zeros, None)?)
}
