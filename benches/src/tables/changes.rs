//! Changing rows: what deleting costs those who scan, and merging in bounded memory.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use deltalite::query::{Session, SessionOptions};
use deltalite_table::DeltaLiteTable;
use serde_json::json;

use super::python::Python;
use super::{alone, failed, rate, row, tpch};
use crate::error::{BenchError, Result};
use crate::measure::{Budget, Contestant, Residue, interleave};
use crate::report::Row;

/// Memory of the merge's operators.
const MERGE_MIB: u64 = 512;
/// Rows of a batch while tables are made.
const BATCH_ROWS: usize = 100_000;

fn scanned(table: &DeltaLiteTable) -> Result<u64> {
    let mut rows = 0;
    for batch in table.scan().execute().map_err(failed("scanning"))? {
        rows += batch.map_err(failed("scanning"))?.num_rows() as u64;
    }
    Ok(rows)
}

/// Scanning all columns before and after every hundredth row is deleted.
pub(super) fn delete_scan(folder: &Path, data_dir: &Path, scale: f64, budget: Budget) -> Result<Row> {
    let before = tpch::lineitem(folder, data_dir, scale)?;
    let path = folder.join("deleted");
    if path.exists() {
        fs::remove_dir_all(&path).map_err(BenchError::io("removing", &path))?;
    }
    let after = before.shallow_clone(&path).map_err(failed("cloning"))?;
    let files =
        |t: &DeltaLiteTable| t.snapshot().files(None).map(|f| f.len()).map_err(failed("listing files"));
    let there = files(&after)?;
    let (session, runtime) = (tpch::session(folder)?, tpch::one_thread()?);
    let delete = "DELETE FROM deleted WHERE (l_orderkey * 7 + l_linenumber) % 100 = 0";
    let ours = |e: deltalite::query::QueryError| {
        BenchError::format::<String>("deltalite", "deleting")(e.to_string())
    };
    runtime.block_on(async { session.sql(delete).await?.collect().await }).map_err(ours)?;
    after.refresh().map_err(failed("refreshing"))?;
    let (all, left) = (scanned(&before)?, scanned(&after)?);
    let share = 1.0 - left as f64 / all as f64;
    if files(&after)? != there || !(0.005..0.02).contains(&share) {
        return Err(BenchError::Usage(format!(
            "{left} of {all} rows are left in {} files of {there}",
            files(&after)?
        )));
    }
    let mut contestants = [
        Contestant::new("deltalite", || scanned(&after).map(|_| Residue::Nothing)),
        Contestant::new("before", || scanned(&before).map(|_| Residue::Nothing)),
    ];
    let samples = interleave(&mut contestants, budget)?;
    drop(contestants);
    let data =
        format!("lineitem SF{scale}, all columns, {:.1} % of rows deleted, no file rewritten", share * 100.0);
    row("delete_scan", &data, 1, "ms", 1e3, &samples, "before")
}

fn rows_of(range: std::ops::Range<usize>, step: usize, generation: i64) -> Result<RecordBatch> {
    let ids = || range.clone().map(move |n| (n * step) as i64);
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids()))),
        ("amount", Arc::new(Int64Array::from_iter_values(ids().map(|id| id % 1000 + generation)))),
        ("price", Arc::new(Float64Array::from_iter_values(ids().map(|id| id as f64 / 7.0)))),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                ids().map(|id| format!("customer {}", id * 31 % 1_000_003)),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns)
        .map_err(BenchError::format::<arrow::error::ArrowError>("arrow", "making rows"))
}

fn made(path: &Path, rows: usize, step: usize, generation: i64) -> Result<DeltaLiteTable> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(BenchError::io("removing", path))?;
    }
    let schema = rows_of(0..0, 1, 0)?.schema();
    let table = DeltaLiteTable::create(path, &schema).execute().map_err(failed("making a table"))?;
    let batches =
        (0..rows).step_by(BATCH_ROWS).map(|at| rows_of(at..(at + BATCH_ROWS).min(rows), step, generation));
    table.append(batches.collect::<Result<Vec<_>>>()?).execute().map_err(failed("appending"))?;
    Ok(table)
}

/// Merging a twentieth of a table's rows, half of them new, with two threads in bounded memory.
pub(super) fn merge(folder: &Path, rows: usize, python: Option<&RefCell<Python>>) -> Result<Vec<Row>> {
    let merged = rows / 20;
    // Every fortieth row of the target is hit, spread over all files; as many are beyond its end.
    let step = 40;
    let (target, source) = (folder.join("merge_target"), folder.join("merge_source"));
    let table = made(&target, rows, 1, 0)?;
    made(&source, merged, step, 1)?;
    let on = "MERGE INTO merge_target AS t USING merge_source AS s ON t.id = s.id \
              WHEN MATCHED THEN UPDATE SET amount = s.amount, name = s.name \
              WHEN NOT MATCHED THEN INSERT (id, amount, price, name) VALUES (s.id, s.amount, s.price, s.name)";
    let native = folder.join("merge.duckdb");
    if let Some(python) = python {
        if native.exists() {
            fs::remove_file(&native).map_err(BenchError::io("removing", &native))?;
        }
        let columns = |source: &str, count: usize, step: usize, generation: i64| {
            format!(
                "CREATE TABLE {source} AS SELECT i AS id, i % 1000 + {generation} AS amount, i / 7.0::DOUBLE AS price, \
                 'customer ' || (i * 31 % 1000003) AS name FROM (SELECT range * {step} AS i FROM range({count}))"
            )
        };
        let sql = [columns("merge_target", rows, 1, 0), columns("merge_source", merged, step, 1)];
        python.borrow_mut().call(&json!({"do": "duck_load", "path": native, "sql": sql, "threads": 2}))?;
    }
    let shards = deltalite::shards(2).map_err(|e| BenchError::Usage(e.to_string()))?;
    let options =
        SessionOptions::default().partitions(2).shards(shards).catalog(folder).memory_bytes(MERGE_MIB << 20);
    let ours =
        |e: deltalite::query::QueryError| BenchError::format::<String>("deltalite", "merging")(e.to_string());
    let session = Session::new(options).map_err(ours)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(BenchError::io("starting threads", folder))?;
    // Once each: merging again finds the new rows there.
    let start = Instant::now();
    runtime.block_on(async { session.sql(on).await?.collect().await }).map_err(ours)?;
    let seconds = start.elapsed().as_secs_f64();
    table.refresh().map_err(failed("refreshing"))?;
    let there = table.snapshot().count_rows().map_err(failed("counting"))?;
    let new = (0..merged).filter(|n| n * step >= rows).count();
    if there != Some((rows + new) as u64) {
        return Err(BenchError::Usage(format!("{there:?} rows are there, not {}", rows + new)));
    }
    let data = format!("{merged} rows into {rows}, {MERGE_MIB} MiB");
    let Some(python) = python else {
        return Ok(vec![alone("merge", &data, seconds * 1e3, f64::NAN)]);
    };
    let request = json!({"do": "duck_merge", "path": native, "sql": on, "threads": 2, "memory": format!("{MERGE_MIB}MiB")});
    let theirs = python.borrow_mut().call(&request)?["seconds"].as_f64().unwrap_or(f64::NAN);
    Ok(vec![rate("merge", &data, 2, "merges/s", 1.0 / seconds, "duckdb", 1.0 / theirs)])
}
