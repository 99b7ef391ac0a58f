//! Processes killed while several write: what they were told is committed is there, once; nothing else is.
//!
//! The writers are this test program, started again. `DELTALITE_KILLS` says how many times they are killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use deltalite_format::predicate::col;
use deltalite_table::TableError;

use crate::common::{create, ids, open, rows};

/// Where a writer finds the table.
const PATH: &str = "DELTALITE_KILL_PATH";
/// The first number that a writer appends.
const FIRST: &str = "DELTALITE_KILL_FIRST";
const KILLS_DEFAULT: u64 = 6;
const WRITERS: u64 = 3;

/// A writer: appends numbers and says which are committed; every fifth time it changes, moves or vacuums rows, none of which loses a number.
#[test]
fn writer() {
    let (Ok(path), Ok(first)) = (std::env::var(PATH), std::env::var(FIRST)) else { return };
    let first: i64 = first.parse().unwrap();
    let table = open(path.as_ref());
    let mut out = std::io::stderr();
    for n in 0.. {
        let id = first + n;
        writeln!(out, "try {id}").unwrap();
        table.append([rows([id])]).execute().unwrap();
        writeln!(out, "done {id}").unwrap();
        let other = match n % 15 {
            4 => table.update().filter(col("id").lt_eq(id)).set("amount", n).execute().map(drop),
            9 => table.optimize().execute().map(drop),
            14 => table.vacuum().retain_for(Duration::ZERO).execute().map(drop),
            _ => Ok(()),
        };
        match other {
            // Others may win every time, or be vacuuming.
            Ok(()) | Err(TableError::GaveUp { .. } | TableError::Invalid { what: "vacuuming", .. }) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

fn start(path: &str, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer", "--nocapture"])
        .env(PATH, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_killed_processes_committed_is_there_once() {
    let kills = std::env::var("DELTALITE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS_DEFAULT);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let table = create(folder.path());
    let (mut committed, mut tried) = (BTreeSet::new(), BTreeSet::new());
    for kill in 0..kills {
        let mut children: Vec<Child> =
            (0..WRITERS).map(|w| start(path, (kill * WRITERS + w + 1) * 1_000_000)).collect();
        thread::sleep(Duration::from_millis(700 + 137 * (kill % 7)));
        for child in &mut children {
            if child.try_wait().unwrap().is_some() {
                let said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
                let last: Vec<String> =
                    said.filter(|l| !l.starts_with("try") && !l.starts_with("done")).collect();
                panic!("a writer ended by itself: {}", last.join("\n"));
            }
            child.kill().unwrap();
        }
        for mut child in children {
            let said = BufReader::new(child.stderr.take().unwrap());
            for line in said.lines().map_while(Result::ok) {
                if let Some(id) = line.strip_prefix("done ").and_then(|n| n.parse::<i64>().ok()) {
                    committed.insert(id);
                } else if let Some(id) = line.strip_prefix("try ").and_then(|n| n.parse::<i64>().ok()) {
                    tried.insert(id);
                }
            }
            child.wait().unwrap();
        }
        table.refresh().unwrap();
        let there = ids(&table);
        let distinct: BTreeSet<i64> = there.iter().copied().collect();
        assert_eq!(there.len(), distinct.len(), "a row is there twice after kill {kill}");
        assert!(
            committed.is_subset(&distinct),
            "lost: {:?}",
            committed.difference(&distinct).collect::<Vec<_>>()
        );
        assert!(
            distinct.is_subset(&tried),
            "never written: {:?}",
            distinct.difference(&tried).collect::<Vec<_>>()
        );
        let report = open(folder.path()).verify(true).unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
    }
    assert!(committed.len() as u64 >= kills * WRITERS, "only {} commits", committed.len());
}
