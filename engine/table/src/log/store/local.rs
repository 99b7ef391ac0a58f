//! The store on one machine's file system.
//!
//! A store's first commit: the group's sections into one new file under `.tmp`; sync it; link it under the name of each version, in
//! order, never replacing; sync the folder. What is acknowledged is behind both syncs. A crash can keep any of the links that were
//! not yet synced; so that no version can be kept without those before it, a group is only linked once the version it follows
//! is known to be durable, and the links of one group are completed by whoever opens the log next.
//!
//! The next commits go behind it, in the same file, and cost one sync each: the file has a name that is durable, and whoever opens the
//! log after a crash looks in the last file for versions that have lost theirs. See `docs/log.md`, "Committing".

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_buffer::Buffer;
use parking_lot::Mutex;
use uuid::Uuid;

use super::disk::{Disk, DiskFile, FileIdentity, Lock, RealDisk};
use super::{LogStore, Put};
use crate::error::{Result, TableError};
use crate::log::limits::{COMMIT_FILE_BYTES, FILE_BYTES_MAX, GROUP_VERSIONS_MAX};
use crate::log::name::{LOG_FOLDER, LogFile, SIDECAR_FOLDER, TEMP_FOLDER};
use crate::log::section::Section;
use crate::version::Version;

/// What a writing store has beyond a reading one.
#[derive(Debug)]
pub(super) struct Writer {
    /// Names of its temporary files begin with it; see [`remove_leftovers`].
    id: Uuid,
    _alive: Lock,
    next_temp: AtomicU64,
    /// All versions before this one are durable.
    durable_end: AtomicU64,
    poison: Mutex<Option<String>>,
    /// Where the next commit can go behind this store's last.
    tail: Mutex<Option<Tail>>,
}

/// A file of this store's commits that the next can be added to.
struct Tail {
    file: Box<dyn DiskFile>,
    /// Which file it is, and its length after its last version.
    place: FileIdentity,
    last: Version,
    /// How many versions it has.
    versions: usize,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("place", &self.place).field("last", &self.last).finish_non_exhaustive()
    }
}

/// What was attempted, on which file, and what the system answered.
type FailedWrite = (&'static str, PathBuf, std::io::Error);

/// How adding a group to the last file came out.
enum Behind {
    Done(Put),
    /// Nothing was written.
    No,
    /// Whether the versions, or some, may be found there after a crash is for the last member to say.
    Failed(&'static str, std::io::Error, bool),
}

/// The file that was read last, and where in it the section after the one that was found begins.
#[derive(Debug)]
struct LastRead {
    identity: FileIdentity,
    bytes: Buffer,
    next: (Version, usize),
}

/// A log in a folder of a local file system.
///
/// ```
/// use deltalite_table::Version;
/// use deltalite_table::log::{LocalStore, LogStore};
/// let folder = tempfile::tempdir()?;
/// let store = LocalStore::create(folder.path())?;
/// assert_eq!(store.list(Version(0))?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LocalStore {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: PathBuf,
    writer: Option<Writer>,
    /// Versions whose own link a crash took, by the version whose file has them.
    lost_links: BTreeMap<Version, Version>,
    /// The file read last: versions share files.
    last_read: Mutex<Option<LastRead>>,
}

impl LocalStore {
    /// Opens the log of the table in a folder for reading and writing, making it if there is none.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn create(table: &Path) -> Result<Self> {
        Self::create_on(Arc::new(RealDisk), table)
    }

    /// As [`LocalStore::create`], on a given file system.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn create_on(disk: Arc<dyn Disk>, table: &Path) -> Result<Self> {
        for folder in [SIDECAR_FOLDER, TEMP_FOLDER] {
            let path = table.join(LOG_FOLDER).join(folder);
            disk.create_folder(&path).map_err(TableError::io("making the folder", &path))?;
        }
        Self::open_on(disk, table)
    }

    /// Opens the log of the table in a folder for reading and writing.
    ///
    /// Completes what a crash left of the last group and removes temporary files whose writers are gone.
    ///
    /// # Errors
    /// When there is none, or the file system fails.
    pub fn open(table: &Path) -> Result<Self> {
        Self::open_on(Arc::new(RealDisk), table)
    }

    /// As [`LocalStore::open`], on a given file system.
    ///
    /// # Errors
    /// When there is none, or the file system fails.
    pub fn open_on(disk: Arc<dyn Disk>, table: &Path) -> Result<Self> {
        let log = table.join(LOG_FOLDER);
        let temp = log.join(TEMP_FOLDER);
        for folder in [SIDECAR_FOLDER, TEMP_FOLDER] {
            let path = log.join(folder);
            if disk.identity(&path).map_err(TableError::io("looking for", &path))?.is_none() {
                return Err(no_table(table));
            }
        }
        let (id, alive) = {
            let gate = temp.join("open.lock");
            let _gate = disk.lock(&gate, true).map_err(TableError::io("locking", &gate))?;
            remove_leftovers(disk.as_ref(), &temp)?;
            let id = Uuid::new_v4();
            let own = temp.join(format!("{id}.lock"));
            let alive = disk.lock(&own, true).map_err(TableError::io("locking", &own))?;
            (
                id,
                alive.ok_or_else(|| {
                    TableError::invalid("locking a file", "waiting for it ended without it")
                })?,
            )
        };
        let mut store =
            Self { disk, log, writer: None, lost_links: BTreeMap::new(), last_read: Mutex::new(None) };
        for (lost, from) in store.lost_links()? {
            let (from, to) = (LogFile::Commit(from).path(&store.log), LogFile::Commit(lost).path(&store.log));
            match store.disk.link(&from, &to) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                    return Err(TableError::io("completing a group at", &to)(e));
                }
                _ => tracing::info!(
                    version = lost.0,
                    "completed a group of commits that a crash had cut short"
                ),
            }
        }
        if !store.unfinished()?.is_empty() {
            let _nobody_prepares = store.lock_commits_shared()?;
            store.settle_all()?;
        }
        let end = store.list(Version(0))?.last().map_or(Version(0), |v| v.next());
        store.sync_log()?;
        store.writer = Some(Writer {
            id,
            _alive: alive,
            next_temp: AtomicU64::new(0),
            durable_end: AtomicU64::new(end.0),
            poison: Mutex::new(None),
            tail: Mutex::new(None),
        });
        store.adopt_nameless()?;
        Ok(store)
    }

    /// Opens the log of the table in a folder for reading. Nothing is changed, no lock is taken.
    ///
    /// # Errors
    /// When there is none, or the file system fails.
    pub fn open_read_only(table: &Path) -> Result<Self> {
        Self::open_read_only_on(Arc::new(RealDisk), table)
    }

    /// As [`LocalStore::open_read_only`], on a given file system.
    ///
    /// # Errors
    /// When there is none, or the file system fails.
    pub fn open_read_only_on(disk: Arc<dyn Disk>, table: &Path) -> Result<Self> {
        let log = table.join(LOG_FOLDER);
        if disk.identity(&log).map_err(TableError::io("looking for", &log))?.is_none() {
            return Err(no_table(table));
        }
        let mut store =
            Self { disk, log, writer: None, lost_links: BTreeMap::new(), last_read: Mutex::new(None) };
        store.lost_links = store.lost_links()?;
        // While some writer lives, the machine has not crashed since it has completed everything; what has no name yet is being written.
        if !store.has_writers()? {
            for (version, holder, _) in store.nameless()? {
                if store.read_prepared(version)?.is_some() {
                    break;
                }
                store.lost_links.insert(version, holder);
            }
        }
        Ok(store)
    }

    /// By which name others know that this process has the table open; none where it was opened for reading only.
    pub fn session(&self) -> Option<Uuid> {
        self.writer.as_ref().map(|writer| writer.id)
    }

    /// Whether a commit of unknown outcome keeps this store from taking more.
    pub fn is_poisoned(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.poison.lock().is_some())
    }

    /// Whether the folder is still the one that was opened, not another of the same name.
    pub fn is_there(&self) -> bool {
        let Some(writer) = &self.writer else { return true };
        let alive = self.log.join(TEMP_FOLDER).join(format!("{}.lock", writer.id));
        matches!(self.disk.identity(&alive), Ok(Some(_)))
    }

    /// Versions without a name of their own whose section is in the file of one before or after them that has its name.
    fn lost_links(&self) -> Result<BTreeMap<Version, Version>> {
        let present = self.list(Version(0))?;
        let mut lost = BTreeMap::new();
        // Where old versions have been removed, a group may have lost its first links on purpose.
        let mut from = match present.first() {
            Some(first) if self.checkpoints_down_from(Version::MAX)?.is_empty() => {
                Version(first.0.saturating_sub(GROUP_VERSIONS_MAX as u64))
            }
            Some(first) => *first,
            None => return Ok(lost),
        };
        let mut before = None;
        for version in present {
            let group_start = version.0.saturating_sub(GROUP_VERSIONS_MAX as u64);
            let missing = from.0.max(group_start)..version.0;
            if !missing.is_empty() {
                // In a file whose later versions have names, what is before them counts; in one without, it may have come to nothing.
                for holder in [Some(version), before].into_iter().flatten() {
                    for section in self.whole_sections(holder)? {
                        if missing.contains(&section.version().0) {
                            lost.entry(section.version()).or_insert(holder);
                        }
                    }
                }
            }
            before = Some(version);
            from = version.next();
        }
        Ok(lost)
    }

    /// The sections of a version's file up to the first that is not whole.
    fn whole_sections(&self, version: Version) -> Result<Vec<Section>> {
        let Some((_, bytes)) = self.read_commit_file(version)? else { return Ok(Vec::new()) };
        Ok(Section::whole(LogFile::Commit(version), &bytes).collect())
    }

    /// Sections that follow the last version in its file, without names, as pairs of their version and that one: commits that a crash left
    /// without their names, acknowledged or not, or that their process did not live to name.
    fn nameless(&self) -> Result<Vec<(Version, Version, Section)>> {
        let Some(last) = self.list(Version(0))?.last().copied() else { return Ok(Vec::new()) };
        let mut next = last;
        let behind = self.whole_sections(last)?.into_iter().filter(|s| s.version() > last);
        Ok(behind
            .map_while(|section| {
                next = next.next();
                (section.version() == next).then_some((next, last, section))
            })
            .collect())
    }

    /// Commits what [`LocalStore::nameless`] finds, in a file of its own: what was not synced where it was found is then.
    fn adopt_nameless(&self) -> Result<()> {
        if self.nameless()?.is_empty() {
            return Ok(());
        }
        let path = self.commit_lock_path();
        // Nobody is committing, so nothing is on its way to get a name.
        let _alone = self.disk.lock(&path, true).map_err(TableError::io("locking", &path))?;
        let sections: Vec<Section> = self.nameless()?.into_iter().map(|(.., section)| section).collect();
        if let (Some(first), Some(last)) = (sections.first(), sections.last()) {
            let (first, last) = (first.version().0, last.version().0);
            let put = self.put_locked(&sections)?;
            tracing::info!(
                first,
                last,
                committed = put.committed,
                "named versions that a crash had left without names"
            );
        }
        Ok(())
    }

    /// Whether some process has the log open for writing.
    fn has_writers(&self) -> Result<bool> {
        let temp = self.log.join(TEMP_FOLDER);
        let names = match self.disk.list(&temp) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            names => names.map_err(TableError::io("listing", &temp))?,
        };
        for name in names {
            if name.strip_suffix(".lock").is_some_and(|id| Uuid::try_parse(id).is_ok()) {
                let path = temp.join(name);
                match self.disk.is_locked(&path) {
                    Ok(false) => {}
                    // Of whom nothing is to be known, it may live.
                    Err(e) if e.kind() != ErrorKind::PermissionDenied => {
                        return Err(TableError::io("looking for a lock on", &path)(e));
                    }
                    _ => return Ok(true),
                }
            }
        }
        Ok(false)
    }

    fn read_commit_file(&self, version: Version) -> Result<Option<(FileIdentity, Buffer)>> {
        let path = LogFile::Commit(version).path(&self.log);
        let identity = self.disk.identity(&path).map_err(TableError::io("looking for", &path))?;
        let Some(identity) = identity else { return Ok(None) };
        if let Some(last) = self.last_read.lock().as_ref()
            && last.identity == identity
        {
            return Ok(Some((identity, last.bytes.clone())));
        }
        Ok(self.read_path(&path)?.map(|bytes| (identity, bytes)))
    }

    /// The section of a version in the file that has the name of a version.
    fn read_section(&self, named: Version, version: Version) -> Result<Option<Section>> {
        let Some((identity, bytes)) = self.read_commit_file(named)? else { return Ok(None) };
        let same = |last: &LastRead| {
            last.identity.inode == identity.inode
                && last.identity.device == identity.device
                && last.next.0 <= version
        };
        let known = self.last_read.lock().as_ref().filter(|last| same(last)).map(|last| last.next.1);
        let file = LogFile::Commit(named);
        let found = Section::find_from(file, &bytes, known.unwrap_or(0), version)?;
        let Some((section, end)) = found else {
            return Err(TableError::corrupt(file, format!("it does not hold version {version}")));
        };
        *self.last_read.lock() = Some(LastRead { identity, bytes, next: (version.next(), end) });
        Ok(Some(section))
    }

    pub(super) fn read_path(&self, path: &Path) -> Result<Option<Buffer>> {
        match self.disk.read(path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(TableError::io("reading", path)(e)),
        }
    }

    pub(super) fn sync_log(&self) -> Result<()> {
        self.disk.sync_folder(&self.log).map_err(TableError::io("syncing the folder", &self.log))
    }

    pub(super) fn writer(&self) -> Result<&Writer> {
        let writer = self.writer.as_ref().ok_or_else(|| {
            TableError::invalid("writing to the log", "it was opened for reading only; open it for writing")
        })?;
        match writer.poison.lock().as_ref() {
            Some(reason) => Err(TableError::Poisoned { reason: reason.clone() }),
            None => Ok(writer),
        }
    }

    /// Writes and syncs a temporary file. After an error it is gone, or left for the next who opens the log.
    pub(super) fn write_temp<'a>(
        &self,
        writer: &Writer,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(PathBuf, Box<dyn DiskFile>), FailedWrite> {
        let name = format!("{}.{}", writer.id, writer.next_temp.fetch_add(1, Ordering::Relaxed));
        let path = self.log.join(TEMP_FOLDER).join(name);
        let write = || {
            let mut file = self.disk.create(&path).map_err(|e| ("creating the temporary file", e))?;
            for part in parts {
                file.append(part).map_err(|e| ("writing the temporary file", e))?;
            }
            file.sync().map_err(|e| ("syncing the temporary file", e))?;
            Ok(file)
        };
        match write() {
            Ok(file) => Ok((path, file)),
            Err((what, e)) => {
                self.discard(&path);
                Err((what, path, e))
            }
        }
    }

    /// Writes a file of the table again that the log can make up for. A crash leaves the old or the new one, or one torn.
    ///
    /// # Errors
    /// When the file system fails, or the log was opened for reading only.
    pub(crate) fn replace(&self, place: &Path, bytes: &[u8]) -> Result<()> {
        let writer = self.writer()?;
        let name = format!("{}.{}", writer.id, writer.next_temp.fetch_add(1, Ordering::Relaxed));
        let temp = self.log.join(TEMP_FOLDER).join(name);
        let write = || {
            if let Some(folder) = place.parent() {
                self.disk.create_folder(folder)?;
            }
            self.disk.create(&temp)?.append(bytes)?;
            self.disk.rename(&temp, place)
        };
        write().map_err(|error| {
            self.discard(&temp);
            TableError::io("writing again", place)(error)
        })
    }

    /// Removes a temporary file; whoever opens the log next does it otherwise.
    pub(super) fn discard(&self, temp: &Path) {
        if let Err(error) = self.disk.unlink(temp)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(file = %temp.display(), %error, "could not remove a temporary file");
        }
    }

    /// Before a group is linked: the version that it follows must be there, and durable.
    pub(super) fn secure_base(&self, writer: &Writer, first: Version) -> Result<()> {
        if writer.durable_end.load(Ordering::Acquire) >= first.0 {
            return Ok(());
        }
        if let Some(base) = first.previous() {
            let path = LogFile::Commit(base).path(&self.log);
            if self.disk.identity(&path).map_err(TableError::io("looking for", &path))?.is_none() {
                return Err(TableError::Inconsistent {
                    version: first,
                    detail: format!("the version before it, {base}, is not in the log"),
                });
            }
        }
        self.sync_log()?;
        writer.durable_end.fetch_max(first.0, Ordering::AcqRel);
        Ok(())
    }

    /// Links a file, which has a name, under the names of a group.
    fn link_group(&self, from: &Path, group: &[Section]) -> (Put, Option<std::io::Error>) {
        for (committed, section) in group.iter().enumerate() {
            let path = LogFile::Commit(section.version()).path(&self.log);
            let Err(error) = self.disk.link(from, &path) else { continue };
            if error.kind() == ErrorKind::AlreadyExists {
                return (Put { committed, taken: Some(section.version()) }, None);
            }
            // The link may have been made nevertheless.
            let made = match (self.disk.identity(from), self.disk.identity(&path)) {
                (Ok(Some(from)), Ok(name)) => Some(name == Some(from)),
                _ => None,
            };
            if made != Some(true) {
                // Told apart by the caller: with `taken` set, the failed link is possibly there.
                let taken = made.is_none().then(|| section.version());
                return (Put { committed, taken }, Some(error));
            }
        }
        (Put { committed: group.len(), taken: None }, None)
    }

    /// Commits a group behind this store's last commit, in the same file, if nobody else has committed since.
    fn put_behind(&self, writer: &Writer, group: &[Section]) -> Result<Behind> {
        let mut slot = writer.tail.lock();
        let Some(mut tail) = slot.take() else { return Ok(Behind::No) };
        let (first, last) = ends(group);
        let bytes: u64 = group.iter().map(|s| s.bytes().len() as u64).sum();
        let base = LogFile::Commit(tail.last).path(&self.log);
        let identity = |path: &Path| self.disk.identity(path).map_err(TableError::io("looking for", path));
        if tail.last.next() != first
            || tail.place.len >= COMMIT_FILE_BYTES
            || tail.versions + group.len() > GROUP_VERSIONS_MAX
            || identity(&base)? != Some(tail.place)
        {
            return Ok(Behind::No);
        }
        if identity(&LogFile::Commit(first).path(&self.log))?.is_some() {
            return Ok(Behind::Done(Put { committed: 0, taken: Some(first) }));
        }
        for section in group {
            if let Err(error) = tail.file.append(section.bytes()) {
                let least = tail.place.len + group[0].bytes().len() as u64;
                let partly = matches!(self.disk.identity(&base), Ok(Some(now)) if now.len < least);
                return Ok(Behind::Failed("writing to the commit file", error, !partly));
            }
        }
        if let Err(error) = tail.file.sync() {
            return Ok(Behind::Failed("syncing the commit file", error, true));
        }
        let (put, failure) = self.link_group(&base, group);
        writer.durable_end.fetch_max(first.plus(put.committed).0, Ordering::AcqRel);
        match (put, failure) {
            (Put { taken: Some(_), .. }, Some(error)) => {
                Err(unknown(writer, group, "linking a version, and looking whether it is there,", error))
            }
            // The others are in the file, and would be found after a crash.
            (Put { committed, .. }, Some(error)) if committed > 0 => {
                Err(unknown(writer, group, "linking some of the versions", error))
            }
            (_, Some(error)) => Ok(Behind::Failed("linking the version", error, true)),
            (put, None) => {
                if put.taken.is_some() {
                    self.give_way(writer, group)?;
                } else {
                    tail.place.len += bytes;
                    tail.versions += group.len();
                    tail.last = last;
                    *slot = Some(tail);
                }
                Ok(Behind::Done(put))
            }
        }
    }

    /// Sections were written behind the last commit that are not committed, because somebody else was first. If the other's name were lost
    /// in a crash, they would be taken for the version, though their writers may have been told that they lost.
    fn give_way(&self, writer: &Writer, group: &[Section]) -> Result<()> {
        self.disk
            .sync_folder(&self.log)
            .map_err(|error| unknown(writer, group, "syncing the log's folder for another's version", error))
    }

    /// [`LogStore::put`] for who has the lock that keeps those away who commit to several tables at once, or is one of them: in a new
    /// file, whose names are durable at once.
    pub(crate) fn put_locked(&self, group: &[Section]) -> Result<Put> {
        let writer = self.writer()?;
        check_group(group)?;
        let (first, last) = ends(group);
        self.secure_base(writer, first)?;
        let (temp, file) = self
            .write_temp(writer, group.iter().map(Section::bytes))
            .map_err(|(what, _, source)| TableError::NotCommitted { first, last, what, source })?;
        let (put, failure) = self.link_group(&temp, group);
        if let (Some(_), Some(source)) = (put.taken, failure.as_ref()) {
            let source = std::io::Error::new(source.kind(), source.to_string());
            return Err(unknown(
                writer,
                group,
                "linking a version, and looking whether it is there,",
                source,
            ));
        }
        if put.committed > 0 {
            if let Err(source) = self.disk.sync_folder(&self.log) {
                return Err(unknown(writer, &group[..put.committed], "syncing the log's folder", source));
            }
            writer.durable_end.fetch_max(first.plus(put.committed).0, Ordering::AcqRel);
        }
        if put.committed == group.len()
            && let Ok(Some(place)) = self.disk.identity(&temp)
        {
            *writer.tail.lock() = Some(Tail { file, place, last, versions: group.len() });
        }
        self.discard(&temp);
        match failure {
            // What was linked is committed all the same; the caller sees how much, and tries the rest again.
            Some(source) if put.committed == 0 => {
                Err(TableError::NotCommitted { first, last, what: "linking the version", source })
            }
            _ => Ok(put),
        }
    }
}

fn check_group(group: &[Section]) -> Result<()> {
    let (first, last) = ends(group);
    if group.is_empty()
        || group.len() > GROUP_VERSIONS_MAX
        || last > Version::MAX
        || group.iter().enumerate().any(|(i, s)| s.version() != first.plus(i))
    {
        return Err(TableError::invalid(
            "committing a group",
            format!("it must be of 1 to {GROUP_VERSIONS_MAX} consecutive versions"),
        ));
    }
    Ok(())
}

/// The error of an outcome that is not known; from now on the store takes no commits.
fn unknown(writer: &Writer, group: &[Section], what: &'static str, source: std::io::Error) -> TableError {
    let (first, last) = ends(group);
    *writer.poison.lock() =
        Some(format!("{what} failed for versions {first} to {last}, and their outcome is unknown"));
    TableError::OutcomeUnknown { first, last, what, source }
}

fn ends(group: &[Section]) -> (Version, Version) {
    let first = group.first().map_or(Version(0), Section::version);
    (first, group.last().map_or(first, Section::version))
}

fn no_table(table: &Path) -> TableError {
    TableError::NoTable {
        place: table.display().to_string(),
        detail: format!("there is no folder {LOG_FOLDER} as DeltaLite makes it"),
    }
}

/// Removes temporary files of writers that are gone: each holds a lock on `<id>.lock` while it lives.
fn remove_leftovers(disk: &dyn Disk, temp: &Path) -> Result<()> {
    let names = disk.list(temp).map_err(TableError::io("listing", temp))?;
    let mut by_writer: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in &names {
        if let Some((id, rest)) = name.split_once('.')
            && Uuid::try_parse(id).is_ok()
        {
            let files = by_writer.entry(id).or_default();
            if rest != "lock" {
                files.push(name);
            }
        }
    }
    for (id, files) in by_writer {
        let lock = temp.join(format!("{id}.lock"));
        let Some(_gone) = disk.lock(&lock, false).map_err(TableError::io("locking", &lock))? else {
            continue;
        };
        // The lock goes last: as long as it is there, somebody will look for the others.
        for path in files.iter().map(|f| temp.join(f)).chain([lock]) {
            match disk.unlink(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(TableError::io("removing the leftover", &path)(e));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

impl LogStore for LocalStore {
    fn place(&self) -> String {
        self.log.display().to_string()
    }

    fn read(&self, version: Version) -> Result<Option<Section>> {
        if let Some(section) = self.read_section(version, version)? {
            return Ok(Some(section));
        }
        match self.lost_links.get(&version) {
            Some(named) => self.read_section(*named, version),
            None => self.read_prepared(version),
        }
    }

    fn put(&self, group: &[Section]) -> Result<Put> {
        let writer = self.writer()?;
        let _nobody_prepares = self.lock_commits_shared()?;
        if let Some(first) = group.first().map(Section::version) {
            if writer.durable_end.load(Ordering::Acquire) < first.0
                && let Some(base) = first.previous()
            {
                self.settle(base)?;
            }
            self.settle(first)?;
        }
        check_group(group)?;
        match self.put_behind(writer, group)? {
            Behind::Done(put) => Ok(put),
            Behind::No => self.put_locked(group),
            Behind::Failed(what, source, found_later) => {
                tracing::warn!(what, %source, "could not add to the last commit file; trying a new one");
                match self.put_locked(group) {
                    Ok(put) if found_later && put.committed == 0 => {
                        self.give_way(writer, group)?;
                        Ok(put)
                    }
                    unsure @ Err(TableError::OutcomeUnknown { .. }) => unsure,
                    // What is left of the attempt would be taken for the version after a crash.
                    Err(_) if found_later => Err(unknown(writer, group, what, source)),
                    put => put,
                }
            }
        }
    }

    fn list(&self, from: Version) -> Result<Vec<Version>> {
        let names = self.disk.list(&self.log).map_err(TableError::io("listing", &self.log))?;
        let mut versions: Vec<_> = names
            .iter()
            .filter_map(|n| match LogFile::parse(n) {
                Some(LogFile::Commit(v)) if v >= from => Some(v),
                _ => None,
            })
            .chain(self.lost_links.keys().copied().filter(|v| *v >= from))
            .collect();
        versions.sort_unstable();
        versions.dedup();
        Ok(versions)
    }

    fn list_files(&self) -> Result<Vec<LogFile>> {
        let sidecars = self.log.join(SIDECAR_FOLDER);
        let mut files: Vec<_> = self
            .disk
            .list(&self.log)
            .map_err(TableError::io("listing", &self.log))?
            .iter()
            .filter_map(|n| LogFile::parse(n).filter(|f| matches!(f, LogFile::Checkpoint(..))))
            .collect();
        let names = self.disk.list(&sidecars).map_err(TableError::io("listing", &sidecars))?;
        files.extend(names.iter().filter_map(|n| LogFile::parse(&format!("{SIDECAR_FOLDER}/{n}"))));
        files.sort_unstable();
        Ok(files)
    }

    fn read_file(&self, file: LogFile) -> Result<Option<Buffer>> {
        self.read_path(&file.path(&self.log))
    }

    fn put_files(&self, files: &[(LogFile, &[u8])]) -> Result<()> {
        let writer = self.writer()?;
        let mut temps = Vec::with_capacity(files.len());
        let mut put = || {
            for (_, bytes) in files {
                let temp = self.write_temp(writer, std::iter::once(*bytes));
                let (path, _) = temp.map_err(|(what, path, source)| TableError::Io { what, path, source })?;
                temps.push(path);
            }
            for ((file, _), temp) in files.iter().zip(&temps) {
                let path = file.path(&self.log);
                self.disk.link(temp, &path).map_err(TableError::io("linking", &path))?;
            }
            for (folder, wanted) in [(self.log.join(SIDECAR_FOLDER), true), (self.log.clone(), false)] {
                if files.iter().any(|(f, _)| matches!(f, LogFile::Sidecar(_)) == wanted) {
                    self.disk.sync_folder(&folder).map_err(TableError::io("syncing the folder", &folder))?;
                }
            }
            Ok(())
        };
        let done = put();
        for temp in &temps {
            self.discard(temp);
        }
        done
    }

    fn put_hint(&self, bytes: &[u8]) -> Result<()> {
        let writer = self.writer()?;
        let (temp, _) = self
            .write_temp(writer, std::iter::once(bytes))
            .map_err(|(what, path, source)| TableError::Io { what, path, source })?;
        let path = LogFile::Hint.path(&self.log);
        self.disk.rename(&temp, &path).map_err(TableError::io("replacing", &path))
    }

    fn remove(&self, file: LogFile) -> Result<()> {
        self.writer()?;
        let path = file.path(&self.log);
        match self.disk.unlink(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(TableError::io("removing", &path)(e)),
            // What it refers to may be removed next: a crash must not bring back the one without the other.
            _ if matches!(file, LogFile::Checkpoint(..)) => self.sync_log(),
            _ => Ok(()),
        }
    }

    fn has(&self, version: Version) -> Result<bool> {
        let path = LogFile::Commit(version).path(&self.log);
        let named = self.disk.identity(&path).map_err(TableError::io("looking for", &path))?.is_some();
        Ok(named || self.lost_links.contains_key(&version))
    }

    fn remove_versions(&self, versions: &[Version]) -> Result<()> {
        self.writer()?;
        // Later versions in the same files may have been found by the names of those that go.
        self.sync_log()?;
        for version in versions {
            let path = LogFile::Commit(*version).path(&self.log);
            match self.disk.unlink(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(TableError::io("removing", &path)(e));
                }
                _ => {}
            }
        }
        self.sync_log()
    }

    fn maintenance_lock(&self) -> Result<Lock> {
        self.writer()?;
        let path = self.log.join(TEMP_FOLDER).join("maintenance.lock");
        let lock = self.disk.lock(&path, true).map_err(TableError::io("locking", &path))?;
        lock.ok_or_else(|| TableError::invalid("locking a file", "waiting for it ended without it"))
    }
}
