//! Every state a crash could leave, and faults.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_buffer::Buffer;
use deltalite_table::log::action::{Action, CommitInfo};
use deltalite_table::log::store::disk::{Disk, DiskFile, FileIdentity, Lock};
use deltalite_table::log::store::sim::{Call, Fault, SimDisk};
use deltalite_table::log::{LocalStore, LogStore, SealedCommit, Snapshot, verify};
use deltalite_table::{TableError, Version};
use rand::Rng;

use crate::common::{Model, TABLE, Writer, add, creation, rng, sim_store};

fn open(disk: &SimDisk) -> Result<LocalStore, TableError> {
    LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE))
}

/// Opens the table in a state after a crash and checks it; `acknowledged` versions must be there.
fn check(disk: &SimDisk, models: &[Model], acknowledged: usize, begun: usize) {
    // Who only reads sees a version that was there, and changes nothing.
    let reader = LocalStore::open_read_only_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
    let seen = Snapshot::open(&reader);
    let store = open(disk).unwrap();
    let snapshot = match Snapshot::open(&store) {
        Ok(snapshot) => snapshot,
        Err(TableError::NoTable { .. }) if acknowledged == 0 => return,
        Err(error) => panic!("{error}"),
    };
    let versions = snapshot.version().0 as usize + 1;
    assert_eq!(seen.unwrap().version(), snapshot.version());
    assert!(versions >= acknowledged, "{versions} versions, {acknowledged} were acknowledged");
    assert!(versions <= begun, "{versions} versions, {begun} were begun");
    assert_eq!(Model::of(&snapshot, &store), models[versions - 1]);
    let report = verify(&store).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    // Writing goes on.
    let next = snapshot.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("after the crash"))]).unwrap();
    assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap().committed, 1);
    assert_eq!(Snapshot::open(&store).unwrap().version(), next.info().version);
    let leftovers: Vec<_> =
        disk.files().into_iter().filter(|p| p.to_string_lossy().contains(".tmp/")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

/// Runs a random workload and checks states after crashes at every step. Returns how many were checked.
fn crash_everywhere(seed: u64, states_a_step: usize) -> usize {
    let disk = SimDisk::new();
    // Each with its own view of which versions are durable, as two processes would have.
    let mut stores = [sim_store(&disk), sim_store(&disk)];
    let mut writer = Writer::new(seed);
    let mut choices = rng(seed ^ 0xABCD);
    // Calls recorded, versions acknowledged and begun by then.
    let mut marks = vec![(disk.position(), 0, 0)];
    for step in 0..7 {
        let store = &stores[choices.random_range(0..2)];
        let before = writer.models.len();
        if step > 0 && choices.random_bool(0.3) {
            marks.push((disk.position(), before, before));
            writer.snapshot = Some(writer.now().checkpoint(store).unwrap());
        } else {
            let versions = choices.random_range(1..5);
            let many = if choices.random_bool(0.15) { 300 } else { 4 };
            let group = writer.seal(versions, many);
            marks.push((disk.position(), before, before + versions));
            let put = SealedCommit::commit(store, &group).unwrap();
            assert_eq!(put.committed, versions);
            writer.snapshot = group.last().map(|c| c.snapshot().clone());
            marks.push((disk.position(), before + versions, before + versions));
        }
        if choices.random_bool(0.2) {
            stores[0] = open(&disk).unwrap();
        }
    }
    let end = disk.position();
    let first = marks[0].0;
    let mut checked = 0;
    for position in first..=end {
        let at = marks.iter().rposition(|m| m.0 <= position).unwrap();
        let (_, acknowledged, begun) = marks[at];
        for state in disk.crash_states(position, states_a_step, seed) {
            check(&state, &writer.models, acknowledged, begun);
            checked += 1;
        }
    }
    checked
}

#[test]
fn every_acknowledged_version_survives_and_no_other_is_half_there() {
    let checked: usize = (0..12).map(|seed| crash_everywhere(seed, 24)).sum();
    assert!(checked > 3000, "only {checked} states");
}

#[test]
fn a_crash_while_recovering_is_recovered_from() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut writer = Writer::new(9);
    writer.commit(&store, 1, 3);
    let group = writer.seal(6, 3);
    let start = disk.position();
    let _ = SealedCommit::commit(&store, &group).unwrap();
    let mut checked = 0;
    for position in start..=disk.position() {
        for state in disk.crash_states(position, 12, 1) {
            let before = state.position();
            drop(open(&state).unwrap());
            for during in before..=state.position() {
                for again in state.crash_states(during, 6, 2) {
                    let acknowledged = if position == disk.position() { 7 } else { 1 };
                    check(&again, &writer.models, acknowledged, 7);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 200, "only {checked} states");
}

/// The links of a group can be kept in any subset; the last alone brings back those before it.
#[test]
fn a_kept_link_completes_its_group() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut writer = Writer::new(4);
    writer.commit(&store, 3, 2);
    let log = Path::new(TABLE).join("_deltalite_log");
    for lost in [vec![0], vec![1], vec![0, 1]] {
        let state = disk.snapshot();
        for version in &lost {
            state.unlink(&log.join(format!("{version:020}.json"))).unwrap();
        }
        let reader = LocalStore::open_read_only_on(Arc::new(state.clone()), Path::new(TABLE)).unwrap();
        assert_eq!(reader.list(Version(0)).unwrap().len(), 3);
        assert_eq!(Snapshot::open(&reader).unwrap().version(), Version(2));
        assert_eq!(Snapshot::open(&open(&state).unwrap()).unwrap().version(), Version(2));
        assert!(state.identity(&log.join(format!("{:020}.json", lost[0]))).unwrap().is_some());
    }
}

/// A store that has committed two versions: the next goes behind them.
fn behind_two_versions() -> (SimDisk, LocalStore, Snapshot) {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let first = SealedCommit::first(CommitInfo::new("CREATE TABLE"), creation()).unwrap();
    let second = first.snapshot().seal(CommitInfo::new("WRITE"), vec![Action::Add(add("a"))]).unwrap();
    let now = second.snapshot().clone();
    let _ = SealedCommit::commit(&store, &[first, second]).unwrap();
    (disk, store, now)
}

/// A table of two versions, opened again: the next goes to a file of its own.
fn two_versions() -> (SimDisk, LocalStore, Snapshot) {
    let (disk, store, now) = behind_two_versions();
    drop(store);
    let store = open(&disk).unwrap();
    (disk, store, now)
}

fn inodes(disk: &SimDisk, versions: std::ops::Range<u64>) -> Vec<u64> {
    let log = Path::new(TABLE).join("_deltalite_log");
    let inode = |v: u64| disk.identity(&log.join(format!("{v:020}.json"))).unwrap().unwrap().inode;
    versions.map(inode).collect()
}

#[test]
fn commits_go_behind_each_other_with_one_sync_each() {
    let (disk, store, mut now) = behind_two_versions();
    for n in 0..5 {
        let next = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add(&format!("b{n}")))]).unwrap();
        let before = disk.position();
        assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap().committed, 1);
        assert_eq!(disk.position() - before, 3, "an append, a sync and a link");
        now = next.snapshot().clone();
    }
    assert_eq!(inodes(&disk, 0..7), [inodes(&disk, 0..1)[0]; 7]);
    // Another store has a file of its own; and so has the first when it is not the last any more.
    let other = open(&disk).unwrap();
    for (store, version) in [(&other, 7), (&store, 8), (&store, 9), (&other, 10)] {
        let next = Snapshot::open(store).unwrap().seal(CommitInfo::new("WRITE"), vec![]).unwrap();
        assert_eq!(next.info().version, Version(version));
        assert_eq!(SealedCommit::commit(store, &[next]).unwrap().committed, 1);
    }
    let files = inodes(&disk, 0..11);
    assert_eq!(files[8], files[9]);
    let distinct: std::collections::BTreeSet<u64> = [files[6], files[7], files[8], files[10]].into();
    assert_eq!(distinct.len(), 4);
    assert!(verify(&store).unwrap().is_clean());
}

#[test]
fn a_file_of_commits_ends_somewhere() {
    let (disk, store, mut now) = behind_two_versions();
    let large = "x".repeat(700_000);
    for _ in 0..5 {
        let info = CommitInfo { user_metadata: Some(large.clone()), ..CommitInfo::new("WRITE") };
        let next = now.seal(info, vec![]).unwrap();
        assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap().committed, 1);
        now = next.snapshot().clone();
    }
    let files = inodes(&disk, 1..7);
    assert!(
        files[..4].iter().all(|f| *f == files[0]) && files[4] != files[0] && files[5] == files[4],
        "{files:?}"
    );
    assert_eq!(Snapshot::open(&open(&disk).unwrap()).unwrap().hash(), now.hash());
}

/// One failure is made up for by a file of its own.
#[test]
fn a_failure_behind_the_last_commit_is_made_up_for() {
    for (call, applied) in [
        (Call::Append, false),
        (Call::Append, true),
        (Call::Sync, false),
        (Call::Sync, true),
        (Call::Link, false),
    ] {
        let (disk, store, now) = behind_two_versions();
        let next = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("b"))]).unwrap();
        disk.fail(Fault { call, after: 0, applied });
        assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap().committed, 1);
        let after = next.snapshot().seal(CommitInfo::new("WRITE"), vec![]).unwrap();
        assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&after)).unwrap().committed, 1);
        let files = inodes(&disk, 1..4);
        assert!(files[0] != files[1] && files[1] == files[2], "{call:?}: {files:?}");
        for state in disk.crash_states(disk.position(), 50, 1) {
            let store = open(&state).unwrap();
            assert_eq!(Snapshot::open(&store).unwrap().hash(), after.snapshot().hash(), "{call:?}");
            assert!(verify(&store).unwrap().is_clean());
        }
    }
}

/// Where a commit may be found after a crash, it is not said to be none.
#[test]
fn two_failures_behind_the_last_commit_are_told_truly() {
    type Failures = [(Call, usize, bool); 2];
    let faults: [(Failures, bool); 4] = [
        ([(Call::Append, 0, false), (Call::Append, 1, false)], false),
        ([(Call::Append, 0, true), (Call::Create, 0, false)], true),
        ([(Call::Sync, 0, false), (Call::Create, 0, false)], true),
        ([(Call::Link, 0, true), (Call::Identity, 4, false)], true),
    ];
    for (faults, unknown) in faults {
        let (disk, store, now) = behind_two_versions();
        let next = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("b"))]).unwrap();
        for (call, after, applied) in faults {
            disk.fail(Fault { call, after, applied });
        }
        let error = SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap_err();
        assert_eq!(matches!(error, TableError::OutcomeUnknown { .. }), unknown, "{faults:?}: {error}");
        assert_eq!(store.is_poisoned(), unknown);
        let mut found = 0;
        for state in disk.crash_states(disk.position(), 50, 1) {
            let store = open(&state).unwrap();
            let snapshot = Snapshot::open(&store).unwrap();
            assert!([now.hash(), next.snapshot().hash()].contains(&snapshot.hash()));
            found += usize::from(snapshot.version() == Version(2));
        }
        assert!(unknown || found == 0, "{faults:?}: said not to be committed, and found {found} times");
    }
}

/// What a process wrote that was killed before it gave the version its name: others go on without it, and it is never mixed up with theirs.
#[test]
fn a_version_that_was_never_named_gives_way() {
    let (disk, store, now) = behind_two_versions();
    let lost = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("lost"))]).unwrap();
    let other = open(&disk).unwrap();
    let before = disk.position();
    let _ = SealedCommit::commit(&store, std::slice::from_ref(&lost)).unwrap();
    // As it was before the link.
    disk.unlink(&Path::new(TABLE).join("_deltalite_log").join(format!("{:020}.json", 2))).unwrap();
    assert_eq!(disk.position() - before, 4);
    assert_eq!(Snapshot::open(&other).unwrap().version(), Version(1));
    let theirs = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("theirs"))]).unwrap();
    let begun = disk.position();
    assert_eq!(SealedCommit::commit(&other, std::slice::from_ref(&theirs)).unwrap().committed, 1);
    let acknowledged = disk.position();
    let more = theirs.snapshot().seal(CommitInfo::new("WRITE"), vec![Action::Add(add("more"))]).unwrap();
    assert_eq!(SealedCommit::commit(&other, std::slice::from_ref(&more)).unwrap().committed, 1);
    let (mut with_lost, mut states) = (0, 0);
    for position in begun..=disk.position() {
        for state in disk.crash_states(position, 60, 3) {
            let store = open(&state).unwrap();
            let snapshot = Snapshot::open(&store).unwrap();
            assert!(verify(&store).unwrap().is_clean());
            let is_lost = snapshot.files().get("lost").is_some();
            assert!(!is_lost || position < acknowledged);
            assert!(!is_lost || snapshot.hash() == lost.snapshot().hash());
            with_lost += usize::from(is_lost);
            states += 1;
            if position == disk.position() {
                assert_eq!(snapshot.hash(), more.snapshot().hash());
            }
        }
    }
    assert!(states > 20 && with_lost > 0, "{with_lost} of {states}");
}

#[test]
fn failures_before_the_link_mean_not_committed() {
    for call in [Call::Create, Call::Append, Call::Sync, Call::Link] {
        let (disk, store, now) = two_versions();
        let next = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("b"))]).unwrap();
        disk.fail(Fault { call, after: 0, applied: false });
        let error = SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap_err();
        assert!(matches!(error, TableError::NotCommitted { .. }), "{call:?}: {error}");
        assert_eq!(Snapshot::open(&store).unwrap().version(), Version(1));
        assert!(disk.files().iter().all(|f| !f.to_string_lossy().contains(".tmp/")), "{call:?}");
        // The same store takes the commit when it is tried again, with a new file.
        assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap().committed, 1);
    }
}

#[test]
fn a_link_that_reports_failure_but_was_made_counts() {
    let (disk, store, now) = two_versions();
    let next = now.seal(CommitInfo::new("WRITE"), vec![]).unwrap();
    disk.fail(Fault { call: Call::Link, after: 0, applied: true });
    assert_eq!(SealedCommit::commit(&store, &[next]).unwrap().committed, 1);
}

#[test]
fn a_group_is_committed_up_to_the_link_that_fails() {
    let (disk, store, now) = two_versions();
    let a = now.seal(CommitInfo::new("WRITE"), vec![]).unwrap();
    let b = a.snapshot().seal(CommitInfo::new("WRITE"), vec![]).unwrap();
    disk.fail(Fault { call: Call::Link, after: 1, applied: false });
    let put = SealedCommit::commit(&store, &[a, b]).unwrap();
    assert_eq!((put.committed, put.taken), (1, None));
    assert_eq!(Snapshot::open(&store).unwrap().version(), Version(2));
}

#[test]
fn an_unknown_outcome_is_told_and_can_be_resolved() {
    let faults: [&[(Call, bool)]; 4] = [
        &[(Call::SyncFolder, false)],
        &[(Call::SyncFolder, true)],
        &[(Call::Link, true), (Call::Identity, false)],
        &[(Call::Link, false), (Call::Identity, false)],
    ];
    for faults in faults {
        let (disk, store, now) = two_versions();
        let next = now.seal(CommitInfo::new("WRITE"), vec![Action::Add(add("b"))]).unwrap();
        for (call, applied) in faults {
            // Before it links anything, the store looks whether a version was prepared.
            let after = usize::from(*call == Call::Identity);
            disk.fail(Fault { call: *call, after, applied: *applied });
        }
        let error = SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap_err();
        let TableError::OutcomeUnknown { first, last, .. } = error else { panic!("{error}") };
        let refused = SealedCommit::commit(&store, std::slice::from_ref(&next)).unwrap_err();
        assert!(matches!(refused, TableError::Poisoned { .. }), "{refused}");
        let again = open(&disk).unwrap();
        let found = Snapshot::version_of_txn(&again, &next.info().txn_id, first, last).unwrap();
        let there = Snapshot::open(&again).unwrap().version() == Version(2);
        assert_eq!(found, there.then_some(Version(2)));
        assert_eq!(there, faults[0] != (Call::Link, false));
    }
}

#[test]
fn a_failed_checkpoint_harms_nothing() {
    for call in [Call::Create, Call::Append, Call::Sync, Call::Link, Call::SyncFolder, Call::Rename] {
        for after in 0..3 {
            let (disk, store, now) = two_versions();
            disk.fail(Fault { call, after, applied: false });
            let done = now.checkpoint(&store);
            // Without the fault, where the checkpoint never came to it.
            let store = open(&disk.snapshot()).unwrap();
            assert_eq!(Snapshot::open(&store).unwrap().state_hash(), now.state_hash());
            assert!(verify(&store).unwrap().is_clean());
            drop(done);
        }
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// A disk on which something happens just before a link.
struct Hooked(SimDisk, parking_lot::Mutex<Option<Hook>>);

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl Disk for Hooked {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.create_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.create(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let hook = self.1.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.0.unlink(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.0.sync_folder(path)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.0.sync_file(path)
    }
    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Buffer> {
        self.0.read(path, max_bytes)
    }
    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>> {
        self.0.identity(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Lock>> {
        self.0.lock(path, wait)
    }
    fn lock_shared(&self, path: &Path) -> io::Result<Lock> {
        self.0.lock_shared(path)
    }
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.0.is_locked(path)
    }
}

/// Whoever is told that somebody else was first is right for good: what was written is never found in place of the other's version.
#[test]
fn who_comes_second_stays_second() {
    let (disk, store, now) = behind_two_versions();
    drop(store);
    let hooked = Arc::new(Hooked(disk.clone(), parking_lot::Mutex::new(None)));
    let store = LocalStore::open_on(hooked.clone(), Path::new(TABLE)).unwrap();
    let first = now.seal(CommitInfo::new("WRITE"), vec![]).unwrap();
    assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&first)).unwrap().committed, 1);
    let other = open(&disk).unwrap();
    let ours = first.snapshot().seal(CommitInfo::new("WRITE"), vec![Action::Add(add("ours"))]).unwrap();
    let theirs = first.snapshot().seal(CommitInfo::new("WRITE"), vec![Action::Add(add("theirs"))]).unwrap();
    let (theirs_hash, failing) = (theirs.snapshot().hash(), disk.clone());
    *hooked.1.lock() = Some(Box::new(move || {
        // Their folder is not synced, so they do not know.
        failing.fail(Fault { call: Call::SyncFolder, after: 0, applied: false });
        assert!(SealedCommit::commit(&other, &[theirs]).is_err());
    }));
    let put = SealedCommit::commit(&store, &[ours]).unwrap();
    assert_eq!((put.committed, put.taken), (0, Some(Version(3))));
    for state in disk.crash_states(disk.position(), 100, 1) {
        assert_eq!(Snapshot::open(&open(&state).unwrap()).unwrap().hash(), theirs_hash);
    }
}
