//! Snapshots: the state of a table at a version, and how one becomes the next.
//!
//! A snapshot is a value: cheap to clone, never changing, without I/O of its own. [`Snapshot::seal`] makes the next version on
//! top of one; [`Snapshot::refresh`] takes in what others have committed. Both go through `State::advance`, so that what can
//! be written is exactly what can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::action::{
    Action, Add, Cdc, CommitInfo, DomainMetadata, LineReader, Metadata, Protocol, Remove, Txn,
};
use super::checkpoint;
use super::files::{ColumnsBuilder, FileSet, FileView, Tombstone, Tombstones, read_removed, write_removed};
use super::hash::{ContentHash, StateHash};
use super::inline::SmallFiles;
use super::limits::{BUCKET_FILES_MAX, CHECKPOINT_LOG_BYTES, CHECKPOINT_VERSIONS, INLINE_FILE_ACTIONS_MAX};
use super::name::LogFile;
use super::section::Section;
use super::sidecar::{SidecarKind, SidecarRef};
use super::store::LogStore;
use crate::error::{Result, TableError};
use crate::version::Version;

/// Features that a reader of this version knows.
pub const READER_FEATURES: [&str; 8] = [
    "deltaliteBlockFormat",
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
];

/// The actions of one version, its sidecars read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Commit {
    /// The first line.
    pub info: CommitInfo,
    /// A new protocol.
    pub protocol: Option<Protocol>,
    /// New metadata.
    pub metadata: Option<Metadata>,
    /// How far applications have come.
    pub txns: Vec<Txn>,
    /// Domains set or taken away.
    pub domains: Vec<DomainMetadata>,
    /// Files removed.
    pub removes: Vec<Remove>,
    /// Files added.
    pub adds: Vec<Add>,
    /// Files of changed rows.
    pub cdcs: Vec<Cdc>,
}

impl Commit {
    /// Reads a version's actions.
    ///
    /// # Errors
    /// When there is no such version, or it is damaged.
    pub fn read(store: &dyn LogStore, version: Version) -> Result<Self> {
        let section = store.read(version)?.ok_or_else(|| no_such_version(version, store))?;
        Self::of_section(store, &section, &mut LineReader::new())
    }

    /// The actions of a version that was just made.
    pub(crate) fn of_actions(info: CommitInfo, actions: Vec<Action>) -> Result<Self> {
        let mut commit = Self { info, ..Self::default() };
        for action in actions {
            commit.push(action)?;
        }
        Ok(commit)
    }

    /// Reads only the first line of a version.
    ///
    /// # Errors
    /// When there is no such version, or it is damaged.
    pub fn read_info(store: &dyn LogStore, version: Version) -> Result<CommitInfo> {
        let section = store.read(version)?.ok_or_else(|| no_such_version(version, store))?;
        let mut info = None;
        LineReader::new().read(&file_of(version), 1, section.first_line(), |_, action| {
            if let Action::CommitInfo(found) = action {
                info = Some(*found);
            }
            Ok(())
        })?;
        info.ok_or_else(|| TableError::corrupt(LogFile::Commit(version), "its first line is no commitInfo"))
    }

    fn of_section(store: &dyn LogStore, section: &Section, reader: &mut LineReader) -> Result<Self> {
        let file = file_of(section.version());
        let mut commit = Self::default();
        let mut sidecars = Vec::new();
        reader.read(&file, 1, section.lines(), |line, action| {
            let misplaced = match action {
                Action::CommitInfo(info) if line == 1 => {
                    commit.info = *info;
                    None
                }
                Action::CommitInfo(_) => Some("commitInfo"),
                _ if line == 1 => Some("(the line)"),
                Action::CheckpointMetadata(_) => Some("checkpointMetadata"),
                Action::Sidecar(sidecar) => {
                    sidecars.push(sidecar);
                    None
                }
                other => commit.push(other)?,
            };
            misplaced.map_or(Ok(()), |field| {
                Err(TableError::Malformed {
                    file: file.clone(),
                    line,
                    field: field.to_owned(),
                    detail: "does not belong here: a version has one commitInfo, at its beginning, at most one protocol and metaData, \
                             and no checkpointMetadata"
                        .to_owned(),
                })
            })
        })?;
        for sidecar in &sidecars {
            commit
                .read_sidecar(store, &SidecarRef::of_action(LogFile::Commit(section.version()), sidecar)?)?;
        }
        Ok(commit)
    }

    /// Takes an action that is no part of the frame; names what stands twice.
    fn push(&mut self, action: Action) -> Result<Option<&'static str>> {
        match action {
            Action::Add(add) => self.adds.push(add),
            Action::Remove(remove) => self.removes.push(remove),
            Action::Cdc(cdc) => self.cdcs.push(cdc),
            Action::Txn(txn) => self.txns.push(txn),
            Action::DomainMetadata(domain) => self.domains.push(domain),
            Action::Protocol(_) if self.protocol.is_some() => return Ok(Some("protocol")),
            Action::Metadata(_) if self.metadata.is_some() => return Ok(Some("metaData")),
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::Metadata(metadata) => self.metadata = Some(*metadata),
            Action::CommitInfo(_) | Action::Sidecar(_) | Action::CheckpointMetadata(_) => {
                return Err(TableError::invalid(
                    "building a commit",
                    "commitInfo, sidecar and checkpointMetadata are written by the log itself; leave them out",
                ));
            }
        }
        Ok(None)
    }

    fn read_sidecar(&mut self, store: &dyn LogStore, sidecar: &SidecarRef) -> Result<()> {
        match sidecar.kind {
            SidecarKind::Add => {
                let columns = sidecar.load_columns(store)?;
                for row in 0..columns.len() {
                    let add = FileView::row(&columns, row).to_add()?;
                    self.adds.push(Add { data_change: columns.data_change(row), ..add });
                }
            }
            SidecarKind::Remove => {
                let rows = read_removed(&sidecar.file().to_string(), sidecar.load(store)?)?;
                if rows.len() as u64 != sidecar.rows {
                    return Err(TableError::corrupt(
                        sidecar.file(),
                        "it has another number of rows than referred to",
                    ));
                }
                self.removes.extend(rows.into_iter().map(|t| t.remove));
            }
        }
        Ok(())
    }
}

fn file_of(version: Version) -> String {
    LogFile::Commit(version).to_string()
}

fn no_such_version(asked: Version, store: &dyn LogStore) -> TableError {
    let detail = match store.list(Version(0)).ok().as_deref() {
        Some([first, .., last]) if asked < *first => {
            format!("the log in {} has {first} to {last}; those before have been removed", store.place())
        }
        Some([first, .., last]) => format!("the log in {} has {first} to {last}", store.place()),
        Some([only]) => format!("the log in {} has only {only}", store.place()),
        _ => format!("the log in {} has none", store.place()),
    };
    TableError::NoSuchVersion { asked, detail }
}

/// The state after some versions, possibly none.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The version that comes next.
    pub(crate) next: Version,
    /// Hash of the last version's section.
    pub(crate) hash: ContentHash,
    pub(crate) timestamp: i64,
    pub(crate) protocol: Option<Arc<Protocol>>,
    pub(crate) metadata: Option<Arc<Metadata>>,
    pub(crate) txns: Arc<BTreeMap<String, Txn>>,
    pub(crate) domains: Arc<BTreeMap<String, DomainMetadata>>,
    pub(crate) files: FileSet,
    pub(crate) tombstones: Tombstones,
    pub(crate) checkpoint: Option<Version>,
    pub(crate) log_bytes: u64,
}

impl State {
    /// Takes in a version's actions, `info` aside; what contradicts the state is an error, and spoils it.
    fn advance(&mut self, commit: Commit) -> Result<()> {
        let version = self.next;
        let wrong = |detail: String| TableError::Inconsistent { version, detail };
        if let Some(protocol) = commit.protocol {
            self.protocol = Some(Arc::new(protocol));
        }
        if let Some(metadata) = commit.metadata {
            self.metadata = Some(Arc::new(metadata));
        }
        if self.protocol.is_none() || self.metadata.is_none() {
            return Err(wrong("the first version must have a protocol and metaData".to_owned()));
        }
        let mut seen = BTreeSet::new();
        for txn in commit.txns {
            if !seen.insert(txn.app_id.clone()) {
                return Err(wrong(format!("it has two txn actions of application {:?}", txn.app_id)));
            }
            Arc::make_mut(&mut self.txns).insert(txn.app_id.clone(), txn);
        }
        seen.clear();
        for domain in commit.domains {
            if !seen.insert(domain.domain.clone()) {
                return Err(wrong(format!("it sets domain {:?} twice", domain.domain)));
            }
            let domains = Arc::make_mut(&mut self.domains);
            if domain.removed {
                domains.remove(&domain.domain);
            } else {
                domains.insert(domain.domain.clone(), domain);
            }
        }
        self.files.apply(version, &commit.removes, commit.adds)?;
        if self.files.size_in_bytes() > i64::MAX as u64 {
            return Err(wrong("its live files have more bytes in all than 63 bits can say".to_owned()));
        }
        self.tombstones.push(version, commit.removes);
        self.next = version.next();
        Ok(())
    }

    /// Takes in a version that was read, and checks that it follows.
    pub(crate) fn replay(
        &mut self,
        store: &dyn LogStore,
        section: &Section,
        reader: &mut LineReader,
    ) -> Result<()> {
        let commit = Commit::of_section(store, section, reader)?;
        let version = self.next;
        let check = |what, found: String, expected: String| {
            if found == expected {
                return Ok(());
            }
            Err(TableError::Mismatch { version, file: file_of(version), what, found, expected })
        };
        let info = &commit.info;
        check("its version", info.version.to_string(), version.to_string())?;
        check("the hash of the version before", self.hash.to_string(), info.prev.to_string())?;
        if version > Version(0) && info.in_commit_timestamp <= self.timestamp {
            let expected = format!("later than {}", self.timestamp);
            check("inCommitTimestamp", info.in_commit_timestamp.to_string(), expected)?;
        }
        let (state, count, bytes) = (info.state, info.num_files, info.size_in_bytes);
        let timestamp = info.in_commit_timestamp;
        self.advance(commit)?;
        check("the number of live files", self.files.len().to_string(), count.to_string())?;
        check("the size of live files", self.files.size_in_bytes().to_string(), bytes.to_string())?;
        check("the hash of live files", self.files.state().to_string(), state.to_string())?;
        self.hash = section.hash();
        self.timestamp = timestamp;
        self.log_bytes += section.bytes().len() as u64;
        Ok(())
    }

    /// Takes in all versions that follow, up to one or to the last there is.
    pub(crate) fn replay_to(&mut self, store: &dyn LogStore, last: Option<Version>) -> Result<()> {
        let mut reader = LineReader::new();
        while last.is_none_or(|last| self.next <= last) {
            let Some(section) = store.read(self.next)? else { break };
            self.replay(store, &section, &mut reader)?;
        }
        Ok(())
    }

    /// Checks that this version knows all a reader must know.
    fn readable(&self) -> Result<()> {
        let Some(protocol) = &self.protocol else { return Ok(()) };
        if protocol.min_reader_version > 3 {
            let feature = format!("reader version {}", protocol.min_reader_version);
            return Err(TableError::Unsupported { feature });
        }
        let features = protocol.reader_features.iter().flatten();
        match features.into_iter().find(|f| !READER_FEATURES.contains(&f.as_str())) {
            Some(unknown) => Err(TableError::Unsupported { feature: format!("feature {unknown:?}") }),
            None => Ok(()),
        }
    }

    fn seal(&self, mut info: CommitInfo, actions: Vec<Action>, data: &SmallFiles) -> Result<SealedCommit> {
        let mut commit = Commit::default();
        for action in actions {
            if let Some(twice) = commit.push(action)? {
                return Err(TableError::Inconsistent {
                    version: self.next,
                    detail: format!("it has two actions {twice}"),
                });
            }
        }
        let (lines, sidecars) = write_actions(self.next, &commit)?;
        let added = commit.adds.iter().filter_map(|add| data.get_key_value(&add.path));
        let data: Vec<(&str, &[u8])> = added.map(|(path, file)| (&**path, file.bytes.as_slice())).collect();
        let mut after = self.clone();
        after.advance(commit)?;
        after.readable()?;
        let first = self.next == Version(0);
        info.version = self.next;
        info.prev = self.hash;
        info.state = after.files.state();
        info.num_files = after.files.len() as u64;
        info.size_in_bytes = after.files.size_in_bytes();
        info.in_commit_timestamp =
            if first { info.timestamp } else { info.timestamp.max(self.timestamp + 1) };
        let section = Section::write(&info, &lines, data)?;
        after.hash = section.hash();
        after.timestamp = info.in_commit_timestamp;
        after.log_bytes += section.bytes().len() as u64;
        Ok(SealedCommit { section, sidecars, info, snapshot: Snapshot::of(after)? })
    }
}

/// The lines of a commit after the first, and the sidecars they refer to.
fn write_actions(version: Version, commit: &Commit) -> Result<(Vec<Action>, NewFiles)> {
    let mut lines: Vec<Action> = Vec::new();
    lines.extend(commit.protocol.clone().map(Action::Protocol));
    lines.extend(commit.metadata.clone().map(|m| Action::Metadata(Box::new(m))));
    lines.extend(commit.txns.iter().cloned().map(Action::Txn));
    lines.extend(commit.domains.iter().cloned().map(Action::DomainMetadata));
    lines.extend(commit.cdcs.iter().cloned().map(Action::Cdc));
    let mut sidecars = Vec::new();
    if commit.adds.len() + commit.removes.len() <= INLINE_FILE_ACTIONS_MAX {
        lines.extend(commit.removes.iter().cloned().map(Action::Remove));
        lines.extend(commit.adds.iter().cloned().map(Action::Add));
        return Ok((lines, sidecars));
    }
    for removes in commit.removes.chunks(BUCKET_FILES_MAX) {
        let rows: Vec<Tombstone> =
            removes.iter().map(|remove| Tombstone { version, remove: remove.clone() }).collect();
        let id = Uuid::new_v4();
        let bytes = write_removed(&LogFile::Sidecar(id).to_string(), &rows.iter().collect::<Vec<_>>())?;
        let reference = SidecarRef::new(id, SidecarKind::Remove, &bytes, rows.len());
        lines.push(Action::Sidecar(reference.to_action()));
        sidecars.push((reference.file(), bytes));
    }
    for adds in commit.adds.chunks(BUCKET_FILES_MAX) {
        let id = Uuid::new_v4();
        let bytes = ColumnsBuilder::of_adds(adds, true)?.write(&LogFile::Sidecar(id).to_string())?;
        let mut reference = SidecarRef::new(id, SidecarKind::Add, &bytes, adds.len());
        for add in adds {
            reference.state.add(&add.path, add.dv_id().as_deref());
            reference.size_of_files = reference.size_of_files.wrapping_add(add.size);
        }
        lines.push(Action::Sidecar(reference.to_action()));
        sidecars.push((reference.file(), bytes));
    }
    Ok((lines, sidecars))
}

/// Files that are put before the lines that refer to them.
type NewFiles = Vec<(LogFile, Vec<u8>)>;

/// A version made, but not yet committed.
#[derive(Debug, Clone)]
#[must_use]
pub struct SealedCommit {
    section: Section,
    sidecars: NewFiles,
    info: CommitInfo,
    snapshot: Snapshot,
}

impl SealedCommit {
    /// The first version of a new table: its actions must include a protocol and metadata.
    ///
    /// # Errors
    /// When the actions contradict each other.
    pub fn first(info: CommitInfo, actions: Vec<Action>) -> Result<Self> {
        State::default().seal(info, actions, &SmallFiles::new())
    }

    /// The facts of the commit, with its place in the chain.
    pub fn info(&self) -> &CommitInfo {
        &self.info
    }

    /// The lines to be committed.
    pub fn section(&self) -> &Section {
        &self.section
    }

    /// The state once it is committed.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Commits versions that follow each other as one group: one sync of data and one of names for all of them.
    ///
    /// Of the result's `committed`, the last one's [`SealedCommit::snapshot`] is the table's state. When a version was taken by
    /// somebody else, refresh, and seal the rest again on top of that.
    ///
    /// ```
    /// use deltalite_table::log::action::{Action, CommitInfo, Metadata, Protocol};
    /// use deltalite_table::log::{LocalStore, SealedCommit, Snapshot};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let store = LocalStore::create(folder.path())?;
    /// let protocol = Protocol { min_reader_version: 3, min_writer_version: 7, ..Protocol::default() };
    /// let actions = vec![Action::Protocol(protocol), Action::Metadata(Box::default())];
    /// let first = SealedCommit::first(CommitInfo::new("CREATE TABLE"), actions)?;
    /// let second = first.snapshot().seal(CommitInfo::new("WRITE"), vec![])?;
    /// let put = SealedCommit::commit(&store, &[first, second])?;
    /// assert_eq!((put.committed, put.taken), (2, None));
    /// assert_eq!(Snapshot::open(&store)?.version().0, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`LogStore::put`].
    pub fn commit(store: &dyn LogStore, group: &[SealedCommit]) -> Result<super::Put> {
        Self::put_sidecars(store, group)?;
        let sections: Vec<Section> = group.iter().map(|c| c.section.clone()).collect();
        store.put(&sections)
    }

    /// Puts what the versions' lines refer to.
    ///
    /// # Errors
    /// When the medium fails.
    pub(crate) fn put_sidecars(store: &dyn LogStore, group: &[SealedCommit]) -> Result<()> {
        let sidecars: Vec<(LogFile, &[u8])> =
            group.iter().flat_map(|c| c.sidecars.iter().map(|(f, b)| (*f, b.as_slice()))).collect();
        if !sidecars.is_empty() {
            store.put_files(&sidecars)?;
        }
        Ok(())
    }
}

/// The state of a table at a version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) state: State,
    version: Version,
    protocol: Arc<Protocol>,
    metadata: Arc<Metadata>,
}

impl Snapshot {
    pub(crate) fn of(state: State) -> Result<Self> {
        match (state.next.previous(), &state.protocol, &state.metadata) {
            (Some(version), Some(protocol), Some(metadata)) => {
                Ok(Self { version, protocol: protocol.clone(), metadata: metadata.clone(), state })
            }
            _ => Err(TableError::NoTable {
                place: "the log".to_owned(),
                detail: "it has no version with a protocol and metadata".to_owned(),
            }),
        }
    }

    /// The newest version.
    ///
    /// # Errors
    /// When there is none, something is damaged beyond what older checkpoints can make up for, or the table needs features this
    /// version does not know.
    pub fn open(store: &dyn LogStore) -> Result<Self> {
        let mut state = checkpoint::newest_state(store, None)?;
        loop {
            state.replay_to(store, None)?;
            // A version missing from the middle must not look like the end. Others may commit meanwhile.
            let beyond = store.list(state.next)?;
            let Some(found) = beyond.first() else { break };
            if store.read(state.next)?.is_none() {
                return Err(TableError::Missing {
                    file: file_of(state.next),
                    detail: format!("version {found} is there, but not {}", state.next),
                });
            }
        }
        if state.next == Version(0) {
            return Err(TableError::NoTable {
                place: store.place(),
                detail: "the log has no versions".to_owned(),
            });
        }
        state.readable()?;
        Self::of(state)
    }

    /// A given version.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; and when there is no such version.
    pub fn open_at(store: &dyn LogStore, version: Version) -> Result<Self> {
        let mut state = checkpoint::newest_state(store, Some(version))?;
        state.replay_to(store, Some(version))?;
        if state.next != version.next() {
            return Err(no_such_version(version, store));
        }
        state.readable()?;
        Self::of(state)
    }

    /// The version that was the newest at a time (milliseconds since 1970), by in-commit timestamps.
    ///
    /// # Errors
    /// When all versions are younger, or some can't be read.
    pub fn version_at(store: &dyn LogStore, timestamp: i64) -> Result<Version> {
        let versions = store.list(Version(0))?;
        let (mut low, mut high) = (0, versions.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if Commit::read_info(store, versions[middle])?.in_commit_timestamp <= timestamp {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match (low.checked_sub(1), versions.first()) {
            (Some(at), _) => Ok(versions[at]),
            (None, Some(oldest)) => Err(TableError::NoSuchTime {
                asked: timestamp,
                oldest: *oldest,
                oldest_ms: Commit::read_info(store, *oldest)?.in_commit_timestamp,
            }),
            (None, None) => Err(TableError::NoTable {
                place: store.place(),
                detail: "the log has no versions".to_owned(),
            }),
        }
    }

    /// The version among some that a commit of this `txnId` made: what tells how an unknown outcome came out.
    ///
    /// # Errors
    /// When a version is damaged.
    pub fn version_of_txn(
        store: &dyn LogStore,
        txn_id: &str,
        first: Version,
        last: Version,
    ) -> Result<Option<Version>> {
        for version in (first.0..=last.0).map(Version) {
            match Commit::read_info(store, version) {
                Ok(info) if info.txn_id == txn_id => return Ok(Some(version)),
                Ok(_) => {}
                Err(TableError::NoSuchVersion { .. }) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// The newest version now: this one, if nothing was committed since.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn refresh(&self, store: &dyn LogStore) -> Result<Self> {
        let mut state = self.state.clone();
        state.replay_to(store, None)?;
        if state.next == self.state.next && !store.has(self.version)? {
            // This version was removed, and perhaps those that followed it.
            return Self::open(store);
        }
        state.readable()?;
        Self::of(state)
    }

    /// The next version on top of this one, of these actions; `info` says by whom and why, and is completed.
    ///
    /// # Errors
    /// When the actions contradict this state: a removed file is not live with that deletion vector, a file is added twice, …
    pub fn seal(&self, info: CommitInfo, actions: Vec<Action>) -> Result<SealedCommit> {
        self.seal_with(info, actions, &SmallFiles::new())
    }

    /// As [`Snapshot::seal`], with the bytes of small files that the actions add, by path.
    pub(crate) fn seal_with(
        &self,
        info: CommitInfo,
        actions: Vec<Action>,
        data: &SmallFiles,
    ) -> Result<SealedCommit> {
        self.state.seal(info, actions, data)
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it was committed, in milliseconds since 1970.
    pub fn timestamp(&self) -> i64 {
        self.state.timestamp
    }

    /// What readers and writers must know.
    pub fn protocol(&self) -> &Arc<Protocol> {
        &self.protocol
    }

    /// Schema, partitioning, properties.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// How far applications have come.
    pub fn txns(&self) -> &BTreeMap<String, Txn> {
        &self.state.txns
    }

    /// Domains that are set.
    pub fn domains(&self) -> &BTreeMap<String, DomainMetadata> {
        &self.state.domains
    }

    /// The live files.
    pub fn files(&self) -> &FileSet {
        &self.state.files
    }

    /// Live files whose partition values `partition` lets pass, and then whose statistics `stats` does. Statistics are only read of
    /// the former; a file without any passes.
    ///
    /// # Errors
    /// When statistics can't be read.
    pub fn files_matching<'a>(
        &'a self,
        mut partition: impl FnMut(&FileView<'a>) -> bool,
        mut stats: impl FnMut(&super::action::FileStats) -> bool,
    ) -> Result<Vec<FileView<'a>>> {
        let mut kept = Vec::new();
        for file in self.files().iter().filter(|f| partition(f)) {
            if file.stats()?.is_none_or(|s| stats(&s)) {
                kept.push(file);
            }
        }
        Ok(kept)
    }

    /// Files that are gone but not forgotten.
    pub fn tombstones(&self) -> &Tombstones {
        &self.state.tombstones
    }

    /// Hash of the version's section: what the next one names.
    pub fn hash(&self) -> ContentHash {
        self.state.hash
    }

    /// Hash of the set of live files.
    pub fn state_hash(&self) -> StateHash {
        self.state.files.state()
    }

    /// The checkpoint that this was read from, or that was last written from it.
    pub fn checkpoint_version(&self) -> Option<Version> {
        self.state.checkpoint
    }

    /// Whether enough was committed since the last checkpoint for another.
    pub fn checkpoint_due(&self) -> bool {
        let since = self.state.checkpoint.map_or(0, |v| v.0 + 1);
        self.state.next.0 - since >= CHECKPOINT_VERSIONS || self.state.log_bytes >= CHECKPOINT_LOG_BYTES
    }
}
