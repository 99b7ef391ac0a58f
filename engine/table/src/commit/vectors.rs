//! Deletion vectors by descriptor, read once.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::deletion_vector::{VECTOR_BYTES_MAX, file_of, read_file, read_inline};
use crate::error::{Result, TableError};
use crate::log::action::{DeletionVector, DvStorage};
use crate::log::store::Disk;
use crate::txn::Rows;

/// Bytes of vectors that are remembered.
const CACHE_BYTES: u64 = 64 << 20;
/// Vectors that are remembered at most; the cache is sized by it.
const CACHE_VECTORS: usize = 4096;

#[derive(Clone)]
struct BySize;

impl Weighter<String, Arc<Rows>> for BySize {
    fn weight(&self, id: &String, rows: &Arc<Rows>) -> u64 {
        (id.len() + rows.serialized_size()) as u64
    }
}

/// The deletion vectors of a table.
#[derive(Debug)]
pub(crate) struct Vectors {
    disk: Arc<dyn Disk>,
    table: PathBuf,
    known: Cache<String, Arc<Rows>, BySize>,
}

impl Vectors {
    pub(crate) fn new(disk: Arc<dyn Disk>, table: &Path) -> Self {
        let known = Cache::with_weighter(CACHE_VECTORS, CACHE_BYTES, BySize);
        Self { disk, table: table.to_owned(), known }
    }

    /// The deleted rows that a descriptor says; none without one.
    ///
    /// # Errors
    /// When its file is missing, damaged or can't be read.
    pub(crate) fn rows(&self, vector: Option<&DeletionVector>) -> Result<Arc<Rows>> {
        let Some(vector) = vector else { return Ok(Arc::default()) };
        let id = vector.unique_id();
        if let Some(rows) = self.known.get(&id) {
            return Ok(rows);
        }
        let rows = Arc::new(self.read(vector)?);
        self.known.insert(id, rows.clone());
        Ok(rows)
    }

    /// Remembers what was just written.
    pub(crate) fn remember(&self, vector: &DeletionVector, rows: Rows) {
        self.known.insert(vector.unique_id(), Arc::new(rows));
    }

    fn read(&self, vector: &DeletionVector) -> Result<Rows> {
        let Some(name) = file_of(vector)? else { return read_inline(vector) };
        let path = match vector.storage_type {
            DvStorage::Absolute => PathBuf::from(name.strip_prefix("file://").unwrap_or(&name)),
            DvStorage::Relative | DvStorage::Inline => self.table.join(name),
        };
        match self.disk.read(&path, 2 * VECTOR_BYTES_MAX as u64) {
            Ok(bytes) => read_file(vector, &bytes),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(TableError::Missing {
                file: path.display().to_string(),
                detail: "it holds deletion vectors of the table".to_owned(),
            }),
            Err(e) => Err(TableError::io("reading deletion vectors from", &path)(e)),
        }
    }
}
