//! Reading the rows of a version.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use deltalite_format::predicate::Predicate;
use deltalite_format::reader::read_type;
use deltalite_shard::scan::{AsyncScan, DecodeOn, Scan, ScanMetrics, ScanStream};
use futures::Stream;

use super::snapshot::TableSnapshot;
use super::{TableFile, builder_future};
use crate::error::{Result, TableError};

/// Rows of a version to be read.
///
/// ```no_run
/// # fn main() -> Result<(), deltalite_table::TableError> {
/// use deltalite_format::predicate::col;
/// use deltalite_table::DeltaLiteTable;
/// let table = DeltaLiteTable::open("orders").execute()?;
/// for batch in table.scan().columns(["id", "price"]).filter(col("price").gt(100)).execute()? {
///     println!("{} rows", batch?.num_rows());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TableScan {
    snapshot: Arc<TableSnapshot>,
    columns: Option<Vec<String>>,
    predicate: Option<Predicate>,
    limit: Option<u64>,
    batch_rows: Option<usize>,
    row_numbers: Option<String>,
    ordered: bool,
    decode_on: DecodeOn,
}

impl TableScan {
    pub(crate) fn new(snapshot: Arc<TableSnapshot>) -> Self {
        Self {
            snapshot,
            columns: None,
            predicate: None,
            limit: None,
            batch_rows: None,
            row_numbers: None,
            ordered: true,
            decode_on: DecodeOn::default(),
        }
    }

    /// Columns wanted, in this order; all without.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Rows wanted.
    #[must_use]
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.predicate = Some(predicate);
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Most rows of a batch, 1 to 65,536.
    #[must_use]
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// Whether rows come file by file, in their order. Default yes; an unordered scan keeps every shard busy to the end.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Where batches are decoded.
    #[must_use]
    pub fn decode_on(mut self, place: DecodeOn) -> Self {
        self.decode_on = place;
        self
    }

    /// Yield each row's number in its file as a last column.
    pub(crate) fn row_numbers(mut self, name: &str) -> Self {
        self.row_numbers = Some(name.to_owned());
        self
    }

    /// Starts reading.
    ///
    /// # Errors
    /// For unknown columns, a condition that doesn't fit, files that are missing or damaged.
    pub fn execute(self) -> Result<TableStream> {
        let files = self.snapshot.files(self.predicate.as_ref())?;
        self.of_files(&files)
    }

    /// Starts reading some of the files.
    pub(crate) fn of_files(self, files: &[TableFile]) -> Result<TableStream> {
        let mut schema = self.schema()?;
        if files.is_empty() {
            return Ok(TableStream { stream: None, schema, snapshot: self.snapshot });
        }
        let open = files.iter().map(TableFile::open).collect::<Result<Vec<_>>>()?;
        let mut scan = Scan::over(open).ordered(self.ordered).decode_on(self.decode_on);
        if let Some(columns) = self.columns {
            scan = scan.columns(columns);
        }
        if let Some(predicate) = self.predicate {
            scan = scan.filter(predicate);
        }
        if let Some(limit) = self.limit {
            scan = scan.limit(limit);
        }
        if let Some(rows) = self.batch_rows {
            scan = scan.batch_rows(rows);
        }
        if let Some(name) = self.row_numbers {
            scan = scan.row_numbers(name);
        }
        let stream = scan.start(&self.snapshot.core.context.shards)?;
        schema.clone_from(stream.schema());
        Ok(TableStream { stream: Some(stream), schema, snapshot: self.snapshot })
    }

    /// The schema of the batches.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let table = self.snapshot.schema();
        let fields = match &self.columns {
            None => table.fields().iter().cloned().collect::<Vec<_>>(),
            Some(names) => names
                .iter()
                .map(|name| Ok(table.field(self.snapshot.schema.column(name)?).clone().into()))
                .collect::<Result<Vec<_>>>()?,
        };
        let read = |f: &Field| {
            Field::new(f.name(), read_type(f.data_type()), f.is_nullable())
                .with_metadata(f.metadata().clone())
        };
        Ok(Arc::new(Schema::new(fields.iter().map(|f| read(f)).collect::<Vec<_>>())))
    }
}

builder_future!(TableScan => AsyncTableStream, |scan: TableScan| scan.execute().map(TableStream::into_async));

/// The rows of a scan: an iterator of batches. Dropping it ends the scan.
#[derive(Debug)]
pub struct TableStream {
    stream: Option<ScanStream>,
    schema: SchemaRef,
    /// Keeps the files.
    snapshot: Arc<TableSnapshot>,
}

impl TableStream {
    /// The batches' schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The version that is read.
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.snapshot
    }

    /// What the scan did so far; nothing if there was nothing to read.
    pub fn metrics(&self) -> Option<ScanMetrics> {
        self.stream.as_ref().map(ScanStream::metrics)
    }

    /// The same as a [`Stream`].
    pub fn into_async(self) -> AsyncTableStream {
        AsyncTableStream {
            stream: self.stream.map(ScanStream::into_async),
            schema: self.schema,
            snapshot: self.snapshot,
        }
    }

    /// All rows in one batch.
    ///
    /// # Errors
    /// When reading fails, or they are too many for one.
    pub fn collect_batch(self) -> Result<RecordBatch> {
        let schema = self.schema.clone();
        let batches = self.collect::<Result<Vec<_>>>()?;
        arrow_select::concat::concat_batches(&schema, &batches)
            .map_err(TableError::compute("joining the rows of a scan"))
    }
}

impl Iterator for TableStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.stream.as_mut()?.next()?.map_err(TableError::from))
    }
}

/// The rows of a scan, for any async runtime.
#[derive(Debug)]
pub struct AsyncTableStream {
    stream: Option<AsyncScan>,
    schema: SchemaRef,
    snapshot: Arc<TableSnapshot>,
}

impl AsyncTableStream {
    /// The version that is read.
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.snapshot
    }

    /// The batches' schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Stream for AsyncTableStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.stream {
            None => Poll::Ready(None),
            Some(stream) => {
                Pin::new(stream).poll_next(cx).map(|next| next.map(|b| b.map_err(TableError::from)))
            }
        }
    }
}
