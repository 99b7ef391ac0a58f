//! The interface between what all devices share (`core`) and one medium.

use std::path::Path;
use std::time::Duration;

use super::error::{DeviceError, Errno};
use super::file::{DeviceFile, FileId, OpenMode};
use super::{DeviceDegraded, DeviceKind, os};

/// What to do with a stretch of memory and a stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawKind {
    Read,
    Write,
    Sync,
}

/// A request for the medium.
///
/// The memory at `ptr` is owned by the core's operation until the request's answer has been reaped: the medium may
/// use it until then, on any thread, and must not afterwards. A `Write` only reads from it.
pub struct RawOp<'a> {
    pub(crate) kind: RawKind,
    pub(crate) file: &'a DeviceFile,
    pub(crate) ptr: *mut u8,
    pub(crate) len: u32,
    pub(crate) offset: u64,
}

/// The medium's answer to a request: bytes moved or an error number.
pub(super) type Answer = (u32, Result<u32, Errno>);

/// One medium. Requests are known by the number that the core gives them.
pub trait Backend {
    const KIND: DeviceKind;

    /// Takes a request; it may stay here until [`Self::flush`]. False where there is no room: flush and try later.
    ///
    /// # Safety
    ///
    /// `op.ptr` must stay valid for `op.len` bytes (writable for reads) until the answer to `id` was reaped.
    unsafe fn push(&mut self, id: u32, op: &RawOp<'_>) -> bool;

    /// Hands pushed requests to the medium and makes answers reapable, without blocking.
    fn flush(&mut self) -> Result<(), DeviceError>;

    /// Appends the answers that are there to `into`.
    fn reap(&mut self, into: &mut Vec<Answer>);

    /// Hands pushed requests to the medium and blocks until an answer can be reaped or `timeout` is over. A medium to which
    /// each wake-up is a cost may wait for `batch` answers, for some hundred microseconds at most.
    fn wait(&mut self, batch: u32, timeout: Option<Duration>) -> Result<(), DeviceError>;

    /// System calls made so far and requests that used registered memory.
    fn counters(&self) -> (u64, u64) {
        (0, 0)
    }

    fn degraded(&self) -> Vec<DeviceDegraded> {
        Vec::new()
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<DeviceFile, DeviceError>;

    /// Identity of the open file now, and of what its path leads to now.
    fn identity(&mut self, file: &DeviceFile) -> Result<FileId, Errno> {
        os::identity(file)
    }

    fn identity_at(&mut self, path: &Path) -> Result<FileId, Errno> {
        os::identity_at(path)
    }

    fn set_len(&mut self, file: &DeviceFile, len: u64) -> Result<(), Errno> {
        os::set_len(file, len)
    }

    fn reserve(&mut self, file: &DeviceFile, offset: u64, len: u64) -> Result<(), Errno> {
        os::reserve(file, offset, len)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        std::fs::rename(from, to).map_err(|e| Errno::of(&e))
    }

    fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        std::fs::remove_file(path).map_err(|e| Errno::of(&e))
    }

    fn sync_folder(&mut self, folder: &Path) -> Result<(), Errno> {
        os::sync_folder(folder)
    }
}
