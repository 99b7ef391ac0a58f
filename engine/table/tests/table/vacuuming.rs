//! What vacuum removes, and what it leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use deltalite_format::predicate::col;
use deltalite_table::table::retention::LOG_RETENTION_PROPERTY;
use deltalite_table::{DeltaLiteTable, Interrupt, TableError, Version};

use crate::common::{context, create, ids, open, rows, schema};

fn data_files(path: &Path) -> usize {
    fs::read_dir(path)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "dlb"))
        .count()
}

/// Work that is stopped in its midst, by a handle or by dropping its future, leaves the table and its folder as they were.
#[test]
fn what_is_stopped_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    for n in 0..24 {
        table.append([rows(n * 20_000..n * 20_000 + 20_000)]).execute().unwrap();
    }
    let (version, files) = (table.version(), data_files(folder.path()));
    let bytes = table.snapshot().files(None).unwrap()[0].add.size;
    // Two files become one, twelve times.
    let optimize = || table.optimize().zorder_by(["name", "id"]).file_bytes(bytes * 5 / 2);
    let begun = || {
        while data_files(folder.path()) == files {
            std::thread::yield_now();
        }
    };
    let interrupt = Interrupt::default();
    let stopped = std::thread::scope(|scope| {
        let running = scope.spawn(|| optimize().interrupt(interrupt.clone()).execute());
        begun();
        interrupt.stop();
        running.join().unwrap()
    });
    assert!(matches!(stopped, Err(TableError::Interrupted { .. })), "{stopped:?}");
    assert_eq!(data_files(folder.path()), files);
    // A future that nobody waits for any more.
    let waited = optimize().into_future();
    begun();
    drop(waited);
    while data_files(folder.path()) != files {
        std::thread::yield_now();
    }
    let now = open(folder.path());
    assert_eq!(now.version(), version);
    assert!(now.verify(true).unwrap().is_clean());
    // What has been stopped can be run again.
    assert_eq!(optimize().execute().unwrap().metric("numFiles"), 12);
    let stopped = || {
        let interrupt = Interrupt::default();
        interrupt.stop();
        interrupt
    };
    let vacuum = table.vacuum().retain_for(Duration::ZERO).interrupt(stopped()).execute();
    assert!(matches!(vacuum, Err(TableError::Interrupted { .. })), "{vacuum:?}");
    assert_eq!(data_files(folder.path()), files + 12);
    assert!(matches!(now.verify_until(true, &stopped()), Err(TableError::Interrupted { .. })));
    assert_eq!(
        table.vacuum().retain_for(Duration::ZERO).execute().unwrap().files.len(),
        0,
        "still read by {now:?}"
    );
    drop(now);
    assert_eq!(table.vacuum().retain_for(Duration::ZERO).execute().unwrap().files.len(), files);
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

#[test]
fn a_version_with_a_tag_is_read_after_the_horizon_has_passed_it() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..10)]).execute().unwrap();
    table.set_tag("keep", Some(Version(1))).unwrap();
    for n in 1..4 {
        table.overwrite([rows(n * 10..n * 10 + 10)]).execute().unwrap();
    }
    let report = table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert_eq!(report.files.len(), 2);
    assert_eq!(ids(&table.at_tag("keep").unwrap()), (0..10).collect::<Vec<_>>());
    assert!(table.at_version(Version(3)).unwrap_err().to_string().contains("vacuumed"));
}

fn commits(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path.join("_deltalite_log"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n.len() == 25).collect();
    names.sort();
    names
}

#[test]
fn old_versions_leave_the_log_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let table = DeltaLiteTable::create(folder.path(), &schema())
        .property(LOG_RETENTION_PROPERTY, "interval 0 seconds")
        .context(&context())
        .execute()
        .unwrap();
    for n in 0..4 {
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
    }
    // Who reads a version keeps it, and those after it.
    let reader = table.at_version(Version(2)).unwrap();
    table.checkpoint().unwrap();
    assert_eq!(commits(folder.path()).len(), 5);
    drop(reader);
    table.append([rows(40..50)]).execute().unwrap();
    // The checkpoint is of version 4.
    table.vacuum().execute().unwrap();
    assert_eq!(commits(folder.path()), ["00000000000000000004.json", "00000000000000000005.json"]);
    let gone = table.at_version(Version(2)).unwrap_err().to_string();
    assert!(gone.contains("those before have been removed"), "{gone}");
    let history: Vec<u64> = table.history(10).unwrap().iter().map(|h| h.version.0).collect();
    assert_eq!(history, [5, 4]);
    for table in [&table, &open(folder.path()), &table.at_version(Version(5)).unwrap()] {
        assert_eq!(ids(table), (0..50).collect::<Vec<_>>());
        assert!(table.verify(true).unwrap().is_clean());
    }
    assert_eq!(ids(&table.at_version(Version(4)).unwrap()), (0..40).collect::<Vec<_>>());
    // A tag keeps what it names.
    table.set_tag("five", Some(Version(5))).unwrap();
    table.append([rows(50..60)]).execute().unwrap();
    table.checkpoint().unwrap();
    assert_eq!(commits(folder.path())[0], "00000000000000000004.json");
    assert_eq!(ids(&table.at_tag("five").unwrap()), (0..50).collect::<Vec<_>>());
    table.set_tag("five", None).unwrap();
    table.checkpoint().unwrap();
    assert_eq!(commits(folder.path()), ["00000000000000000008.json"]);
    assert_eq!(table.vacuum().retain_versions(100).execute().unwrap().horizon, Version(8));
    assert_eq!(ids(&open(folder.path())), (0..60).collect::<Vec<_>>());
}

#[test]
fn the_log_is_kept_for_thirty_days_unless_it_is_said_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    for n in 0..3 {
        table.append([rows([n])]).execute().unwrap();
        table.checkpoint().unwrap();
    }
    table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert_eq!(commits(folder.path()).len(), 4);
    assert_eq!(ids(&table.at_version(Version(1)).unwrap()), [0]);
}
