//! Making files cold, so that a cold measurement reads from the disk.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::error::{BenchError, Result};

/// How far a file could be pushed out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coldness {
    /// The whole page cache, with inodes, was dropped.
    Dropped,
    /// Only the pages of the file were, by `posix_fadvise`: the container or user may not drop all.
    Advised,
}

/// Writes back and drops a file's pages, then, where allowed (root), the whole page cache.
pub fn make_cold(path: &Path) -> Result<Coldness> {
    let file = File::open(path).map_err(BenchError::io("opening", path))?;
    file.sync_all().map_err(BenchError::io("syncing", path))?;
    // SAFETY: a plain system call on an open descriptor.
    let status = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    if status != 0 {
        return Err(BenchError::Io {
            doing: "dropping the cached pages of",
            path: path.to_path_buf(),
            source: std::io::Error::from_raw_os_error(status),
        });
    }
    let dropped = OpenOptions::new()
        .write(true)
        .open("/proc/sys/vm/drop_caches")
        .and_then(|mut control| control.write_all(b"1"));
    Ok(if dropped.is_ok() { Coldness::Dropped } else { Coldness::Advised })
}
