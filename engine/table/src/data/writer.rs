//! Batches to data files, by partition and size.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use deltalite_format::{FileWriter, WriterOptions};

use super::sink::{Sink, discard};
use crate::error::{Result, TableError};
use crate::log::action::table::now_ms;
use crate::log::action::{Add, StringMap, encode_path};
use crate::log::inline::SmallFiles;
use crate::partition::Partitioning;
use crate::stats;
use crate::table::core::Core;

/// Partitions that are written to at once: each open file holds up to 64 MiB of rows. Beyond, the one that was opened first is closed.
const OPEN_FILES_MAX: usize = 32;

/// How the files of a write are made.
#[derive(Debug, Clone)]
pub(crate) struct WriteAs {
    /// Columns as they are stored, with field ids.
    pub(crate) schema: SchemaRef,
    pub(crate) partitioning: Partitioning,
    /// Bytes after which a file is closed and another begun.
    pub(crate) file_bytes: u64,
    /// Columns that statistics are kept of.
    pub(crate) indexed_columns: usize,
    pub(crate) format: WriterOptions,
}

/// Files that no version refers to yet. Dropped before they are committed, they are removed.
#[derive(Debug)]
pub(crate) struct NewFiles {
    core: Arc<Core>,
    paths: Vec<PathBuf>,
}

impl NewFiles {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, paths: Vec::new() }
    }

    pub(crate) fn push(&mut self, path: PathBuf) {
        self.core.in_flight.lock().insert(path.clone());
        self.paths.push(path);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Removes all but the first ones.
    pub(crate) fn discard_after(&mut self, kept: usize) {
        let paths = self.paths.split_off(kept.min(self.paths.len()));
        drop(Self { core: self.core.clone(), paths });
    }

    /// Removes those that are not wanted.
    pub(crate) fn discard_unless(&mut self, wanted: impl Fn(&PathBuf) -> bool) {
        let (kept, paths) = self.paths.drain(..).partition(wanted);
        self.paths = kept;
        drop(Self { core: self.core.clone(), paths });
    }

    /// Takes over the files of another.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.paths.append(&mut other.paths);
    }

    /// They are committed, or may be.
    pub(crate) fn keep(mut self) {
        self.release();
    }

    fn release(&mut self) {
        let mut in_flight = self.core.in_flight.lock();
        for path in self.paths.drain(..) {
            in_flight.remove(&path);
        }
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            discard(self.core.context.disk.as_ref(), path);
        }
        self.release();
    }
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The files, as they are to be added.
    pub(crate) adds: Vec<Add>,
    /// Files that are not synced yet.
    pub(crate) small: SmallFiles,
    /// Folders that have to be synced before a version refers to the other files.
    pub(crate) folders: BTreeSet<PathBuf>,
    /// Keeps the files until they are committed.
    pub(crate) files: NewFiles,
    /// Number of rows.
    pub(crate) rows: u64,
}

struct OpenFile {
    writer: FileWriter<Sink>,
    /// Relative to the table, percent-encoded.
    path: Box<str>,
    parent: PathBuf,
    opened: u64,
}

/// Writes rows to new files of a table.
pub(crate) struct DataWriter {
    core: Arc<Core>,
    how: WriteAs,
    open: HashMap<StringMap, OpenFile>,
    made: Written,
    /// Folders that are there.
    folders: BTreeSet<PathBuf>,
    opened: u64,
    tags: Option<StringMap>,
}

impl DataWriter {
    pub(crate) fn new(core: Arc<Core>, how: WriteAs) -> Self {
        let made = Written {
            adds: Vec::new(),
            small: SmallFiles::new(),
            folders: BTreeSet::new(),
            files: NewFiles::new(core.clone()),
            rows: 0,
        };
        Self { core, how, open: HashMap::new(), made, folders: BTreeSet::new(), opened: 0, tags: None }
    }

    /// Files made from now on have these tags.
    pub(crate) fn tagged(mut self, tags: StringMap) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Writes rows, each to a file of its partition.
    ///
    /// # Errors
    /// When the rows don't fit the schema, or the system fails.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.how.partitioning.is_empty() {
            return self.write_to(StringMap::default(), batch).map(drop);
        }
        for (values, rows) in self.how.partitioning.split(batch)? {
            self.write_to(values, &rows)?;
        }
        Ok(())
    }

    /// Writes rows of one partition. Returns the file and the number that the first of them has in it.
    ///
    /// # Errors
    /// As [`DataWriter::write`].
    pub(crate) fn write_to(&mut self, values: StringMap, batch: &RecordBatch) -> Result<(Box<str>, u64)> {
        if batch.num_rows() == 0 {
            return Ok((Box::default(), 0));
        }
        if !self.open.contains_key(&values) {
            self.make_room()?;
            let file = self.begin(&values)?;
            self.open.insert(values.clone(), file);
        }
        let Some(file) = self.open.get_mut(&values) else {
            return Err(TableError::invalid("writing rows", "the file that was just opened is gone"));
        };
        let place = (file.path.clone(), file.writer.rows());
        let rows = RecordBatch::try_new(self.how.schema.clone(), batch.columns().to_vec())
            .map_err(TableError::compute("bringing rows to the table's schema"))?;
        file.writer.write(&rows)?;
        self.made.rows += batch.num_rows() as u64;
        if file.writer.bytes_written() >= self.how.file_bytes
            && let Some(file) = self.open.remove(&values)
        {
            self.close(values, file)?;
        }
        Ok(place)
    }

    fn make_room(&mut self) -> Result<()> {
        if self.open.len() < OPEN_FILES_MAX {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, file)| file.opened).map(|(values, _)| values.clone());
        match oldest.and_then(|values| self.open.remove_entry(&values)) {
            Some((values, file)) => self.close(values, file),
            None => Ok(()),
        }
    }

    fn begin(&mut self, values: &StringMap) -> Result<OpenFile> {
        let folder = self.how.partitioning.folder(values);
        let name = self.core.new_file_name();
        let relative = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let path = self.core.root.join(&relative);
        let parent = path.parent().map_or_else(|| self.core.root.clone(), ToOwned::to_owned);
        if !folder.is_empty() && self.folders.insert(parent.clone()) {
            let made = self.core.context.disk.create_folder(&parent);
            made.map_err(TableError::io("making the folder", &parent))?;
        }
        self.made.files.push(path.clone());
        let context = &self.core.context;
        let sink = Sink::new(context.disk.clone(), context.direct, path);
        let writer = FileWriter::new(sink, &self.how.schema, self.how.format.clone())?;
        self.opened += 1;
        Ok(OpenFile { writer, path: encode_path(&relative).into(), parent, opened: self.opened })
    }

    fn close(&mut self, values: StringMap, file: OpenFile) -> Result<()> {
        let (_, sink) = file.writer.finish_into()?;
        let finished = sink.finish()?;
        let stats = stats::of_file(&finished.meta, self.how.indexed_columns)?;
        match finished.small {
            Some(small) => drop(self.made.small.insert(file.path.clone(), small)),
            None => drop(self.made.folders.insert(file.parent)),
        }
        self.made.adds.push(Add {
            path: file.path,
            partition_values: values,
            size: finished.len,
            modification_time: now_ms(),
            data_change: true,
            stats: Some(stats.into()),
            tags: self.tags.clone(),
            ..Add::default()
        });
        Ok(())
    }

    /// Closes all files.
    ///
    /// # Errors
    /// When the system fails; all files are removed then.
    pub(crate) fn finish(mut self) -> Result<Written> {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by_key(|(_, file)| file.opened);
        for (values, file) in open {
            self.close(values, file)?;
        }
        Ok(self.made)
    }
}
