//! Changing rows.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, NullArray, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::SchemaRef;
use deltalite_format::predicate::{Literal, Predicate};

use super::DeltaLiteTable;
use super::run::builder_future;
use super::snapshot::TableSnapshot;
use super::transaction::Outcome;
use crate::error::{Result, TableError};
use crate::log::action::StringMap;
use crate::schema::Expression;
use crate::schema::prepare::fit;
use crate::txn::Isolation;

/// Tag of files whose rows are changed rows rather than new ones.
pub(crate) const CHANGED_TAG: &str = "deltalite.changed";

/// A value that rows get.
#[derive(Debug, Clone)]
pub enum Assigned {
    /// The same for all.
    Literal(Literal),
    /// SQL over the row's columns, as the table's context understands it.
    Sql(String),
    /// Computed.
    Expression(Arc<dyn Expression>),
}

impl<T: Into<Literal>> From<T> for Assigned {
    fn from(value: T) -> Self {
        Assigned::Literal(value.into())
    }
}

/// Changing rows.
#[derive(Debug, Clone)]
#[must_use]
pub struct UpdateRows {
    table: DeltaLiteTable,
    predicate: Option<Predicate>,
    set: Vec<(String, Assigned)>,
    isolation: Option<Isolation>,
}

impl DeltaLiteTable {
    /// Changes rows: all, unless a filter says which.
    pub fn update(&self) -> UpdateRows {
        UpdateRows { table: self.clone(), predicate: None, set: Vec::new(), isolation: None }
    }
}

impl UpdateRows {
    /// Only rows for which this is true.
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.predicate = Some(predicate);
        self
    }

    /// What a column becomes.
    pub fn set(mut self, column: impl Into<String>, value: impl Into<Assigned>) -> Self {
        self.set.push((column.into(), value.into()));
        self
    }

    /// What a column becomes, as SQL over the row's columns.
    pub fn set_sql(self, column: impl Into<String>, sql: impl Into<String>) -> Self {
        self.set(column, Assigned::Sql(sql.into()))
    }

    /// Commit at another level than the table's.
    pub fn isolation(mut self, level: Isolation) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Changes and commits.
    ///
    /// # Errors
    /// When the condition or a value doesn't fit, another transaction has won, or the system fails.
    pub fn execute(self) -> Result<Outcome> {
        if self.set.is_empty() {
            return Err(TableError::invalid("updating rows", "nothing is set; say what columns become"));
        }
        let text = self.predicate.as_ref().map_or_else(|| "TRUE".to_owned(), ToString::to_string);
        self.table.run(|mut txn| {
            if let Some(level) = self.isolation {
                txn = txn.isolation(level);
            }
            let base = txn.snapshot().clone();
            let assignments = Assignments::new(&base, &self.set)?;
            txn.take_where(self.predicate.as_ref(), true)?;
            txn.read_columns(base.schema().fields().iter().map(|f| f.name().as_str()));
            let mut scan = base.scan();
            if let Some(predicate) = &self.predicate {
                scan = scan.filter(predicate.clone());
            }
            let mut writer = txn.writer()?;
            for batch in scan.execute()? {
                writer.write_changed(&assignments.apply(&batch?)?)?;
            }
            let rows = txn.add(writer)?.changed;
            txn.count("numUpdatedRows", rows);
            txn.commit("UPDATE", [("predicate", text.as_str())])
        })
    }
}

builder_future!(UpdateRows => Outcome, UpdateRows::execute);

pub(crate) fn changed_tag() -> StringMap {
    [(CHANGED_TAG, Some("true"))].into_iter().collect()
}

/// What columns become.
#[derive(Debug)]
pub(crate) struct Assignments {
    schema: SchemaRef,
    set: Vec<(usize, Value)>,
}

#[derive(Debug)]
enum Value {
    Constant(ArrayRef),
    Expression(Arc<dyn Expression>),
}

impl Assignments {
    pub(crate) fn new(base: &TableSnapshot, set: &[(String, Assigned)]) -> Result<Self> {
        let schema = base.schema().clone();
        let mut values: Vec<(usize, Value)> = Vec::with_capacity(set.len());
        for (name, assigned) in set {
            let at = base.schema.column(name)?;
            if values.iter().any(|(known, _)| *known == at) {
                return Err(TableError::invalid("updating rows", format!("column {name:?} is set twice")));
            }
            let value = match assigned {
                Assigned::Literal(value) => Value::Constant(fit(&array_of(value)?, schema.field(at))?),
                Assigned::Sql(sql) => Value::Expression(base.core.context.expressions.compile(sql, &schema)?),
                Assigned::Expression(expression) => Value::Expression(expression.clone()),
            };
            values.push((at, value));
        }
        Ok(Self { schema, set: values })
    }

    /// Rows as they become. What is generated is left out, so that it is generated anew.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<(String, ArrayRef)> = Vec::with_capacity(batch.num_columns());
        for (at, field) in self.schema.fields().iter().enumerate() {
            let array = match self.set.iter().find(|(set, _)| *set == at) {
                None if field.metadata().contains_key(crate::schema::GENERATION_EXPRESSION) => continue,
                None => batch.column(at).clone(),
                Some((_, Value::Expression(expression))) => expression.evaluate(batch)?,
                Some((_, Value::Constant(one))) => {
                    let zeros = UInt32Array::from(vec![0; batch.num_rows()]);
                    arrow_select::take::take(one, &zeros, None)
                        .map_err(TableError::compute("repeating a value"))?
                }
            };
            columns.push((field.name().clone(), array));
        }
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .map_err(TableError::compute("changing rows"))
    }
}

/// A literal as the one row of an array, not yet of a column's type.
pub(crate) fn array_of(value: &Literal) -> Result<ArrayRef> {
    Ok(match value {
        Literal::Null => Arc::new(NullArray::new(1)),
        Literal::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
        Literal::Number(text) | Literal::Text(text) => Arc::new(StringArray::from(vec![text.as_str()])),
        Literal::Bytes(bytes) => Arc::new(BinaryArray::from(vec![bytes.as_slice()])),
        Literal::Typed(array) if array.len() == 1 => array.clone(),
        Literal::Typed(array) => {
            let detail = format!("a typed value has {} rows, not one", array.len());
            return Err(TableError::invalid("updating rows", detail));
        }
    })
}
