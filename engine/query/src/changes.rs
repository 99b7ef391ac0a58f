//! `table_changes('t', from, to)` in FROM: the rows that versions of a table changed.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use deltalite_table::{DeltaLiteTable, Version};

use crate::catalog::Names;
use crate::error::QueryError;

/// Its name.
pub(crate) const NAME: &str = "table_changes";
/// Batches that wait for the query.
const BATCHES_AHEAD: usize = 2;

/// The function, for the tables of a session.
#[derive(Debug)]
pub(crate) struct TableChanges(pub(crate) Arc<Names>);

fn wrong(message: impl Into<String>) -> DataFusionError {
    let message = format!("{NAME}: {}", message.into());
    DataFusionError::External(Box::new(QueryError::NotSupported(message)))
}

fn version(expr: &Expr) -> PlanResult<Version> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => u64::try_from(*number).ok(),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(*number),
        _ => None,
    }
    .map(Version)
    .ok_or_else(|| wrong(format!("{expr} is no version; give its number")))
}

impl TableFunctionImpl for TableChanges {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> PlanResult<Arc<dyn TableProvider>> {
        let [name, from, to @ ..] = args.exprs() else {
            return Err(wrong(
                "give the table's name, the first version, and the last unless it is the newest",
            ));
        };
        let name = match name {
            Expr::Literal(value, _) => value.try_as_str().flatten(),
            _ => None,
        };
        let name = name.ok_or_else(|| wrong("the table is given by its name, in quotes"))?;
        let table = self.0.open_table(name).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let from = version(from)?;
        let to = match to {
            [] => table.version(),
            [to] => version(to)?,
            _ => return Err(wrong("too many arguments are given")),
        };
        if from > to || to > table.version() {
            return Err(wrong(format!(
                "there are no versions {from} to {to}; the newest is {}",
                table.version()
            )));
        }
        // Kept, so that no version is removed before it is read.
        let first = table.at_version(from).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let schema = table.changes_schema();
        let changes = Changes { table, first, from, to, schema: schema.clone() };
        Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(changes)])?))
    }
}

#[derive(Debug)]
struct Changes {
    table: DeltaLiteTable,
    first: DeltaLiteTable,
    from: Version,
    to: Version,
    schema: SchemaRef,
}

impl PartitionStream for Changes {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, first, from, to) = (self.table.clone(), self.first.clone(), self.from, self.to);
        let mut stream = RecordBatchReceiverStream::builder(self.schema.clone(), BATCHES_AHEAD);
        let rows = stream.tx();
        stream.spawn_blocking(move || {
            for version in (from.0..=to.0).map(Version) {
                let batches = table.changes_of(version);
                for batch in batches.map_err(|e| DataFusionError::External(Box::new(e)))? {
                    if rows.blocking_send(Ok(batch)).is_err() {
                        // Nobody wants more.
                        return Ok(());
                    }
                }
            }
            drop(first);
            Ok(())
        });
        stream.build()
    }
}
