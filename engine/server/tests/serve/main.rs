//! The scan server and its client, end to end: what is scanned there is what is there.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its data has failed")]

mod faults;
mod hostile;
mod limits;
mod proxy;
mod rows;

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalite_format::{FileWriter, WriterOptions};
use deltalite_remote::protocol::{At, Target};
use deltalite_remote::{Client, ClientOptions, RemoteScan, RemoteTable, Result};
use deltalite_server::{Server, ServerOptions};
use deltalite_shard::executor::{IoMode, ShardOptions, ShardSet};
use futures::TryStreamExt;

pub(crate) fn shards(io: IoMode) -> Arc<ShardSet> {
    let options = ShardOptions { io, ..ShardOptions::with_shards(2).unwrap() };
    Arc::new(ShardSet::start(options.arena(32 << 20)).unwrap())
}

pub(crate) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("part", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// Rows `from..to`.
pub(crate) fn rows(from: i64, to: i64) -> RecordBatch {
    let names =
        (from..to).map(|i| (i % 11 != 0).then(|| format!("name {} of some length", i * 7919 % 10_007)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(from..to)),
        Arc::new(Int64Array::from_iter_values((from..to).map(|i| i % 97))),
        Arc::new(names.collect::<StringArray>()),
    ];
    RecordBatch::try_new(self::columns(), columns).unwrap()
}

pub(crate) fn write_file(path: &Path, count: i64) {
    let options = WriterOptions { block_bytes: 2 << 20, ..WriterOptions::default() };
    let mut writer = FileWriter::new(std::fs::File::create(path).unwrap(), &columns(), options).unwrap();
    for from in (0..count).step_by(50_000) {
        writer.write(&rows(from, (from + 50_000).min(count))).unwrap();
    }
    writer.finish().unwrap();
}

pub(crate) fn serve(folder: &Path, io: IoMode) -> Server {
    let options = ServerOptions::new(folder).listen("127.0.0.1:0".parse().unwrap()).on_shards(shards(io));
    Server::start(options).unwrap()
}

pub(crate) fn client(server: &Server) -> Client {
    Client::new(server.addresses()[0], ClientOptions::default())
}

pub(crate) async fn open(server: &Server, path: &str) -> Result<RemoteTable> {
    RemoteTable::of(client(server), Target { path: path.to_owned(), at: At::Latest }).await
}

/// All rows of a scan, as one batch.
pub(crate) async fn collect(scan: RemoteScan) -> Result<RecordBatch> {
    let stream = scan.start().await?;
    let schema = Arc::clone(stream.schema());
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(arrow_select::concat::concat_batches(&schema, &batches).unwrap())
}

/// What the same scan yields without a server.
pub(crate) fn embedded(scan: deltalite_shard::scan::Scan, shards: &Arc<ShardSet>) -> RecordBatch {
    let stream = scan.start(shards).unwrap();
    let schema = stream.schema().clone();
    let batches: Vec<RecordBatch> = stream.map(|batch| batch.unwrap()).collect();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

/// The same columns with the same rows; what else a schema says does not travel.
#[track_caller]
pub(crate) fn same(a: &RecordBatch, b: &RecordBatch) {
    let names = |batch: &RecordBatch| {
        batch.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
    };
    assert_eq!((names(a), a.num_rows()), (names(b), b.num_rows()));
    assert!(a.columns() == b.columns(), "rows differ");
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
