//! The rows of a part, to a stream with credit.
//!
//! Nothing is read before there is room to send it: a reader that stops stops the disk. Batches that a filter left small are
//! put together before they are sent.

use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat_batches;
use deltalite_net::call::Call;
use deltalite_net::{ErrorKind, Result, RpcError};
use deltalite_remote::batch;
use deltalite_remote::protocol::ReadSplit;
use deltalite_shard::scan::{AsyncScan, LocalScan, Scan, ScanFile};
use futures::StreamExt;

use crate::error;
use crate::service::{Caller, ScanService};

/// The column of rows' numbers, which does not travel.
const POSITION: &str = "__deltalite_position";
/// Bytes that a message should have, about; and at least, where rows keep coming.
const MESSAGE_BYTES: usize = 512 << 10;
const MESSAGE_BYTES_MIN: usize = 64 << 10;
/// How long rows wait for others to travel with.
const GATHER_MAX: Duration = Duration::from_millis(5);
/// Rows of a batch.
const BATCH_ROWS: std::ops::RangeInclusive<usize> = 1024..=65_536;

/// A scan on this shard, or on all.
pub(crate) enum Batches {
    Local(LocalScan),
    Shards(AsyncScan),
}

impl Batches {
    fn schema(&self) -> &SchemaRef {
        match self {
            Self::Local(scan) => scan.schema(),
            Self::Shards(scan) => scan.schema(),
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let next = match self {
            Self::Local(scan) => scan.next().await,
            Self::Shards(scan) => scan.next().await.transpose(),
        };
        next.map_err(|e| error::of_shard(&e))
    }
}

/// Bytes of a row, about.
fn row_bytes(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 1,
        DataType::Utf8View | DataType::BinaryView => 32,
        DataType::Struct(fields) => fields.iter().map(|f| row_bytes(f.data_type())).sum(),
        other => other.primitive_width().unwrap_or(32),
    }
}

/// The scan that a request asks for.
pub(crate) fn plan(request: &ReadSplit, file: ScanFile, schema: &SchemaRef) -> Result<Scan> {
    let mut split = request.split.spec(file.file.meta().file());
    if let Some(resume) = request.resume_at {
        let rows = split.rows.take().unwrap_or(0..u64::MAX);
        split.rows = Some(rows.start.max(resume)..rows.end.max(resume));
    }
    let columns: Vec<&str> = match &request.columns {
        Some(columns) => columns.iter().map(String::as_str).collect(),
        None => schema.fields().iter().map(|f| f.name().as_str()).collect(),
    };
    let width: usize = columns
        .iter()
        .filter_map(|name| schema.field_with_name(name).ok())
        .map(|field| row_bytes(field.data_type()))
        .sum();
    let rows = (MESSAGE_BYTES / width.max(1)).clamp(*BATCH_ROWS.start(), *BATCH_ROWS.end());
    let mut scan = Scan::over([ScanFile { split: Some(split), ..file }])
        .columns(columns)
        .row_numbers(POSITION)
        .batch_rows(rows);
    if let Some(predicate) = &request.predicate {
        scan = scan.filter(predicate.decode()?);
    }
    if let Some(limit) = request.limit {
        scan = scan.limit(limit);
    }
    Ok(scan)
}

/// Sends what a scan yields.
pub(crate) async fn send(
    call: &mut Call,
    mut batches: Batches,
    schema: &SchemaRef,
    request: &ReadSplit,
    service: &ScanService,
    caller: &Caller,
) -> Result<()> {
    check_columns(batches.schema(), schema, request)?;
    let mut gathered: Vec<RecordBatch> = Vec::new();
    let (mut bytes, mut position, mut since) = (0, 0, Instant::now());
    // The first messages are small: they are there soon, and pass where connections do not last.
    let mut target = MESSAGE_BYTES_MIN;
    loop {
        // Nothing is read that could not be sent.
        call.room(MESSAGE_BYTES_MIN as u64).await?;
        let batch = batches.next().await?;
        let last = batch.is_none();
        if let Some(mut batch) = batch.filter(|batch| batch.num_rows() > 0) {
            let numbers = batch.remove_column(batch.num_columns() - 1);
            let numbers = numbers.as_primitive::<UInt64Type>();
            if gathered.is_empty() {
                since = Instant::now();
            }
            let width = (value_bytes(&batch) / batch.num_rows()).max(1);
            let mut from = 0;
            while from < batch.num_rows() {
                let rows = (target.saturating_sub(bytes) / width).max(1).min(batch.num_rows() - from);
                // Not a small rest for a message of its own.
                let rest = batch.num_rows() - from - rows;
                let rows = if rest < rows / 2 { rows + rest } else { rows };
                gathered.push(batch.slice(from, rows));
                bytes += rows * width;
                from += rows;
                position = numbers.value(from - 1) + 1;
                if bytes >= target {
                    flush(call, &mut gathered, position, service, caller).await?;
                    (bytes, target) = (0, (target * 2).min(MESSAGE_BYTES));
                }
            }
        }
        if !gathered.is_empty() && (bytes >= MESSAGE_BYTES_MIN || since.elapsed() >= GATHER_MAX || last) {
            flush(call, &mut gathered, position, service, caller).await?;
            bytes = 0;
        }
        if last {
            call.end();
            return Ok(());
        }
    }
}

/// Sends what was gathered as one message.
async fn flush(
    call: &mut Call,
    gathered: &mut Vec<RecordBatch>,
    position: u64,
    service: &ScanService,
    caller: &Caller,
) -> Result<()> {
    let whole = match &gathered[..] {
        [one] => one.clone(),
        several => concat_batches(&several[0].schema(), several)
            .map_err(|e| RpcError::new(ErrorKind::Internal, "batches can't be put together").caused_by(e))?,
    };
    gathered.clear();
    let metrics = &service.common.metrics;
    metrics.rows_sent.inc_by(whole.num_rows() as u64);
    let (meta, payload) = batch::encode(&whole, position)?;
    let bytes = payload.iter().map(bytes::Bytes::len).sum::<usize>();
    metrics.bytes_sent.inc_by(bytes as u64);
    drop(whole);
    service.pace(caller, bytes).await;
    call.send(meta, payload).await
}

/// Bytes of a batch's values, about: views with what they show, not with all that their buffers have.
fn value_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| row_bytes(column.data_type()) * column.len()).sum()
}

/// What is sent has to be what the client was told it would be.
fn check_columns(scanned: &SchemaRef, told: &SchemaRef, request: &ReadSplit) -> Result<()> {
    let yielded = &scanned.fields()[..scanned.fields().len() - 1];
    let fits = match &request.columns {
        None => yielded.len() == told.fields().len(),
        Some(columns) => yielded.len() == columns.len(),
    } && yielded.iter().all(|field| {
        told.field_with_name(field.name())
            .is_ok_and(|told| told.data_type().equals_datatype(field.data_type()))
    });
    if fits {
        return Ok(());
    }
    Err(RpcError::new(ErrorKind::Internal, "a file's columns are read as other types than its table's"))
}
