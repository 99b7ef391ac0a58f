//! Any way to a state gives that state.

use std::path::Path;
use std::sync::Arc;

use deltalite_table::log::action::{Action, CommitInfo, FileStats};
use deltalite_table::log::limits::{BUCKET_FILES_MAX, INLINE_FILE_ACTIONS_MAX};
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{
    CheckpointOptions, Commit, LocalStore, LogFile, LogStore, Needed, SealedCommit, Snapshot, retire, verify,
};
use deltalite_table::{TableError, Version};
use proptest::prelude::*;

use crate::common::{Model, TABLE, Writer, add, creation, sim_store};

#[derive(Debug, Clone)]
enum Step {
    Commit { versions: usize, many: usize },
    Checkpoint,
    Refresh,
    Reopen,
    Retire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4usize, prop_oneof![6 => Just(6usize), 1 => Just(2 * INLINE_FILE_ACTIONS_MAX)])
            .prop_map(|(versions, many)| Step::Commit { versions, many }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Refresh),
        1 => Just(Step::Reopen),
        1 => Just(Step::Retire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_way_leads_to_the_same_state(seed: u64, steps in proptest::collection::vec(step(), 1..14)) {
        let disk = SimDisk::new();
        let mut store = sim_store(&disk);
        let mut writer = Writer::new(seed);
        writer.commit(&store, 1, 5);
        let mut old = writer.now().clone();
        for step in steps {
            match step {
                Step::Commit { versions, many } => writer.commit(&store, versions, many),
                Step::Checkpoint => writer.snapshot = Some(writer.now().checkpoint(&store).unwrap()),
                Step::Refresh => old = old.refresh(&store).unwrap(),
                Step::Reopen => {
                    store = LocalStore::open_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
                    writer.snapshot = Some(Snapshot::open(&store).unwrap());
                }
                Step::Retire => { retire(&store, Needed { from: Version(0) }, |_, _| Ok(())).unwrap(); }
            }
            let model = writer.models.last().unwrap();
            prop_assert_eq!(&Model::of(writer.now(), &store), model);
        }
        let model = writer.models.last().unwrap();
        prop_assert_eq!(&Model::of(&old.refresh(&store).unwrap(), &store), model);
        let reader = LocalStore::open_read_only_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
        let opened = Snapshot::open(&reader).unwrap();
        prop_assert_eq!(&Model::of(&opened, &reader), model);
        prop_assert_eq!((opened.version(), opened.hash()), (writer.now().version(), writer.now().hash()));
        for (version, model) in writer.models.iter().enumerate() {
            let then = Snapshot::open_at(&reader, Version(version as u64)).unwrap();
            let then_model = Model::of(&then, &reader);
            prop_assert_eq!(&then_model.files, &model.files);
            prop_assert_eq!(&then_model.gone, &model.gone);
            prop_assert_eq!(Snapshot::version_at(&reader, then.timestamp()).unwrap(), then.version());
        }
        let report = verify(&reader).unwrap();
        prop_assert!(report.is_clean(), "{:?}", report.problems);
        prop_assert_eq!(report.versions, Some((Version(0), opened.version())));
        prop_assert_eq!(report.files, model.files.len());
    }
}

/// A table of many files, so that buckets are split and settled.
#[test]
fn buckets_split_settle_and_are_reused() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut actions = creation();
    let count = 2 * BUCKET_FILES_MAX + 10;
    actions.extend((0..count).map(|i| Action::Add(add(&format!("f{i}")))));
    let first = SealedCommit::first(CommitInfo::new("WRITE"), actions).unwrap();
    assert_eq!(SealedCommit::commit(&store, std::slice::from_ref(&first)).unwrap().committed, 1);
    let resting = first.snapshot().checkpoint(&store).unwrap();
    let sidecars = |store: &LocalStore| {
        store.list_files().unwrap().into_iter().filter(|f| matches!(f, LogFile::Sidecar(_))).count()
    };
    let before = sidecars(&store);
    assert_eq!(before, 3 + 4, "three of the commit, one a bucket");
    // One file goes, and its bucket alone is written again, with the tombstone.
    let remove = resting.files().get("f7").unwrap().to_add().unwrap().to_remove(1, true);
    let second = resting.seal(CommitInfo::new("DELETE"), vec![Action::Remove(remove)]).unwrap();
    let _ = SealedCommit::commit(&store, std::slice::from_ref(&second)).unwrap();
    let resting = second.snapshot().checkpoint(&store).unwrap();
    assert_eq!(sidecars(&store), before + 2);
    let opened = Snapshot::open(&store).unwrap();
    assert_eq!(opened.checkpoint_version(), Some(Version(1)));
    assert_eq!(opened.files().len(), count - 1);
    assert!(opened.files().get("f7").is_none() && opened.files().get("f8").is_some());
    // A third of the files go: buckets are settled.
    let gone: Vec<Action> = (0..count)
        .filter(|i| i % 3 == 0)
        .map(|i| Action::Remove(add(&format!("f{i}")).to_remove(2, true)))
        .collect();
    let left = count - 1 - gone.len();
    let third = resting.seal(CommitInfo::new("DELETE"), gone).unwrap();
    let _ = SealedCommit::commit(&store, std::slice::from_ref(&third)).unwrap();
    let refreshed = opened.refresh(&store).unwrap();
    assert_eq!((refreshed.files().len(), refreshed.files().iter().count()), (left, left));
    assert_eq!(refreshed.files().recomputed_state(), refreshed.state_hash());
    assert_eq!(refreshed.tombstones().len(), (count - left) as u64);
    let forgotten =
        refreshed.checkpoint_with(&store, CheckpointOptions { forget_before: Version(2) }).unwrap();
    assert_eq!(forgotten.tombstones().len(), (count - left - 1) as u64);
    let removed = retire(&store, Needed { from: Version(1) }, |_, _| Ok(())).unwrap();
    assert!(removed.len() >= 3, "{removed:?}");
    let report = verify(&store).unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.files, report.checkpoints), (left, 2));
}

#[test]
fn commits_that_contradict_the_state_are_refused() {
    let store = sim_store(&SimDisk::new());
    let info = || CommitInfo::new("WRITE");
    assert_eq!(SealedCommit::first(info(), vec![]).unwrap_err().code(), "DL-0611");
    let mut actions = creation();
    actions.push(Action::Add(add("a")));
    let first = SealedCommit::first(info(), actions).unwrap();
    let _ = SealedCommit::commit(&store, std::slice::from_ref(&first)).unwrap();
    let now = first.snapshot();
    let vector = crate::common::vector(&mut crate::common::rng(1));
    let mut with_vector = add("a");
    with_vector.deletion_vector = Some(Box::new(vector));
    let mut huge = add("huge");
    huge.size = i64::MAX as u64;
    for wrong in [
        vec![Action::Remove(add("b").to_remove(1, true))],
        vec![Action::Remove(add("a").to_remove(1, true)), Action::Remove(add("a").to_remove(1, true))],
        vec![Action::Remove(with_vector.to_remove(1, true))],
        vec![Action::Add(with_vector.clone())],
        vec![Action::Add(add("c")), Action::Add(add("c"))],
        vec![Action::Add(huge)],
        vec![creation()[0].clone(), creation()[0].clone()],
    ] {
        let error = now.seal(info(), wrong.clone()).unwrap_err();
        assert_eq!(error.code(), "DL-0611", "{wrong:?}: {error}");
    }
    let replaced = vec![Action::Remove(add("a").to_remove(1, true)), Action::Add(with_vector)];
    assert!(now.seal(info(), replaced).unwrap().snapshot().files().get("a").unwrap().dv_id().is_some());
    assert_eq!(Snapshot::open_at(&store, Version(1)).unwrap_err().code(), "DL-0612");
    assert_eq!(Snapshot::version_at(&store, 0).unwrap_err().code(), "DL-0613");
    let mut unknown = crate::common::protocol();
    unknown.reader_features = Some(vec!["fromTheFuture".to_owned()]);
    assert_eq!(now.seal(info(), vec![Action::Protocol(unknown)]).unwrap_err().code(), "DL-0614");
}

#[test]
fn a_hint_is_only_a_hint() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut writer = Writer::new(5);
    writer.commit(&store, 3, 6);
    writer.now().checkpoint(&store).unwrap();
    writer.commit(&store, 2, 6);
    let model = writer.models.last().unwrap();
    let hint = Path::new(TABLE).join("_deltalite_log/_last_checkpoint");
    let stale = r#"{"version":1,"checkpoint":"00000000-0000-4000-8000-000000000000"}"#;
    for text in ["", "{", "{}", "\u{0}\u{0}", stale, r#"{"version":-1}"#] {
        disk.overwrite(&hint, text.as_bytes()).unwrap();
        assert_eq!(&Model::of(&Snapshot::open(&store).unwrap(), &store), model, "{text}");
    }
}

#[test]
fn a_missing_version_is_no_end() {
    let store = sim_store(&SimDisk::new());
    let mut writer = Writer::new(6);
    for _ in 0..4 {
        writer.commit(&store, 1, 3);
    }
    store.remove(LogFile::Commit(Version(2))).unwrap();
    let error = Snapshot::open(&store).unwrap_err();
    assert!(matches!(error, TableError::Missing { .. }), "{error}");
    assert!(!verify(&store).unwrap().is_clean());
    let beyond = writer.seal(1, 1);
    store.remove(LogFile::Commit(Version(3))).unwrap();
    let fresh = LocalStore::open_read_only_on(Arc::new(SimDisk::new()), Path::new(TABLE));
    assert_eq!(fresh.unwrap_err().code(), "DL-0602");
    drop(beyond);
}

#[test]
fn statistics_are_read_after_partitions() {
    let store = sim_store(&SimDisk::new());
    let mut actions = creation();
    for i in 0..20 {
        let mut file = add(&format!("f{i}"));
        file.partition_values =
            [("country", Some(if i % 2 == 0 { "DE" } else { "NL" }))].into_iter().collect();
        file.stats =
            Some(if i % 2 == 0 { format!("{{\"numRecords\":{i}}}").into() } else { "broken".into() });
        actions.push(Action::Add(file));
    }
    let first = SealedCommit::first(CommitInfo::new("WRITE"), actions).unwrap();
    let _ = SealedCommit::commit(&store, std::slice::from_ref(&first)).unwrap();
    let checkpointed = first.snapshot().checkpoint(&store).unwrap();
    let many = |s: &FileStats| s.num_records.is_some_and(|n| n >= 10);
    for snapshot in [first.snapshot().clone(), checkpointed, Snapshot::open(&store).unwrap()] {
        let found = snapshot.files_matching(|f| f.partition_value("country") == Some("DE"), many).unwrap();
        assert_eq!(found.len(), 5);
        assert!(snapshot.files_matching(|_| true, many).is_err());
    }
    let commit = Commit::read(&store, Version(0)).unwrap();
    assert_eq!((commit.adds.len(), commit.info.num_files), (20, 20));
}
