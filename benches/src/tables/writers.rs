//! Many who commit: how fast, and whom it ends.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use deltalite_format::predicate::col;
use deltalite_table::{DeltaLiteTable, TableError};
use serde_json::json;

use super::python::Python;
use super::{failed, rate};
use crate::error::{BenchError, Result};
use crate::measure::median;
use crate::report::Row;

/// Rows of an append.
const ROWS: i64 = 10;
/// Threads of the cases of many.
const WRITERS: usize = 64;

fn batch(from: i64, rows: i64) -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((from..from + rows).map(|n| n as f64)));
    RecordBatch::try_from_iter([("id", ids), ("value", values)])
        .map_err(BenchError::format::<arrow::error::ArrowError>("arrow", "making rows"))
}

fn table(folder: &Path) -> Result<DeltaLiteTable> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(BenchError::io("removing", folder))?;
    }
    let table = DeltaLiteTable::create(folder, &batch(0, 0)?.schema());
    table.execute().map_err(failed("making a table"))
}

/// Appends of so many writers; seconds of all.
fn append(table: &DeltaLiteTable, writers: usize, each: usize) -> Result<f64> {
    let start = Instant::now();
    thread::scope(|scope| {
        let handles: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || -> Result<()> {
                    for n in 0..each {
                        let rows = batch(((writer * each + n) as i64) * ROWS, ROWS)?;
                        table.append([rows]).execute().map_err(failed("appending"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        handles.into_iter().try_for_each(|h| {
            h.join().unwrap_or_else(|_| Err(BenchError::Usage("a writer panicked".to_owned())))
        })
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds that a new, durable file of a few bytes costs.
fn fsync(folder: &Path) -> Result<f64> {
    let path = folder.join("sync");
    let start = Instant::now();
    let mut file = File::create(&path).map_err(BenchError::io("creating", &path))?;
    file.write_all(&[1; 1024]).map_err(BenchError::io("writing", &path))?;
    file.sync_all().map_err(BenchError::io("syncing", &path))?;
    let seconds = start.elapsed().as_secs_f64();
    drop(file);
    fs::remove_file(&path).map_err(BenchError::io("removing", &path))?;
    Ok(seconds)
}

/// Appends of one writer, each next to what the disk's own syncing costs at that moment; seconds of both.
fn append_beside_fsync(folder: &Path, table: &DeltaLiteTable, times: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut ours, mut syncs) = (Vec::new(), Vec::new());
    for n in 0..times {
        let rows = batch(n as i64 * ROWS, ROWS)?;
        let start = Instant::now();
        table.append([rows]).execute().map_err(failed("appending"))?;
        ours.push(start.elapsed().as_secs_f64());
        syncs.push(fsync(folder)?);
    }
    Ok((ours, syncs))
}

/// Appends of ten rows, durable: by one writer and by many, against `deltalake` and the disk's own syncing.
pub(super) fn commits(folder: &Path, quick: bool, python: Option<&RefCell<Python>>) -> Result<Vec<Row>> {
    let (rounds, each) = if quick { (2, 10) } else { (5, 20) };
    let mut rows = Vec::new();
    for (case, writers) in [("append_1", 1), ("commits_64", WRITERS)] {
        let (mut ours, mut p50, mut theirs, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let table = table(&folder.join("appended"))?;
            if writers == 1 {
                let (taken, beside) = append_beside_fsync(folder, &table, each * 10)?;
                ours.push(taken.len() as f64 / taken.iter().sum::<f64>());
                p50.push(median(&taken));
                syncs.push(median(&beside));
            } else {
                ours.push((writers * each) as f64 / append(&table, writers, each)?);
                let beside = (0..50).map(|_| fsync(folder)).collect::<Result<Vec<f64>>>()?;
                syncs.push(median(&beside));
            }
            if let Some(python) = python {
                let each = if writers == 1 { 20 } else { 2 };
                let path = folder.join("appended-delta");
                let request = json!({"do": "delta_commits", "path": path, "writers": writers, "each": each, "rows": ROWS});
                let answer = python.borrow_mut().call(&request)?;
                let of =
                    |name: &str| answer.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
                theirs.push(of("commits") / of("seconds"));
            }
        }
        let data = format!("{ROWS} rows a commit, {writers} writers");
        if !theirs.is_empty() {
            rows.push(rate(case, &data, writers, "commits/s", median(&ours), "deltalake", median(&theirs)));
        }
        rows.push(rate(case, &data, writers, "commits/s", median(&ours), "fsync", 1.0 / median(&syncs)));
        if writers == 1 {
            let (ours, theirs) = (median(&p50) * 1e3, median(&syncs) * 1e3);
            let mut row = rate("append_1_p50", &data, 1, "ms", ours, "fsync", theirs);
            row.ratio = theirs / ours;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// How many of some were ended by a conflict.
fn aborts(case: &str, data: &str, aborted: u64, of: u64) -> Row {
    let mut row = rate(case, data, WRITERS, "aborts", aborted as f64, "commits", of as f64);
    row.ratio = 1.0 - aborted as f64 / of.max(1) as f64;
    row
}

fn ended(result: std::result::Result<deltalite_table::Outcome, TableError>) -> Result<bool> {
    match result {
        Ok(_) => Ok(false),
        Err(TableError::Conflict(_)) => Ok(true),
        Err(error) => Err(failed("committing")(error)),
    }
}

/// Writers that have read one version delete different rows of one file.
pub(super) fn disjoint(folder: &Path) -> Result<Row> {
    let table = table(&folder.join("disjoint"))?;
    table.append([batch(0, 100 * WRITERS as i64)?]).execute().map_err(failed("appending"))?;
    let barrier = Barrier::new(WRITERS);
    let aborted = AtomicU64::new(0);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..WRITERS as u64)
            .map(|writer| {
                let (table, barrier, aborted) = (&table, &barrier, &aborted);
                scope.spawn(move || -> Result<()> {
                    let mut txn = table.begin().map_err(failed("beginning"))?;
                    let snapshot = txn.snapshot().clone();
                    let file = snapshot.files(None).map_err(failed("listing files"))?.remove(0);
                    let mine =
                        (0..100 * WRITERS as u64).filter(|row| row % WRITERS as u64 == writer).collect();
                    txn.read_rows(&file.add.path, &mine);
                    txn.delete_rows(&file, &mine).map_err(failed("deleting rows"))?;
                    barrier.wait();
                    if ended(txn.commit("DELETE", []))? {
                        aborted.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        handles.into_iter().try_for_each(|h| {
            h.join().unwrap_or_else(|_| Err(BenchError::Usage("a writer panicked".to_owned())))
        })
    })?;
    table.refresh().map_err(failed("refreshing"))?;
    let left = table.snapshot().count_rows().map_err(failed("counting"))?;
    if left != Some(100 * aborted.load(Ordering::Relaxed)) {
        return Err(BenchError::Usage(format!("{left:?} rows are left after all were deleted")));
    }
    Ok(aborts(
        "disjoint_aborts",
        "different rows of one file",
        aborted.load(Ordering::Relaxed),
        WRITERS as u64,
    ))
}

/// Rows are deleted and updated while files are compacted, again and again.
pub(super) fn optimize(folder: &Path) -> Result<Row> {
    const STATEMENTS: i64 = 200;
    let table = table(&folder.join("optimized"))?;
    for n in 0..20 {
        table.append([batch(n * 1000, 1000)?]).execute().map_err(failed("appending"))?;
    }
    let (done, aborted, compactions) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| -> Result<()> {
        let compacting = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Acquire) {
                let own = table.clone();
                // Nothing is run again here: a conflict counts.
                if ended(own.optimize().zorder_by(["value"]).execute())? {
                    aborted.fetch_add(1, Ordering::Relaxed);
                }
                compactions.fetch_add(1, Ordering::Relaxed);
                own.append([batch(1_000_000, 10)?]).execute().map_err(failed("appending"))?;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let changed = (|| {
            for n in 0..STATEMENTS {
                let mut txn = table.begin().map_err(failed("beginning"))?;
                let snapshot = txn.snapshot().clone();
                let files = snapshot.files(Some(&col("id").eq(n * 100))).map_err(failed("listing files"))?;
                for file in files {
                    let deleted = file.deleted().map_err(failed("reading deleted rows"))?;
                    let stats = file.add.stats().map_err(failed("reading statistics"))?;
                    let rows = stats.and_then(|s| s.num_records).unwrap_or(0);
                    let Some(row) = (0..rows).find(|row| !deleted.contains(*row)) else { continue };
                    let mine = [row].into_iter().collect();
                    txn.read_rows(&file.add.path, &mine);
                    txn.delete_rows(&file, &mine).map_err(failed("deleting rows"))?;
                }
                if ended(txn.commit("DELETE", []))? {
                    aborted.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        })();
        done.store(true, Ordering::Release);
        let compacted = compacting
            .join()
            .unwrap_or_else(|_| Err(BenchError::Usage("the compaction panicked".to_owned())));
        changed.and(compacted)
    })?;
    let all = STATEMENTS as u64 + compactions.load(Ordering::Relaxed);
    Ok(aborts(
        "optimize_aborts",
        "deletions while OPTIMIZE ZORDER runs",
        aborted.load(Ordering::Relaxed),
        all,
    ))
}
