//! Transactions of several statements and of several tables.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use deltalite_format::predicate::col;
use deltalite_table::log::store::disk::Disk;
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::txn::Isolation;
use deltalite_table::{DeltaLiteTable, OptimisticTransaction, TableContext, TableError};
use proptest::prelude::*;

use crate::common::{Row, batch, context, create, ids, open, read, row, rows, rows_of, schema};
use crate::crash::{Recorded, materialize, states_wanted};

fn seen(txn: &OptimisticTransaction) -> Vec<Row> {
    rows_of(txn.snapshot())
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<i64>),
    DeleteBelow(i64),
    DeleteEvery(i64),
    Clear,
    /// The statements after it fail, and are taken back.
    Fails(Vec<Step>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        4 => prop::collection::vec(0..50i64, 1..40).prop_map(Step::Insert),
        2 => (0..50i64).prop_map(Step::DeleteBelow),
        2 => (2..9i64).prop_map(Step::DeleteEvery),
        1 => Just(Step::Clear),
    ];
    prop_oneof![5 => leaf.clone(), 1 => prop::collection::vec(leaf, 1..3).prop_map(Step::Fails)]
}

fn run(txn: &mut OptimisticTransaction, step: &Step, model: &mut Vec<Row>) {
    match step {
        Step::Insert(ids) => {
            let new: Vec<Row> = ids.iter().copied().map(row).collect();
            txn.insert([Ok(batch(&new))]).unwrap();
            model.extend(new);
        }
        Step::DeleteBelow(id) => {
            let gone = txn.delete_where(Some(&col("id").lt(*id))).unwrap();
            let before = model.len();
            model.retain(|row| row.0 >= *id);
            assert_eq!(gone, (before - model.len()) as u64);
        }
        Step::DeleteEvery(n) => {
            let wanted: Vec<i64> = (0..50).filter(|id| id % n == 0).collect();
            let gone = txn.delete_where(Some(&col("id").is_in(wanted))).unwrap();
            let before = model.len();
            model.retain(|row| row.0 % n != 0);
            assert_eq!(gone, (before - model.len()) as u64);
        }
        Step::Clear => {
            for file in txn.snapshot().clone().files(None).unwrap() {
                txn.remove_file(&file).unwrap();
            }
            model.clear();
        }
        Step::Fails(steps) => {
            let here = txn.savepoint();
            let mut other = model.clone();
            for step in steps {
                run(txn, step, &mut other);
            }
            txn.roll_back(here);
        }
    }
    txn.advance().unwrap();
    model.sort();
    assert_eq!(&seen(txn), model, "{step:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Each statement sees those before; others see all of them at once, or nothing.
    #[test]
    fn statements_of_a_transaction(
        first in prop::collection::vec(0..50i64, 0..40),
        steps in prop::collection::vec(any_step(), 1..8),
        meanwhile in any::<bool>(),
        commits in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let table = create(folder.path());
        table.append([rows(first.iter().copied())]).execute().unwrap();
        let mut before = read(&table);
        let mut model = before.clone();
        let mut txn = table.begin().unwrap().isolation(Isolation::Snapshot);
        for step in &steps {
            run(&mut txn, step, &mut model);
            table.refresh().unwrap();
            prop_assert_eq!(&read(&table), &before);
        }
        if meanwhile {
            table.append([rows([1000])]).execute().unwrap();
            before.push(row(1000));
            model.push(row(1000));
        }
        if commits {
            txn.commit("TRANSACTION", []).unwrap();
        } else {
            drop(txn);
            model = before;
        }
        table.refresh().unwrap();
        prop_assert_eq!(read(&table), model);
        prop_assert!(table.verify(true).unwrap().is_clean());
        // Nothing is left but what versions refer to.
        let left = table.vacuum().dry_run().execute().unwrap().files;
        prop_assert!(left.is_empty(), "{:?}", left);
    }
}

const TABLES: [&str; 3] = ["a", "b", "c"];

fn tables(root: &Path, context: &TableContext) -> Vec<DeltaLiteTable> {
    TABLES
        .iter()
        .map(|name| {
            DeltaLiteTable::create(root.join(name), &schema())
                .context(context)
                .if_not_exists()
                .execute()
                .unwrap()
        })
        .collect()
}

/// Puts a number into all tables, and takes the one before out of the last.
fn book(tables: &[DeltaLiteTable], id: i64, last: i64) -> Result<(), TableError> {
    let mut txns = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let mut txn = table.begin()?;
        if at == tables.len() - 1 {
            txn.delete_where(Some(&col("id").eq(last)))?;
        }
        txn.insert([Ok(rows([id]))])?;
        txns.push(txn);
    }
    OptimisticTransaction::commit_all(txns, "BOOK").map(drop)
}

#[test]
fn all_tables_or_none_whatever_state_a_crash_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("db");
    let disk = Recorded(SimDisk::new());
    disk.0.create_folder(folder.path()).unwrap();
    let context = context().disk(Arc::new(disk.clone()));
    let all = tables(&root, &context);
    let first = disk.0.position();
    let mut acknowledged = vec![(first, 0)];
    for n in 1..6 {
        book(&all, n, n - 1).unwrap();
        acknowledged.push((disk.0.position(), n));
        // A version of one table alone, on top.
        all[n as usize % 3].append([rows([100 + n])]).execute().unwrap();
    }
    let end = disk.0.position();
    // Each state is three tables.
    let wanted = states_wanted() / 4;
    let each = (wanted / (end - first)).max(1);
    let mut tried = 0;
    for position in first..=end {
        let (_, acknowledged) = acknowledged.iter().rev().find(|(at, _)| *at <= position).unwrap();
        for (n, state) in disk.0.crash_states(position, each, 11).into_iter().enumerate() {
            let place = folder.path().join(format!("crash-{position}-{n}"));
            for name in TABLES {
                materialize(&state, &root.join(name), &place.join(name));
            }
            // Whoever opens first finds what is left; any of them may.
            let order = [[0, 1, 2], [2, 1, 0], [1, 2, 0]][tried % 3];
            let booked: Vec<BTreeSet<i64>> = order
                .iter()
                .map(|at| ids(&open(&place.join(TABLES[*at]))).into_iter().filter(|id| *id < 100).collect())
                .collect();
            let count = booked.iter().map(|ids| ids.last().copied().unwrap_or(0)).max().unwrap();
            assert!(count >= *acknowledged, "call {position}: {count} of {acknowledged} acknowledged");
            for (at, ids) in order.iter().zip(&booked) {
                let wanted = if *at == 2 { count.max(1)..=count } else { 1..=count };
                assert_eq!(ids, &wanted.collect(), "call {position}: table {}", TABLES[*at]);
            }
            let again: Vec<DeltaLiteTable> = TABLES.iter().map(|name| open(&place.join(name))).collect();
            book(&again, count + 1, count).unwrap();
            for table in &again {
                table.refresh().unwrap();
                assert!(ids(table).contains(&(count + 1)));
                assert!(table.verify(false).unwrap().is_clean());
                let left = fs::read_dir(table.path().join("_deltalite_log")).unwrap();
                let prepared =
                    left.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().contains("prepared"));
                assert_eq!(prepared.count(), 0, "call {position}");
            }
            fs::remove_dir_all(&place).unwrap();
            tried += 1;
        }
    }
    println!("{tried} states of {} calls", end - first);
    assert!(tried >= wanted / 2, "only {tried} states were tried");
}

/// Amounts move between tables while others append to one of them, and readers add up.
#[test]
fn the_sum_over_tables_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let all = tables(folder.path(), &context());
    for table in &all {
        table.append([batch(&[(0, None, 1000)])]).execute().unwrap();
    }
    let done = AtomicBool::new(false);
    let moves = thread::scope(|scope| {
        let movers: Vec<_> = (0..3usize)
            .map(|mover| {
                let all = &all;
                scope.spawn(move || {
                    let mut moved = 0;
                    for n in 0..40usize {
                        let (from, to) = ((mover + n) % 3, (mover + n + 1 + n % 2) % 3);
                        let amount = (n as i64 % 7) + 1;
                        let mut txns = Vec::new();
                        for (at, by) in [(from, -amount), (to, amount)] {
                            let mut txn = all[at].begin().unwrap();
                            let balance: i64 = seen(&txn).iter().map(|row| row.2).sum();
                            txn.delete_where(Some(&col("id").eq(0))).unwrap();
                            txn.insert([Ok(batch(&[(0, None, balance + by)]))]).unwrap();
                            txns.push(txn);
                        }
                        match OptimisticTransaction::commit_all(txns, "MOVE") {
                            Ok(_) => moved += 1,
                            Err(TableError::Conflict(_)) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                    moved
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut read = 0;
            while !done.load(Ordering::Relaxed) {
                let txns: Vec<_> =
                    all.iter().map(|t| t.begin().unwrap().isolation(Isolation::Serializable)).collect();
                let sum: i64 = txns.iter().flat_map(seen).map(|row| row.2).sum();
                let txns = txns.into_iter().map(|mut txn| {
                    txn.read_whole_table();
                    txn
                });
                match OptimisticTransaction::commit_all(txns.collect(), "READ") {
                    Ok(outcomes) => {
                        assert_eq!(sum, 3000);
                        assert!(outcomes.iter().all(|o| !o.committed));
                        read += 1;
                    }
                    Err(TableError::Conflict(_)) => {}
                    Err(e) => panic!("{e}"),
                }
            }
            read
        });
        let moves: usize = movers.into_iter().map(|mover| mover.join().unwrap()).sum();
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
        moves
    });
    assert!(moves > 10, "only {moves} moves were committed");
    let sum: i64 = all
        .iter()
        .flat_map(|table| {
            table.refresh().unwrap();
            read(table)
        })
        .map(|row| row.2)
        .sum();
    assert_eq!(sum, 3000);
}

const PATH: &str = "DELTALITE_TOGETHER_PATH";
const FIRST: &str = "DELTALITE_TOGETHER_FIRST";

/// A writer: books numbers in two tables, and says which are committed.
#[test]
fn writer() {
    let (Ok(path), Ok(first)) = (std::env::var(PATH), std::env::var(FIRST)) else { return };
    let all: Vec<DeltaLiteTable> = ["a", "b"].iter().map(|name| open(&Path::new(&path).join(name))).collect();
    let first: i64 = first.parse().unwrap();
    for n in 0.. {
        let id = first + n;
        let txns = all.iter().map(|table| {
            let mut txn = table.begin().unwrap();
            txn.insert([Ok(rows([id]))]).unwrap();
            txn
        });
        match OptimisticTransaction::commit_all(txns.collect(), "BOOK") {
            Ok(_) => writeln!(std::io::stderr(), "done {id}").unwrap(),
            Err(TableError::Conflict(_)) => {}
            Err(e) => panic!("{e}"),
        }
        if n % 3 == 0 {
            all[(id % 2) as usize].append([rows([-id])]).execute().unwrap();
        }
    }
}

#[test]
fn killed_processes_leave_all_tables_or_none() {
    let kills: i64 = std::env::var("DELTALITE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        create(&folder.path().join(name));
    }
    let mut committed = BTreeSet::new();
    for kill in 0..kills {
        let mut children: Vec<Child> = (1..=3)
            .map(|w| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "together::writer", "--nocapture"])
                    .env(PATH, folder.path())
                    .env(FIRST, ((kill * 3 + w) * 1_000_000).to_string())
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        thread::sleep(Duration::from_millis(600 + 131 * (kill as u64 % 7)));
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_none(), "a writer ended by itself");
            child.kill().unwrap();
        }
        for mut child in children {
            let said = BufReader::new(child.stderr.take().unwrap());
            committed.extend(
                said.lines()
                    .map_while(Result::ok)
                    .filter_map(|l| l.strip_prefix("done ").and_then(|n| n.parse::<i64>().ok())),
            );
            child.wait().unwrap();
        }
        let booked: Vec<BTreeSet<i64>> = ["a", "b"]
            .iter()
            .map(|name| ids(&open(&folder.path().join(name))).into_iter().filter(|id| *id > 0).collect())
            .collect();
        assert_eq!(booked[0], booked[1], "kill {kill}");
        assert!(committed.is_subset(&booked[0]), "kill {kill}");
    }
    assert!(committed.len() as i64 >= kills, "only {} commits", committed.len());
}

#[test]
fn tables_are_made_and_dropped_within_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let make = |name: &str| DeltaLiteTable::create(path(name), &schema()).context(&context());
    let is_there = |name: &str| DeltaLiteTable::open(path(name)).context(&context()).execute().is_ok();
    let old = create(&path("old"));
    old.append([rows(0..10)]).execute().unwrap();

    // Given up: nothing is left.
    let mut txn = make("new").begin().unwrap();
    txn.insert([Ok(rows(0..5))]).unwrap();
    let refused = make("new").execute().unwrap_err().to_string();
    assert!(refused.contains("already"), "{refused}");
    drop(txn);
    assert!(!path("new").exists());

    // Committed: one is there, the other is not.
    let mut new = make("new").begin().unwrap();
    new.insert([Ok(rows(0..5))]).unwrap();
    new.advance().unwrap();
    assert_eq!(seen(&new).len(), 5);
    assert!(!is_there("new"));
    let mut gone = old.begin().unwrap();
    let mut late = old.begin().unwrap();
    gone.drop_table();
    OptimisticTransaction::commit_all(vec![new, gone], "TRANSACTION").unwrap();
    assert!(is_there("new") && !is_there("old"));
    assert_eq!(ids(&open(&path("new"))), (0..5).collect::<Vec<_>>());
    late.insert([Ok(rows([1]))]).unwrap();
    let conflict = late.commit("WRITE", []).unwrap_err().to_string();
    assert!(conflict.contains("dropped the table"), "{conflict}");
    assert!(old.append([rows([1])]).execute().is_err());

    // What is left of it makes way for another.
    create(&path("old")).append([rows([7])]).execute().unwrap();
    assert_eq!(ids(&open(&path("old"))), [7]);
    open(&path("old")).drop_table().unwrap();
    assert!(!path("old").exists());
    assert!(open(&path("new")).verify(true).unwrap().is_clean());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["new"]);
}
