//! A version of a Delta Lake table's log (PROTOCOL.md): the newest checkpoint, and what came after it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use arrow_array::RecordBatch;
use arrow_json::LineDelimitedWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalite_table::TableError;
use deltalite_table::log::action::{Add, Metadata, Protocol, Remove, Sidecar};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::table::files_of;
use crate::error::{QueryError, Result};

/// The folder of the log.
pub(crate) const DELTA_LOG: &str = "_delta_log";
/// Features of readers that are understood.
const FEATURES: [&str; 7] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// Which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Newest,
    Version(u64),
    /// Milliseconds since 1970.
    Timestamp(i64),
}

/// What a version has.
#[derive(Debug)]
pub(crate) struct DeltaSnapshot {
    pub(crate) root: PathBuf,
    pub(crate) metadata: Metadata,
    pub(crate) files: Vec<Add>,
}

fn wrong(path: &Path, detail: impl Into<String>) -> QueryError {
    QueryError::Table(TableError::Corrupt { file: path.display().to_string(), detail: detail.into() })
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> QueryError {
    let path = path.to_owned();
    move |source| QueryError::Table(TableError::Io { what, path, source })
}

/// Files of the log, by version.
#[derive(Debug, Default)]
struct Listing {
    commits: BTreeMap<u64, PathBuf>,
    /// Parts of each checkpoint, and how many there are to be.
    checkpoints: BTreeMap<u64, BTreeMap<String, (Vec<PathBuf>, usize)>>,
}

impl Listing {
    fn of(log: &Path) -> Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(log).map_err(io("listing", log))? {
            let path = entry.map_err(io("listing", log))?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let Some((version, rest)) = name.split_once('.') else { continue };
            let Some(version) = version.parse::<u64>().ok().filter(|_| version.len() == 20) else { continue };
            if rest == "json" {
                listing.commits.insert(version, path);
                continue;
            }
            let Some(rest) = rest.strip_prefix("checkpoint.") else { continue };
            let parts: Vec<&str> = rest.split('.').collect();
            // `parquet`; `<part>.<parts>.parquet`; `<uuid>.parquet`, `<uuid>.json`.
            let (group, parts) = match parts.as_slice() {
                ["parquet"] => (String::new(), 1),
                [_, of, "parquet"] => ((*of).to_owned(), of.parse().unwrap_or(usize::MAX)),
                [id, "parquet" | "json"] => ((*id).to_owned(), 1),
                _ => continue,
            };
            let group = listing.checkpoints.entry(version).or_default().entry(group);
            let (files, wanted) = group.or_insert((Vec::new(), parts));
            *wanted = parts;
            files.push(path);
        }
        Ok(listing)
    }

    /// The newest complete checkpoint up to a version.
    fn checkpoint(&self, upto: u64) -> Option<(u64, &[PathBuf])> {
        self.checkpoints.range(..=upto).rev().find_map(|(version, groups)| {
            let complete = groups.values().find(|(files, wanted)| files.len() == *wanted)?;
            Some((*version, complete.0.as_slice()))
        })
    }
}

/// Actions, put together.
#[derive(Debug, Default)]
struct Replay {
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    files: HashMap<(Box<str>, Option<String>), Add>,
    sidecars: Vec<Sidecar>,
}

fn take<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| wrong(path, e.to_string()))
}

impl Replay {
    fn line(&mut self, path: &Path, line: &[u8]) -> Result<()> {
        let value: Value = serde_json::from_slice(line).map_err(|e| wrong(path, e.to_string()))?;
        let Value::Object(members) = value else { return Err(wrong(path, "a line is no object")) };
        for (kind, value) in members {
            match kind.as_str() {
                "protocol" => self.protocol = Some(take(path, value)?),
                "metaData" => self.metadata = Some(take(path, value)?),
                "add" => {
                    let add: Add = take(path, value)?;
                    self.files.insert((add.path.clone(), add.dv_id()), add);
                }
                "remove" => {
                    let remove: Remove = take(path, value)?;
                    self.files.remove(&(remove.path.clone(), remove.dv_id()));
                }
                "sidecar" => self.sidecars.push(take(path, value)?),
                // Who, when, applications, domains, changes: nothing that rows depend on.
                _ => {}
            }
        }
        Ok(())
    }

    fn json(&mut self, path: &Path) -> Result<()> {
        let text = fs::read(path).map_err(io("reading", path))?;
        text.split(|b| *b == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .try_for_each(|line| self.line(path, line))
    }

    fn parquet(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(io("opening", path))?;
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
        for batch in reader.map_err(|e| wrong(path, e.to_string()))? {
            let batch = batch.map_err(|e| wrong(path, e.to_string()))?;
            let lines = lines(&batch).map_err(|e| wrong(path, e.to_string()))?;
            lines
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .try_for_each(|line| self.line(path, line))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        if path.extension().is_some_and(|e| e == "json") { self.json(path) } else { self.parquet(path) }
    }
}

/// Rows of a checkpoint as the lines of a commit that they stand for.
fn lines(batch: &RecordBatch) -> std::result::Result<Vec<u8>, arrow_schema::ArrowError> {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    writer.write(batch)?;
    writer.finish()?;
    Ok(text)
}

/// When a commit was made, in milliseconds since 1970.
fn time_of(path: &Path) -> Result<i64> {
    let text = fs::read(path).map_err(io("reading", path))?;
    let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let info: Option<Value> = serde_json::from_slice(first).ok();
    let stated = info.as_ref().and_then(|v| v.get("commitInfo")?.get("inCommitTimestamp")?.as_i64());
    if let Some(time) = stated {
        return Ok(time);
    }
    let modified = path.metadata().and_then(|m| m.modified()).map_err(io("asking for the time of", path))?;
    Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

impl DeltaSnapshot {
    /// Reads a version.
    ///
    /// # Errors
    /// When there is no such version, its log is damaged, or it needs a feature that is not understood.
    pub(crate) fn open(root: &Path, asked: Asked) -> Result<Self> {
        let log = root.join(DELTA_LOG);
        let listing = Listing::of(&log)?;
        let newest = listing.commits.last_key_value().map(|(v, _)| *v);
        let newest = newest.max(listing.checkpoint(u64::MAX).map(|(v, _)| v));
        let newest = newest.ok_or_else(|| wrong(&log, "it has no version"))?;
        let missing = |detail: String| QueryError::NotSupported(format!("{}: {detail}", root.display()));
        let version = match asked {
            Asked::Newest => newest,
            Asked::Version(version) if version <= newest => version,
            Asked::Version(version) => {
                return Err(missing(format!("there is no version {version}; the newest is {newest}")));
            }
            Asked::Timestamp(time) => {
                let mut found = None;
                for (version, path) in &listing.commits {
                    if time_of(path)? <= time {
                        found = Some(*version);
                    }
                }
                found.ok_or_else(|| missing("there is no version as old as that".to_owned()))?
            }
        };
        let mut replay = Replay::default();
        let mut next = 0;
        if let Some((at, files)) = listing.checkpoint(version) {
            for file in files {
                replay.file(file)?;
            }
            for sidecar in std::mem::take(&mut replay.sidecars) {
                let path = if sidecar.path.contains('/') {
                    root.join(&*sidecar.path)
                } else {
                    log.join("_sidecars").join(&*sidecar.path)
                };
                replay.parquet(&path)?;
            }
            next = at + 1;
        }
        for version in next..=version {
            let path = listing.commits.get(&version).ok_or_else(|| {
                missing(format!("version {version} of the log is gone, and there is no checkpoint after it"))
            })?;
            replay.json(path)?;
        }
        let (Some(protocol), Some(metadata)) = (replay.protocol, replay.metadata) else {
            return Err(wrong(&log, format!("version {version} has no protocol or no metadata")));
        };
        understood(root, &protocol)?;
        let mut files: Vec<Add> = replay.files.into_values().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { root: root.to_owned(), metadata, files })
    }
}

/// What a version changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) metadata: Option<Metadata>,
    pub(crate) adds: Vec<Add>,
    pub(crate) removes: Vec<Remove>,
    /// What the source calls it, and when it was, in milliseconds since 1970.
    pub(crate) operation: Option<String>,
    pub(crate) timestamp: Option<i64>,
}

/// The versions that a log still has.
#[derive(Debug)]
pub(crate) struct History {
    root: PathBuf,
    listing: Listing,
    first: u64,
    newest: u64,
}

impl History {
    /// Finds them.
    ///
    /// # Errors
    /// When there is no version whose state can be put together.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(io("finding", root))?;
        let log = root.join(DELTA_LOG);
        let listing = Listing::of(&log)?;
        let newest = listing.commits.last_key_value().map(|(version, _)| *version);
        let newest = newest.ok_or_else(|| wrong(&log, "it has no version"))?;
        // Back to where a commit is missing.
        let oldest =
            listing.commits.keys().rev().zip((0..=newest).rev()).take_while(|(a, b)| *a == b).count();
        let oldest = newest + 1 - oldest as u64;
        let begins = |version: &&u64| listing.checkpoint(**version).is_some_and(|(at, _)| at == **version);
        let first = match oldest {
            0 => Some(0),
            _ => listing.checkpoints.range(oldest - 1..).map(|(version, _)| version).find(begins).copied(),
        };
        let first = first
            .ok_or_else(|| wrong(&log, "versions are missing, and there is no checkpoint after them"))?;
        Ok(Self { root, listing, first, newest })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// What a version changes.
    ///
    /// # Errors
    /// When its commit is damaged, or it needs a feature that is not understood.
    pub(crate) fn changes(&self, version: u64) -> Result<Changes> {
        let path = self
            .listing
            .commits
            .get(&version)
            .ok_or_else(|| wrong(&self.root.join(DELTA_LOG), format!("version {version} is missing")))?;
        let text = fs::read(path).map_err(io("reading", path))?;
        let mut changes = Changes::default();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let value: Value = serde_json::from_slice(line).map_err(|e| wrong(path, e.to_string()))?;
            let Value::Object(members) = value else { return Err(wrong(path, "a line is no object")) };
            for (kind, value) in members {
                match kind.as_str() {
                    "protocol" => understood(&self.root, &take(path, value)?)?,
                    "metaData" => changes.metadata = Some(take(path, value)?),
                    "add" => changes.adds.push(take(path, value)?),
                    "remove" => changes.removes.push(take(path, value)?),
                    "commitInfo" => {
                        changes.operation =
                            value.get("operation").and_then(Value::as_str).map(ToOwned::to_owned);
                        let time = value.get("inCommitTimestamp").or_else(|| value.get("timestamp"));
                        changes.timestamp = time.and_then(Value::as_i64);
                    }
                    _ => {}
                }
            }
        }
        Ok(changes)
    }

    /// The first version from which on all files are still there.
    ///
    /// # Errors
    /// When one that the newest version has is gone, or the log is damaged.
    pub(crate) fn first_whole(&self) -> Result<u64> {
        type State = (Box<str>, Option<String>);
        let mut gone: HashMap<State, PathBuf> = HashMap::new();
        let look = |gone: &mut HashMap<State, PathBuf>, adds: &[Add]| -> Result<()> {
            for add in adds {
                for file in files_of(&self.root, add)? {
                    if !file.exists() {
                        gone.insert((add.path.clone(), add.dv_id()), file);
                    }
                }
            }
            Ok(())
        };
        let base = DeltaSnapshot::open(&self.root, Asked::Version(self.first))?;
        look(&mut gone, &base.files)?;
        let mut first = self.first;
        for version in self.first + 1..=self.newest {
            let changes = self.changes(version)?;
            for remove in &changes.removes {
                if gone.remove(&(remove.path.clone(), remove.dv_id())).is_some() {
                    first = version;
                }
            }
            look(&mut gone, &changes.adds)?;
        }
        match gone.into_values().next() {
            None => Ok(first),
            Some(file) => Err(wrong(&file, "the newest version has this file, and it is gone")),
        }
    }
}

fn understood(root: &Path, protocol: &Protocol) -> Result<()> {
    let refuse = |needs: String| {
        Err(QueryError::NotSupported(format!(
            "{}: readers of this table must understand {needs}",
            root.display()
        )))
    };
    if protocol.min_reader_version > 3 {
        return refuse(format!("version {} of the protocol", protocol.min_reader_version));
    }
    let features = protocol.reader_features.iter().flatten();
    let unknown: Vec<&str> = features.map(String::as_str).filter(|f| !FEATURES.contains(f)).collect();
    if unknown.is_empty() { Ok(()) } else { refuse(unknown.join(", ")) }
}
