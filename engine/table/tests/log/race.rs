//! Threads and processes at once, on the real file system.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use deltalite_table::log::action::{Action, CommitInfo, Txn};
use deltalite_table::log::{LocalStore, LogStore, SealedCommit, Snapshot, verify};
use deltalite_table::{TableError, Version};

use crate::common::{add, creation};

/// Names the table to a process that this test starts.
const TABLE_VARIABLE: &str = "DELTALITE_TEST_RACE_TABLE";
const COMMITS: usize = 12;

fn create(table: &Path) -> LocalStore {
    let store = LocalStore::create(table).unwrap();
    let first = SealedCommit::first(CommitInfo::new("CREATE TABLE"), creation()).unwrap();
    let _ = SealedCommit::commit(&store, &[first]).unwrap();
    store
}

/// Commits so many groups of two versions, each adding a file, starting over where somebody else was first. Gives the versions.
fn compete(store: &dyn LogStore, name: &str) -> Vec<Version> {
    let mut snapshot = Snapshot::open(store).unwrap();
    let mut mine = Vec::new();
    while mine.len() < COMMITS {
        let seal = |base: &Snapshot, n: usize| {
            let file = Action::Add(add(&format!("{name}-{n}")));
            let txn = Action::Txn(Txn { app_id: name.to_owned(), version: n as i64, last_updated: None });
            base.seal(CommitInfo::new("WRITE"), vec![file, txn]).unwrap()
        };
        let a = seal(&snapshot, mine.len());
        let b = seal(a.snapshot(), mine.len() + 1);
        let group = [a, b];
        let put = SealedCommit::commit(store, &group).unwrap();
        mine.extend(group[..put.committed].iter().map(|c| c.info().version));
        if let Some(last) = group[..put.committed].last() {
            snapshot = last.snapshot().clone();
        }
        snapshot = snapshot.refresh(store).unwrap();
    }
    mine
}

fn check(table: &Path, names: &[String]) {
    let store = LocalStore::open(table).unwrap();
    let snapshot = Snapshot::open(&store).unwrap();
    let paths: BTreeSet<String> = snapshot.files().iter().map(|f| f.path().to_owned()).collect();
    for name in names {
        let last = snapshot.txns()[name].version as usize;
        assert!(last + 1 >= COMMITS);
        assert!((0..=last).all(|n| paths.contains(&format!("{name}-{n}"))), "{name}: {paths:?}");
    }
    assert_eq!(snapshot.version().0 as usize, paths.len(), "one file a version");
    let report = verify(&store).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    let left: Vec<_> = std::fs::read_dir(table.join("_deltalite_log/.tmp"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| std::path::Path::new(n).extension().is_none_or(|e| e != "lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn threads_never_share_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let shared = create(folder.path());
    let names: Vec<String> = (0..6).map(|i| format!("t{i}")).collect();
    let versions: Vec<Version> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let (shared, path) = (&shared, folder.path());
                scope.spawn(move || {
                    // Half of them share a store, half have their own.
                    if i % 2 == 0 {
                        compete(shared, name)
                    } else {
                        compete(&LocalStore::open(path).unwrap(), name)
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), versions.len());
    check(folder.path(), &names);
}

/// Not a test of its own: what [`processes_never_share_a_version`] starts.
#[test]
fn one_process_of_several() {
    if let Some(table) = std::env::var_os(TABLE_VARIABLE) {
        compete(&LocalStore::open(Path::new(&table)).unwrap(), &std::process::id().to_string());
    }
}

#[test]
fn processes_never_share_a_version() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path());
    let me = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(&me)
                .args(["--exact", "race::one_process_of_several", "--nocapture"])
                .env(TABLE_VARIABLE, folder.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let names: Vec<String> = children.iter().map(|c| c.id().to_string()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    check(folder.path(), &names);
}

#[test]
fn leftovers_of_the_dead_are_removed_and_those_of_the_living_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let temp = folder.path().join("_deltalite_log/.tmp");
    let own: Vec<String> = std::fs::read_dir(&temp)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter_map(|n| n.strip_suffix(".lock").filter(|id| id.len() == 36).map(str::to_owned))
        .collect();
    assert_eq!(own.len(), 1);
    let living = temp.join(format!("{}.99", own[0]));
    let dead = temp.join("00000000-0000-4000-8000-000000000000.7");
    std::fs::write(&living, "x").unwrap();
    std::fs::write(&dead, "x").unwrap();
    let second = LocalStore::open(folder.path()).unwrap();
    assert!(living.exists() && !dead.exists());
    drop((store, second));
    drop(LocalStore::open(folder.path()).unwrap());
    assert!(!living.exists());
}

#[test]
fn a_reading_store_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(create(folder.path()));
    let store = LocalStore::open_read_only(folder.path()).unwrap();
    let snapshot = Snapshot::open(&store).unwrap();
    let next = snapshot.seal(CommitInfo::new("WRITE"), vec![]).unwrap();
    assert_eq!(SealedCommit::commit(&store, &[next]).unwrap_err().code(), "DL-0615");
    assert_eq!(snapshot.checkpoint(&store).unwrap_err().code(), "DL-0615");
    let none = LocalStore::open(&folder.path().join("elsewhere")).unwrap_err();
    assert!(matches!(none, TableError::NoTable { .. }));
}
