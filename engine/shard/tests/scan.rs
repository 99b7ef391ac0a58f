//! Scans seen from outside: every way of consuming one yields the same rows, and what can go wrong does so clearly.

#![allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use deltalite_format::predicate::{col, lit};
use deltalite_format::split::plan_splits;
use deltalite_format::{FileWriter, WriterOptions};
use deltalite_shard::ShardError;
use deltalite_shard::executor::{IoMode, ShardOptions, ShardSet};
use deltalite_shard::scan::{DataFile, DecodeOn, RowReader, Scan, Verify};
use futures::StreamExt;

const ROWS: i64 = 300_000;

fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone()));
    let prices: ArrayRef =
        Arc::new(rows.clone().map(|i| (i % 7 != 0).then_some(i as f64 / 100.0)).collect::<Float64Array>());
    let names: ArrayRef = Arc::new(
        rows.map(|i| (i % 5 != 0).then(|| format!("name of row {i} in group {}", i % 97)))
            .collect::<StringArray>(),
    );
    RecordBatch::try_from_iter_with_nullable([
        ("id", ids, false),
        ("price", prices, true),
        ("name", names, true),
    ])
    .unwrap()
}

fn write(path: &Path, rows: std::ops::Range<i64>) {
    let whole = batch(rows);
    let options = WriterOptions { block_rows: 100_000, ..WriterOptions::default() };
    let file = std::fs::File::create(path).unwrap();
    let mut writer = FileWriter::new(file, &whole.schema(), options).unwrap();
    writer.write(&whole).unwrap();
    writer.finish().unwrap();
}

struct Data {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn data() -> Data {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.dlb");
    write(&path, 0..ROWS);
    Data { _folder: folder, path }
}

fn shards(n: u32, io: IoMode) -> Arc<ShardSet> {
    let options = ShardOptions { io, ..ShardOptions::with_shards(n).unwrap().arena(24 << 20) };
    Arc::new(ShardSet::start(options).unwrap())
}

fn collect(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, ShardError>>,
) -> RecordBatch {
    let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>().unwrap();
    concat_batches(schema, &batches).unwrap()
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn rows_of(scan: Scan, shards: &Arc<ShardSet>) -> RecordBatch {
    let stream = scan.start(shards).unwrap();
    let schema = stream.schema().clone();
    collect(&schema, stream)
}

#[test]
fn every_way_of_consuming_yields_the_same_rows() {
    let data = data();
    let file = DataFile::open(&data.path).unwrap();
    for io in [IoMode::Auto, IoMode::Threads] {
        let shards = shards(2, io);
        let scan = || Scan::of(file.clone()).filter(col("id").gt(lit(5)).and(col("id").lt(lit(250_000))));
        let wanted: Vec<i64> = (6..250_000).collect();
        for decode_on in [DecodeOn::Shards, DecodeOn::Caller] {
            let rows = rows_of(scan().decode_on(decode_on), &shards);
            assert_eq!(ids(&rows), wanted, "{decode_on:?}");
        }
        let mut unordered = ids(&rows_of(scan().ordered(false), &shards));
        unordered.sort_unstable();
        assert_eq!(unordered, wanted);

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let from_async = runtime.block_on(async {
            let mut scan = scan().start(&shards).unwrap().into_async();
            let mut all = Vec::new();
            while let Some(batch) = scan.next().await {
                all.extend(ids(&batch.unwrap()));
            }
            all
        });
        assert_eq!(from_async, wanted);

        let inside = scan();
        let inside = shards
            .spawn_on(1, deltalite_shard::device::IoClass::Scan, move |shard| async move {
                let mut scan = inside.start_on(&shard).unwrap();
                let mut all = Vec::new();
                while let Some(batch) = scan.next().await.unwrap() {
                    all.extend(ids(&batch));
                }
                all
            })
            .unwrap();
        assert_eq!(inside.join().unwrap(), wanted);
    }
}

#[test]
fn columns_values_and_nulls_arrive_as_written() {
    let data = data();
    let shards = shards(2, IoMode::Auto);
    let rows =
        rows_of(Scan::of(DataFile::open(&data.path).unwrap()).columns(["name", "id", "price"]), &shards);
    let whole = batch(0..ROWS);
    assert_eq!(rows.num_rows(), whole.num_rows());
    assert_eq!(rows.column(1), whole.column(0));
    assert_eq!(rows.column(2), whole.column(1));
    let (names, written) = (rows.column(0).as_string_view(), whole.column(2).as_string::<i32>());
    assert!((0..rows.num_rows()).all(|i| names.is_null(i) == written.is_null(i)
        && (names.is_null(i) || names.value(i) == written.value(i))));
}

#[test]
fn splits_files_and_limits() {
    let data = data();
    let second = data.path.with_file_name("more.dlb");
    write(&second, ROWS..ROWS + 1000);
    let shards = shards(2, IoMode::Auto);
    let file = DataFile::open(&data.path).unwrap();
    for target in [1, 50_000, 1 << 40] {
        let mut all = Vec::new();
        for split in plan_splits(file.meta(), target) {
            all.extend(ids(&rows_of(Scan::of(file.clone()).columns(["id"]).split(0, split), &shards)));
        }
        assert_eq!(all, (0..ROWS).collect::<Vec<_>>(), "splits of {target} bytes");
    }
    let both = vec![file.clone(), DataFile::open(&second).unwrap()];
    assert_eq!(ids(&rows_of(Scan::over(both.clone()), &shards)), (0..ROWS + 1000).collect::<Vec<_>>());
    for decode_on in [DecodeOn::Shards, DecodeOn::Caller] {
        for limit in [0, 1, 70_000, ROWS as u64 + 5] {
            let rows = rows_of(Scan::over(both.clone()).limit(limit).decode_on(decode_on), &shards);
            assert_eq!(ids(&rows), (0..limit as i64).collect::<Vec<_>>());
        }
    }
    let narrow = Scan::over(vec![file]).columns(["nam"]).start(&shards);
    let error = narrow.unwrap_err().to_string();
    assert!(error.contains("did you mean \"name\""), "{error}");
}

#[test]
fn rows_by_number_and_as_records() {
    #[derive(serde::Deserialize)]
    struct Row {
        id: i64,
        price: Option<f64>,
    }
    let data = data();
    let shards = shards(1, IoMode::Auto);
    let file = DataFile::open(&data.path).unwrap();
    let reader = RowReader::new(file.clone(), None, &shards).unwrap();
    for wanted in [vec![299_999, 0, 7, 7, 123_456], vec![3, 100_000, 200_001], vec![]] {
        let rows = reader.take(&wanted).unwrap();
        assert_eq!(ids(&rows), wanted.iter().map(|&r| r as i64).collect::<Vec<_>>());
        for (i, &row) in wanted.iter().enumerate() {
            assert_eq!(rows.column(1).is_null(i), row % 7 == 0);
            assert_eq!(rows.column(2).is_null(i), row % 5 == 0);
        }
    }
    assert!(reader.take(&[ROWS as u64]).unwrap_err().to_string().contains("beyond"));
    let scan = Scan::of(file).filter(col("id").lt(lit(20))).start(&shards).unwrap();
    let records: Vec<Row> = scan.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), 20);
    assert!(records.iter().all(|r| r.price.is_none() == (r.id % 7 == 0)));
}

#[test]
fn a_second_scan_reads_nothing_and_metrics_say_so() {
    let data = data();
    let shards = shards(1, IoMode::Auto);
    let file = DataFile::open(&data.path).unwrap();
    let mut metrics = Vec::new();
    for _ in 0..2 {
        let mut scan = Scan::of(file.clone()).start(&shards).unwrap();
        let rows: usize = scan.by_ref().map(|b| b.unwrap().num_rows()).sum();
        assert_eq!(rows as i64, ROWS);
        metrics.push(scan.metrics());
    }
    assert!(metrics[0].bytes_read > 0 && metrics[0].reads > 0);
    assert_eq!((metrics[1].bytes_read, metrics[1].cache_misses), (0, 0));
    assert!(metrics[1].cache_hits > 0);
    let mut scan = Scan::of(file).filter(col("id").lt(lit(1000))).start(&shards).unwrap();
    assert_eq!(scan.by_ref().map(|b| b.unwrap().num_rows()).sum::<usize>(), 1000);
    assert_eq!(scan.metrics().pruned.blocks_pruned, 2, "two of three blocks have no such id");
}

#[test]
fn a_slow_consumer_stops_the_reads_and_a_gone_one_ends_the_scan() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.dlb");
    let whole = batch(0..ROWS);
    let options = WriterOptions {
        block_rows: 65_536,
        profile: deltalite_format::Profile::Plain,
        ..WriterOptions::default()
    };
    let mut writer =
        FileWriter::new(std::fs::File::create(&path).unwrap(), &whole.schema(), options).unwrap();
    for _ in 0..8 {
        writer.write(&whole).unwrap();
    }
    let written = writer.finish().unwrap().bytes;
    let shards = shards(1, IoMode::Auto);
    let mut scan = Scan::of(DataFile::open(&path).unwrap()).prefetch_bytes(1 << 20).start(&shards).unwrap();
    let first = scan.next().unwrap().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let after = scan.metrics().bytes_read;
    assert!(after < written / 2, "{after} of {written} bytes read for a consumer that took one batch");
    drop(scan);
    drop(first);
    for _ in 0..200 {
        if shards.stats().unwrap()[0].tasks <= 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(shards.stats().unwrap()[0].tasks <= 1, "the scan's task did not end");
}

#[test]
fn batches_are_large_where_nothing_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let shards = shards(1, IoMode::Auto);
    let rows = |profile, columns: &[&str], batch_rows: Option<usize>| {
        let path = folder.path().join("rows.dlb");
        let options = WriterOptions { profile, ..WriterOptions::default() };
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = FileWriter::new(file, &batch(0..1).schema(), options).unwrap();
        writer.write(&batch(0..100_000)).unwrap();
        writer.finish().unwrap();
        let mut scan = Scan::of(DataFile::open(&path).unwrap()).columns(columns.iter().copied());
        if let Some(rows) = batch_rows {
            scan = scan.batch_rows(rows);
        }
        let batches: Vec<RecordBatch> = scan.start(&shards).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(batches.iter().flat_map(ids).collect::<Vec<_>>(), (0..100_000).collect::<Vec<_>>());
        batches.iter().map(RecordBatch::num_rows).max().unwrap()
    };
    let (plain, default) = (deltalite_format::Profile::Plain, deltalite_format::Profile::Default);
    assert_eq!(rows(plain, &["id"], None), 65_536);
    assert_eq!(rows(plain, &["id"], Some(1_000)), 1_000);
    assert_eq!(rows(plain, &["id", "name"], None), 16_384, "views of strings are made");
    assert_eq!(rows(default, &["id"], None), 16_384);
}

#[test]
fn a_consumer_that_keeps_everything_does_not_stop_the_scan() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.dlb");
    let whole = batch(0..ROWS);
    let options = WriterOptions { profile: deltalite_format::Profile::Plain, ..WriterOptions::default() };
    let mut writer =
        FileWriter::new(std::fs::File::create(&path).unwrap(), &whole.schema(), options).unwrap();
    for _ in 0..3 {
        writer.write(&whole).unwrap();
    }
    writer.finish().unwrap();
    let options = ShardOptions::with_shards(1).unwrap().arena(8 << 20);
    let shards = Arc::new(ShardSet::start(options).unwrap());
    let scan = Scan::of(DataFile::open(&path).unwrap()).start(&shards).unwrap();
    let kept: Vec<RecordBatch> = scan.collect::<Result<_, _>>().unwrap();
    let all: Vec<i64> = kept.iter().flat_map(ids).collect();
    assert_eq!(all, (0..3).flat_map(|_| 0..ROWS).collect::<Vec<_>>());
}

#[test]
fn damage_is_an_error_or_reported_and_never_wrong_rows() {
    let data = data();
    let file = DataFile::open(&data.path).unwrap();
    // A byte in the middle of the second block's first page of ids.
    let page = file.meta().column(0).unwrap().chunk(0, 1).unwrap().pages[0];
    let at = page.offset + u64::from(page.len) / 2;
    let handle = OpenOptions::new().read(true).write(true).open(&data.path).unwrap();
    let mut byte = [0];
    handle.read_exact_at(&mut byte, at).unwrap();
    handle.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    let shards = shards(2, IoMode::Auto);

    let changed = Scan::of(file).start(&shards).unwrap().find_map(Result::err).unwrap();
    assert_eq!(changed.code(), "DL-0305", "{changed}");

    let file = DataFile::open(&data.path).unwrap();
    let error = Scan::of(file.clone()).start(&shards).unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.code(), "DL-0202", "{error}");
    assert!(error.to_string().contains("rows.dlb at byte"), "{error}");

    let mut scan = Scan::of(file).verify(Verify::Skip).start(&shards).unwrap();
    let rows: Vec<i64> = scan.by_ref().flat_map(|b| ids(&b.unwrap())).collect();
    let skipped = scan.metrics().skipped;
    assert_eq!(skipped.len(), 1);
    let gap = skipped[0].first_row as i64..(skipped[0].first_row + skipped[0].rows) as i64;
    assert_eq!(gap.start, 100_000);
    assert_eq!(rows, (0..ROWS).filter(|i| !gap.contains(i)).collect::<Vec<_>>());
}

#[test]
fn a_file_that_vanishes_or_is_cut_is_an_error() {
    let data = data();
    let file = DataFile::open(&data.path).unwrap();
    for i in 0..3 {
        file.meta().column(i).unwrap();
    }
    let shards = shards(1, IoMode::Auto);
    let handle = OpenOptions::new().write(true).open(&data.path).unwrap();
    handle.set_len(file.meta().file_len() / 2).unwrap();
    let error = Scan::of(file.clone()).start(&shards).unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.code(), "DL-0305", "{error}");
    let salvaged = DataFile::open_salvaged(&data.path).unwrap();
    let rows = ids(&rows_of(Scan::of(salvaged), &shards));
    assert_eq!(rows, (0..100_000).collect::<Vec<_>>(), "the one complete block");
    std::fs::remove_file(&data.path).unwrap();
    let error = Scan::of(file).start(&shards).unwrap().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("rows.dlb"), "{error}");
    assert!(DataFile::open(&data.path).unwrap_err().to_string().contains("rows.dlb"));
}
