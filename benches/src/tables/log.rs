//! What a table's log costs: parsing it, opening and refreshing large tables, committing durably.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use deltalite_table::Version;
use deltalite_table::log::action::{Action, Add, CommitInfo, Metadata, Protocol, parse_commit};
use deltalite_table::log::{LocalStore, SealedCommit, Snapshot};
use serde_json::json;

use super::python::Python;
use super::{alone, failed, named, row};
use crate::error::{BenchError, Result};
use crate::measure::{Budget, Contestant, Residue, interleave};
use crate::report::Row;

/// Lines of the commit that is parsed.
const PARSED_LINES: usize = 20_000;
/// Files added by one version while the large table is made.
const FILES_A_VERSION: usize = 100_000;
/// Versions that a refresh takes in.
const REFRESHED: u64 = 100;

/// The add of a file as writers make it: with a partition value, and statistics of eight columns.
fn add(number: usize) -> Add {
    let columns = ["order", "line", "part", "supplier", "quantity", "price", "shipped", "comment"];
    let values = |offset: usize| {
        let each: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!(r#""{c}":{}"#, number * 977 + i * 31 + offset))
            .collect();
        each.join(",")
    };
    let nulls: Vec<String> = columns.iter().map(|c| format!(r#""{c}":{}"#, number % 7)).collect();
    let stats = format!(
        r#"{{"numRecords":1000000,"minValues":{{{}}},"maxValues":{{{}}},"nullCount":{{{}}}}}"#,
        values(0),
        values(100_000),
        nulls.join(",")
    );
    let day = format!("2026-{:02}-{:02}", number / 28 % 12 + 1, number % 28 + 1);
    Add {
        path: format!("day={day}/part-{number:08}-6f8e2c1a-9d3b-4c5e-8f7a-0b1c2d3e4f5a.dlb").into(),
        partition_values: [("day", Some(day.as_str()))].into_iter().collect(),
        size: 134_217_728 + number as u64,
        modification_time: 1_790_000_000_000 + number as i64,
        data_change: true,
        stats: Some(stats.into()),
        ..Add::default()
    }
}

fn first(folder: &Path) -> Result<(LocalStore, Snapshot)> {
    let store = LocalStore::create(folder).map_err(failed("making a table"))?;
    let protocol = Protocol { min_reader_version: 3, min_writer_version: 7, ..Protocol::default() };
    let metadata = Metadata { partition_columns: vec!["day".to_owned()], ..Metadata::default() };
    let actions = vec![Action::Protocol(protocol), Action::Metadata(Box::new(metadata))];
    let created = SealedCommit::first(CommitInfo::new("CREATE TABLE"), actions);
    let snapshot = put(&store, created.map_err(failed("making a table"))?)?;
    Ok((store, snapshot))
}

fn put(store: &LocalStore, commit: SealedCommit) -> Result<Snapshot> {
    let after = commit.snapshot().clone();
    let put = SealedCommit::commit(store, &[commit]).map_err(failed("committing"))?;
    match put.committed {
        1 => Ok(after),
        _ => Err(BenchError::Usage(
            "somebody else writes to the benchmark's tables; run it once at a time".to_owned(),
        )),
    }
}

fn write(store: &LocalStore, on: &Snapshot, files: std::ops::Range<usize>) -> Result<Snapshot> {
    let adds = files.map(|number| Action::Add(add(number))).collect();
    let sealed = on.seal(CommitInfo::new("WRITE"), adds).map_err(failed("sealing a commit"))?;
    put(store, sealed)
}

/// Bytes of a commit a second, into the same actions.
pub(super) fn parse(budget: Budget) -> Result<Row> {
    let mut text = Vec::new();
    for number in 0..PARSED_LINES {
        let line = serde_json::to_vec(&Action::Add(add(number)));
        text.extend(line.map_err(BenchError::format::<serde_json::Error>("serde_json", "writing a line"))?);
        text.push(b'\n');
    }
    let bytes = text.len() as f64;
    let mut contestants = [
        Contestant::new("deltalite", || {
            let actions = parse_commit(&text).map_err(failed("parsing a commit"))?;
            Ok(Residue::Kept(Box::new(actions)))
        }),
        Contestant::new("serde_json", || {
            let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let actions: std::result::Result<Vec<Action>, _> = lines.map(serde_json::from_slice).collect();
            let actions =
                actions.map_err(BenchError::format::<serde_json::Error>("serde_json", "parsing a commit"))?;
            Ok(Residue::Kept(Box::new(actions)))
        }),
    ];
    let samples = interleave(&mut contestants, budget)?;
    let rate = |name| named(&samples, name).map(|s| bytes / s.median() / 1e9);
    let (ours, theirs) = (rate("deltalite")?, rate("serde_json")?);
    Ok(Row {
        case: "log_parse".to_owned(),
        data: format!("{PARSED_LINES} adds of {:.0} bytes", bytes / PARSED_LINES as f64),
        peer: "serde_json".to_owned(),
        cores: 1,
        ours,
        theirs,
        unit: "GB/s".to_owned(),
        ratio: ours / theirs,
    })
}

/// One writer: a commit of one file, durable, against writing and syncing as many bytes to a new file.
pub(super) fn commits(folder: &Path, budget: Budget) -> Result<Row> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(BenchError::io("removing", folder))?;
    }
    let (store, mut snapshot) = first(folder)?;
    let (mut number, mut syncs) = (0, 0);
    let bytes = serde_json::to_vec(&Action::Add(add(0)))
        .map_err(BenchError::format::<serde_json::Error>("serde_json", "writing a line"))?;
    let mut contestants = [
        Contestant::new("deltalite", || {
            snapshot = write(&store, &snapshot, number..number + 1)?;
            number += 1;
            Ok(Residue::Nothing)
        }),
        Contestant::new("fsync", || {
            let path = folder.join(format!("sync-{syncs}"));
            syncs += 1;
            let mut file = File::create(&path).map_err(BenchError::io("creating", &path))?;
            file.write_all(&bytes).map_err(BenchError::io("writing", &path))?;
            file.sync_all().map_err(BenchError::io("syncing", &path))?;
            Ok(Residue::Nothing)
        }),
    ];
    let samples = interleave(&mut contestants, budget)?;
    let (ours, theirs) = (named(&samples, "deltalite")?.median(), named(&samples, "fsync")?.median());
    Ok(Row {
        case: "commits_1".to_owned(),
        data: "one file a commit".to_owned(),
        peer: "fsync".to_owned(),
        cores: 1,
        ours: ours * 1e3,
        theirs: theirs * 1e3,
        unit: "ms".to_owned(),
        ratio: theirs / ours,
    })
}

/// The large table, made unless an earlier run has left it.
fn large(folder: &Path, files: usize) -> Result<LocalStore> {
    let made = folder.join("made");
    if made.exists() {
        return LocalStore::open(folder).map_err(failed("opening a table"));
    }
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(BenchError::io("removing", folder))?;
    }
    let (store, mut snapshot) = first(folder)?;
    let mut at = 0;
    while at < files {
        let end = (at + FILES_A_VERSION).min(files);
        snapshot = write(&store, &snapshot, at..end)?;
        at = end;
    }
    snapshot.checkpoint(&store).map_err(failed("writing a checkpoint"))?;
    fs::write(&made, []).map_err(BenchError::io("writing", &made))?;
    Ok(store)
}

/// Opening a large table, and moving on by some versions; against the `deltalake` package where it is there.
pub(super) fn large_tables(
    folder: &Path,
    files: usize,
    budget: Budget,
    python: Option<&RefCell<Python>>,
) -> Result<Vec<Row>> {
    let store = large(&folder.join(format!("files-{files}")), files)?;
    let data = format!("{files} files");
    let theirs = folder.join(format!("delta-files-{files}"));
    if let Some(python) = python {
        python.borrow_mut().call(&json!({"do": "delta_make", "path": theirs, "files": files}))?;
    }
    let mut contestants = vec![Contestant::new("deltalite", || {
        let snapshot = Snapshot::open(&store).map_err(failed("opening a snapshot"))?;
        Ok(Residue::Kept(Box::new(snapshot)))
    })];
    if let Some(python) = python {
        contestants.push(Contestant::new("deltalake", || {
            python.borrow_mut().timed(&json!({"do": "delta_open", "path": theirs}))
        }));
    }
    let samples = interleave(&mut contestants, budget)?;
    drop(contestants);
    let mut rows = vec![alone("open_million", &data, named(&samples, "deltalite")?.median() * 1e3, 1000.0)];
    if python.is_some() {
        rows.push(row("open_million", &data, 1, "ms", 1e3, &samples, "deltalake")?);
    }

    let before = Snapshot::open(&store).map_err(failed("opening a snapshot"))?;
    let mut after = before.clone();
    for version in 0..REFRESHED as usize {
        let from = files + (before.version().0 as usize + version) * 10;
        after = write(&store, &after, from..from + 10)?;
    }
    let mut contestants = vec![Contestant::new("deltalite", || {
        let refreshed = before.refresh(&store).map_err(failed("refreshing a snapshot"))?;
        if refreshed.version() != Version(before.version().0 + REFRESHED) {
            return Err(BenchError::Usage("a refresh did not reach the last version".to_owned()));
        }
        Ok(Residue::Kept(Box::new(refreshed)))
    })];
    if let Some(python) = python {
        python.borrow_mut().call(&json!({"do": "delta_more", "path": theirs, "versions": REFRESHED}))?;
        contestants.push(Contestant::new("deltalake", || {
            python.borrow_mut().timed(&json!({"do": "delta_refresh", "path": theirs, "versions": REFRESHED}))
        }));
    }
    let samples = interleave(&mut contestants, budget)?;
    drop(contestants);
    after.checkpoint(&store).map_err(failed("writing a checkpoint"))?;
    rows.push(alone("refresh_100", &data, named(&samples, "deltalite")?.median() * 1e3, 10.0));
    if python.is_some() {
        rows.push(row("refresh_100", &data, 1, "ms", 1e3, &samples, "deltalake")?);
    }
    Ok(rows)
}
