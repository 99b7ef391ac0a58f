//! Bytes to a durable file, or to one that the log makes up for.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_buffer::Buffer;
use deltalite_format::FileMeta;
use deltalite_shard::scan::DataFile;
use deltalite_shard::write::{AtomicFile, WriteOptions};

use crate::error::{Result, TableError};
use crate::log::inline::SmallFile;
use crate::log::limits::INLINE_DATA_BYTES_MAX;
use crate::log::store::Disk;

/// Bytes that are gathered before direct writes begin: a small file is one buffered write and one sync, without a ring of its own.
const GATHERED_BYTES: usize = 8 << 20;

/// A file that is written front to back, under a name that nobody else has.
pub(crate) struct Sink {
    disk: Arc<dyn Disk>,
    /// Whether large files may go past the disk's calls, straight to the device.
    direct: bool,
    path: PathBuf,
    gathered: Vec<u8>,
    file: Option<AtomicFile>,
}

impl Sink {
    pub(crate) fn new(disk: Arc<dyn Disk>, direct: bool, path: PathBuf) -> Self {
        Self { disk, direct, path, gathered: Vec::new(), file: None }
    }

    /// Makes the contents durable, unless they are few: the log can keep those. The name is once its folder is synced.
    ///
    /// # Errors
    /// When the system fails; nothing is left under the name then, or vacuum removes it.
    pub(crate) fn finish(self) -> Result<Finished> {
        if let Some(file) = self.file {
            let len = file.finish()?;
            return Ok(Finished { len, meta: DataFile::open(&self.path)?.meta().clone(), small: None });
        }
        let small = self.gathered.len() <= INLINE_DATA_BYTES_MAX;
        let write = || {
            let mut file = self.disk.create(&self.path)?;
            file.append(&self.gathered)?;
            if small { Ok(()) } else { file.sync() }
        };
        if let Err(error) = write() {
            discard(self.disk.as_ref(), &self.path);
            return Err(TableError::io("writing the data file", &self.path)(error));
        }
        let bytes = Buffer::from_vec(self.gathered);
        let len = bytes.len() as u64;
        let small = small.then(|| SmallFile::new(bytes.clone()));
        let meta = FileMeta::open(Arc::new(bytes), &self.path.display().to_string())?;
        Ok(Finished { len, meta: Arc::new(meta), small })
    }
}

/// A file that is written.
pub(crate) struct Finished {
    pub(crate) len: u64,
    pub(crate) meta: Arc<FileMeta>,
    /// Its bytes, if they were not synced.
    pub(crate) small: Option<SmallFile>,
}

/// Removes a file that no version will refer to.
pub(crate) fn discard(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.unlink(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "could not remove a file that was not committed; vacuum will");
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            return file.write(bytes);
        }
        if self.direct && self.gathered.len() + bytes.len() > GATHERED_BYTES {
            let mut file =
                AtomicFile::create(&self.path, WriteOptions::default()).map_err(io::Error::other)?;
            file.write_all(&self.gathered)?;
            self.gathered = Vec::new();
            let written = file.write(bytes)?;
            self.file = Some(file);
            return Ok(written);
        }
        self.gathered.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}
