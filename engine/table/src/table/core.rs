//! What all handles of a table in a process share.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use deltalite_format::reader::ReadAt;
use deltalite_format::verify::verify_file;
use deltalite_shard::scan::{DataFile, FileSource};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::context::TableContext;
use super::pins::{Pin, Pins};
use super::retention::retire_log;
use crate::commit::{Committed, Committer, Pending, Vectors};
use crate::error::{Result, TableError};
use crate::log::action::{Add, decode_path};
use crate::log::inline::Inlined;
use crate::log::name::TEMP_FOLDER;
use crate::log::{LOG_FOLDER, LocalStore, LogStore, SealedCommit, Snapshot};
use crate::version::Version;

/// Data files whose metadata is kept open.
const OPEN_FILES: usize = 4096;

/// The tables that are open in this process: their writers commit in groups.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Core>>>> = LazyLock::new(Mutex::default);

/// A table of this process.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) root: PathBuf,
    pub(crate) context: TableContext,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) committer: Committer,
    pub(crate) vectors: Arc<Vectors>,
    pub(crate) pins: Arc<Pins>,
    /// Files being written that no version refers to yet.
    pub(crate) in_flight: Arc<Mutex<BTreeSet<PathBuf>>>,
    files: Cache<Box<str>, Arc<DataFile>>,
    /// Files from the log that could not be written where they belong.
    aside: Mutex<HashMap<Box<str>, File>>,
    session: String,
    next_file: AtomicU64,
    checkpointing: Mutex<()>,
}

impl Core {
    /// The table in a folder. With `first` it is created there, unless there is one: then it is opened, and `first` is not used.
    ///
    /// # Errors
    /// When there is no table, or it can't be read.
    pub(crate) fn open(path: &Path, context: &TableContext) -> Result<Arc<Self>> {
        let root = canonical(path)?;
        // On a disk of the caller's making every handle stands alone.
        if !context.direct {
            return Self::open_new(root, context);
        }
        let mut open = OPEN.lock();
        if let Some(core) = open.get(&root).and_then(Weak::upgrade)
            && core.is_whole()
        {
            return Ok(core);
        }
        let core = Self::open_new(root.clone(), context)?;
        open.retain(|_, core| core.strong_count() > 0);
        open.insert(root, Arc::downgrade(&core));
        Ok(core)
    }

    fn open_new(root: PathBuf, context: &TableContext) -> Result<Arc<Self>> {
        let disk = context.disk.clone();
        let store = match LocalStore::open_on(disk.clone(), &root) {
            Err(TableError::Io { source, .. })
                if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                LocalStore::open_read_only_on(disk.clone(), &root)?
            }
            opened => opened?,
        };
        let store = Arc::new(store);
        let session = store.session();
        let temp = root.join(LOG_FOLDER).join(TEMP_FOLDER);
        let pin = session.map(|id| temp.join(format!("{id}.pin")));
        let pins = Arc::new(Pins::new(disk.clone(), pin));
        pins.announce(Version(0))?;
        let tip = Snapshot::open(store.as_ref())?;
        let vectors = Arc::new(Vectors::new(disk.clone(), &root));
        let in_flight = Arc::default();
        let committer =
            Committer::new(store.clone(), disk, &root, vectors.clone(), tip, Arc::clone(&in_flight));
        Ok(Arc::new(Self {
            root,
            context: context.clone(),
            store,
            committer,
            vectors,
            pins,
            in_flight,
            files: Cache::new(OPEN_FILES),
            aside: Mutex::default(),
            session: session.unwrap_or_else(uuid::Uuid::new_v4).to_string(),
            next_file: AtomicU64::new(0),
            checkpointing: Mutex::new(()),
        }))
    }

    /// Makes a table of a first version; `false` if somebody else has made one there meanwhile.
    ///
    /// # Errors
    /// When the file system fails.
    pub(crate) fn create(path: &Path, context: &TableContext, first: SealedCommit) -> Result<bool> {
        let disk = &context.disk;
        disk.create_folder(path).map_err(TableError::io("making the folder", path))?;
        let store = LocalStore::create_on(disk.clone(), path)?;
        let put = SealedCommit::commit(&store, &[first])?;
        Ok(put.taken.is_none())
    }

    /// Whether it can go on: after a commit of unknown outcome the log has to be opened again, and after its folder was replaced too.
    fn is_whole(&self) -> bool {
        !self.store.is_poisoned() && self.store.is_there()
    }

    /// The newest version, pinned.
    ///
    /// # Errors
    /// When the log can't be read.
    pub(crate) fn newest(&self) -> Result<(Snapshot, Pin)> {
        let snapshot = self.committer.refresh()?;
        let pin = self.pins.pin(snapshot.version())?;
        Ok((snapshot, pin))
    }

    /// Commits a transaction, and writes a checkpoint when one is due.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub(crate) fn commit(&self, pending: Pending) -> Result<Committed> {
        let committed = self.committer.commit(pending)?;
        if committed.snapshot.checkpoint_due()
            && let Some(_alone) = self.checkpointing.try_lock()
            && self.committer.tip().checkpoint_due()
            && let Err(error) = self.checkpoint()
        {
            // It only saves time; the commit stands.
            tracing::warn!(%error, table = %self.root.display(), "could not write a checkpoint");
        }
        Ok(committed)
    }

    /// Writes a checkpoint of the newest version that is known, and removes what of the log is too old.
    ///
    /// # Errors
    /// When the system fails.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.committer.checkpoint()?;
        retire_log(self, &self.committer.tip())
    }

    /// A name for a data file that nobody else uses, and that tells who wrote it.
    pub(crate) fn new_file_name(&self) -> String {
        format!("{}-{}.dlb", self.session, self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// Where a file of the table is.
    ///
    /// # Errors
    /// When the log's path is none.
    pub(crate) fn path_of(&self, path: &str) -> Result<PathBuf> {
        let decoded = decode_path(path)?;
        let absolute = decoded.strip_prefix("file://").unwrap_or(&decoded);
        Ok(self.root.join(absolute))
    }

    /// A data file's metadata, from memory if it was opened before.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub(crate) fn data_file(&self, add: &Add) -> Result<Arc<DataFile>> {
        if let Some(file) = self.files.get(&add.path) {
            return Ok(file);
        }
        let place = self.whole_file(add)?;
        if !place.exists() {
            return Err(TableError::Missing {
                file: place.display().to_string(),
                detail: "the table's log refers to it".to_owned(),
            });
        }
        let file = DataFile::open(&place)?;
        self.files.insert(add.path.clone(), file.clone());
        Ok(file)
    }

    /// Where a data file is to be read. One that is in the log, and that a crash has taken or torn, is written again.
    ///
    /// # Errors
    /// When the log does not have it either, or the system fails.
    pub(crate) fn whole_file(&self, add: &Add) -> Result<PathBuf> {
        let place = self.path_of(&add.path)?;
        let Some(inlined) = Inlined::of(add)? else { return Ok(place) };
        match self.context.disk.read(&place, add.size) {
            Ok(bytes) if inlined.is(&bytes, add.size) => return Ok(place),
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge) => {
                return Err(TableError::io("reading the data file", &place)(e));
            }
            _ => {}
        }
        let bytes = inlined.read(self.log(), &add.path, add.size)?;
        tracing::info!(file = %place.display(), version = inlined.version.0, "writing a small file again from the log");
        match self.store.replace(&place, &bytes) {
            Ok(()) => Ok(place),
            // Who may only read has it to himself.
            Err(error) if self.store.session().is_none() => self.aside(&add.path, &bytes).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// Puts a file's bytes in a file without a name, where only this process finds them.
    fn aside(&self, path: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
        let mut aside = self.aside.lock();
        let file = match aside.get(path) {
            Some(file) => file,
            None => {
                let name = std::env::temp_dir().join(format!("deltalite-{}", uuid::Uuid::new_v4()));
                let mut file =
                    File::options().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
                std::fs::remove_file(&name)?;
                file.write_all(bytes)?;
                aside.entry(path.into()).or_insert(file)
            }
        };
        Ok(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }

    /// Makes a file durable that is in the log: the table of somebody else is going to refer to it.
    ///
    /// # Errors
    /// When it is missing or damaged, or the system fails.
    pub(crate) fn make_durable(&self, add: &Add) -> Result<()> {
        if Inlined::of(add)?.is_none() {
            return Ok(());
        }
        let place = self.whole_file(add)?;
        let disk = self.context.disk.as_ref();
        disk.sync_file(&place).map_err(TableError::io("syncing the data file", &place))?;
        let folder = place.parent().unwrap_or(&self.root);
        disk.sync_folder(folder).map_err(TableError::io("syncing the folder", folder))
    }

    /// This process's name among the table's writers.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn log(&self) -> &dyn LogStore {
        self.store.as_ref()
    }
}

fn canonical(path: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(TableError::NoTable {
            place: path.display().to_string(),
            detail: "there is no such folder".to_owned(),
        }),
        Err(e) => Err(TableError::io("looking for", path)(e)),
    }
}

/// Checks that a data file is there as the log says, with `pages` that each of its pages is intact.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_file(core: &Core, file: &super::TableFile, pages: bool) -> Result<()> {
    let path = core.whole_file(&file.add)?;
    let name = path.display().to_string();
    let found = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(TableError::Missing {
                file: name,
                detail: "the table's log refers to it".to_owned(),
            });
        }
        Err(e) => return Err(TableError::io("looking for", &path)(e)),
    };
    if found != file.add.size {
        let detail = format!("it has {found} bytes, {} were recorded", file.add.size);
        return Err(TableError::corrupt(name, detail));
    }
    file.deleted()?;
    if pages {
        let source: Arc<dyn ReadAt> = Arc::new(FileSource::open(&path)?);
        let report = verify_file(&source, core.data_file(&file.add)?.meta(), &mut |_| {})?;
        if let Some(problem) = report.problems.first() {
            return Err(TableError::corrupt(name, problem.to_string()));
        }
    }
    Ok(())
}
