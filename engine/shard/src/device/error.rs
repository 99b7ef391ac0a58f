//! What a device can answer besides data: one enum, each variant naming the file, the place and what to do.

use std::fmt;
use std::path::PathBuf;

use super::file::FileId;

/// An operating-system error number, shown with its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The error number of the last failed system call of this thread.
    pub fn last() -> Self {
        Self::of(&std::io::Error::last_os_error())
    }

    /// The error number behind a standard error; EIO where it has none.
    pub fn of(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// True for the numbers that ask to simply try again.
    pub fn is_retry(self) -> bool {
        matches!(self.0, libc::EAGAIN | libc::EINTR)
    }

    /// True where the medium has no room left (ENOSPC, EDQUOT, EFBIG).
    pub fn is_no_space(self) -> bool {
        matches!(self.0, libc::ENOSPC | libc::EDQUOT | libc::EFBIG)
    }

    fn advice(self) -> &'static str {
        match self.0 {
            libc::ENOENT => "check the path; the file may have been moved or deleted",
            libc::EACCES | libc::EPERM => "check the permissions of the file and its folders",
            libc::EMFILE | libc::ENFILE => "raise the open-file limit (ulimit -n)",
            libc::EIO => {
                "the disk or its driver failed; look into the kernel log (dmesg) and verify the file on another disk"
            }
            libc::ENOSPC => "free some space on the file system or write elsewhere",
            libc::EDQUOT => "the user's disk quota is used up; raise it or write elsewhere",
            libc::EROFS => "the file system is mounted read-only",
            libc::ENOMEM => "the kernel has no memory for the request; lower the queue depth or free memory",
            libc::EISDIR => "name a file, not a folder",
            libc::ENOTDIR => "a part of the path is a file, not a folder",
            libc::EEXIST => "remove the existing file or choose another name",
            libc::ENOSYS | libc::EOPNOTSUPP => {
                "the kernel or file system lacks this operation; set DELTALITE_IO=threads"
            }
            _ => "look up the error number in errno(3)",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The standard library's text ends in "(os error N)", which names the number already.
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({self})")
    }
}

/// The operation that an error interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoOp {
    /// A positioned read.
    Read,
    /// A positioned write.
    Write,
    /// Making a file's data durable (fdatasync or fsync).
    Sync,
    /// Opening or creating a file.
    Open,
    /// Asking for a file's identity (fstat, stat).
    Stat,
    /// Setting a file's length.
    SetLen,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Making a folder's entries durable (fsync of the folder).
    SyncFolder,
}

impl fmt::Display for IoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoOp::Read => "read",
            IoOp::Write => "write",
            IoOp::Sync => "sync",
            IoOp::Open => "open",
            IoOp::Stat => "stat",
            IoOp::SetLen => "set the length of",
            IoOp::Rename => "rename",
            IoOp::Remove => "remove",
            IoOp::SyncFolder => "sync the folder",
        })
    }
}

/// Everything that can go wrong between a file and memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The kernel refused or failed a read, write or sync at a place in a file.
    #[error("cannot {op} {path} at offset {offset}, length {len}: {errno}; {}", errno.advice())]
    Io {
        /// What was tried.
        op: IoOp,
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The medium is full; nothing half-written stays under the final name.
    #[error("no space left writing {path} at offset {offset}, length {len}: {errno}; {}", errno.advice())]
    NoSpace {
        /// The file being written.
        path: PathBuf,
        /// Where the write was to go, in bytes.
        offset: u64,
        /// How many bytes were to be written.
        len: u64,
        /// ENOSPC, EDQUOT or EFBIG.
        errno: Errno,
    },
    /// An operation on a name (open, rename, remove, folder sync) failed.
    #[error("cannot {op} {path}: {errno}; {}", errno.advice())]
    Name {
        /// What was tried.
        op: IoOp,
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The file ended before the bytes that its length promised when it was opened.
    #[error(
        "{path} ended early: {got} of {expected} bytes at offset {offset}; it was truncated while being read, \
         or the disk returned a short read; open it again"
    )]
    ShortRead {
        /// The file.
        path: PathBuf,
        /// Where the read began, in bytes.
        offset: u64,
        /// Bytes that should have been there.
        expected: u64,
        /// Bytes that were.
        got: u64,
    },
    /// The file is not the one that was opened: its size or modification time differ.
    #[error(
        "{path} changed while it was being read (noticed at offset {offset}): {}; \
         DeltaLite files are never changed in place, so open it again and see who writes to it",
        was.difference(now)
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where the reader was, in bytes.
        offset: u64,
        /// The identity at open.
        was: FileId,
        /// The identity now.
        now: FileId,
    },
    /// The file's name is gone: it was deleted or moved under its reader.
    #[error("{path} vanished while it was being read (noticed at offset {offset}): it was deleted or moved")]
    Vanished {
        /// The name that no longer leads anywhere.
        path: PathBuf,
        /// Where the reader was, in bytes.
        offset: u64,
    },
    /// A read was asked for that starts at or behind the end of the file.
    #[error("nothing to read in {path} at offset {offset}, length {len}: the file has {file_len} bytes")]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// Where the read was to begin, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
        /// The file's length in bytes.
        file_len: u64,
    },
    /// A request whose offset, length or memory break the alignment rule of direct I/O.
    #[error(
        "request on {path} at offset {offset}, length {len} does not fit: offset and length must be multiples of \
         {alignment} and fit the buffer of {capacity} bytes"
    )]
    Misaligned {
        /// The file.
        path: PathBuf,
        /// Offset asked for, in bytes.
        offset: u64,
        /// Length asked for, in bytes.
        len: u64,
        /// Capacity of the buffer given, in bytes.
        capacity: u64,
        /// The alignment that applies, in bytes.
        alignment: u64,
    },
    /// The kernel kept answering "try again" without any progress.
    #[error(
        "{path} made no progress at offset {offset}, length {len} after {retries} retries ({errno}); the disk is overloaded or failing"
    )]
    NoProgress {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// Bytes still missing.
        len: u64,
        /// Attempts made.
        retries: u32,
        /// The last answer.
        errno: Errno,
    },
    /// The device cannot be set up on this machine.
    #[error("cannot set up the {device} device ({step}): {errno}; {}", errno.advice())]
    Unavailable {
        /// Which device.
        device: &'static str,
        /// Which step of the setup failed.
        step: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The device was shut down before the operation could finish.
    #[error("the device was shut down before the operation finished")]
    ShutDown,
}

impl DeviceError {
    /// The stable code of this error, for `explain-error` and for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            DeviceError::Io { .. } => "DL-0301",
            DeviceError::NoSpace { .. } => "DL-0302",
            DeviceError::Name { .. } => "DL-0303",
            DeviceError::ShortRead { .. } => "DL-0304",
            DeviceError::Changed { .. } => "DL-0305",
            DeviceError::Vanished { .. } => "DL-0306",
            DeviceError::PastEnd { .. } => "DL-0307",
            DeviceError::Misaligned { .. } => "DL-0308",
            DeviceError::NoProgress { .. } => "DL-0309",
            DeviceError::Unavailable { .. } => "DL-0310",
            DeviceError::ShutDown => "DL-0311",
        }
    }

    /// The operating system's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            DeviceError::Io { errno, .. }
            | DeviceError::NoSpace { errno, .. }
            | DeviceError::Name { errno, .. }
            | DeviceError::NoProgress { errno, .. }
            | DeviceError::Unavailable { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

impl From<DeviceError> for std::io::Error {
    /// Keeps the kind (`StorageFull`, `NotFound`, …) and carries the whole error as its source.
    fn from(error: DeviceError) -> Self {
        let kind = match (&error, error.errno()) {
            (DeviceError::ShortRead { .. }, _) => std::io::ErrorKind::UnexpectedEof,
            (DeviceError::Vanished { .. }, _) => std::io::ErrorKind::NotFound,
            (DeviceError::PastEnd { .. } | DeviceError::Misaligned { .. }, _) => {
                std::io::ErrorKind::InvalidInput
            }
            (_, Some(errno)) => std::io::Error::from_raw_os_error(errno.0).kind(),
            _ => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}
