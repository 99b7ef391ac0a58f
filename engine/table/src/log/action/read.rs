//! Lines of JSON to actions, with simd-json.
//!
//! Adds as our own writers write them are read by `plain`. Any other line is copied to a place that has room for the parser to read past
//! its end, and that stays in the nearest cache; strings are unescaped there, and buffers serve all lines. A field stands once in
//! its object; unknown fields and unknown actions are passed over, as Delta's protocol wants.

use memchr::memchr;
use simd_json::{Buffers, INPUT_PADDING, Tape, fill_tape_padded};

use super::cursor::{Cursor, Fault, Parsed, Slot};
use super::file::{Add, Cdc, DeletionVector, DvStorage, Remove};
use super::plain::plain_add;
use super::stats_text::StatsText;
use super::table::{
    CheckpointMetadata, CommitInfo, DomainMetadata, FileFormat, Metadata, Protocol, Sidecar, Txn,
};
use super::{Action, StringMap};
use crate::error::{Result, TableError};
use crate::log::inline::LINE_HEAD as DATA_LINE_HEAD;
use crate::log::limits::{DEPTH_MAX, LINE_BYTES_MAX};
use crate::version::Version;

/// A line of a commit with a usual add has about as many bytes.
const LINE_BYTES_TYPICAL: usize = 512;

/// Parses the lines of a commit into actions.
///
/// # Errors
/// When a line is no JSON object, or a field is missing, stands twice, has a wrong type or a value out of range.
pub fn parse_commit(bytes: &[u8]) -> Result<Vec<Action>> {
    let mut actions = Vec::with_capacity(bytes.len() / LINE_BYTES_TYPICAL);
    LineReader::new().read("commit", 1, bytes, |_, action| {
        actions.push(action);
        Ok(())
    })?;
    Ok(actions)
}

/// Parses lines, keeping its buffers from one to the next.
pub struct LineReader {
    /// The line being parsed, and room behind it.
    line: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineReader").finish_non_exhaustive()
    }
}

impl Default for LineReader {
    fn default() -> Self {
        Self::new()
    }
}

impl LineReader {
    /// A reader without buffers yet.
    pub fn new() -> Self {
        Self { line: Vec::new(), buffers: Buffers::with_max_depth(0, DEPTH_MAX), tape: Tape(Vec::new()) }
    }

    /// Parses all lines of `bytes`; `action` gets each with the number of its line, the first of which is `first_line` of `file`.
    ///
    /// # Errors
    /// As [`parse_commit`], and what `action` answers.
    pub fn read(
        &mut self,
        file: &str,
        first_line: usize,
        bytes: &[u8],
        mut action: impl FnMut(usize, Action) -> Result<()>,
    ) -> Result<()> {
        let (mut rest, mut line) = (bytes, first_line);
        while !rest.is_empty() {
            let len = memchr(b'\n', rest).unwrap_or(rest.len());
            // The bytes of small files are no action, and long.
            if len > 0 && !rest[..len].starts_with(DATA_LINE_HEAD) {
                let parsed = self.action(&rest[..len]);
                if let Some(parsed) = parsed.map_err(|fault| malformed(file, line, fault))? {
                    action(line, parsed)?;
                }
            }
            rest = rest.get(len + 1..).unwrap_or_default();
            line += 1;
        }
        Ok(())
    }

    fn action(&mut self, line: &[u8]) -> Parsed<Option<Action>> {
        match plain_add(line) {
            Some(add) => Ok(Some(Action::Add(add))),
            None => self.line(line, read_action),
        }
    }

    /// Parses one value.
    pub(crate) fn line<T>(
        &mut self,
        bytes: &[u8],
        read: impl FnOnce(&mut Cursor<'_, '_>) -> Parsed<T>,
    ) -> Parsed<T> {
        let len = bytes.len();
        if len > LINE_BYTES_MAX {
            return Err(Fault::new(format!("has {len} bytes; at most {LINE_BYTES_MAX} are allowed")));
        }
        self.line.clear();
        self.line.extend_from_slice(bytes);
        self.line.resize(len + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = fill_tape_padded(&mut self.line, len, &mut self.buffers, &mut tape)
            .map_err(|e| Fault::new(format!("is no JSON: {e}")))
            .and_then(|()| read(&mut Cursor::new(&tape.0)));
        self.tape = tape.reset();
        parsed
    }
}

fn malformed(file: &str, line: usize, fault: Fault) -> TableError {
    let (field, detail) = fault.into_parts();
    let field = if field.is_empty() { "(the line)".to_owned() } else { field };
    TableError::Malformed { file: file.to_owned(), line, field, detail }
}

/// A line as the parser that knows every form reads it.
#[cfg(test)]
pub(super) fn general(line: &[u8]) -> Result<Option<Action>> {
    LineReader::new().line(line, read_action).map_err(|fault| malformed("line", 1, fault))
}

fn read_action(c: &mut Cursor<'_, '_>) -> Parsed<Option<Action>> {
    let mut action = Slot::new();
    c.object(|kind, c| {
        let read = match kind {
            "add" => c.opt(read_add)?.map(Action::Add),
            "remove" => c.opt(read_remove)?.map(Action::Remove),
            "commitInfo" => c.opt(read_commit_info)?.map(|i| Action::CommitInfo(Box::new(i))),
            "cdc" => c.opt(read_cdc)?.map(Action::Cdc),
            "txn" => c.opt(read_txn)?.map(Action::Txn),
            "domainMetadata" => c.opt(read_domain)?.map(Action::DomainMetadata),
            "metaData" => c.opt(read_metadata)?.map(|m| Action::Metadata(Box::new(m))),
            "protocol" => c.opt(read_protocol)?.map(Action::Protocol),
            "sidecar" => c.opt(read_sidecar)?.map(Action::Sidecar),
            "checkpointMetadata" => c.opt(read_checkpoint)?.map(Action::CheckpointMetadata),
            _ => {
                c.skip()?;
                None
            }
        };
        if read.is_some() {
            action.put(read).map_err(|_| Fault::new("follows another action; a line holds one"))?;
        }
        Ok(())
    })?;
    Ok(action.take())
}

fn boxed(text: Option<&str>) -> Option<Box<str>> {
    text.map(Into::into)
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn file_path(c: &mut Cursor<'_, '_>) -> Parsed<Option<Box<str>>> {
    let path = c.opt_str()?;
    if path == Some("") {
        return Err(Fault::new("is empty; a file has a name"));
    }
    Ok(boxed(path))
}

fn read_add(c: &mut Cursor<'_, '_>) -> Parsed<Add> {
    let (mut path, mut partition, mut size, mut time) = (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    let (mut change, mut stats, mut tags, mut dv) = (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    let (mut row_id, mut row_version, mut provider) = (Slot::new(), Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "path" => path.put(file_path(c)?),
        "partitionValues" => partition.put(c.opt_map()?),
        "size" => size.put(c.opt_u64()?),
        "modificationTime" => time.put(c.opt_i64()?),
        "dataChange" => change.put(c.opt_bool()?),
        "stats" => stats.put(c.opt_str()?.map(StatsText::from)),
        "tags" => tags.put(c.opt_map()?),
        "deletionVector" => dv.put(c.opt(read_dv)?.map(Box::new)),
        "baseRowId" => row_id.put(c.opt_u64()?.map(|n| n as i64)),
        "defaultRowCommitVersion" => row_version.put(c.opt_u64()?.map(|n| n as i64)),
        "clusteringProvider" => provider.put(boxed(c.opt_str()?)),
        _ => c.skip(),
    })?;
    Ok(Add {
        path: path.need("path")?,
        partition_values: partition.need("partitionValues")?,
        size: size.need("size")?,
        modification_time: time.need("modificationTime")?,
        data_change: change.need("dataChange")?,
        stats: stats.take(),
        tags: tags.take(),
        deletion_vector: dv.take(),
        base_row_id: row_id.take(),
        default_row_commit_version: row_version.take(),
        clustering_provider: provider.take(),
    })
}

fn read_remove(c: &mut Cursor<'_, '_>) -> Parsed<Remove> {
    let (mut path, mut time, mut change, mut extended) = (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    let (mut partition, mut size, mut stats, mut tags) = (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    let (mut dv, mut row_id, mut row_version) = (Slot::new(), Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "path" => path.put(file_path(c)?),
        "deletionTimestamp" => time.put(c.opt_i64()?),
        "dataChange" => change.put(c.opt_bool()?),
        "extendedFileMetadata" => extended.put(c.opt_bool()?),
        "partitionValues" => partition.put(c.opt_map()?),
        "size" => size.put(c.opt_u64()?),
        "stats" => stats.put(boxed(c.opt_str()?)),
        "tags" => tags.put(c.opt_map()?),
        "deletionVector" => dv.put(c.opt(read_dv)?.map(Box::new)),
        "baseRowId" => row_id.put(c.opt_u64()?.map(|n| n as i64)),
        "defaultRowCommitVersion" => row_version.put(c.opt_u64()?.map(|n| n as i64)),
        _ => c.skip(),
    })?;
    Ok(Remove {
        path: path.need("path")?,
        deletion_timestamp: time.take(),
        data_change: change.need("dataChange")?,
        extended_file_metadata: extended.take(),
        partition_values: partition.take(),
        size: size.take(),
        stats: stats.take(),
        tags: tags.take(),
        deletion_vector: dv.take(),
        base_row_id: row_id.take(),
        default_row_commit_version: row_version.take(),
    })
}

fn read_cdc(c: &mut Cursor<'_, '_>) -> Parsed<Cdc> {
    let (mut path, mut partition, mut size) = (Slot::new(), Slot::new(), Slot::new());
    let (mut change, mut tags) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "path" => path.put(file_path(c)?),
        "partitionValues" => partition.put(c.opt_map()?),
        "size" => size.put(c.opt_u64()?),
        "dataChange" => change.put(c.opt_bool()?),
        "tags" => tags.put(c.opt_map()?),
        _ => c.skip(),
    })?;
    Ok(Cdc {
        path: path.need("path")?,
        partition_values: partition.need("partitionValues")?,
        size: size.need("size")?,
        data_change: change.need("dataChange")?,
        tags: tags.take(),
    })
}

fn read_dv(c: &mut Cursor<'_, '_>) -> Parsed<DeletionVector> {
    let (mut storage, mut text, mut offset) = (Slot::new(), Slot::new(), Slot::new());
    let (mut size, mut cardinality) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "storageType" => {
            let letter = c.opt_str()?;
            let parsed = letter.map(|l| {
                DvStorage::parse(l)
                    .ok_or_else(|| Fault::new(format!("is {l:?}, must be \"u\", \"i\" or \"p\"")))
            });
            storage.put(parsed.transpose()?)
        }
        "pathOrInlineDv" => text.put(boxed(c.opt_str()?)),
        "offset" => offset.put(c.opt_u32()?),
        "sizeInBytes" => size.put(c.opt_u32()?),
        "cardinality" => cardinality.put(c.opt_u64()?),
        _ => c.skip(),
    })?;
    Ok(DeletionVector {
        storage_type: storage.need("storageType")?,
        path_or_inline_dv: text.need("pathOrInlineDv")?,
        offset: offset.take(),
        size_in_bytes: size.need("sizeInBytes")?,
        cardinality: cardinality.need("cardinality")?,
    })
}

fn read_protocol(c: &mut Cursor<'_, '_>) -> Parsed<Protocol> {
    let (mut reader, mut writer) = (Slot::new(), Slot::new());
    let (mut reader_features, mut writer_features) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "minReaderVersion" => reader.put(c.opt_u32()?),
        "minWriterVersion" => writer.put(c.opt_u32()?),
        "readerFeatures" => reader_features.put(c.opt_strings()?),
        "writerFeatures" => writer_features.put(c.opt_strings()?),
        _ => c.skip(),
    })?;
    Ok(Protocol {
        min_reader_version: reader.need("minReaderVersion")?,
        min_writer_version: writer.need("minWriterVersion")?,
        reader_features: reader_features.take(),
        writer_features: writer_features.take(),
    })
}

fn read_format(c: &mut Cursor<'_, '_>) -> Parsed<FileFormat> {
    let (mut provider, mut options) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "provider" => provider.put(owned(c.opt_str()?)),
        "options" => options.put(c.opt_map()?),
        _ => c.skip(),
    })?;
    Ok(FileFormat { provider: provider.need("provider")?, options: options.take().unwrap_or_default() })
}

fn read_metadata(c: &mut Cursor<'_, '_>) -> Parsed<Metadata> {
    let (mut id, mut name, mut description, mut format) =
        (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    let (mut schema, mut partition) = (Slot::new(), Slot::new());
    let (mut created, mut configuration) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "id" => id.put(owned(c.opt_str()?)),
        "name" => name.put(owned(c.opt_str()?)),
        "description" => description.put(owned(c.opt_str()?)),
        "format" => format.put(c.opt(read_format)?),
        "schemaString" => schema.put(owned(c.opt_str()?)),
        "partitionColumns" => partition.put(c.opt_strings()?),
        "createdTime" => created.put(c.opt_i64()?),
        "configuration" => configuration.put(c.opt_map()?),
        _ => c.skip(),
    })?;
    Ok(Metadata {
        id: id.need("id")?,
        name: name.take(),
        description: description.take(),
        format: format.need("format")?,
        schema_string: schema.need("schemaString")?,
        partition_columns: partition.need("partitionColumns")?,
        created_time: created.take(),
        configuration: configuration.take().unwrap_or_default(),
    })
}

fn read_txn(c: &mut Cursor<'_, '_>) -> Parsed<Txn> {
    let (mut app, mut version, mut updated) = (Slot::new(), Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "appId" => app.put(owned(c.opt_str()?)),
        "version" => version.put(c.opt_i64()?),
        "lastUpdated" => updated.put(c.opt_i64()?),
        _ => c.skip(),
    })?;
    Ok(Txn { app_id: app.need("appId")?, version: version.need("version")?, last_updated: updated.take() })
}

fn read_domain(c: &mut Cursor<'_, '_>) -> Parsed<DomainMetadata> {
    let (mut domain, mut configuration, mut removed) = (Slot::new(), Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "domain" => domain.put(owned(c.opt_str()?)),
        "configuration" => configuration.put(owned(c.opt_str()?)),
        "removed" => removed.put(c.opt_bool()?),
        _ => c.skip(),
    })?;
    Ok(DomainMetadata {
        domain: domain.need("domain")?,
        configuration: configuration.need("configuration")?,
        removed: removed.need("removed")?,
    })
}

fn hash<T: std::str::FromStr<Err: std::fmt::Display>>(c: &mut Cursor<'_, '_>) -> Parsed<Option<T>> {
    c.opt_str()?.map(|text| text.parse().map_err(|e| Fault::new(format!("is {e}")))).transpose()
}

fn read_commit_info(c: &mut Cursor<'_, '_>) -> Parsed<CommitInfo> {
    let (mut version, mut prev, mut state) = (Slot::new(), Slot::new(), Slot::new());
    let (mut files, mut bytes, mut in_commit, mut time) =
        (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    let (mut operation, mut parameters, mut metrics) = (Slot::new(), Slot::<StringMap>::new(), Slot::new());
    let (mut read, mut isolation, mut blind) = (Slot::new(), Slot::new(), Slot::new());
    let (mut engine, mut user, mut user_data) = (Slot::new(), Slot::new(), Slot::new());
    let (mut txn, mut tags) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "deltalite.version" => version.put(c.opt_u64()?.map(Version)),
        "deltalite.prev" => prev.put(hash(c)?),
        "deltalite.state" => state.put(hash(c)?),
        "deltalite.numFiles" => files.put(c.opt_u64()?),
        "deltalite.sizeInBytes" => bytes.put(c.opt_u64()?),
        "inCommitTimestamp" => in_commit.put(c.opt_i64()?),
        "timestamp" => time.put(c.opt_i64()?),
        "operation" => operation.put(owned(c.opt_str()?)),
        "operationParameters" => parameters.put(c.opt_loose_map()?),
        "operationMetrics" => metrics.put(c.opt_loose_map()?),
        "readVersion" => read.put(c.opt_u64()?.map(Version)),
        "isolationLevel" => isolation.put(owned(c.opt_str()?)),
        "isBlindAppend" => blind.put(c.opt_bool()?),
        "engineInfo" => engine.put(owned(c.opt_str()?)),
        "userName" => user.put(owned(c.opt_str()?)),
        "userMetadata" => user_data.put(owned(c.opt_str()?)),
        "txnId" => txn.put(owned(c.opt_str()?)),
        "tags" => tags.put(c.opt_loose_map()?),
        _ => c.skip(),
    })?;
    Ok(CommitInfo {
        version: version.need("deltalite.version")?,
        prev: prev.need("deltalite.prev")?,
        state: state.need("deltalite.state")?,
        num_files: files.need("deltalite.numFiles")?,
        size_in_bytes: bytes.need("deltalite.sizeInBytes")?,
        in_commit_timestamp: in_commit.need("inCommitTimestamp")?,
        timestamp: time.need("timestamp")?,
        operation: operation.need("operation")?,
        operation_parameters: parameters.take().unwrap_or_default(),
        operation_metrics: metrics.take(),
        read_version: read.take(),
        isolation_level: isolation.take(),
        is_blind_append: blind.take(),
        engine_info: engine.take(),
        user_name: user.take(),
        user_metadata: user_data.take(),
        txn_id: txn.need("txnId")?,
        tags: tags.take(),
    })
}

fn read_sidecar(c: &mut Cursor<'_, '_>) -> Parsed<Sidecar> {
    let (mut path, mut size, mut time, mut tags) = (Slot::new(), Slot::new(), Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "path" => path.put(owned(c.opt_str()?)),
        "sizeInBytes" => size.put(c.opt_u64()?),
        "modificationTime" => time.put(c.opt_i64()?),
        "tags" => tags.put(c.opt_map()?),
        _ => c.skip(),
    })?;
    Ok(Sidecar {
        path: path.need("path")?,
        size_in_bytes: size.need("sizeInBytes")?,
        modification_time: time.need("modificationTime")?,
        tags: tags.take(),
    })
}

fn read_checkpoint(c: &mut Cursor<'_, '_>) -> Parsed<CheckpointMetadata> {
    let (mut version, mut tags) = (Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "version" => version.put(c.opt_u64()?.map(Version)),
        "tags" => tags.put(c.opt_map()?),
        _ => c.skip(),
    })?;
    Ok(CheckpointMetadata { version: version.need("version")?, tags: tags.take() })
}
