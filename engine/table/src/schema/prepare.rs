//! From rows as they are given to rows as a table stores them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, Field, SchemaRef};

use super::expressions::{Expression, Expressions, exactly};
use super::table_schema::TableSchema;
use super::{
    CONSTRAINT_PREFIX, CURRENT_DEFAULT, GENERATION_EXPRESSION, IDENTITY_EXPLICIT, IDENTITY_START,
    IDENTITY_STEP,
};
use crate::error::{Result, TableError};
use crate::log::action::StringMap;

/// Columns of a row that a message shows.
const COLUMNS_SHOWN: usize = 8;

/// Where an identity column's values come from: given a column and a number of rows, the first of as many values.
pub type TakeIdentity<'a> = dyn FnMut(&str, u64) -> Result<i64> + 'a;

/// Brings rows to a table's columns: by name, losslessly, with defaults, generated and identity values; and checks them.
#[derive(Debug, Clone)]
pub struct Preparer {
    schema: TableSchema,
    stored: SchemaRef,
    columns: Vec<Source>,
    constraints: Vec<(String, String, Arc<dyn Expression>)>,
}

/// What rows without a column get in it.
#[derive(Debug, Clone)]
enum Source {
    Null,
    Required,
    Default(Arc<dyn Expression>),
    Generated(String, Arc<dyn Expression>),
    Identity { step: i64, explicit: bool },
}

impl Preparer {
    /// For a table of this schema and these properties.
    ///
    /// # Errors
    /// When a constraint or an expression of a column is not understood.
    pub fn new(
        schema: &TableSchema,
        configuration: &StringMap,
        expressions: &dyn Expressions,
    ) -> Result<Self> {
        let arrow = schema.arrow();
        let columns = arrow
            .fields()
            .iter()
            .map(|field| {
                let metadata = field.metadata();
                let number = |key: &str| metadata.get(&format!("json:{key}")).or_else(|| metadata.get(key));
                if let Some(sql) = metadata.get(GENERATION_EXPRESSION) {
                    return Ok(Source::Generated(sql.clone(), expressions.compile(sql, arrow)?));
                }
                if number(IDENTITY_START).is_some() {
                    let step = number(IDENTITY_STEP).and_then(|s| s.parse().ok()).unwrap_or(1);
                    let explicit = number(IDENTITY_EXPLICIT).is_some_and(|text| text == "true");
                    return Ok(Source::Identity { step, explicit });
                }
                if let Some(sql) = metadata.get(CURRENT_DEFAULT) {
                    // Its value does not depend on the row's others.
                    let none = Arc::new(arrow_schema::Schema::empty());
                    return Ok(Source::Default(expressions.compile(sql, &none)?));
                }
                Ok(if field.is_nullable() { Source::Null } else { Source::Required })
            })
            .collect::<Result<_>>()?;
        let constraints = configuration
            .iter()
            .filter_map(|(key, sql)| Some((key.strip_prefix(CONSTRAINT_PREFIX)?, sql?)))
            .map(|(name, sql)| Ok((name.to_owned(), sql.to_owned(), expressions.compile(sql, arrow)?)))
            .collect::<Result<_>>()?;
        Ok(Self { schema: schema.clone(), stored: schema.file_schema(), columns, constraints })
    }

    /// For rows that were in the table: they bring the values of columns that count by themselves.
    #[must_use]
    pub fn of_changed_rows(mut self) -> Self {
        for source in &mut self.columns {
            if let Source::Identity { explicit, .. } = source {
                *explicit = true;
            }
        }
        self
    }

    /// The columns of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.stored
    }

    /// Brings rows to the table's columns.
    ///
    /// # Errors
    /// When a column is unknown or missing, a value does not fit its column, or a row breaks a constraint.
    pub fn prepare(&mut self, batch: &RecordBatch, identity: &mut TakeIdentity<'_>) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let given = batch.schema();
        for (i, field) in given.fields().iter().enumerate() {
            self.schema.column(field.name())?;
            if given.fields()[..i].iter().any(|f| f.name() == field.name()) {
                let detail = format!("column {:?} is given twice", field.name());
                return Err(TableError::invalid("adding rows", detail));
            }
        }
        let arrow = self.schema.arrow();
        let mut arrays: Vec<Option<ArrayRef>> = Vec::with_capacity(self.columns.len());
        for (field, source) in arrow.fields().iter().zip(&self.columns) {
            let value = batch.column_by_name(field.name()).map(|array| fit(array, field)).transpose()?;
            arrays.push(match (source, value) {
                (Source::Identity { explicit: false, .. }, Some(_)) => {
                    let detail = format!(
                        "column {:?} counts by itself and takes no values; leave it out",
                        field.name()
                    );
                    return Err(TableError::invalid("adding rows", detail));
                }
                (_, Some(value)) => Some(value),
                (Source::Null, None) => Some(new_null_array(field.data_type(), rows)),
                (Source::Required, None) => {
                    let detail =
                        format!("column {:?} must not be null and has no default; give it", field.name());
                    return Err(TableError::invalid("adding rows", detail));
                }
                (Source::Default(expression), None) => Some(computed(expression, batch, field)?),
                (Source::Identity { step, .. }, None) => {
                    Some(counted(identity(field.name(), rows as u64)?, *step, rows, field)?)
                }
                (Source::Generated(..), None) => None,
            });
        }
        // Generated columns are computed of the others, and given ones compared.
        let partial = |arrays: &[Option<ArrayRef>]| {
            let columns = arrow.fields().iter().zip(arrays).map(|(f, a)| {
                let nullable = Arc::new(f.as_ref().clone().with_nullable(true));
                (nullable, a.clone().unwrap_or_else(|| new_null_array(f.data_type(), rows)))
            });
            let (fields, arrays): (Vec<_>, Vec<_>) = columns.unzip();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::new(arrow_schema::Schema::new(fields)), arrays, &options)
                .map_err(TableError::compute("bringing rows to the table's columns"))
        };
        if self.columns.iter().any(|source| matches!(source, Source::Generated(..))) {
            let known = partial(&arrays)?;
            for (at, source) in self.columns.iter().enumerate() {
                let Source::Generated(sql, expression) = source else { continue };
                let field = arrow.field(at);
                let value = computed(expression, &known, field)?;
                if let Some(given) = &arrays[at]
                    && let Some(row) = (0..rows).find(|row| differs(given, &value, *row))
                {
                    let detail = format!(
                        "column {:?} is generated as {sql}, but row {row} gives {} where that is {}",
                        field.name(),
                        shown(given, row),
                        shown(&value, row)
                    );
                    return Err(TableError::invalid("adding rows", detail));
                }
                arrays[at] = Some(value);
            }
        }
        let whole = partial(&arrays)?;
        for (field, array) in arrow.fields().iter().zip(whole.columns()) {
            no_nulls(field, array, field.name())?;
        }
        self.check(&whole)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.stored.clone(), whole.columns().to_vec(), &options)
            .map_err(TableError::compute("bringing rows to the table's columns"))
    }

    /// Checks the constraints on rows of the table's columns.
    ///
    /// # Errors
    /// When a row breaks one.
    pub fn check(&self, rows: &RecordBatch) -> Result<()> {
        for (name, sql, expression) in &self.constraints {
            let field = Field::new(name, DataType::Boolean, true);
            let holds = computed(expression, rows, &field)?;
            let holds: &BooleanArray = holds.as_boolean();
            // As in SQL, NULL does not break a constraint.
            if let Some(row) = (0..holds.len()).find(|row| holds.is_valid(*row) && !holds.value(*row)) {
                let values: Vec<String> = rows
                    .schema()
                    .fields()
                    .iter()
                    .zip(rows.columns())
                    .take(COLUMNS_SHOWN)
                    .map(|(f, a)| format!("{} = {}", f.name(), shown(a, row)))
                    .collect();
                return Err(TableError::Constraint {
                    name: name.clone(),
                    condition: sql.clone(),
                    row: row as u64,
                    values: values.join(", "),
                });
            }
        }
        Ok(())
    }
}

/// Brings the values of a column to its type.
pub(crate) fn fit(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if array.data_type().equals_datatype(field.data_type()) {
        return exactly(array.as_ref(), field.data_type(), || field.name().clone());
    }
    let (from, to) = (array.data_type(), field.data_type());
    let lossy = from.is_floating() && (to.is_integer() || matches!(to, DataType::Decimal128(..)))
        || matches!((from, to), (DataType::Float64, DataType::Float32 | DataType::Float16));
    let cast = exactly(array.as_ref(), to, || format!("column {:?}", field.name()))?;
    let narrows = matches!((from, to), (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) if a > b)
        || matches!((from, to), (DataType::Timestamp(..), DataType::Date32 | DataType::Date64));
    if lossy || narrows {
        let back = exactly(cast.as_ref(), from, || field.name().clone())?;
        if let Some(row) = (0..array.len()).find(|row| differs(array, &back, *row)) {
            let detail = format!(
                "column {:?} is of type {to}, which can't hold {} of row {row} without loss",
                field.name(),
                shown(array, row)
            );
            return Err(TableError::invalid("adding rows", detail));
        }
    }
    Ok(cast)
}

fn computed(expression: &Arc<dyn Expression>, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
    exactly(expression.evaluate(batch)?.as_ref(), field.data_type(), || format!("column {:?}", field.name()))
}

fn counted(first: i64, step: i64, rows: usize, field: &Field) -> Result<ArrayRef> {
    let values: Option<Vec<i64>> =
        (0..rows as i64).map(|row| row.checked_mul(step)?.checked_add(first)).collect();
    let values = values.ok_or_else(|| {
        TableError::invalid("adding rows", format!("identity column {:?} has no values left", field.name()))
    })?;
    exactly(&Int64Array::from(values), field.data_type(), || format!("column {:?}", field.name()))
}

fn differs(a: &ArrayRef, b: &ArrayRef, row: usize) -> bool {
    a.slice(row, 1).to_data() != b.slice(row, 1).to_data() && shown(a, row) != shown(b, row)
}

fn shown(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    array_value_to_string(array, row).unwrap_or_else(|_| "(a value that can't be shown)".to_owned())
}

/// Refuses nulls where a column, or a field of a struct in it, must not be null.
fn no_nulls(field: &Field, array: &ArrayRef, path: &str) -> Result<()> {
    if !field.is_nullable()
        && let Some(nulls) = array.logical_nulls().filter(|n| n.null_count() > 0)
    {
        let row = (0..nulls.len()).find(|row| nulls.is_null(*row)).unwrap_or(0);
        return Err(TableError::NotNull { column: path.to_owned(), row: row as u64 });
    }
    if let (DataType::Struct(fields), Some(structs)) = (field.data_type(), array.as_struct_opt()) {
        for (field, array) in fields.iter().zip(structs.columns()) {
            // Where the struct itself is null, its fields are.
            let visible = match structs.nulls() {
                Some(nulls) if nulls.null_count() > 0 && !field.is_nullable() => {
                    let valid = BooleanArray::new(nulls.inner().clone(), None);
                    arrow_select::filter::filter(array, &valid)
                        .map_err(TableError::compute("looking for nulls"))?
                }
                _ => array.clone(),
            };
            no_nulls(field, &visible, &format!("{path}.{}", field.name()))?;
        }
    }
    Ok(())
}
