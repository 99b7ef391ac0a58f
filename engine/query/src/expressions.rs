//! SQL in constraints, defaults and generated columns, as tables ask for it.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use deltalite_table::schema::{Expression, Expressions};
use deltalite_table::{Result, TableError};

/// Expressions as DataFusion understands them.
#[derive(Clone, Default)]
pub struct SqlExpressions {
    session: SessionContext,
}

impl std::fmt::Debug for SqlExpressions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlExpressions")
    }
}

#[derive(Debug)]
struct Compiled(String, Arc<dyn PhysicalExpr>);

impl Expressions for SqlExpressions {
    fn compile(&self, sql: &str, schema: &SchemaRef) -> Result<Arc<dyn Expression>> {
        let wrong = |e: datafusion::error::DataFusionError| TableError::Invalid {
            what: "understanding an expression",
            detail: format!("{sql:?}: {}", e.strip_backtrace()),
        };
        let fields = DFSchema::try_from(schema.as_ref().clone()).map_err(wrong)?;
        let logical = self.session.parse_sql_expr(sql, &fields).map_err(wrong)?;
        // Rows are prepared by expressions compiled for their statement, whose time is now.
        let context =
            SimplifyContext::builder().with_schema(Arc::new(fields.clone())).with_current_time().build();
        let simple = ExprSimplifier::new(context).simplify(logical).map_err(wrong)?;
        let physical = self.session.create_physical_expr(simple, &fields).map_err(wrong)?;
        Ok(Arc::new(Compiled(sql.to_owned(), physical)))
    }
}

impl Expression for Compiled {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let value = self.1.evaluate(batch).and_then(|v| v.into_array(batch.num_rows()));
        value.map_err(|e| TableError::Invalid {
            what: "computing an expression",
            detail: format!("{:?}: {}", self.0, e.strip_backtrace()),
        })
    }
}
