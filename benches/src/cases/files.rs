//! Where each format's file of each table lies, and writing it when it isn't there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::{Format, WriteOptions};

/// The folder of files under test: one sub-folder a table, one file a format.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// What this run has written or may reuse.
    known: Mutex<HashSet<PathBuf>>,
    /// Formats whose files of earlier runs may be reused: the peers', which don't change under our feet.
    reuse: bool,
}

impl Files {
    /// Files under this folder; with `reuse`, those that earlier runs left are taken as they are.
    pub fn new(folder: &Path, reuse: bool) -> Self {
        Self { folder: folder.join("files"), known: Mutex::default(), reuse }
    }

    /// Where the file of a table in a format lies, whether or not it exists.
    pub fn path(&self, table: &Table, format: &dyn Format) -> Result<PathBuf> {
        let version: String = format
            .version()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        // The cached table's own name is unique; its short name in the report need not be.
        let table = table.path.file_stem().map_or_else(|| "table".into(), |stem| stem.to_string_lossy());
        let folder = self.folder.join(table.as_ref()).join(version);
        std::fs::create_dir_all(&folder).map_err(BenchError::io("creating", &folder))?;
        Ok(folder.join(format!("data.{}", format.extension())))
    }

    /// The file, written now unless this run has already, or an earlier one has and its files may be reused.
    pub fn written(&self, table: &Table, format: &dyn Format, options: WriteOptions) -> Result<PathBuf> {
        let path = self.path(table, format)?;
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&path) {
            return Ok(path);
        }
        let reusable = self.reuse && !format.name().starts_with("deltalite") && path.exists();
        if !reusable {
            let written = format.write(table, &path, options);
            if written.is_err() {
                // A half-written file must not be mistaken for a whole one by the next run.
                let _ = std::fs::remove_file(&path);
                written?;
            }
        }
        self.note_written(&path);
        Ok(path)
    }

    /// Remembers that a file was written by this run.
    pub fn note_written(&self, path: &Path) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf());
    }
}
