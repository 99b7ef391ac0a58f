//! Nested columns under the names that people know, where files have others (column mapping).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, make_array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::arrow::array::ArrayData;
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use deltalite_table::schema;

/// The type with the names that fields have in files.
pub(super) fn in_files(data_type: &DataType) -> DataType {
    let named = |f: &FieldRef| {
        let inner = in_files(f.data_type());
        Arc::new(Field::new(schema::physical_name(f), inner, f.is_nullable()))
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(named).collect()),
        DataType::List(f) => DataType::List(named(f)),
        DataType::Map(f, sorted) => DataType::Map(named(f), *sorted),
        other => other.clone(),
    }
}

/// A column's values with other names for the fields below it. Nothing is copied.
#[derive(Debug, Eq)]
pub(super) struct Named {
    values: Arc<dyn PhysicalExpr>,
    /// The same type but for names.
    data_type: DataType,
}

impl Named {
    pub(super) fn new(values: Arc<dyn PhysicalExpr>, data_type: DataType) -> Self {
        Self { values, data_type }
    }
}

// Not derived: comparing what an `Arc` of a trait has would move it.
impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.values.eq(&other.values) && self.data_type == other.data_type
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.values.hash(state);
        self.data_type.hash(state);
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}

fn named(data: ArrayData, data_type: &DataType) -> Result<ArrayData> {
    let below: Vec<&DataType> = match data_type {
        DataType::Struct(fields) => fields.iter().map(|f| f.data_type()).collect(),
        DataType::List(f) | DataType::Map(f, _) => vec![f.data_type()],
        _ => return Ok(data),
    };
    let children = data.child_data().iter().cloned().zip(below);
    let children = children.map(|(child, data_type)| named(child, data_type)).collect::<Result<Vec<_>>>()?;
    Ok(data.into_builder().data_type(data_type.clone()).child_data(children).build()?)
}

impl PhysicalExpr for Named {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.values.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values: ArrayRef = self.values.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(make_array(named(values.to_data(), &self.data_type)?)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.values]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let values = children.pop().unwrap_or_else(|| self.values.clone());
        Ok(Arc::new(Self::new(values, self.data_type.clone())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt_sql(f)
    }
}
