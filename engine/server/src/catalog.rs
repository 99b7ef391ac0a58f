//! Names to tables and files. Those in use of late stay open.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use deltalite_format::predicate::Predicate;
use deltalite_format::reader::read_type;
use deltalite_format::split::plan_splits;
use deltalite_net::{ErrorKind, Result, RpcError};
use deltalite_remote::protocol::{At, Split, Target};
use deltalite_shard::scan::{DataFile, ScanFile};
use deltalite_table::table::{TableContext, TableFile, TableSnapshot};
use deltalite_table::{DeltaLiteTable, Version};
use parking_lot::Mutex;

use crate::error;

/// States of tables and files that stay open.
const OPEN_MAX: usize = 64;
/// Data files of one state that stay open.
const FILES_MAX: usize = 1024;
/// Bytes of a file that belong to the same shard.
const SEGMENT_BYTES: u64 = 64 << 20;

/// One state of a table or file.
pub(crate) struct Source {
    pub(crate) schema: SchemaRef,
    kind: Kind,
}

enum Kind {
    Table { snapshot: Arc<TableSnapshot>, files: Vec<TableFile>, open: Mutex<HashMap<u32, ScanFile>> },
    File(Arc<DataFile>),
}

/// Columns as scans yield them.
fn read_form(schema: &Schema) -> SchemaRef {
    let read = |f: &Arc<Field>| Field::new(f.name(), read_type(f.data_type()), f.is_nullable());
    Arc::new(Schema::new(schema.fields().iter().map(read).collect::<Vec<_>>()))
}

impl Source {
    fn of_table(snapshot: Arc<TableSnapshot>) -> Result<Self> {
        let schema = read_form(snapshot.schema());
        let files = snapshot.files(None).map_err(|e| error::of_table(&e))?;
        Ok(Self { schema, kind: Kind::Table { snapshot, files, open: Mutex::default() } })
    }

    fn of_file(file: Arc<DataFile>) -> Result<Self> {
        let schema = read_form(file.meta().schema().map_err(|e| error::of_format(&e))?.arrow());
        Ok(Self { schema, kind: Kind::File(file) })
    }

    pub(crate) fn version(&self) -> Option<u64> {
        match &self.kind {
            Kind::Table { snapshot, .. } => Some(snapshot.version().0),
            Kind::File(_) => None,
        }
    }

    /// Which state of a file this is; versions tell that of tables.
    pub(crate) fn identity(&self) -> u64 {
        match &self.kind {
            Kind::Table { .. } => 0,
            Kind::File(file) => {
                let mut hasher = DefaultHasher::new();
                file.id().hash(&mut hasher);
                hasher.finish()
            }
        }
    }

    pub(crate) fn rows(&self) -> Result<Option<u64>> {
        match &self.kind {
            Kind::Table { snapshot, .. } => snapshot.count_rows().map_err(|e| error::of_table(&e)),
            Kind::File(file) => Ok(Some(file.meta().rows())),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::Table { files, .. } => files.iter().map(|file| file.add.size).sum(),
            Kind::File(file) => file.meta().file_len(),
        }
    }

    /// A data file by its place. Blocks.
    pub(crate) fn open(&self, file: u32) -> Result<ScanFile> {
        let missing =
            || RpcError::new(ErrorKind::InvalidArgument, format!("there is no file {file} in this state"));
        match &self.kind {
            Kind::File(data) => {
                if file == 0 {
                    Ok(ScanFile::from(Arc::clone(data)))
                } else {
                    Err(missing())
                }
            }
            Kind::Table { files, open, .. } => {
                if let Some(found) = open.lock().get(&file) {
                    return Ok(found.clone());
                }
                let opened =
                    files.get(file as usize).ok_or_else(missing)?.open().map_err(|e| error::of_table(&e))?;
                let mut open = open.lock();
                if open.len() >= FILES_MAX {
                    open.clear();
                }
                open.insert(file, opened.clone());
                Ok(opened)
            }
        }
    }

    /// A data file that is open already.
    pub(crate) fn opened(&self, file: u32) -> Option<ScanFile> {
        match &self.kind {
            Kind::File(data) => (file == 0).then(|| ScanFile::from(Arc::clone(data))),
            Kind::Table { open, .. } => open.lock().get(&file).cloned(),
        }
    }

    /// The parts that can have wanted rows, in order. Blocks.
    pub(crate) fn splits(
        &self,
        predicate: Option<&Predicate>,
        target_bytes: u64,
        shards: usize,
    ) -> Result<Vec<Split>> {
        let mut splits = Vec::new();
        let mut part = |file: u32, name: &str, start: u64, end: u64, rows| {
            let mut hasher = DefaultHasher::new();
            (name, start / SEGMENT_BYTES).hash(&mut hasher);
            let shard = (hasher.finish() % shards.max(1) as u64) as u32;
            splits.push(Split { file, start, end, rows, shard });
        };
        match &self.kind {
            Kind::File(data) => {
                for split in plan_splits(data.meta(), target_bytes) {
                    part(
                        0,
                        &split.file,
                        split.start,
                        split.end,
                        split.rows.map(|rows| (rows.start, rows.end)),
                    );
                }
            }
            Kind::Table { snapshot, files, .. } => {
                let selected = match predicate {
                    Some(predicate) => snapshot.select(files, predicate).map_err(|e| error::of_table(&e))?,
                    None => (0..files.len()).collect(),
                };
                for at in selected {
                    let add = &files[at].add;
                    let file = at as u32;
                    if add.size <= target_bytes.saturating_mul(2) {
                        // Not worth a look into its footer.
                        part(file, &add.path, 0, u64::MAX, None);
                        continue;
                    }
                    let opened = self.open(file)?;
                    for split in plan_splits(opened.file.meta(), target_bytes) {
                        part(
                            file,
                            &add.path,
                            split.start,
                            split.end,
                            split.rows.map(|rows| (rows.start, rows.end)),
                        );
                    }
                }
            }
        }
        Ok(splits)
    }
}

/// States that stay open.
#[derive(Default)]
struct Open {
    /// How often any was asked for.
    asked: u64,
    /// By name, and version or identity; with when each was last asked for.
    sources: HashMap<(String, u64), (u64, Arc<Source>)>,
}

impl Open {
    fn get(&mut self, key: &(String, u64)) -> Option<Arc<Source>> {
        self.asked += 1;
        let (used, source) = self.sources.get_mut(key)?;
        *used = self.asked;
        Some(Arc::clone(source))
    }

    fn put(&mut self, key: (String, u64), source: Arc<Source>) {
        if self.sources.len() >= OPEN_MAX
            && let Some(oldest) =
                self.sources.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone())
        {
            self.sources.remove(&oldest);
        }
        self.sources.insert(key, (self.asked, source));
    }
}

/// What a server has.
pub(crate) struct Catalog {
    root: PathBuf,
    context: TableContext,
    tables: Mutex<HashMap<String, DeltaLiteTable>>,
    open: Mutex<Open>,
}

impl Catalog {
    pub(crate) fn new(root: &Path, context: TableContext) -> Result<Self> {
        let canonical = root.canonicalize().map_err(|e| {
            RpcError::new(
                ErrorKind::NotFound,
                format!("{}: the folder to be served can't be read", root.display()),
            )
            .caused_by(e)
        })?;
        Ok(Self { root: canonical, context, tables: Mutex::default(), open: Mutex::default() })
    }

    /// A state that is open already.
    pub(crate) fn known(&self, target: &Target, identity: u64) -> Option<Arc<Source>> {
        let key = match target.at {
            At::Version(version) => version,
            At::Latest => identity,
            At::Timestamp(_) => return None,
        };
        self.open.lock().get(&(target.path.clone(), key))
    }

    /// Opens what is meant. Blocks.
    pub(crate) fn open(&self, target: &Target) -> Result<Arc<Source>> {
        let path = self.resolve(&target.path)?;
        let source =
            if path.is_dir() { self.open_table(&path, target)? } else { Self::open_file(&path, target)? };
        let source = Arc::new(source);
        let key = (target.path.clone(), source.version().unwrap_or_else(|| source.identity()));
        let mut open = self.open.lock();
        if let Some(known) = open.get(&key) {
            return Ok(known);
        }
        open.put(key, Arc::clone(&source));
        Ok(source)
    }

    fn open_table(&self, path: &Path, target: &Target) -> Result<Source> {
        let known = self.tables.lock().get(&target.path).cloned();
        let table = match known {
            Some(table) => {
                table.refresh().map_err(|e| error::of_table(&e))?;
                table
            }
            None => {
                let opened = DeltaLiteTable::open(path).context(&self.context).execute();
                let table = opened.map_err(|e| error::of_table(&e))?;
                let mut tables = self.tables.lock();
                if tables.len() >= OPEN_MAX {
                    tables.clear();
                }
                tables.insert(target.path.clone(), table.clone());
                table
            }
        };
        let table = match target.at {
            At::Latest => Ok(table),
            At::Version(version) if version == table.version().0 => Ok(table),
            At::Version(version) => table.at_version(Version(version)),
            At::Timestamp(ms) => table.at_timestamp(ms),
        };
        Source::of_table(table.map_err(|e| error::of_table(&e))?.snapshot())
    }

    fn open_file(path: &Path, target: &Target) -> Result<Source> {
        if target.at != At::Latest {
            return Err(RpcError::new(
                ErrorKind::InvalidArgument,
                format!("{} is a file, which has no versions", target.path),
            ));
        }
        Source::of_file(DataFile::open(path).map_err(|e| error::of_shard(&e))?)
    }

    /// A path within the folder, wherever links lead.
    fn resolve(&self, name: &str) -> Result<PathBuf> {
        let missing = |why: &str| {
            RpcError::new(ErrorKind::NotFound, format!("the server has no table or file {name:?}{why}"))
        };
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !plain {
            return Err(missing("; names are paths below its folder, without .."));
        }
        let path = self.root.join(name).canonicalize().map_err(|_| missing(""))?;
        if !path.starts_with(&self.root) {
            return Err(missing(""));
        }
        Ok(path)
    }
}
