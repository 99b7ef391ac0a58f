//! Many writers at once.

use std::sync::Barrier;
use std::thread;

use deltalite_format::predicate::col;
use deltalite_table::{TableError, Version};

use crate::common::{batch, create, ids, open, read, rows};

#[test]
fn appends_of_many_threads_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    let writers = 8;
    let each = 20;
    thread::scope(|scope| {
        for writer in 0..writers {
            let table = table.clone();
            scope.spawn(move || {
                for n in 0..each {
                    table.append([rows([writer * each + n])]).execute().unwrap();
                }
            });
        }
    });
    table.refresh().unwrap();
    assert_eq!(ids(&table), (0..writers * each).collect::<Vec<_>>());
    assert_eq!(table.version(), Version((writers * each) as u64));
    assert!(open(folder.path()).verify(true).unwrap().is_clean());
}

/// Transactions that read one version and change different rows of one file all commit, without being run again.
#[test]
fn writers_of_different_rows_of_one_file_do_not_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..640)]).execute().unwrap();
    let writers = 64;
    let barrier = Barrier::new(writers);
    thread::scope(|scope| {
        for writer in 0..writers as i64 {
            let (table, barrier) = (table.clone(), &barrier);
            scope.spawn(move || {
                let mut txn = table.begin().unwrap();
                let snapshot = txn.snapshot().clone();
                let file = snapshot.files(None).unwrap().remove(0);
                let mine = (0..640).filter(|id| id % 64 == writer).map(|id| id as u64).collect();
                txn.read_rows(&file.add.path, &mine);
                assert_eq!(txn.delete_rows(&file, &mine).unwrap(), 10);
                txn.insert([Ok(rows([1000 + writer]))]).unwrap();
                barrier.wait();
                txn.commit("UPDATE", []).unwrap();
            });
        }
    });
    table.refresh().unwrap();
    assert_eq!(ids(&table), (1000..1064).collect::<Vec<_>>());
    assert_eq!(table.version(), Version(65));
}

/// OPTIMIZE and changes of rows never end each other, whichever commits first.
#[test]
fn optimizing_and_changing_rows_do_not_conflict() {
    for optimize_first in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let table = create(folder.path());
        for n in 0..4 {
            table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
        }
        let mut txn = table.begin().unwrap();
        let base = txn.snapshot().clone();
        for file in base.files(None).unwrap() {
            let first = [0].into_iter().collect();
            txn.read_rows(&file.add.path, &first);
            txn.delete_rows(&file, &first).unwrap();
        }
        if optimize_first {
            table.optimize().zorder_by(["amount"]).execute().unwrap();
            txn.commit("DELETE", []).unwrap();
        } else {
            // The compaction reads before the deletion commits.
            let slow = open(folder.path());
            let held = slow.begin().unwrap();
            txn.commit("DELETE", []).unwrap();
            drop(held);
            slow.optimize().execute().unwrap();
        }
        table.refresh().unwrap();
        let left: Vec<i64> = (0..40).filter(|id| id % 10 != 0).collect();
        assert_eq!(ids(&table), left, "optimize first: {optimize_first}");
    }
}

#[test]
fn changing_the_same_rows_is_a_conflict_that_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..10)]).execute().unwrap();
    let mut txn = table.begin().unwrap();
    let file = txn.snapshot().files(None).unwrap().remove(0);
    let mine = [3, 4].into_iter().collect();
    txn.read_rows(&file.add.path, &mine);
    txn.delete_rows(&file, &mine).unwrap();
    table.delete().filter(col("id").eq(4)).execute().unwrap();
    let error = txn.commit("DELETE", []).unwrap_err();
    assert!(matches!(error, TableError::Conflict(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("version 2 (DELETE) won") && text.contains("1 row(s): 4"), "{text}");
    // A statement is run again by itself.
    assert_eq!(table.delete().filter(col("id").lt(5)).execute().unwrap().metric("numDeletedRows"), 4);
}

#[test]
fn an_application_writes_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    for _ in 0..3 {
        table.append([rows([1])]).application("loader", 7).execute().unwrap();
    }
    assert_eq!(ids(&table), [1]);
    table.append([rows([2])]).application("loader", 8).execute().unwrap();
    assert_eq!(ids(&table), [1, 2]);
}

/// Counters that are read and written back, by many threads: none of the steps is lost at any level.
#[test]
fn no_update_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([batch(&[(0, None, 0)])]).execute().unwrap();
    let (threads, steps) = (4, 10);
    thread::scope(|scope| {
        for _ in 0..threads {
            let table = open(folder.path());
            scope.spawn(move || {
                for _ in 0..steps {
                    loop {
                        let mut txn = table.begin().unwrap();
                        let base = txn.snapshot().clone();
                        let file = base.files(None).unwrap().remove(0);
                        let now = base.scan().execute().unwrap().collect_batch().unwrap();
                        let count = deltalite_format::predicate::Literal::of(now.column(2), 0).to_string();
                        let count: i64 = count.parse().unwrap();
                        let whole = [0].into_iter().collect();
                        txn.read_rows(&file.add.path, &whole);
                        txn.delete_rows(&file, &whole).unwrap();
                        txn.insert([Ok(batch(&[(0, None, count + 1)]))]).unwrap();
                        match txn.commit("UPDATE", []) {
                            Ok(_) => break,
                            Err(TableError::Conflict(_)) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                }
            });
        }
    });
    table.refresh().unwrap();
    assert_eq!(read(&table), [(0, None, threads * steps)]);
}
