//! An open file as a device sees it: its identity, its length, how it may be read.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A stretch of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl ByteRange {
    /// The range of `len` bytes from `offset`.
    pub fn new(offset: u64, len: u64) -> Self {
        Self { offset, len }
    }

    /// One past the last byte.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// The smallest range of whole `alignment`-byte units around this one. `alignment` is a power of two.
    pub fn aligned(self, alignment: u64) -> Self {
        let start = self.offset & !(alignment - 1);
        let end = self.end().saturating_add(alignment - 1) & !(alignment - 1);
        Self { offset: start, len: end - start }
    }
}

/// Which file this is and in which state: two equal identities name the same bytes.
///
/// A file that is rewritten, truncated or replaced gets another identity, so a cache keyed by it never serves stale
/// bytes. The change time is not part of it: `rename`, `link` and `chmod` move it without touching a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub len: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
}

impl FileId {
    /// Says in words how `self` and `now` differ.
    pub fn difference(&self, now: &FileId) -> String {
        let mut parts = Vec::new();
        if (self.device, self.inode) != (now.device, now.inode) {
            parts.push("another file now has its name".to_owned());
        }
        if self.len != now.len {
            parts.push(format!("its length went from {} to {} bytes", self.len, now.len));
        }
        if self.modified_ns != now.modified_ns {
            parts.push("it was modified".to_owned());
        }
        if parts.is_empty() { "nothing visible differs".to_owned() } else { parts.join(", ") }
    }

    /// True where the same inode has other contents than at open: what a reader must not go on with.
    pub fn contents_differ(&self, now: &FileId) -> bool {
        self.len != now.len || self.modified_ns != now.modified_ns
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing.
    Write {
        /// Make the file; it must not exist yet.
        create: bool,
    },
}

/// Where the bytes of a [`DeviceFile`] live.
#[derive(Debug)]
pub(crate) enum Handle {
    /// A descriptor of the operating system, with its slot in the ring's table of fixed files.
    Os { fd: OwnedFd, slot: Option<FixedSlot> },
    /// A file of the simulated disk.
    Sim(u64),
}

/// A place in a ring's table of fixed files, given back when the last user of the file is gone.
pub(crate) struct FixedSlot {
    pub(crate) index: u32,
    pub(crate) released: Rc<RefCell<Vec<u32>>>,
}

impl fmt::Debug for FixedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedSlot({})", self.index)
    }
}

impl Drop for FixedSlot {
    fn drop(&mut self) {
        self.released.borrow_mut().push(self.index);
    }
}

#[derive(Debug)]
pub(crate) struct FileInner {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
    pub(crate) direct: bool,
    pub(crate) handle: Handle,
}

/// An open file. Cheap to clone; belongs to the device (and thread) that opened it; closed with its last clone, which
/// an operation in flight holds too.
#[derive(Clone, Debug)]
pub struct DeviceFile(pub(crate) Rc<FileInner>);

impl DeviceFile {
    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Which file it was when it was opened.
    pub fn id(&self) -> FileId {
        self.0.id
    }

    /// Length in bytes when it was opened.
    pub fn len(&self) -> u64 {
        self.0.id.len
    }

    /// True where the file had no bytes when it was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True where reads and writes bypass the kernel's page cache (O_DIRECT); false where the file system refused.
    pub fn is_direct(&self) -> bool {
        self.0.direct
    }

    pub(crate) fn fd(&self) -> Option<RawFd> {
        match &self.0.handle {
            Handle::Os { fd, .. } => Some(fd.as_raw_fd()),
            Handle::Sim(_) => None,
        }
    }

    pub(crate) fn fixed_slot(&self) -> Option<u32> {
        match &self.0.handle {
            Handle::Os { slot: Some(slot), .. } => Some(slot.index),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_covers_and_is_minimal() {
        for (offset, len) in [(0, 1), (1, 4095), (1, 4096), (4096, 4096), (5000, 1), (8191, 2)] {
            let range = ByteRange::new(offset, len);
            let aligned = range.aligned(4096);
            assert!(aligned.offset <= offset && aligned.end() >= range.end());
            assert!(offset - aligned.offset < 4096 && aligned.end() - range.end() < 4096);
            assert_eq!((aligned.offset % 4096, aligned.len % 4096), (0, 0));
        }
    }

    #[test]
    fn identity_says_what_differs() {
        let was = FileId { device: 1, inode: 2, len: 10, modified_ns: 5 };
        let now = FileId { len: 8, modified_ns: 6, ..was };
        assert!(was.contents_differ(&now));
        assert!(was.difference(&now).contains("from 10 to 8 bytes"));
        let replaced = FileId { inode: 3, ..was };
        assert!(was.difference(&replaced).contains("another file"));
        assert!(!was.contents_differ(&was));
    }
}
