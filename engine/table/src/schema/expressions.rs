//! SQL expressions of defaults, generated columns and constraints, and who understands them.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef};

use crate::error::{Result, TableError};

/// Understands SQL expressions over the columns of a table.
pub trait Expressions: Send + Sync + Debug {
    /// Makes an expression of a text.
    ///
    /// # Errors
    /// When the text is none, or names columns that the schema does not have.
    fn compile(&self, sql: &str, schema: &SchemaRef) -> Result<Arc<dyn Expression>>;
}

/// An expression over the columns of rows.
pub trait Expression: Send + Sync + Debug {
    /// A value for each row.
    ///
    /// # Errors
    /// When it can't be computed.
    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef>;
}

/// Understands literals: numbers, `'texts'`, `TRUE`, `FALSE`, `NULL`, `DATE '…'`, `TIMESTAMP '…'`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Literals;

#[derive(Debug)]
struct Constant(Value);

/// What a literal says.
#[derive(Debug)]
enum Value {
    Null,
    Text(String),
}

impl Expressions for Literals {
    fn compile(&self, sql: &str, _schema: &SchemaRef) -> Result<Arc<dyn Expression>> {
        let value = literal_of(sql).ok_or_else(|| {
            let detail = format!(
                "{sql:?} is more than a literal; open the table through a SQL session, or give a context with expressions"
            );
            TableError::invalid("understanding an expression", detail)
        })?;
        Ok(Arc::new(Constant(value)))
    }
}

impl Expression for Constant {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let text = match &self.0 {
            Value::Null => None,
            Value::Text(text) => Some(text.as_str()),
        };
        let texts = std::iter::repeat_n(text, batch.num_rows());
        Ok(Arc::new(texts.collect::<StringArray>()))
    }
}

/// What a literal says; `None` for what is none.
fn literal_of(sql: &str) -> Option<Value> {
    let sql = sql.trim();
    let upper = sql.to_ascii_uppercase();
    if upper == "NULL" {
        return Some(Value::Null);
    }
    if matches!(upper.as_str(), "TRUE" | "FALSE") || sql.parse::<f64>().is_ok_and(f64::is_finite) {
        return Some(Value::Text(sql.to_ascii_lowercase()));
    }
    let quoted = ["DATE", "TIMESTAMP"]
        .iter()
        .find(|keyword| upper.starts_with(**keyword))
        .map_or(sql, |keyword| sql[keyword.len()..].trim_start());
    let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    let unescaped = inner.replace("''", "\u{0}");
    (!unescaped.contains('\'')).then(|| Value::Text(unescaped.replace('\u{0}', "'")))
}

/// A literal as the one row of an array.
///
/// # Errors
/// When the text is no literal of that type.
pub(super) fn literal(sql: &str, data_type: &DataType) -> Result<ArrayRef> {
    let value = literal_of(sql).ok_or_else(|| {
        TableError::invalid("reading a default", format!("{sql:?} is no literal of type {data_type}"))
    })?;
    match value {
        Value::Null => Ok(new_null_array(data_type, 1)),
        Value::Text(text) => {
            exactly(&StringArray::from(vec![text]), data_type, || format!("{sql} as {data_type}"))
        }
    }
}

/// Casts, and refuses values that the type does not have.
pub(super) fn exactly(array: &dyn Array, to: &DataType, what: impl Fn() -> String) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(arrow_array::make_array(array.to_data()));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options)
        .map_err(|e| TableError::invalid("bringing values to a column's type", format!("{}: {e}", what())))
}
