//! Where metadata comes from.

use arrow_buffer::Buffer;

use crate::error::{FormatError, Result};

/// Bytes of a file at an offset: what opening a file and looking up columns needs.
///
/// Pages do not come this way: scans say which pages they need and are given them, by whatever I/O the caller has.
pub trait ReadAt: Send + Sync {
    /// Length of the file in bytes.
    fn len(&self) -> u64;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// When the source can't give them.
    fn read_at(&self, offset: u64, len: usize) -> Result<Buffer>;
}

/// A file held in memory.
impl ReadAt for Buffer {
    fn len(&self) -> u64 {
        Buffer::len(self) as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Buffer> {
        let start = usize::try_from(offset)
            .ok()
            .filter(|s| s.checked_add(len).is_some_and(|end| end <= Buffer::len(self)));
        let start = start.ok_or_else(|| {
            FormatError::corrupt(
                "file",
                format!("{len} bytes at {offset} are beyond its end at {}", Buffer::len(self)),
            )
            .with_place(None, offset)
        })?;
        Ok(self.slice_with_length(start, len))
    }
}
