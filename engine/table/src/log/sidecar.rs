//! References to sidecars: what they hold, and the hash that proves it.

use arrow_buffer::Buffer;
use uuid::Uuid;

use super::action::table::now_ms;
use super::action::{Sidecar, StringMap};
use super::files::Columns;
use super::hash::{ContentHash, StateHash};
use super::name::LogFile;
use super::store::LogStore;
use crate::error::{Result, TableError};

/// The tag of a commit that names the sidecar with its row map, as `<uuid>:<hash>`.
pub(crate) const ROW_MAP_TAG: &str = "deltalite.rowMap";

/// What a sidecar's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SidecarKind {
    /// Files that are added, or live.
    Add,
    /// Files that are removed, or gone.
    Remove,
}

/// A reference to a sidecar: [`Sidecar`] with its tags understood.
///
/// | tag | meaning |
/// |---|---|
/// | `deltalite.kind` | `add` or `remove` |
/// | `deltalite.hash` | BLAKE3 of the file |
/// | `deltalite.rows` | number of rows |
/// | `deltalite.state` | of kind `add`: hash of the set of its `(path, deletion vector)` |
/// | `deltalite.sizeInBytes` | of kind `add`: sum of its files' sizes |
/// | `deltalite.bucket` | in checkpoints, of kind `add`: which bucket it is |
#[derive(Debug, Clone, PartialEq)]
pub struct SidecarRef {
    /// Its name.
    pub id: Uuid,
    /// Its bytes.
    pub bytes: u64,
    /// When it was made, in milliseconds since 1970.
    pub modification_time: i64,
    /// What its rows are.
    pub kind: SidecarKind,
    /// Hash of its bytes.
    pub hash: ContentHash,
    /// Number of its rows.
    pub rows: u64,
    /// Hash of the set of its files; of removals, of no files.
    pub state: StateHash,
    /// Sum of its files' sizes; of removals, 0.
    pub size_of_files: u64,
    /// Which bucket of a checkpoint it is.
    pub bucket: Option<u32>,
}

impl SidecarRef {
    /// A reference to bytes that are about to be written.
    pub(crate) fn new(id: Uuid, kind: SidecarKind, bytes: &[u8], rows: usize) -> Self {
        Self {
            id,
            bytes: bytes.len() as u64,
            modification_time: now_ms(),
            kind,
            hash: ContentHash::of(bytes),
            rows: rows as u64,
            state: StateHash::EMPTY,
            size_of_files: 0,
            bucket: None,
        }
    }

    /// The file's name.
    pub fn file(&self) -> LogFile {
        LogFile::Sidecar(self.id)
    }

    /// As an action.
    pub(crate) fn to_action(&self) -> Sidecar {
        let kind = match self.kind {
            SidecarKind::Add => "add",
            SidecarKind::Remove => "remove",
        };
        let mut tags = vec![
            ("deltalite.kind", Some(kind.to_owned())),
            ("deltalite.hash", Some(self.hash.to_string())),
            ("deltalite.rows", Some(self.rows.to_string())),
        ];
        if self.kind == SidecarKind::Add {
            tags.push(("deltalite.state", Some(self.state.to_string())));
            tags.push(("deltalite.sizeInBytes", Some(self.size_of_files.to_string())));
        }
        if let Some(bucket) = self.bucket {
            tags.push(("deltalite.bucket", Some(bucket.to_string())));
        }
        Sidecar {
            path: format!("{}.dlb", self.id),
            size_in_bytes: self.bytes,
            modification_time: self.modification_time,
            tags: Some(tags.into_iter().collect()),
        }
    }

    /// Understands an action; `file` refers to the sidecar.
    pub(crate) fn of_action(file: LogFile, action: &Sidecar) -> Result<Self> {
        let bad = |detail: String| {
            TableError::corrupt(file, format!("its reference to sidecar {:?} {detail}", action.path))
        };
        let name = format!("{}/{}", super::name::SIDECAR_FOLDER, action.path);
        let Some(LogFile::Sidecar(id)) = LogFile::parse(&name) else {
            return Err(bad("is no <uuid>.dlb".to_owned()));
        };
        let none = StringMap::default();
        let tags = action.tags.as_ref().unwrap_or(&none);
        let need = |key: &str| tags.value(key).ok_or_else(|| bad(format!("has no tag {key}")));
        let number = |key: &str| {
            let text = need(key)?;
            text.parse::<u64>().map_err(|_| bad(format!("has {text:?} for {key}, no number")))
        };
        let kind = match need("deltalite.kind")? {
            "add" => SidecarKind::Add,
            "remove" => SidecarKind::Remove,
            other => return Err(bad(format!("is of kind {other:?}, not add or remove"))),
        };
        let is_add = kind == SidecarKind::Add;
        let hash = need("deltalite.hash")?.parse().map_err(|e| bad(format!("has a hash that is {e}")))?;
        let state = if is_add {
            need("deltalite.state")?.parse().map_err(|e| bad(format!("has a state that is {e}")))?
        } else {
            StateHash::EMPTY
        };
        let bucket = match tags.value("deltalite.bucket") {
            Some(_) => Some(
                u32::try_from(number("deltalite.bucket")?)
                    .map_err(|_| bad("names no possible bucket".to_owned()))?,
            ),
            None => None,
        };
        Ok(Self {
            id,
            bytes: action.size_in_bytes,
            modification_time: action.modification_time,
            kind,
            hash,
            rows: number("deltalite.rows")?,
            state,
            size_of_files: if is_add { number("deltalite.sizeInBytes")? } else { 0 },
            bucket,
        })
    }

    /// Reads its bytes and checks them.
    pub(crate) fn load(&self, store: &dyn LogStore) -> Result<Buffer> {
        let file = self.file();
        let bytes = store.read_file(file)?.ok_or_else(|| TableError::Missing {
            file: file.to_string(),
            detail: format!("a commit or checkpoint in {} refers to it", store.place()),
        })?;
        if bytes.len() as u64 != self.bytes || ContentHash::of(&bytes) != self.hash {
            return Err(TableError::corrupt(
                file,
                "its bytes do not have the length and hash they were written with",
            ));
        }
        Ok(bytes)
    }

    /// Reads a sidecar of live files, or of adds.
    pub(crate) fn load_columns(&self, store: &dyn LogStore) -> Result<Columns> {
        let file = self.file();
        let columns = Columns::read(&file.to_string(), self.load(store)?)?;
        if self.kind != SidecarKind::Add
            || columns.len() as u64 != self.rows
            || columns.total_size() != self.size_of_files
        {
            let detail = format!(
                "it holds {} files of {} bytes in all, but {} of {} were referred to",
                columns.len(),
                columns.total_size(),
                self.rows,
                self.size_of_files
            );
            return Err(TableError::corrupt(file, detail));
        }
        Ok(columns)
    }
}
