//! Small files whose bytes are in the log: what a commit of them costs, and what becomes of them when they are lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use deltalite_format::predicate::col;
use deltalite_table::log::inline::{INLINE_TAG, Inlined};
use deltalite_table::log::store::disk::{Disk, DiskFile, FileIdentity, Lock, RealDisk};
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::{DeltaLiteTable, TableError, Version};

use crate::common::{context, create, ids, open, read, rows, schema};
use crate::crash::Recorded;

/// A file system that others may write to.
#[derive(Debug)]
struct ReadOnly;

impl Disk for ReadOnly {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn unlink(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn sync_file(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Buffer> {
        RealDisk.read(path, max_bytes)
    }
    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>> {
        RealDisk.identity(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }
    fn lock(&self, _: &Path, _: bool) -> io::Result<Option<Lock>> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn lock_shared(&self, _: &Path) -> io::Result<Lock> {
        Err(ErrorKind::PermissionDenied.into())
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        RealDisk.is_locked(path)
    }
}

/// Data files of a folder and those below it.
fn data_files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_deltalite_log") {
            found.extend(data_files(&path));
        } else if path.extension().is_some_and(|e| e == "dlb") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// What a crash may do to files that were not synced: some are gone, some empty, some end early, some have zeros in them.
fn lose(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = data_files(path);
    for (n, (path, bytes)) in files.iter().enumerate() {
        match n % 4 {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::write(path, []).unwrap(),
            2 => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
            _ => {
                let mut torn = bytes.clone();
                torn[bytes.len() / 3..].fill(0);
                fs::write(path, torn).unwrap();
            }
        }
    }
    files
}

/// The table as a process sees it that has nothing in memory.
fn anew(path: &Path) -> DeltaLiteTable {
    DeltaLiteTable::open(path).context(&context().disk(Arc::new(RealDisk))).execute().unwrap()
}

fn inlined(table: &DeltaLiteTable) -> usize {
    let files = table.snapshot().files(None).unwrap();
    files.iter().filter(|f| Inlined::of(&f.add).unwrap().is_some()).count()
}

#[test]
fn a_commit_of_few_rows_is_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SimDisk::new();
    disk.create_folder(folder.path()).unwrap();
    let context = context().disk(Arc::new(Recorded(disk.clone())));
    let root = folder.path().canonicalize().unwrap().join("t");
    let table = DeltaLiteTable::create(root, &schema()).context(&context).execute().unwrap();
    table.append([rows(0..10)]).execute().unwrap();
    for n in 1..5 {
        let before = disk.syncs();
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
        table.delete().filter(col("id").eq(n * 10)).execute().unwrap();
        table.update().filter(col("id").eq(n * 10 + 1)).set("amount", 0).execute().unwrap();
        assert_eq!(disk.syncs() - before, 3);
    }
    assert_eq!(read(&table).len(), 46);
}

#[test]
fn lost_files_come_back_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let table = DeltaLiteTable::create(&path, &schema()).context(&context()).partition_by(["bucket(2, id)"]);
    let table = table.execute().unwrap();
    for n in 0..6 {
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
    }
    table.delete().filter(col("id").lt(5)).execute().unwrap();
    let (expected, then) = (read(&table), read(&table.at_version(Version(3)).unwrap()));
    let count = inlined(&table);
    assert!(count > 6, "{count} files are in the log");
    drop(table);
    let files = lose(&path);
    assert_eq!(files.len(), count);
    let table = anew(&path);
    assert!(table.verify(true).unwrap().is_clean());
    assert_eq!(data_files(&path), files, "verification reads all files");
    lose(&path);
    let table = anew(&path);
    assert_eq!(read(&table.at_version(Version(3)).unwrap()), then);
    assert_eq!(read(&table), expected);
    assert_eq!(data_files(&path), files);
    // A checkpoint does not have the bytes, but says where they are.
    table.checkpoint().unwrap();
    lose(&path);
    assert_eq!(read(&anew(&path)), expected);
    // Only the folder of a partition is gone.
    let gone = fs::read_dir(&path)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.is_dir() && !p.ends_with("_deltalite_log"));
    fs::remove_dir_all(gone.unwrap()).unwrap();
    assert_eq!(read(&anew(&path)), expected);
    assert_eq!(data_files(&path), files);
}

#[test]
fn who_may_only_read_keeps_them_to_himself() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    for n in 0..4 {
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
    }
    drop(table);
    lose(folder.path());
    let torn = data_files(folder.path());
    let context = context().disk(Arc::new(ReadOnly));
    let table = DeltaLiteTable::open(folder.path()).context(&context).execute().unwrap();
    assert_eq!(ids(&table), (0..40).collect::<Vec<_>>());
    assert_eq!(ids(&table.at_version(Version(2)).unwrap()), (0..20).collect::<Vec<_>>());
    assert!(table.verify(true).unwrap().is_clean());
    assert_eq!(data_files(folder.path()), torn);
}

#[test]
fn statements_work_on_files_that_were_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let table = create(&path);
    for n in 0..5 {
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
    }
    table.delete().filter(col("id").lt(3)).execute().unwrap();
    drop(table);
    lose(&path);
    // Each time the one before goes, and with it what it keeps from being vacuumed.
    let mut table = anew(&path);
    let changed: usize =
        table.changes(Version(1), Version(6)).unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(changed, 53);
    lose(&path);
    table = anew(&path);
    table.update().filter(col("id").eq(30)).set("amount", 7).execute().unwrap();
    table
        .merge([rows([31, 99])], ["id"])
        .when_matched_delete()
        .when_not_matched_insert_all()
        .execute()
        .unwrap();
    lose(&path);
    let expected: Vec<i64> = (3..50).filter(|id| *id != 31).chain([99]).collect();
    table = anew(&path);
    table.optimize().execute().unwrap();
    assert_eq!(ids(&table), expected);
    lose(&path);
    table = anew(&path);
    assert_eq!(ids(&table), expected);
    table.restore(Version(2)).unwrap();
    lose(&path);
    table = anew(&path);
    assert_eq!(ids(&table), (0..20).collect::<Vec<_>>());
    // What is not needed is not brought back.
    table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert_eq!(ids(&anew(&path)), (0..20).collect::<Vec<_>>());
    assert_eq!(data_files(&path).len(), 2);
    assert!(table.at_version(Version(5)).is_err());
}

#[test]
fn copies_need_nothing_of_the_log_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let table = create(&path);
    table.append([rows(0..10)]).execute().unwrap();
    table.append([rows(10..20)]).execute().unwrap();
    drop(table);
    lose(&path);
    let table = anew(&path);
    let shallow = table.shallow_clone(folder.path().join("shallow")).unwrap();
    lose(&path);
    let deep = anew(&path).deep_clone(folder.path().join("deep")).unwrap();
    drop(anew(&path).scan().execute().unwrap());
    for copy in [&shallow, &deep] {
        assert_eq!(inlined(copy), 0);
        assert!(copy.snapshot().files(None).unwrap().iter().all(|f| f.add.tags.is_none()));
        assert_eq!(ids(copy), (0..20).collect::<Vec<_>>());
        copy.append([rows(20..30)]).execute().unwrap();
        assert_eq!(inlined(copy), 1);
        assert_eq!(ids(copy), (0..30).collect::<Vec<_>>());
    }
}

#[test]
fn many_rows_are_not_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + ((state >> 40) % 90) as u8)
    };
    let text: String = (0..50_000).map(|_| noise()).collect();
    let longer: String = (0..150_000).map(|_| noise()).collect();
    let large =
        |id: i64| crate::common::batch(&[(id, Some(text.chars().rev().skip(id as usize).collect()), 0)]);
    table.append([large(1)]).execute().unwrap();
    assert_eq!(inlined(&table), 1);
    // Two that would fit alone do not together.
    let mut txn = table.begin().unwrap();
    txn.insert([Ok(large(2))]).unwrap();
    txn.insert([Ok(large(3))]).unwrap();
    txn.insert([Ok(rows([4]))]).unwrap();
    txn.commit("WRITE", []).unwrap();
    table.refresh().unwrap();
    assert_eq!(inlined(&table), 2);
    table.append([crate::common::batch(&[(5, Some(longer), 0)])]).execute().unwrap();
    assert_eq!(inlined(&table), 2);
    assert_eq!(ids(&table), [1, 2, 3, 4, 5]);
    let log = fs::read_to_string(folder.path().join("_deltalite_log/00000000000000000002.json")).unwrap();
    assert_eq!(log.matches("\n{\"deltaliteData\"").count(), 2, "of versions 1 and 2");
    drop(table);
    lose(folder.path());
    let error = anew(folder.path()).scan().execute().map(drop).unwrap_err();
    assert!(error.is_damage() || matches!(error, TableError::Data(_)), "{error}");
}

#[test]
fn what_a_statement_wrote_that_was_taken_back_is_not_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    let mut txn = table.begin().unwrap();
    txn.insert([Ok(rows([1]))]).unwrap();
    let before = txn.savepoint();
    txn.insert([Ok(rows([2]))]).unwrap();
    txn.roll_back(before);
    txn.advance().unwrap();
    txn.insert([Ok(rows([3]))]).unwrap();
    txn.commit("WRITE", []).unwrap();
    let log = fs::read_to_string(folder.path().join("_deltalite_log/00000000000000000001.json")).unwrap();
    assert_eq!(log.matches("\n{\"deltaliteData\"").count(), 2);
    table.refresh().unwrap();
    assert_eq!(ids(&table), [1, 3]);
}

#[test]
fn a_tag_that_names_a_version_without_the_bytes_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..10)]).execute().unwrap();
    let file = table.snapshot().files(None).unwrap().remove(0);
    let hash = Inlined::of(&file.add).unwrap().unwrap().hash;
    drop(table);
    lose(folder.path());
    for (tag, says) in [
        (format!("0:{hash}"), "does not have the bytes"),
        (format!("77:{hash}"), "is gone"),
        ("7".to_owned(), "not <version>:<hash>"),
    ] {
        let table = anew(folder.path());
        let mut add = table.snapshot().files(None).unwrap().remove(0).add;
        add.tags = Some([(INLINE_TAG, Some(tag.as_str()))].into_iter().collect());
        let sealed = table
            .snapshot()
            .log()
            .seal(
                deltalite_table::log::action::CommitInfo::new("WRITE"),
                vec![deltalite_table::log::action::Action::Add(add)],
            )
            .unwrap();
        let store = deltalite_table::log::LocalStore::open(folder.path()).unwrap();
        assert_eq!(deltalite_table::log::SealedCommit::commit(&store, &[sealed]).unwrap().committed, 1);
        let error = anew(folder.path()).scan().execute().map(drop).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!anew(folder.path()).verify(false).unwrap().is_clean());
    }
    drop(open(folder.path()));
}
