//! A data file as scans see it: its metadata, and the state it was in when that was read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_buffer::Buffer;
use deltalite_alloc::BufferPool;
use deltalite_format::reader::{FileMeta, ReadAt};
use deltalite_format::{FormatError, Place};

use crate::device::{FileId, id_of};
use crate::error::ShardError;

/// A file open for scanning. Cheap to share; holds no descriptor that shards use, only the one for metadata.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    id: FileId,
    meta: Arc<FileMeta>,
}

impl DataFile {
    /// Opens a file: reads its tail and block directory, nothing else.
    ///
    /// # Errors
    /// When it can't be opened, is no DeltaLite file, or its footer is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>, ShardError> {
        Self::open_with(path.as_ref(), FileMeta::open)
    }

    /// Opens what is left of a file whose footer is damaged or gone: its complete blocks.
    ///
    /// # Errors
    /// When it can't be opened, or its header is damaged as well.
    pub fn open_salvaged(path: impl AsRef<Path>) -> Result<Arc<Self>, ShardError> {
        Self::open_with(path.as_ref(), deltalite_format::salvage::open_salvaged)
    }

    fn open_with(
        path: &Path,
        open: impl FnOnce(Arc<dyn ReadAt>, &str) -> Result<FileMeta, FormatError>,
    ) -> Result<Arc<Self>, ShardError> {
        let source = FileSource::open(path)?;
        let id = source.id;
        let meta = Arc::new(open(Arc::new(source), &path.display().to_string())?);
        Ok(Arc::new(Self { path: path.to_owned(), id, meta }))
    }

    /// A file whose metadata was read in another way: from a device of the caller's making.
    pub fn from_parts(path: impl Into<PathBuf>, id: FileId, meta: Arc<FileMeta>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), id, meta })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state its metadata was read in.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Its metadata.
    pub fn meta(&self) -> &Arc<FileMeta> {
        &self.meta
    }
}

/// Metadata of a file through the operating system, blocking: it is small and read once.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    name: Arc<str>,
    id: FileId,
}

impl FileSource {
    /// Opens a file.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let name: Arc<str> = path.display().to_string().into();
        let io = |source| FormatError::Io { at: Place { file: Some(name.clone()), offset: None }, source };
        let file = File::open(path).map_err(io)?;
        let m = file.metadata().map_err(io)?;
        if m.is_dir() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        let id = id_of(&m);
        Ok(Self { file, name, id })
    }

    /// The state of the file when it was opened.
    pub fn id(&self) -> FileId {
        self.id
    }
}

impl ReadAt for FileSource {
    fn len(&self) -> u64 {
        self.id.len
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Buffer, FormatError> {
        let mut buffer = BufferPool::global().take(len)?;
        self.file.read_exact_at(&mut buffer.as_mut_slice()[..len], offset).map_err(|source| {
            FormatError::Io { at: Place { file: Some(self.name.clone()), offset: Some(offset) }, source }
        })?;
        Ok(buffer.into_arrow().slice_with_length(0, len))
    }
}
