//! Every state a crash could leave, and faults.

use std::path::Path;
use std::sync::Arc;

use deltalite_table::log::action::{Action, CommitInfo};
use deltalite_table::log::store::Disk;
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

fn two_versions() -> (SimDisk, LocalStore, Snapshot) {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let first = SealedCommit::first(CommitInfo::new("CREATE TABLE"), creation()).unwrap();
    let second = first.snapshot().seal(CommitInfo::new("WRITE"), vec![Action::Add(add("a"))]).unwrap();
    let now = second.snapshot().clone();
    let _ = SealedCommit::commit(&store, &[first, second]).unwrap();
    (disk, store, now)
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
