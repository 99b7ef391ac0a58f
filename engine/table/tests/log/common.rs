//! Random tables, and a naive model of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use deltalite_table::log::action::{
    Add, Cdc, DeletionVector, DomainMetadata, DvStorage, Metadata, Protocol, Remove, StringMap, Txn,
};
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{Action, CommitInfo, LocalStore, LogStore, SealedCommit, Snapshot};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Where simulated tables are.
pub(crate) const TABLE: &str = "/table";

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn sim_store(disk: &SimDisk) -> LocalStore {
    LocalStore::create_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap()
}

pub(crate) fn protocol() -> Protocol {
    Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(vec!["deltaliteBlockFormat".to_owned()]),
        writer_features: Some(vec!["deltaliteBlockFormat".to_owned()]),
    }
}

pub(crate) fn metadata() -> Metadata {
    Metadata {
        id: "t".to_owned(),
        schema_string: r#"{"type":"struct","fields":[]}"#.to_owned(),
        partition_columns: vec!["country".to_owned()],
        ..Metadata::default()
    }
}

pub(crate) fn creation() -> Vec<Action> {
    vec![Action::Protocol(protocol()), Action::Metadata(Box::new(metadata()))]
}

/// A plain add.
pub(crate) fn add(path: &str) -> Add {
    Add { path: path.into(), size: 10, modification_time: 1, data_change: true, ..Add::default() }
}

/// The state of a table, kept in the simplest way.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) files: BTreeMap<String, Add>,
    pub(crate) txns: BTreeMap<String, Txn>,
    pub(crate) domains: BTreeMap<String, DomainMetadata>,
    pub(crate) gone: Vec<(u64, Remove)>,
}

impl Model {
    pub(crate) fn apply(&mut self, version: u64, actions: &[Action]) {
        for action in actions {
            if let Action::Remove(remove) = action {
                self.files.remove(&*remove.path).expect("the model removes live files");
                self.gone.push((version, remove.clone()));
            }
        }
        for action in actions {
            match action {
                Action::Add(add) => {
                    self.files.insert(add.path.to_string(), normal(add));
                }
                Action::Txn(txn) => {
                    self.txns.insert(txn.app_id.clone(), txn.clone());
                }
                Action::DomainMetadata(domain) if domain.removed => {
                    self.domains.remove(&domain.domain);
                }
                Action::DomainMetadata(domain) => {
                    self.domains.insert(domain.domain.clone(), domain.clone());
                }
                _ => {}
            }
        }
    }

    /// Only the files, without what must be read from the store.
    pub(crate) fn files_of(snapshot: &Snapshot) -> BTreeMap<String, Add> {
        snapshot.files().iter().map(|f| (f.path().to_owned(), normal(&f.to_add().unwrap()))).collect()
    }

    pub(crate) fn of(snapshot: &Snapshot, store: &dyn LogStore) -> Self {
        let files = Self::files_of(snapshot);
        assert_eq!(files.len(), snapshot.files().len());
        assert_eq!(files.values().map(|a| a.size).sum::<u64>(), snapshot.files().size_in_bytes());
        assert_eq!(snapshot.files().recomputed_state(), snapshot.state_hash());
        for (path, add) in &files {
            assert_eq!(normal(&snapshot.files().get(path).unwrap().to_add().unwrap()), *add);
        }
        let gone = snapshot.tombstones().read(store).unwrap().into_iter();
        Self {
            files,
            txns: snapshot.txns().clone(),
            domains: snapshot.domains().clone(),
            gone: gone.map(|t| (t.version.0, t.remove)).collect(),
        }
    }
}

/// Without what a state does not say: whether data changed, and which null partition values are written out.
fn normal(add: &Add) -> Add {
    let values = add.partition_values.iter().filter(|(_, v)| v.is_some());
    Add { data_change: false, partition_values: values.collect(), ..add.clone() }
}

/// Text with everything that needs escaping.
pub(crate) fn text(rng: &mut StdRng) -> String {
    const PIECES: [&str; 14] = [
        "a",
        "Z",
        "9",
        "/",
        "\"",
        "\\",
        "\n",
        "\u{1}",
        "é",
        "𝄞",
        "{",
        "}",
        "%20",
        "{\"deltaliteSeal\":{\"blake3\":\"",
    ];
    (0..rng.random_range(1..12)).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect()
}

fn maybe<T>(rng: &mut StdRng, make: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_bool(0.4).then(|| make(rng))
}

pub(crate) fn map(rng: &mut StdRng) -> StringMap {
    (0..rng.random_range(0..4))
        .map(|_| {
            let key = text(rng);
            (key, maybe(rng, text))
        })
        .collect()
}

pub(crate) fn vector(rng: &mut StdRng) -> DeletionVector {
    let storage_type = [DvStorage::Relative, DvStorage::Inline, DvStorage::Absolute][rng.random_range(0..3)];
    DeletionVector {
        storage_type,
        path_or_inline_dv: text(rng).into(),
        offset: maybe(rng, |r| r.random_range(0..=i32::MAX as u32)),
        size_in_bytes: rng.random_range(0..=i32::MAX as u32),
        cardinality: rng.random_range(0..1 << 40),
    }
}

pub(crate) fn random_add(rng: &mut StdRng, path: &str) -> Add {
    let country = maybe(rng, |r| ["DE", "NL", ""][r.random_range(0..3)]);
    Add {
        path: path.into(),
        partition_values: [("country", country)].into_iter().collect(),
        size: rng.random_range(0..1 << 40),
        modification_time: rng.random_range(-5..1 << 41),
        data_change: rng.random(),
        stats: maybe(rng, |r| {
            format!(r#"{{"numRecords":{},"minValues":{{"a":"\n"}}}}"#, r.random::<u32>()).into()
        }),
        tags: maybe(rng, map),
        deletion_vector: maybe(rng, |r| Box::new(vector(r))),
        base_row_id: maybe(rng, |r| r.random_range(0..i64::MAX)),
        default_row_commit_version: maybe(rng, |r| r.random_range(0..99)),
        clustering_provider: maybe(rng, |r| text(r).into()),
    }
}

/// What some version could do to a table in this state: `many` file actions or so.
pub(crate) fn random_actions(rng: &mut StdRng, model: &Model, many: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    let live: Vec<&Add> = model.files.values().collect();
    let mut touched = std::collections::BTreeSet::new();
    for _ in 0..rng.random_range(0..=many) {
        let old = (!live.is_empty() && rng.random_bool(0.5)).then(|| live[rng.random_range(0..live.len())]);
        match old {
            Some(old) if touched.insert(old.path.to_string()) => {
                let mut remove = old.to_remove(rng.random_range(0..1 << 41), rng.random());
                remove.stats = maybe(rng, |r| text(r).into());
                if rng.random_bool(0.5) {
                    remove.extended_file_metadata = None;
                    (remove.size, remove.tags, remove.partition_values) = (None, None, None);
                }
                match rng.random_range(0..4) {
                    0 => actions.push(Action::Add(random_add(rng, &old.path))),
                    1 => {
                        // The same file again, with other statistics.
                        let again = random_add(rng, &old.path);
                        actions
                            .push(Action::Add(Add { deletion_vector: old.deletion_vector.clone(), ..again }));
                        continue;
                    }
                    _ => {}
                }
                actions.push(Action::Remove(remove));
            }
            Some(_) => {}
            None => {
                let path = format!("{}/{:x}.dlb", text(rng), rng.random::<u64>());
                if touched.insert(path.clone()) && !model.files.contains_key(&path) {
                    actions.push(Action::Add(random_add(rng, &path)));
                }
            }
        }
    }
    if rng.random_bool(0.3) {
        let app_id = ["x", "y", "z"][rng.random_range(0..3)].to_owned();
        actions.push(Action::Txn(Txn {
            app_id,
            version: rng.random(),
            last_updated: maybe(rng, Rng::random),
        }));
    }
    if rng.random_bool(0.3) {
        actions.push(Action::DomainMetadata(DomainMetadata {
            domain: ["p", "q"][rng.random_range(0..2)].to_owned(),
            configuration: text(rng),
            removed: rng.random_bool(0.3),
        }));
    }
    if rng.random_bool(0.1) {
        let (path, tags) = (text(rng).into(), maybe(rng, map));
        actions.push(Action::Cdc(Cdc {
            path,
            partition_values: map(rng),
            size: 1,
            data_change: false,
            tags,
        }));
    }
    actions
}

/// A table being written, with the model beside it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) models: Vec<Model>,
    pub(crate) rng: StdRng,
}

impl Writer {
    pub(crate) fn new(seed: u64) -> Self {
        Self { snapshot: None, models: Vec::new(), rng: rng(seed) }
    }

    /// Seals some versions that follow each other.
    pub(crate) fn seal(&mut self, versions: usize, many: usize) -> Vec<SealedCommit> {
        let mut group: Vec<SealedCommit> = Vec::new();
        for _ in 0..versions {
            let base = group.last().map(|c| c.snapshot().clone()).or(self.snapshot.clone());
            let mut model = self.models.last().cloned().unwrap_or_default();
            let mut actions = random_actions(&mut self.rng, &model, many);
            let info = CommitInfo::new("WRITE");
            let sealed = match base {
                None => {
                    actions.extend(creation());
                    SealedCommit::first(info, actions.clone()).unwrap()
                }
                Some(base) => base.seal(info, actions.clone()).unwrap(),
            };
            model.apply(sealed.info().version.0, &actions);
            self.models.push(model);
            group.push(sealed);
        }
        group
    }

    /// Commits some versions as one group.
    pub(crate) fn commit(&mut self, store: &dyn LogStore, versions: usize, many: usize) {
        let group = self.seal(versions, many);
        let put = SealedCommit::commit(store, &group).unwrap();
        assert_eq!((put.committed, put.taken), (versions, None));
        self.snapshot = group.last().map(|c| c.snapshot().clone());
    }

    pub(crate) fn now(&self) -> &Snapshot {
        self.snapshot.as_ref().unwrap()
    }
}
