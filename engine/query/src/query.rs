//! A statement that is planned, and the rows it yields.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tokio::time::Sleep;

use crate::error::{QueryError, Result};

/// A statement that is planned and not yet running.
pub struct Query {
    schema: SchemaRef,
    text: Arc<str>,
    timeout: Option<Duration>,
    kind: Kind,
}

enum Kind {
    Plan {
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    },
    /// What a statement of ours has done: it ran when it was given.
    Done(Vec<RecordBatch>),
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("text", &self.text).finish_non_exhaustive()
    }
}

/// How far a query is.
#[derive(Debug, Clone)]
pub struct Progress(Option<Arc<dyn ExecutionPlan>>);

impl Progress {
    fn sum(&self, metric: &str) -> u64 {
        fn walk(plan: &Arc<dyn ExecutionPlan>, metric: &str) -> usize {
            let here = plan.metrics().filter(|_| plan.children().is_empty());
            let here = here.and_then(|m| m.sum_by_name(metric)).map_or(0, |v| v.as_usize());
            here + plan.children().into_iter().map(|child| walk(child, metric)).sum::<usize>()
        }
        self.0.as_ref().map_or(0, |plan| walk(plan, metric)) as u64
    }

    /// Rows that scans have yielded.
    pub fn rows_read(&self) -> u64 {
        self.sum("output_rows")
    }

    /// Bytes that were read from disks.
    pub fn bytes_read(&self) -> u64 {
        self.sum("bytes_read")
    }
}

impl Query {
    pub(crate) fn plan(
        text: &str,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        timeout: Option<Duration>,
    ) -> Self {
        Self { schema: plan.schema(), text: text.into(), timeout, kind: Kind::Plan { plan, context } }
    }

    pub(crate) fn done(text: &str, batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), text: text.into(), timeout: None, kind: Kind::Done(vec![batch]) }
    }

    /// The columns of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How far it is, while it runs.
    pub fn progress(&self) -> Progress {
        Progress(match &self.kind {
            Kind::Plan { plan, .. } => Some(plan.clone()),
            Kind::Done(_) => None,
        })
    }

    /// Starts it. Dropping the stream cancels it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn into_stream(self) -> Result<QueryStream> {
        let batches: SendableRecordBatchStream = match self.kind {
            Kind::Plan { plan, context } => {
                execute_stream(plan, context).map_err(|e| QueryError::of(e, &self.text))?
            }
            Kind::Done(batches) => {
                Box::pin(datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(
                    self.schema.clone(),
                    futures::stream::iter(batches.into_iter().map(Ok)),
                ))
            }
        };
        let timeout = self.timeout.map(|limit| (limit, Box::pin(tokio::time::sleep(limit))));
        Ok(QueryStream { batches, text: self.text, timeout, ended: false })
    }

    /// All rows.
    ///
    /// # Errors
    /// When running fails.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.into_stream()?.try_collect().await
    }
}

/// The rows of a statement that is running.
pub struct QueryStream {
    batches: SendableRecordBatchStream,
    text: Arc<str>,
    timeout: Option<(Duration, Pin<Box<Sleep>>)>,
    ended: bool,
}

impl std::fmt::Debug for QueryStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryStream").field("text", &self.text).finish_non_exhaustive()
    }
}

impl QueryStream {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.batches.schema()
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some((limit, sleep)) = &mut self.timeout
            && sleep.poll_unpin(cx).is_ready()
        {
            let seconds = limit.as_secs_f64();
            self.ended = true;
            return Poll::Ready(Some(Err(QueryError::Timeout { seconds })));
        }
        let next = self.batches.poll_next_unpin(cx);
        next.map(|next| {
            next.map(|batch| {
                batch.map_err(|e| {
                    self.ended = true;
                    QueryError::of(e, &self.text)
                })
            })
        })
    }
}
