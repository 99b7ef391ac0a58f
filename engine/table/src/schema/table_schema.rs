//! A table's schema.

use std::sync::{Arc, OnceLock};

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use deltalite_format::predicate::nearest_name;
use deltalite_format::schema::{EvolvedSchema, FIELD_ID_KEY, SchemaDefinition, children_of, field_id};

use super::expressions::literal;
use super::types::canonical;
use super::{INITIAL_DEFAULT, PHYSICAL_NAME, json};
use crate::error::{Result, TableError};

/// The columns of a table. Each, and each field of a struct, has an id, by which files know it whatever it is called; what
/// else Delta keeps of a column is in its Arrow metadata.
#[derive(Debug, Clone)]
pub struct TableSchema {
    arrow: SchemaRef,
    evolved: Arc<OnceLock<Arc<EvolvedSchema>>>,
}

impl PartialEq for TableSchema {
    fn eq(&self, other: &Self) -> bool {
        self.arrow == other.arrow
    }
}

impl TableSchema {
    /// The schema of a new table. Columns get ids from 1 on, and forms of one type become the one that tables have.
    ///
    /// ```
    /// use arrow_schema::{DataType, Field, Schema};
    /// use deltalite_table::schema::TableSchema;
    /// let arrow = Schema::new(vec![Field::new("id", DataType::UInt32, false), Field::new("name", DataType::Utf8View, true)]);
    /// let schema = TableSchema::create(&arrow)?;
    /// assert_eq!(schema.arrow().field(1).data_type(), &DataType::Utf8);
    /// assert_eq!(TableSchema::parse(&schema.to_json())?, schema);
    /// # Ok::<(), deltalite_table::TableError>(())
    /// ```
    ///
    /// # Errors
    /// When there are no columns, two have one name, or one has a type that can't be stored.
    pub fn create(arrow: &Schema) -> Result<Self> {
        if arrow.fields().is_empty() {
            return Err(TableError::invalid("making a table", "it has no columns; give at least one"));
        }
        let strip = |f: &FieldRef| -> FieldRef {
            let mut metadata = f.metadata().clone();
            metadata.remove(FIELD_ID_KEY);
            metadata.insert(PHYSICAL_NAME.to_owned(), f.name().clone());
            let data_type = without_ids(&canonical(f.data_type()));
            Arc::new(f.as_ref().clone().with_data_type(data_type).with_metadata(metadata))
        };
        let fields: Vec<FieldRef> = arrow.fields().iter().map(strip).collect();
        let numbered = SchemaDefinition::assign_ids(&Schema::new(fields))?;
        Self::of_arrow(numbered.arrow())
    }

    /// A schema whose fields have their ids.
    pub(super) fn of_arrow(arrow: &Schema) -> Result<Self> {
        SchemaDefinition::assign_ids(arrow)?;
        Ok(Self { arrow: Arc::new(Schema::new(arrow.fields().clone())), evolved: Arc::default() })
    }

    /// The schema in a table's metadata.
    ///
    /// # Errors
    /// When it is not in Delta's form, or has types that this version does not know.
    pub fn parse(text: &str) -> Result<Self> {
        Self::of_arrow(&json::parse(text)?)
    }

    /// It in Delta's form.
    pub fn to_json(&self) -> String {
        json::to_json(&self.arrow)
    }

    /// It as Arrow.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// What data files are written with: columns and their ids, without what is about the table.
    pub fn file_schema(&self) -> SchemaRef {
        let keep = |f: &FieldRef| -> FieldRef {
            let kept = [FIELD_ID_KEY, PHYSICAL_NAME];
            let metadata = f.metadata().iter().filter(|(k, _)| kept.contains(&k.as_str()));
            let metadata = metadata.map(|(k, v)| (k.clone(), v.clone())).collect();
            Arc::new(f.as_ref().clone().with_metadata(metadata))
        };
        Arc::new(Schema::new(self.arrow.fields().iter().map(keep).collect::<Vec<_>>()))
    }

    /// What data files are read under, whenever they were written.
    ///
    /// # Errors
    /// When a field has no id, or an initial default does not fit its column.
    pub fn evolved(&self) -> Result<Arc<EvolvedSchema>> {
        if let Some(known) = self.evolved.get() {
            return Ok(known.clone());
        }
        let mut evolved = EvolvedSchema::new(&self.file_schema())?;
        for field in self.arrow.fields() {
            if let (Some(sql), Some(id)) = (field.metadata().get(INITIAL_DEFAULT), field_id(field)) {
                evolved = evolved.with_default(id, literal(sql, field.data_type())?.as_ref())?;
            }
        }
        Ok(self.evolved.get_or_init(|| Arc::new(evolved)).clone())
    }

    /// The name that statistics and partition values have for a column.
    pub fn physical_name(&self, column: usize) -> &str {
        physical_name(self.arrow.field(column))
    }

    /// The highest id of a field.
    pub fn max_id(&self) -> u32 {
        fn highest(field: &Field) -> u32 {
            let below = children_of(field.data_type()).iter().map(|f| highest(f)).max();
            field_id(field).unwrap_or(0).max(below.unwrap_or(0))
        }
        self.arrow.fields().iter().map(|f| highest(f)).max().unwrap_or(0)
    }

    /// Where a column is.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.arrow.fields().iter().position(|f| f.name() == name).ok_or_else(|| self.no_column(name))
    }

    pub(super) fn no_column(&self, name: &str) -> TableError {
        let names = self.arrow.fields().iter().map(|f| f.name().as_str());
        let detail = match nearest_name(name, names) {
            Some(near) => format!("no column named {name:?}; did you mean {near:?}?"),
            None => {
                let all: Vec<&str> = self.arrow.fields().iter().map(|f| f.name().as_str()).take(20).collect();
                format!("no column named {name:?}; there are {}", all.join(", "))
            }
        };
        TableError::invalid("looking for a column", detail)
    }
}

/// The name that statistics and partition values have for a column.
pub fn physical_name(field: &Field) -> &str {
    field.metadata().get(PHYSICAL_NAME).unwrap_or_else(|| field.name())
}

fn without_ids(data_type: &DataType) -> DataType {
    let field = |f: &FieldRef| -> FieldRef {
        let mut metadata = f.metadata().clone();
        metadata.remove(FIELD_ID_KEY);
        Arc::new(f.as_ref().clone().with_data_type(without_ids(f.data_type())).with_metadata(metadata))
    };
    match data_type {
        DataType::List(f) => DataType::List(renamed(&field(f), "element")),
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(renamed(&field(f), "element"), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(f, sorted) => {
            let entries = renamed(&field(f), "entries");
            let named = match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => {
                    let pair = vec![renamed(&pair[0], "key"), renamed(&pair[1], "value")];
                    Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(pair.into())))
                }
                _ => entries,
            };
            DataType::Map(named, *sorted)
        }
        other => other.clone(),
    }
}

fn renamed(field: &FieldRef, name: &str) -> FieldRef {
    Arc::new(field.as_ref().clone().with_name(name))
}
