//! Schemas: Arrow types with stable field ids, and how a column comes apart into streams.
//!
//! * [`SchemaDefinition`] – fields with ids, in memory;
//! * [`types`] – Arrow types to and from the codes of [`crate::meta::v1`];
//! * [`shape`] – a column as a tree of streams;
//! * [`evolve`] – reading files under a newer schema; `convert` – stored values to wider types.

pub(crate) mod convert;
pub mod evolve;
pub mod shape;
pub mod types;

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use crate::error::{FormatError, Result};
use crate::limits::TYPE_DEPTH_MAX;

pub use evolve::EvolvedSchema;

/// Metadata key under which a field's stable id stands in an Arrow field.
///
/// Parquet's readers and writers use the same key, so ids survive a conversion in both directions.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// A schema whose every field, nested ones too, has a stable id.
///
/// Ids are what evolution goes by: a renamed or moved field keeps its id, and a new field gets one never used before.
///
/// ```
/// use arrow_schema::{DataType, Field, Schema};
/// use deltalite_format::schema::SchemaDefinition;
///
/// let arrow = Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)]);
/// let schema = SchemaDefinition::assign_ids(&arrow)?;
/// assert_eq!(schema.field_id(0), Some(1));
/// assert_eq!(schema.field_id(1), Some(2));
/// # Ok::<(), deltalite_format::FormatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaDefinition {
    arrow: SchemaRef,
}

impl SchemaDefinition {
    /// Keeps the ids that fields already carry under [`FIELD_ID_KEY`] and gives the others new ones, in pre-order from 1.
    ///
    /// # Errors
    /// When two fields carry one id, an id is not a positive 32-bit number, two columns have one name, or a type is not
    /// supported or nested deeper than 64 levels.
    pub fn assign_ids(arrow: &Schema) -> Result<Self> {
        let mut taken = HashSet::new();
        for field in arrow.fields() {
            collect_ids(field, &mut taken, 0)?;
        }
        let mut names = HashSet::new();
        for field in arrow.fields() {
            if !names.insert(field.name().as_str()) {
                return Err(FormatError::invalid(
                    "schema",
                    format!("two columns are named {:?}; rename one of them", field.name()),
                ));
            }
            types::check_supported(field)?;
        }
        let mut next = 1;
        let fields: Fields = arrow.fields().iter().map(|f| with_id(f, &mut taken, &mut next)).collect();
        Ok(Self { arrow: Arc::new(Schema::new_with_metadata(fields, arrow.metadata().clone())) })
    }

    /// The Arrow schema, each field with its id under [`FIELD_ID_KEY`].
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Id of the `i`-th column.
    pub fn field_id(&self, i: usize) -> Option<u32> {
        self.arrow.fields().get(i).and_then(|f| field_id(f))
    }
}

/// The stable id a field carries.
pub fn field_id(field: &Field) -> Option<u32> {
    field.metadata().get(FIELD_ID_KEY).and_then(|v| v.parse().ok())
}

fn collect_ids(field: &Field, taken: &mut HashSet<u32>, depth: usize) -> Result<()> {
    if depth > TYPE_DEPTH_MAX {
        return Err(FormatError::invalid(
            "schema",
            format!("types are nested deeper than {TYPE_DEPTH_MAX} levels"),
        ));
    }
    if let Some(text) = field.metadata().get(FIELD_ID_KEY) {
        // Other writers use -1 and the like for "none".
        if let Ok(id) = text.parse::<u32>()
            && !taken.insert(id)
        {
            return Err(FormatError::invalid(
                "schema",
                format!("two fields have the id {id}; one is {:?}", field.name()),
            ));
        }
    }
    children_of(field.data_type()).iter().try_for_each(|f| collect_ids(f, taken, depth + 1))
}

fn with_id(field: &FieldRef, taken: &mut HashSet<u32>, next: &mut u32) -> FieldRef {
    let mut metadata = field.metadata().clone();
    if field_id(field).is_none() {
        while !taken.insert(*next) {
            *next += 1;
        }
        metadata.insert(FIELD_ID_KEY.to_owned(), next.to_string());
    }
    let data_type = map_children(field.data_type(), &mut |f| with_id(f, taken, next));
    Arc::new(field.as_ref().clone().with_data_type(data_type).with_metadata(metadata))
}

/// The fields directly below a type.
pub fn children_of(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::Struct(fields) => fields.iter().cloned().collect(),
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => vec![f.clone()],
        _ => Vec::new(),
    }
}

/// The same type with every direct child replaced.
pub(crate) fn map_children(data_type: &DataType, f: &mut dyn FnMut(&FieldRef) -> FieldRef) -> DataType {
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(f).collect()),
        DataType::List(c) => DataType::List(f(c)),
        DataType::LargeList(c) => DataType::LargeList(f(c)),
        DataType::ListView(c) => DataType::ListView(f(c)),
        DataType::LargeListView(c) => DataType::LargeListView(f(c)),
        DataType::FixedSizeList(c, n) => DataType::FixedSizeList(f(c), *n),
        DataType::Map(c, sorted) => DataType::Map(f(c), *sorted),
        other => other.clone(),
    }
}
