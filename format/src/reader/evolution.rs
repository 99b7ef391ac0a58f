//! A file seen through another schema: which stored column, or which constant, each column asked for comes from.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{Field, FieldRef};

use super::meta::{ColumnMeta, FileMeta};
use super::read_type;
use crate::error::{FormatError, Result};
use crate::schema::convert::Conversion;
use crate::schema::evolve::{EvolvedSchema, repeat};
use crate::schema::field_id;

/// Where a column comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A stored column, by its position in [`ScanPlan::columns`](super::ScanPlan::columns), and how its values change.
    Stored(usize, Conversion),
    /// One row that every row of the file has.
    Constant(ArrayRef),
}

/// The columns of a scan under another schema: the projected ones, then those that only the predicate needs.
#[derive(Debug)]
pub(crate) struct Evolution {
    pub(crate) fields: Vec<FieldRef>,
    pub(crate) sources: Vec<Source>,
}

/// Stored columns found while resolving, each once.
#[derive(Default)]
pub(crate) struct StoredColumns {
    pub(crate) columns: Vec<Arc<ColumnMeta>>,
}

impl Evolution {
    /// Resolves columns (positions in the evolved schema) against a file. The first `projected` are yielded; stored columns that
    /// only the others need come last in the result.
    ///
    /// # Errors
    /// When a column can't be had from the file, or its metadata is damaged.
    pub(crate) fn resolve(
        meta: &FileMeta,
        schema: &EvolvedSchema,
        wanted: &[usize],
    ) -> Result<(Self, StoredColumns)> {
        let (mut stored, mut slots) = (StoredColumns::default(), HashMap::new());
        let (mut fields, mut sources) = (Vec::new(), Vec::new());
        for &i in wanted {
            let field = &schema.arrow().fields()[i];
            let read = Field::new(field.name(), read_type(field.data_type()), field.is_nullable())
                .with_metadata(field.metadata().clone());
            sources.push(match find(meta, field)? {
                Some(column) => {
                    let conversion = schema.conversion(&column.field, field, field.name())?;
                    let slot = *slots.entry(column.index).or_insert_with(|| {
                        stored.columns.push(column);
                        stored.columns.len() - 1
                    });
                    Source::Stored(slot, conversion)
                }
                None => Source::Constant(schema.absent(field, field.name())?),
            });
            fields.push(Arc::new(read));
        }
        Ok((Self { fields, sources }, stored))
    }

    /// The arrays of the projected columns, `rows` each, from those of the stored ones.
    ///
    /// # Errors
    /// When a value is out of the new type's range.
    pub(crate) fn project(
        &self,
        stored: &[ArrayRef],
        projected: usize,
        rows: usize,
    ) -> Result<Vec<ArrayRef>> {
        self.sources[..projected]
            .iter()
            .map(|source| match source {
                Source::Stored(slot, conversion) => {
                    let array = stored.get(*slot).ok_or_else(|| {
                        FormatError::invalid(
                            "reading under another schema",
                            format!("column {slot} was not read"),
                        )
                    })?;
                    conversion.apply(array)
                }
                Source::Constant(one) => repeat(one, rows),
            })
            .collect()
    }
}

/// The stored column with the field's id.
fn find(meta: &FileMeta, field: &Field) -> Result<Option<Arc<ColumnMeta>>> {
    // Most columns keep their name: then nothing but their own metadata is read.
    if !field.data_type().is_nested()
        && let Ok(column) = meta.column_by_name(field.name())
        && field_id(&column.field) == field_id(field)
    {
        return Ok(Some(column));
    }
    let written = meta.schema()?.arrow();
    EvolvedSchema::check_unmoved(written, field)?;
    let position = written.fields().iter().position(|f| field_id(f) == field_id(field));
    position.map(|i| meta.column(i as u32)).transpose()
}
