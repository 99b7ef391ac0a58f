//! Columns found by their numbers, where a table maps them so: their names in files may be any.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use deltalite_format::schema::field_id;
use deltalite_table::schema::physical_name;

use super::names::Named;

/// The names that a table has for the numbers of its columns and of the fields below them.
#[derive(Debug)]
pub(super) struct ByNumber(HashMap<u32, String>);

impl ByNumber {
    pub(super) fn new(columns: &Fields) -> Self {
        let mut names = HashMap::new();
        gather(columns, &mut names);
        Self(names)
    }

    /// A field of a file under the table's name for it. Of what has no number that the table knows, nothing is found.
    fn named(&self, field: &Field) -> Field {
        let name = field_id(field).and_then(|id| self.0.get(&id));
        let name = name.cloned().unwrap_or_else(|| format!("\0{}", field.name()));
        field.clone().with_name(name).with_data_type(self.below(field.data_type()))
    }

    fn below(&self, data_type: &DataType) -> DataType {
        // Lists and maps name what they hold themselves.
        let held = |f: &FieldRef| Arc::new(f.as_ref().clone().with_data_type(self.below(f.data_type())));
        match data_type {
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| self.named(f)).collect()),
            DataType::List(f) => DataType::List(held(f)),
            DataType::Map(entries, sorted) => match entries.data_type() {
                DataType::Struct(pair) => {
                    let pair = DataType::Struct(pair.iter().map(held).collect());
                    DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), *sorted)
                }
                _ => data_type.clone(),
            },
            other => other.clone(),
        }
    }
}

fn gather(fields: &Fields, into: &mut HashMap<u32, String>) {
    for field in fields {
        if let Some(id) = field_id(field) {
            into.insert(id, physical_name(field).to_owned());
        }
        gather_below(field.data_type(), into);
    }
}

fn gather_below(data_type: &DataType, into: &mut HashMap<u32, String>) {
    match data_type {
        DataType::Struct(fields) => gather(fields, into),
        DataType::List(f) | DataType::Map(f, _) => gather_below(f.data_type(), into),
        _ => {}
    }
}

impl PhysicalExprAdapterFactory for ByNumber {
    fn create(&self, logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        // Files of before the table had numbers.
        if physical.fields().iter().all(|f| field_id(f).is_none()) {
            return DefaultPhysicalExprAdapterFactory.create(logical, physical);
        }
        let fields: Vec<Field> = physical.fields().iter().map(|f| self.named(f)).collect();
        let named = Arc::new(Schema::new_with_metadata(fields, physical.metadata().clone()));
        let inner = DefaultPhysicalExprAdapterFactory.create(logical, named.clone())?;
        Ok(Arc::new(Renaming { inner, named, physical }))
    }
}

/// Brings conditions and columns to a file whose columns have the table's names, and then to the file's own.
#[derive(Debug)]
struct Renaming {
    inner: Arc<dyn PhysicalExprAdapter>,
    named: SchemaRef,
    physical: SchemaRef,
}

impl PhysicalExprAdapter for Renaming {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let in_file = |expr: Arc<dyn PhysicalExpr>| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let Ok(at) = self.named.index_of(column.name()) else { return Ok(Transformed::no(expr)) };
            let (own, named) = (self.physical.field(at), self.named.field(at));
            let own_column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(own.name(), at));
            let same = own.data_type() == named.data_type();
            Ok(Transformed::yes(if same {
                own_column
            } else {
                Arc::new(Named::new(own_column, named.data_type().clone()))
            }))
        };
        self.inner.rewrite(expr)?.transform_up(in_file).data()
    }
}
