//! Crashes: every state that a failing machine could leave of statements, checkpoints, OPTIMIZE and VACUUM is opened again.
//!
//! The disk is recorded while statements run on a real folder. States that a crash could leave at any of its calls are written out to
//! folders of their own; each must hold every acknowledged version, whole, verify clean, and take further writes.
//! `DELTALITE_CRASH_STATES` says how many are tried.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_buffer::Buffer;
use deltalite_format::predicate::col;
use deltalite_table::log::action::decode_path;
use deltalite_table::log::inline::Inlined;
use deltalite_table::log::store::disk::{Disk, DiskFile, FileIdentity, Lock, RealDisk};
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{ContentHash, LocalStore, Snapshot};
use deltalite_table::table::alter::Change;
use deltalite_table::table::retention::LOG_RETENTION_PROPERTY;
use deltalite_table::{DeltaLiteTable, Version};

use crate::common::{Row, batch, context, ids, open, read, row, rows, schema};

/// How many states are tried.
pub(crate) fn states_wanted() -> usize {
    std::env::var("DELTALITE_CRASH_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
}

/// A real file system whose changes are recorded.
#[derive(Debug, Clone)]
pub(crate) struct Recorded(pub(crate) SimDisk);

struct Both(Box<dyn DiskFile>, Box<dyn DiskFile>);

impl DiskFile for Both {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)?;
        self.1.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Disk for Recorded {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.create_folder(path)?;
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let real = RealDisk.create(path)?;
        Ok(Box::new(Both(self.0.create(path)?, real)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)?;
        self.0.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        self.0.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        RealDisk.unlink(path)?;
        self.0.unlink(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.0.sync_folder(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.0.sync_file(path)
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

    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Lock>> {
        RealDisk.lock(path, wait)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Lock> {
        RealDisk.lock_shared(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        RealDisk.is_locked(path)
    }
}

/// What a run has promised.
#[derive(Default)]
struct Promises {
    /// Calls of the disk after which a version was acknowledged.
    acknowledged: Vec<(usize, Version)>,
    /// What each version holds.
    versions: BTreeMap<Version, Vec<Row>>,
    /// Calls after which versions before one may be gone.
    vacuumed: Vec<(usize, Version)>,
}

/// Writes a state out to a folder.
pub(crate) fn materialize(disk: &SimDisk, from: &Path, to: &Path) {
    for path in disk.files() {
        let Ok(relative) = path.strip_prefix(from) else { continue };
        let target = to.join(relative);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, disk.read(&path, u64::MAX).unwrap().as_slice()).unwrap();
    }
    for folder in ["_deltalite_log/_sidecars", "_deltalite_log/.tmp"] {
        fs::create_dir_all(to.join(folder)).unwrap();
    }
}

fn run(root: &Path, disk: &Recorded) -> Promises {
    let mut promises = Promises::default();
    let context = context().disk(Arc::new(disk.clone()));
    let table = DeltaLiteTable::create(root, &schema())
        .context(&context)
        .partition_by(["bucket(2, id)"])
        .execute()
        .unwrap();
    let mut note = |table: &DeltaLiteTable| {
        let version = table.version();
        promises.acknowledged.push((disk.0.position(), version));
        promises.versions.insert(version, read(table));
    };
    note(&table);
    table.append([rows(0..6000)]).execute().unwrap();
    note(&table);
    // Scattered, so that the deletion vectors are files.
    table.delete().filter(col("amount").is_in((0..6000).step_by(7).map(|id| id * 10))).execute().unwrap();
    note(&table);
    table.update().filter(col("id").lt(40)).set("amount", 1).execute().unwrap();
    note(&table);
    table
        .merge([batch(&[row(3), row(9000)])], ["id"])
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
        .unwrap();
    note(&table);
    table.checkpoint().unwrap();
    let comment = Change::SetColumnComment("amount".into(), Some("in cents".into()));
    table.alter(&[comment]).unwrap();
    note(&table);
    table.optimize().execute().unwrap();
    note(&table);
    table.overwrite([rows(100..200)]).replace_where(col("id").between(100, 199)).execute().unwrap();
    note(&table);
    table.checkpoint().unwrap();
    let before = disk.0.position();
    let report = table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert!(!report.files.is_empty());
    note(&table);
    promises.vacuumed.push((before, report.horizon));
    let mut note = |table: &DeltaLiteTable| {
        promises.acknowledged.push((disk.0.position(), table.version()));
        promises.versions.insert(table.version(), read(table));
    };
    table.append([rows(20_000..20_100)]).execute().unwrap();
    note(&table);
    table.restore(report.horizon).unwrap();
    note(&table);
    promises
}

#[test]
fn every_state_that_a_crash_leaves_is_a_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("t");
    let disk = Recorded(SimDisk::new());
    disk.0.create_folder(folder.path()).unwrap();
    let promises = run(&root, &disk);
    let states = states_wanted();
    let end = disk.0.position();
    let first = promises.acknowledged[0].0;
    let each = (states / (end - first)).max(1);
    let (mut tried, mut lost) = (0, 0);
    for position in first..=end {
        let (_, acknowledged) = promises.acknowledged.iter().rev().find(|(at, _)| *at <= position).unwrap();
        for (n, state) in disk.0.crash_states(position, each, 7).into_iter().enumerate() {
            let place = folder.path().join(format!("crash-{position}-{n}"));
            materialize(&state, &root, &place);
            lost += lost_small_files(&place);
            check(&place, *acknowledged, &promises, position);
            fs::remove_dir_all(&place).unwrap();
            tried += 1;
        }
    }
    println!("{tried} states of {} calls, {lost} files to be had from the log", end - first);
    assert!(tried >= states / 2, "only {tried} states were tried");
    assert!(lost >= tried / 4, "only {lost} files were lost");
}

/// Versions leave the log while the files whose bytes they have were never synced.
#[test]
fn every_state_that_a_crash_leaves_while_the_log_is_shortened_is_a_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("t");
    let disk = Recorded(SimDisk::new());
    disk.0.create_folder(folder.path()).unwrap();
    let table = DeltaLiteTable::create(&root, &schema())
        .property(LOG_RETENTION_PROPERTY, "interval 0 seconds")
        .context(&context().disk(Arc::new(disk.clone())))
        .execute()
        .unwrap();
    let mut acknowledged = vec![(disk.0.position(), table.version(), read(&table))];
    let mut note =
        |table: &DeltaLiteTable| acknowledged.push((disk.0.position(), table.version(), read(table)));
    for n in 0..3 {
        table.append([rows(n * 10..n * 10 + 10)]).execute().unwrap();
        note(&table);
    }
    table.delete().filter(col("id").lt(3)).execute().unwrap();
    note(&table);
    table.restore(Version(2)).unwrap();
    note(&table);
    table.checkpoint().unwrap();
    table.append([rows(50..60)]).execute().unwrap();
    note(&table);
    table.checkpoint().unwrap();
    assert!(!root.join("_deltalite_log").join(format!("{:020}.json", 5)).exists());
    let (first, end) = (acknowledged[0].0, disk.0.position());
    let mut tried = 0;
    for position in first..=end {
        for (n, state) in disk.0.crash_states(position, 8, 11).into_iter().enumerate() {
            let place = folder.path().join(format!("short-{position}-{n}"));
            materialize(&state, &root, &place);
            let table = open(&place);
            let (_, least, _) = acknowledged.iter().rev().find(|(at, ..)| *at <= position).unwrap();
            assert!(table.version() >= *least, "call {position}");
            let (.., expected) =
                acknowledged.iter().find(|(_, version, _)| *version == table.version()).unwrap();
            assert_eq!(&read(&table), expected, "call {position}");
            let report = table.verify(true).unwrap();
            assert!(report.is_clean(), "call {position}: {:?}", report.problems);
            table.append([rows([77_777])]).execute().unwrap();
            table.checkpoint().unwrap();
            assert!(ids(&open(&place)).contains(&77_777));
            fs::remove_dir_all(&place).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} states");
}

/// Files of the newest version that a crash has taken or torn, and that are in the log.
fn lost_small_files(place: &Path) -> usize {
    let store = LocalStore::open_read_only(place).unwrap();
    let log = Snapshot::open(&store).unwrap();
    let adds = log.files().iter().map(|file| file.to_add().unwrap());
    adds.filter(|add| {
        let small = Inlined::of(add).unwrap();
        let bytes = fs::read(place.join(decode_path(&add.path).unwrap())).unwrap_or_default();
        small.is_some_and(|small| ContentHash::of(&bytes) != small.hash)
    })
    .count()
}

fn check(place: &Path, acknowledged: Version, promises: &Promises, position: usize) {
    let table = open(place);
    let version = table.version();
    assert!(version >= acknowledged, "call {position}: {version} is there, {acknowledged} was acknowledged");
    // The version in which vacuum moves its horizon holds what the one before does.
    let known = promises.versions.range(..=version).next_back().unwrap().1;
    assert_eq!(&read(&table), known, "call {position}: version {version}");
    let report = table.verify(false).unwrap();
    assert!(report.is_clean(), "call {position}: {:?}", report.problems);
    let oldest =
        promises.vacuumed.iter().filter(|(at, _)| *at <= position).map(|(_, v)| *v).max().unwrap_or_default();
    for (older, rows) in promises.versions.range(oldest..=version).step_by(3) {
        match table.at_version(*older) {
            Ok(then) => assert_eq!(&read(&then), rows, "call {position}: version {older}"),
            Err(e) => panic!("call {position}: version {older}: {e}"),
        }
    }
    // Writing goes on.
    table.append([rows([77_777])]).execute().unwrap();
    assert!(ids(&table).contains(&77_777));
    table.vacuum().retain_for(Duration::ZERO).execute().unwrap();
    assert!(ids(&table).contains(&77_777));
}
