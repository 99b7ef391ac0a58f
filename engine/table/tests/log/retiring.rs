//! Removing old versions and checkpoints: what stays is whole, at any moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{LocalStore, LogFile, LogStore, Needed, Snapshot, retire, verify};
use deltalite_table::{TableError, Version};

use crate::common::{Model, TABLE, Writer, rng, sim_store};
use rand::Rng;

/// Versions in two sessions, checkpoints at some of them; returns those.
fn history(disk: &SimDisk, seed: u64) -> (Writer, BTreeSet<Version>) {
    let mut rng = rng(seed);
    let mut writer = Writer::new(seed);
    let mut checkpoints = BTreeSet::new();
    for session in 0..2 {
        let store = if session == 0 {
            sim_store(disk)
        } else {
            LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap()
        };
        for _ in 0..6 {
            let many = if rng.random_bool(0.2) { 300 } else { 4 };
            writer.commit(&store, rng.random_range(1..4), many);
            if rng.random_bool(0.5) {
                writer.snapshot = Some(writer.now().checkpoint(&store).unwrap());
                checkpoints.insert(writer.now().version());
            }
        }
    }
    (writer, checkpoints)
}

/// All that is left is whole: every version from one on, and none before where the log begins.
fn check(disk: &SimDisk, writer: &Writer, from: Version) {
    let reader = LocalStore::open_read_only_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
    assert_eq!(Snapshot::open(&reader).unwrap().hash(), writer.now().hash());
    let store = LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
    assert_eq!(Snapshot::open(&store).unwrap().hash(), writer.now().hash());
    let report = verify(&store).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    for (version, model) in writer.models.iter().enumerate() {
        let version = Version(version as u64);
        match Snapshot::open_at(&store, version) {
            Ok(then) => assert_eq!(&Model::of(&then, &store), model, "version {version}"),
            Err(TableError::NoSuchVersion { detail, .. }) if version < from => {
                assert!(detail.contains("the log in"), "{detail}");
            }
            Err(error) => panic!("version {version} of those from {from}: {error}"),
        }
    }
}

#[test]
fn what_is_needed_stays_and_the_rest_goes() {
    for seed in 0..20 {
        let disk = SimDisk::new();
        let (writer, checkpoints) = history(&disk, seed);
        let mut rng = rng(seed + 100);
        let mut from = Version(0);
        for _ in 0..3 {
            from = Version(rng.random_range(from.0..=writer.now().version().0));
            let store = LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
            let first_before = store.list(Version(0)).unwrap()[0];
            let mut told = None;
            retire(&store, Needed { from }, |base, oldest| {
                told = Some((base.version(), oldest));
                Ok(())
            })
            .unwrap();
            let first = store.list(Version(0)).unwrap()[0];
            assert!(first <= from.max(first_before));
            assert_eq!(told.is_some(), first > first_before);
            if let Some((base, oldest)) = told {
                assert_eq!((base, oldest), (first, first_before));
                assert!(checkpoints.contains(&base));
            }
            check(&disk, &writer, from);
        }
        // Nothing is left that nothing refers to: what goes takes its sidecars along.
        let store = LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
        let last = writer.now().version();
        let snapshot = writer.now().checkpoint(&store).unwrap();
        retire(&store, Needed { from: last }, |_, _| Ok(())).unwrap();
        assert_eq!(store.list(Version(0)).unwrap(), [last]);
        let files = store.list_files().unwrap();
        let sidecars = files.iter().filter(|f| matches!(f, LogFile::Sidecar(_))).count();
        assert!(sidecars <= 40, "{files:?}");
        assert_eq!(Snapshot::open(&store).unwrap().hash(), snapshot.hash());
        check(&disk, &writer, last);
    }
}

#[test]
fn a_crash_while_versions_go_leaves_what_is_needed() {
    let mut checked = 0;
    for seed in 0..8 {
        let disk = SimDisk::new();
        let (writer, checkpoints) = history(&disk, seed);
        let disk = disk.snapshot();
        let store = LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
        let Some(from) = checkpoints.iter().nth(checkpoints.len() / 2).copied() else { continue };
        let begun = disk.position();
        retire(&store, Needed { from }, |_, _| Ok(())).unwrap();
        for position in begun..=disk.position() {
            for state in disk.crash_states(position, 6, seed) {
                check(&state, &writer, from);
                // The next time removes what was left.
                let store = LocalStore::open_on(Arc::new(state.clone()), Path::new(TABLE)).unwrap();
                retire(&store, Needed { from }, |_, _| Ok(())).unwrap();
                assert_eq!(store.list(Version(0)).unwrap()[0], from);
                check(&state, &writer, from);
                checked += 1;
            }
        }
    }
    assert!(checked > 200, "only {checked} states");
}

#[test]
fn nothing_goes_that_no_checkpoint_makes_up_for() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut writer = Writer::new(5);
    writer.commit(&store, 3, 5);
    let all = Needed { from: Version::MAX };
    retire(&store, all, |_, _| panic!("there is no checkpoint")).unwrap();
    writer.snapshot = Some(writer.now().checkpoint(&store).unwrap());
    writer.commit(&store, 3, 5);
    // What is to be told fails, so nothing goes.
    let refused = retire(&store, all, |_, _| Err(TableError::Poisoned { reason: "x".to_owned() }));
    assert!(refused.is_err());
    assert_eq!(store.list(Version(0)).unwrap().len(), 6);
    // A damaged checkpoint makes up for nothing.
    let checkpoint = disk.files().into_iter().find(|f| f.to_string_lossy().contains("checkpoint.")).unwrap();
    let bytes = deltalite_table::log::store::Disk::read(&disk, &checkpoint, 1 << 20).unwrap().to_vec();
    let mut damaged = bytes.clone();
    damaged[10] ^= 1;
    disk.overwrite(&checkpoint, &damaged).unwrap();
    let refused = retire(&store, all, |_, _| panic!("it is damaged"));
    assert!(refused.is_err_and(|e| e.is_damage()) || store.list(Version(0)).unwrap().len() == 6);
    disk.overwrite(&checkpoint, &bytes).unwrap();
    retire(&store, all, |_, _| Ok(())).unwrap();
    assert_eq!(store.list(Version(0)).unwrap()[0], Version(2));
    check(&disk, &writer, Version(2));
}

/// Who reads without being seen finds the table again after its version went.
#[test]
fn a_reader_that_was_left_behind_begins_anew() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut writer = Writer::new(6);
    writer.commit(&store, 2, 5);
    let reader = LocalStore::open_read_only_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
    let old = Snapshot::open(&reader).unwrap();
    writer.commit(&store, 3, 5);
    writer.snapshot = Some(writer.now().checkpoint(&store).unwrap());
    writer.commit(&store, 1, 5);
    retire(&store, Needed { from: Version::MAX }, |_, _| Ok(())).unwrap();
    assert_eq!(store.list(Version(0)).unwrap()[0], Version(4));
    let now = old.refresh(&reader).unwrap();
    assert_eq!(now.hash(), writer.now().hash());
    assert_eq!(&Model::of(&now, &reader), writer.models.last().unwrap());
}
