//! The calls of a file system that the log uses, and the real file system.

use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use arrow_buffer::{Buffer, MutableBuffer};

/// Which file a name leads to, and how long it is: names with equal identities are links to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// A lock that is held until dropped.
pub struct Lock {
    _held: Box<dyn Any + Send + Sync>,
}

impl Lock {
    pub(crate) fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// A file being written, front to back.
pub trait DiskFile: Send {
    /// Adds bytes at the end, whether or not those before were synced.
    ///
    /// # Errors
    /// What the system answers; part of the bytes may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the contents survive a crash, but not the name. After an error nothing is known of the contents, and a second call
    /// could succeed without having written them: never call it again.
    ///
    /// # Errors
    /// What the system answers.
    fn sync(&mut self) -> io::Result<()>;
}

/// The calls of a file system that the log uses. What a crash keeps of each is in `docs/log.md`, "The medium".
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder, and those above it, unless it is there, and makes them survive a crash.
    ///
    /// # Errors
    /// What the system answers.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Begins a new file.
    ///
    /// # Errors
    /// What the system answers; `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system answers; `AlreadyExists` if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name instead of the one it had, replacing what has that name.
    ///
    /// # Errors
    /// What the system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a name away; with the last one goes the file.
    ///
    /// # Errors
    /// What the system answers; `NotFound` if there is no such name.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a crash.
    ///
    /// # Errors
    /// What the system answers; nothing is known of the names then.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the contents of a file survive a crash, whoever has written them, but not the name.
    ///
    /// # Errors
    /// What the system answers; nothing is known of the contents then.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Reads a whole file, of at most `max_bytes` bytes.
    ///
    /// # Errors
    /// What the system answers; `FileTooLarge` if it is longer.
    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Buffer>;

    /// Which file has a name; `None` if there is no such name.
    ///
    /// # Errors
    /// What the system answers.
    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// What the system answers.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Locks a file, making it if need be. With `wait` it waits for whoever holds it; without, `None` means that somebody does.
    /// The lock of a process that ends is gone.
    ///
    /// # Errors
    /// What the system answers.
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Lock>>;

    /// Locks a file for one of many: others may do so too, but nobody has it by [`Disk::lock`] meanwhile. Waits for who has.
    ///
    /// # Errors
    /// What the system answers.
    fn lock_shared(&self, path: &Path) -> io::Result<Lock>;

    /// Whether somebody has a file by [`Disk::lock`]. Changes nothing; a file that is not there is not locked.
    ///
    /// # Errors
    /// What the system answers.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Disk for RealDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.create_folder(parent)?;
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        self.sync_folder(parent)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_data()
    }

    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Buffer> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        if len > max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has {len} bytes, at most {max_bytes} are read"),
            ));
        }
        let mut bytes = MutableBuffer::from_len_zeroed(len as usize);
        file.read_exact(bytes.as_slice_mut())?;
        Ok(bytes.into())
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>> {
        match fs::metadata(path) {
            Ok(m) => Ok(Some(FileIdentity { device: m.dev(), inode: m.ino(), len: m.len() })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(path)?
            .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn lock(&self, path: &Path, wait: bool) -> io::Result<Option<Lock>> {
        let file = lock_file(path)?;
        if wait {
            file.lock()?;
        } else {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Ok(Some(Lock::new(file)))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Lock> {
        let file = lock_file(path)?;
        file.lock_shared()?;
        Ok(Lock::new(file))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path)
}
