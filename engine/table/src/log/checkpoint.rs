//! Checkpoints: the state at a version, so that a reader need not begin at the first.
//!
//! `<version>.checkpoint.<uuid>.json` is shaped as Delta's V2 checkpoints are: `checkpointMetadata` with hashes and counts, then
//! protocol, metaData, txn, domainMetadata, and references to sidecars: one a bucket of live files that has any, and some of
//! tombstones. The next checkpoint refers to the same sidecars again but for the buckets touched since. Like a version it
//! ends with a seal. `_last_checkpoint` says where to look first; what it says is never trusted.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::action::{Action, CheckpointMetadata, LineReader, StringMap};
use super::files::{FileSet, Tombstone, write_removed};
use super::hash::{ContentHash, StateHash};
use super::limits::{BUCKET_BITS_MAX, BUCKET_FILES_MAX, TOMBSTONE_SIDECARS_MAX};
use super::name::LogFile;
use super::section::{push_line, push_seal, unsealed};
use super::sidecar::{SidecarKind, SidecarRef};
use super::snapshot::{Snapshot, State};
use super::store::LogStore;
use crate::error::{Result, TableError};
use crate::version::Version;

/// Sidecars encoded before they are written and synced: bounds a checkpoint's memory.
const SIDECARS_AT_ONCE: usize = 8;

/// What `_last_checkpoint` says.
#[derive(Debug, Serialize, Deserialize)]
struct Hint {
    version: Version,
    checkpoint: Uuid,
}

/// What a checkpoint leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckpointOptions {
    /// Removals of versions before this one are forgotten: their files have been vacuumed.
    pub forget_before: Version,
}

/// The state of the newest intact checkpoint of at most version `last`; the state before the first version if there is none.
pub(crate) fn newest_state(store: &dyn LogStore, last: Option<Version>) -> Result<State> {
    if last.is_none()
        && let Some(hint) = read_hint(store)
        && let Ok(state) = load(store, hint.version, hint.checkpoint)
    {
        return Ok(state);
    }
    let mut first_error = None;
    for (version, id) in store.checkpoints_down_from(last.unwrap_or(Version::MAX))? {
        match load(store, version, id) {
            Ok(state) => return Ok(state),
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, version = version.0, "passing over a damaged checkpoint");
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match first_error {
        Some(error) if store.read(Version(0))?.is_none() => Err(error),
        _ => Ok(State::default()),
    }
}

fn read_hint(store: &dyn LogStore) -> Option<Hint> {
    let bytes = store.read_file(LogFile::Hint).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Reads a checkpoint.
pub(crate) fn load(store: &dyn LogStore, version: Version, id: Uuid) -> Result<State> {
    let file = LogFile::Checkpoint(version, id);
    let bad = |detail: String| TableError::corrupt(file, detail);
    let bytes = store.read_file(file)?.ok_or_else(|| TableError::Missing {
        file: file.to_string(),
        detail: format!("a checkpoint of version {version} in {}", store.place()),
    })?;
    let lines = unsealed(file, version, &bytes)?;
    let mut state = State::default();
    let (mut about, mut adds) = (None, Vec::new());
    let mut tombstones = Vec::new();
    LineReader::new().read(&file.to_string(), 1, lines, |line, action| {
        match action {
            Action::CheckpointMetadata(metadata) if line == 1 => about = Some(metadata),
            Action::Protocol(protocol) => state.protocol = Some(Arc::new(protocol)),
            Action::Metadata(metadata) => state.metadata = Some(Arc::from(metadata)),
            Action::Txn(txn) => {
                Arc::make_mut(&mut state.txns).insert(txn.app_id.clone(), txn);
            }
            Action::DomainMetadata(domain) => {
                Arc::make_mut(&mut state.domains).insert(domain.domain.clone(), domain);
            }
            Action::Sidecar(sidecar) => {
                let sidecar = SidecarRef::of_action(file, &sidecar)?;
                if sidecar.kind == SidecarKind::Add { &mut adds } else { &mut tombstones }.push(sidecar);
            }
            _ => return Err(bad(format!("line {line} holds an action that no checkpoint has"))),
        }
        Ok(())
    })?;
    let about = about.ok_or_else(|| bad("it does not begin with checkpointMetadata".to_owned()))?;
    if about.version != version || state.protocol.is_none() || state.metadata.is_none() {
        return Err(bad("its version is not its name's, or it has no protocol or metaData".to_owned()));
    }
    let none = StringMap::default();
    let tags = about.tags.as_ref().unwrap_or(&none);
    let tag =
        |key: &str| tags.value(key).ok_or_else(|| bad(format!("its checkpointMetadata has no tag {key}")));
    let not_understood = |key: &str| bad(format!("its tag {key} is not understood"));
    state.hash = tag("deltalite.chain")?.parse().map_err(|_| not_understood("deltalite.chain"))?;
    state.timestamp = tag("deltalite.inCommitTimestamp")?
        .parse()
        .map_err(|_| not_understood("deltalite.inCommitTimestamp"))?;
    let expected: StateHash =
        tag("deltalite.state")?.parse().map_err(|_| not_understood("deltalite.state"))?;
    let bits = tag("deltalite.bucketBits")?.parse().ok().filter(|bits| *bits <= BUCKET_BITS_MAX);
    let bits = bits.ok_or_else(|| not_understood("deltalite.bucketBits"))?;
    let loaded =
        adds.into_iter().map(|s| s.load_columns(store).map(|c| (s, c))).collect::<Result<Vec<_>>>()?;
    state.files = FileSet::of_sidecars(bits, loaded)?;
    if state.files.state() != expected
        || tag("deltalite.numFiles")? != state.files.len().to_string()
        || tag("deltalite.sizeInBytes")? != state.files.size_in_bytes().to_string()
    {
        return Err(bad("its sidecars hold other files in all than it says".to_owned()));
    }
    state.tombstones.stored = Arc::new(tombstones);
    state.next = version.next();
    state.checkpoint = Some(version);
    Ok(state)
}

/// Collects sidecars and puts some at a time.
struct SidecarWriter<'a> {
    store: &'a dyn LogStore,
    waiting: Vec<(LogFile, Vec<u8>)>,
}

impl SidecarWriter<'_> {
    fn put(&mut self, file: LogFile, bytes: Vec<u8>) -> Result<()> {
        self.waiting.push((file, bytes));
        if self.waiting.len() >= SIDECARS_AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = self.waiting.iter().map(|(f, b)| (*f, b.as_slice())).collect();
        self.store.put_files(&files)?;
        self.waiting.clear();
        Ok(())
    }
}

impl Snapshot {
    /// Writes a checkpoint of this version, and returns the same snapshot resting on it: a checkpoint of a later version, made
    /// from what this one becomes, writes only the buckets touched in between.
    ///
    /// # Errors
    /// When the store fails, or files can't be put in columns. Nothing is lost then: a checkpoint only saves time.
    pub fn checkpoint(&self, store: &dyn LogStore) -> Result<Snapshot> {
        self.checkpoint_with(store, CheckpointOptions::default())
    }

    /// As [`Snapshot::checkpoint`], leaving something out.
    ///
    /// # Errors
    /// As [`Snapshot::checkpoint`].
    pub fn checkpoint_with(&self, store: &dyn LogStore, options: CheckpointOptions) -> Result<Snapshot> {
        let _alone = store.maintenance_lock()?;
        let there: BTreeSet<LogFile> = store.list_files()?.into_iter().collect();
        let mut state = self.state.clone();
        let mut writer = SidecarWriter { store, waiting: Vec::new() };
        let mut sidecars = Vec::new();
        for at in 0..state.files.buckets().len() {
            let bucket = &state.files.buckets()[at];
            let reference = match &bucket.stored {
                Some(stored) if there.contains(&stored.file()) && stored.bucket == Some(at as u32) => {
                    stored.clone()
                }
                _ if bucket.len() == 0 => continue,
                _ => {
                    let columns = bucket.columns()?;
                    let id = Uuid::new_v4();
                    let bytes = columns.write(&LogFile::Sidecar(id).to_string())?;
                    let mut new = SidecarRef::new(id, SidecarKind::Add, &bytes, columns.len());
                    new.state = bucket.state;
                    new.size_of_files = bucket.bytes;
                    new.bucket = Some(at as u32);
                    let new = Arc::new(new);
                    let settled =
                        super::files::Bucket::of(columns, bucket.state, bucket.bytes, Some(new.clone()));
                    writer.put(new.file(), bytes)?;
                    state.files.replace(at, settled);
                    new
                }
            };
            sidecars.push(reference);
        }
        let tombstones = self.store_tombstones(store, &there, options, &mut writer)?;
        writer.flush()?;
        state.tombstones.stored = Arc::new(tombstones);
        state.tombstones.recent.clear();

        let id = Uuid::new_v4();
        let bytes = self.checkpoint_lines(&sidecars, &state.tombstones.stored, state.files.bits())?;
        store.put_files(&[(LogFile::Checkpoint(self.version(), id), &bytes)])?;
        let hint = Hint { version: self.version(), checkpoint: id };
        let hint =
            serde_json::to_vec(&hint).map_err(|e| TableError::invalid("writing the hint", e.to_string()))?;
        store.put_hint(&hint)?;
        state.checkpoint = Some(self.version());
        state.log_bytes = 0;
        Snapshot::of(state)
    }

    /// Puts removals since the last checkpoint in sidecars; all of them, if there are many sidecars or some are to be forgotten.
    fn store_tombstones(
        &self,
        store: &dyn LogStore,
        there: &BTreeSet<LogFile>,
        options: CheckpointOptions,
        writer: &mut SidecarWriter<'_>,
    ) -> Result<Vec<SidecarRef>> {
        let tombstones = self.tombstones();
        let keep = options.forget_before == Version(0)
            && tombstones.stored.len() < TOMBSTONE_SIDECARS_MAX
            && tombstones.stored.iter().all(|s| there.contains(&s.file()));
        let mut stored = if keep { tombstones.stored.as_ref().clone() } else { Vec::new() };
        let rows: Vec<Tombstone> = if keep {
            tombstones.recent.iter().flat_map(|r| r.iter().cloned()).collect()
        } else {
            tombstones.read(store)?
        };
        let rows: Vec<&Tombstone> = rows.iter().filter(|t| t.version >= options.forget_before).collect();
        for chunk in rows.chunks(BUCKET_FILES_MAX) {
            let id = Uuid::new_v4();
            let bytes = write_removed(&LogFile::Sidecar(id).to_string(), chunk)?;
            stored.push(SidecarRef::new(id, SidecarKind::Remove, &bytes, chunk.len()));
            writer.put(LogFile::Sidecar(id), bytes)?;
        }
        Ok(stored)
    }

    fn checkpoint_lines(&self, live: &[Arc<SidecarRef>], gone: &[SidecarRef], bits: u8) -> Result<Vec<u8>> {
        let files = self.files();
        let hash: ContentHash = self.hash();
        let tags: StringMap = [
            ("deltalite.chain", hash.to_string()),
            ("deltalite.state", files.state().to_string()),
            ("deltalite.numFiles", files.len().to_string()),
            ("deltalite.sizeInBytes", files.size_in_bytes().to_string()),
            ("deltalite.inCommitTimestamp", self.timestamp().to_string()),
            ("deltalite.bucketBits", bits.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key, Some(value)))
        .collect();
        let mut out = Vec::new();
        let about = CheckpointMetadata { version: self.version(), tags: Some(tags) };
        push_line(&mut out, &Action::CheckpointMetadata(about))?;
        push_line(&mut out, &Action::Protocol(self.protocol().as_ref().clone()))?;
        push_line(&mut out, &Action::Metadata(Box::new(self.metadata().as_ref().clone())))?;
        self.txns().values().try_for_each(|t| push_line(&mut out, &Action::Txn(t.clone())))?;
        self.domains().values().try_for_each(|d| push_line(&mut out, &Action::DomainMetadata(d.clone())))?;
        let sidecars = live.iter().map(AsRef::as_ref).chain(gone);
        sidecars.into_iter().try_for_each(|s| push_line(&mut out, &Action::Sidecar(s.to_action())))?;
        push_seal(&mut out);
        Ok(out)
    }
}
