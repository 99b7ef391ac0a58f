//! What vacuum removes, and what it leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use deltalite_format::predicate::col;
use deltalite_table::Version;

use crate::common::{create, ids, open, rows};

fn data_files(path: &Path) -> usize {
    fs::read_dir(path)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "dlb"))
        .count()
}

#[test]
fn versions_of_the_past_go_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    for n in 0..5 {
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
    }
    table.optimize().execute().unwrap();
    assert_eq!(data_files(folder.path()), 6);
    let would = table.vacuum().retain_for(Duration::ZERO).dry_run().execute().unwrap();
    assert_eq!((would.files.len(), data_files(folder.path())), (5, 6));
    let kept = table.vacuum().execute().unwrap();
    assert_eq!(kept.files.len(), 0);
    let report = table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert_eq!((report.files.len(), data_files(folder.path())), (5, 1));
    assert_eq!(ids(&table), (0..50).collect::<Vec<_>>());
    let gone = table.at_version(Version(3)).unwrap_err().to_string();
    assert!(gone.contains("vacuumed"), "{gone}");
    assert!(open(folder.path()).verify(true).unwrap().is_clean());
    table.append([rows([100])]).execute().unwrap();
    assert_eq!(table.vacuum().retain_for(Duration::ZERO).execute().unwrap().files.len(), 0);
}

#[test]
fn what_is_read_tagged_or_being_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..10)]).execute().unwrap();
    table.set_tag("keep", Some(Version(1))).unwrap();
    table.overwrite([rows(10..20)]).execute().unwrap();
    let reader = table.at_version(Version(3)).unwrap();
    let scan = reader.scan().execute().unwrap();
    table.overwrite([rows(20..30)]).execute().unwrap();
    let mut txn = table.begin().unwrap();
    txn.insert([Ok(rows(30..40))]).unwrap();
    let report = table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert_eq!(report.files.len(), 0);
    txn.commit("WRITE", []).unwrap();
    table.refresh().unwrap();
    assert_eq!(scan.map(|b| b.unwrap().num_rows()).sum::<usize>(), 10);
    assert_eq!(ids(&table), (20..40).collect::<Vec<_>>());
    drop(reader);
    assert_eq!(table.vacuum().retain_for(Duration::ZERO).execute().unwrap().files.len(), 1);
    table.set_tag("keep", None).unwrap();
    assert_eq!(table.vacuum().retain_for(Duration::ZERO).execute().unwrap().files.len(), 1);
    assert_eq!(ids(&table), (20..40).collect::<Vec<_>>());
}

#[test]
fn files_that_were_never_committed_go() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..10)]).execute().unwrap();
    // As a process that was killed leaves them; others' files are none of ours.
    let orphan = format!("{}-0.dlb", uuid::Uuid::new_v4());
    fs::write(folder.path().join(&orphan), b"half a file").unwrap();
    fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
    let mut dropped = table.begin().unwrap();
    dropped.insert([Ok(rows(10..20))]).unwrap();
    assert_eq!(data_files(folder.path()), 3);
    drop(dropped);
    assert_eq!(data_files(folder.path()), 2);
    let report = table.vacuum().execute().unwrap();
    assert_eq!(report.files, [Path::new(&orphan)]);
    assert!(folder.path().join("notes.txt").exists());
    assert_eq!(table.delete().filter(col("id").lt(5)).execute().unwrap().metric("numDeletedRows"), 5);
}
