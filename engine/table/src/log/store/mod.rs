//! Where the log is stored.
//!
//! * [`LogStore`] – what a log needs of its medium: versions that are put once, and checkpoints and sidecars beside them;
//! * [`disk`] – the few calls of a file system that are used, and the real one; [`local`] – the store on it;
//! * [`together`] – versions of several tables that stand together, or not at all;
//! * [`sim`] – a file system in memory that records, fails on demand, and shows every state a crash could leave.

pub mod disk;
pub mod local;
pub mod sim;
pub mod together;

use std::fmt;

use arrow_buffer::Buffer;
use uuid::Uuid;

pub use disk::{Disk, DiskFile, RealDisk};
pub use local::LocalStore;

use super::name::LogFile;
use super::section::Section;
use crate::error::Result;
use crate::version::Version;

/// How much of a group was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Put {
    /// That many of the group's versions, from the first on, are committed and durable.
    pub committed: usize,
    /// The version that somebody else has put, at which the group stopped.
    pub taken: Option<Version>,
}

/// A log's medium. A version is put once and never changes.
pub trait LogStore: Send + Sync + fmt::Debug {
    /// Where this is, for messages.
    fn place(&self) -> String;

    /// The section of a version, checked against its seal; `None` if there is no such version.
    ///
    /// # Errors
    /// When it can't be read or is damaged.
    fn read(&self, version: Version) -> Result<Option<Section>>;

    /// Puts a group of consecutive versions, each unless it is there already. The first that is there ends the group: those before
    /// it are committed, the others are not. What is reported as committed survives a crash.
    ///
    /// # Errors
    /// [`NotCommitted`](crate::TableError::NotCommitted): nothing happened. [`OutcomeUnknown`](crate::TableError::OutcomeUnknown):
    /// reading the log tells; this store takes no more commits.
    fn put(&self, group: &[Section]) -> Result<Put>;

    /// All versions from one on, in order.
    ///
    /// # Errors
    /// When the medium fails.
    fn list(&self, from: Version) -> Result<Vec<Version>>;

    /// All checkpoints and sidecars, in the order of [`LogFile`].
    ///
    /// # Errors
    /// When the medium fails.
    fn list_files(&self) -> Result<Vec<LogFile>>;

    /// A file's bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// When the medium fails.
    fn read_file(&self, file: LogFile) -> Result<Option<Buffer>>;

    /// Puts new checkpoints or sidecars; when it returns, all of them survive a crash. Their names must not be taken.
    ///
    /// # Errors
    /// When the medium fails; some of the files may be there then.
    fn put_files(&self, files: &[(LogFile, &[u8])]) -> Result<()>;

    /// Replaces the hint. A crash leaves the old or the new one.
    ///
    /// # Errors
    /// When the medium fails.
    fn put_hint(&self, bytes: &[u8]) -> Result<()>;

    /// Removes a file, if it is there. The caller knows that nobody needs it any more. The removal of a checkpoint survives a crash.
    ///
    /// # Errors
    /// When the medium fails.
    fn remove(&self, file: LogFile) -> Result<()>;

    /// Whether there is a version.
    ///
    /// # Errors
    /// When the medium fails.
    fn has(&self, version: Version) -> Result<bool>;

    /// Removes versions, in this order: the oldest, which a checkpoint makes up for. It survives a crash, and all others do.
    ///
    /// # Errors
    /// When the medium fails; some may be gone then.
    fn remove_versions(&self, versions: &[Version]) -> Result<()>;

    /// Keeps others from writing checkpoints and from removing files, until the result is dropped. Waits for those who do.
    ///
    /// # Errors
    /// When the medium fails.
    fn maintenance_lock(&self) -> Result<disk::Lock>;

    /// The newest checkpoint of at most this version, by its name. See [`LogStore::list_files`].
    ///
    /// # Errors
    /// When the medium fails.
    fn checkpoints_down_from(&self, version: Version) -> Result<Vec<(Version, Uuid)>> {
        let mut found: Vec<_> = self
            .list_files()?
            .into_iter()
            .filter_map(|f| match f {
                LogFile::Checkpoint(v, id) if v <= version => Some((v, id)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found.reverse();
        Ok(found)
    }
}
