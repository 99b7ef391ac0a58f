//! What each fuzz target does with its input. No input may make it panic, loop, or allocate out of proportion.
//!
//! The fuzz targets run these under libFuzzer (`engine/table/fuzz/fuzz_targets/`); the tests of the crate run them over the committed corpus
//! and over seeded mutations of it. Each returns what was said of the input, so that the tests know the corpus is still valid.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_buffer::Buffer;
use deltalite_table::deletion_vector::{file_of, read_file, read_inline};
use deltalite_table::log::action::{Add, DeletionVector, DvStorage, decode_path, parse_commit};
use deltalite_table::log::inline::Inlined;
use deltalite_table::log::store::Disk;
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{
    Action, Commit, ContentHash, LOG_FOLDER, LocalStore, LogFile, Section, Snapshot, verify,
};
use deltalite_table::schema::{delta_schema, delta_schema_string};
use deltalite_table::{Result, TableError, Version};
use uuid::Uuid;

/// A target: its name (also its corpus folder) and what it does.
pub(crate) type Body = (&'static str, fn(&[u8]) -> Result<()>);

/// All targets.
pub(crate) const TARGETS: [Body; 5] =
    [("commit", commit), ("log", log), ("checkpoint", checkpoint), ("vector", vector), ("schema", schema)];

/// The checkpoint that [`checkpoint`] reads: its version is the input's.
const CHECKPOINT: Uuid = Uuid::from_u128(0x5f1b_3b52_0000_4000_8000_0000_0000_0001);
/// Where the table of [`log`] and [`checkpoint`] is.
const TABLE: &str = "/table";
const SEAL: &[u8] = b"{\"deltaliteSeal\":{\"blake3\":\"";
const PREVIOUS: &[u8] = b"\"deltalite.prev\":\"";
/// Characters of a hash.
const HASH_CHARS: usize = 64;

/// Lines of actions.
pub(crate) fn commit(bytes: &[u8]) -> Result<()> {
    for action in parse_commit(bytes)? {
        let line = serde_json::to_string(&action)
            .map_err(|e| TableError::Corrupt { file: "an action".to_owned(), detail: e.to_string() })?;
        assert_eq!(
            parse_commit(line.as_bytes())?,
            std::slice::from_ref(&action),
            "an action changes on its way"
        );
        if let Action::Add(add) = action {
            look_at(&add);
        }
    }
    Ok(())
}

/// What of a file is only read when it is asked for.
fn look_at(add: &Add) {
    drop(add.stats());
    drop(decode_path(&add.path));
    drop(Inlined::of(add));
    if let Some(vector) = &add.deletion_vector {
        drop(file_of(vector));
        drop(read_inline(vector));
    }
}

/// Sections of a log, one after the other: hashes as they are and, if those refuse it, corrected.
pub(crate) fn log(bytes: &[u8]) -> Result<()> {
    versions(bytes).or_else(|_| versions(&resealed(bytes)))
}

fn versions(bytes: &[u8]) -> Result<()> {
    let sections = sections_of(bytes);
    let files: Vec<(LogFile, &[u8])> =
        sections.iter().zip(0..).map(|(section, n)| (LogFile::Commit(Version(n)), *section)).collect();
    let store = store_of(&files);
    for (file, bytes) in &files {
        if let LogFile::Commit(version) = file {
            drop(Section::find(*file, &Buffer::from(*bytes), *version));
        }
    }
    let snapshot = Snapshot::open(&store)?;
    look_through(&snapshot, &store)?;
    let again = Snapshot::open_at(&store, snapshot.version())?;
    assert_eq!(again.state_hash(), snapshot.state_hash());
    Ok(())
}

/// A checkpoint and its sidecars: `u64` its version, `u32` its bytes, they; then each sidecar: 16 bytes of its id, `u32` its bytes, they. Hashes as
/// they are and, if those refuse it, corrected.
pub(crate) fn checkpoint(bytes: &[u8]) -> Result<()> {
    let Some((version, rest)) = bytes.split_first_chunk() else { return Ok(()) };
    let version = Version(u64::from_le_bytes(*version) & Version::MAX.0);
    let (text, mut rest) = part(rest);
    let mut sidecars = Vec::new();
    while let Some((id, more)) = rest.split_first_chunk() {
        let (bytes, more) = part(more);
        sidecars.push((Uuid::from_bytes(*id), bytes));
        rest = more;
    }
    let open = |text: &[u8]| {
        let mut files = vec![(LogFile::Checkpoint(version, CHECKPOINT), text)];
        files.extend(sidecars.iter().map(|(id, bytes)| (LogFile::Sidecar(*id), *bytes)));
        let store = store_of(&files);
        let snapshot = Snapshot::open(&store)?;
        look_through(&snapshot, &store)
    };
    open(text).or_else(|_| open(&resealed(&with_sidecars(text, &sidecars))))
}

/// A deletion vector: `u8` where it is, `u32` its bytes as they are recorded, `u32` its rows, `u32` where in the file; then the file, or the text that holds
/// it.
pub(crate) fn vector(bytes: &[u8]) -> Result<()> {
    let Some((head, rest)) = bytes.split_first_chunk::<13>() else { return Ok(()) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let storage_type = match head[0] % 3 {
        0 => DvStorage::Inline,
        1 => DvStorage::Relative,
        _ => DvStorage::Absolute,
    };
    let text = String::from_utf8_lossy(if storage_type == DvStorage::Inline {
        rest
    } else {
        &rest[..rest.len().min(24)]
    });
    let vector = DeletionVector {
        storage_type,
        path_or_inline_dv: text.into(),
        offset: (number(9) > 0).then(|| number(9)),
        size_in_bytes: number(1),
        cardinality: number(5).into(),
    };
    if storage_type == DvStorage::Inline {
        return read_inline(&vector).map(drop);
    }
    drop(file_of(&vector));
    read_file(&vector, rest).map(drop)
}

/// Columns as a log has them.
pub(crate) fn schema(bytes: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
    let columns = delta_schema(text)?;
    let again = delta_schema(&delta_schema_string(&columns))?;
    assert_eq!(again, columns, "columns change on their way");
    Ok(())
}

fn part(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk() else { return (&[], &[]) };
    rest.split_at((u32::from_le_bytes(*len) as usize).min(rest.len()))
}

/// Reads all that a version says.
fn look_through(snapshot: &Snapshot, store: &LocalStore) -> Result<()> {
    for file in snapshot.files().iter() {
        look_at(&file.to_add()?);
    }
    snapshot.tombstones().read(store)?;
    drop(delta_schema(&snapshot.metadata().schema_string));
    drop(Commit::read(store, snapshot.version()));
    // What is damaged is in the report.
    verify(store)?;
    Ok(())
}

/// A table of these files, in memory.
fn store_of(files: &[(LogFile, &[u8])]) -> LocalStore {
    let disk = SimDisk::new();
    let made = LocalStore::create_on(Arc::new(disk.clone()), Path::new(TABLE));
    drop(made.unwrap_or_else(|e| panic!("a table in memory: {e}")));
    for (file, bytes) in files {
        let path: PathBuf = file.path(&Path::new(TABLE).join(LOG_FOLDER));
        // Two sidecars may have one name.
        if let Ok(mut file) = disk.create(&path) {
            file.append(bytes).unwrap_or_else(|e| panic!("a file in memory: {e}"));
        }
    }
    LocalStore::open_read_only_on(Arc::new(disk), Path::new(TABLE))
        .unwrap_or_else(|e| panic!("a table in memory: {e}"))
}

/// Sections, each up to the end of the line that begins as a seal.
fn sections_of(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut sections, mut start, mut at) = (Vec::new(), 0, 0);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if line.starts_with(SEAL) {
            sections.push(&bytes[start..at]);
            start = at;
        }
    }
    if start < bytes.len() {
        sections.push(&bytes[start..]);
    }
    sections
}

/// With the hashes that prove sections, and those that chain them, corrected.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut previous) = (Vec::with_capacity(bytes.len()), None);
    for section in sections_of(bytes) {
        let begins = out.len();
        out.extend_from_slice(section);
        let section = &mut out[begins..];
        if let Some(hash) = previous {
            put_hash(section, PREVIOUS, hash);
        }
        let is_seal = |line: &&[u8]| line.starts_with(SEAL);
        let sealed =
            section.split_inclusive(|b| *b == b'\n').take_while(|line| !is_seal(line)).map(<[u8]>::len).sum();
        let hash = ContentHash::of(&section[..sealed]);
        put_hash(&mut section[sealed..], SEAL, hash);
        previous = Some(hash);
    }
    out
}

/// Writes a hash behind some text, if there is room for it.
fn put_hash(bytes: &mut [u8], behind: &[u8], hash: ContentHash) {
    let Some(at) = bytes.windows(behind.len()).position(|window| window == behind) else { return };
    if let Some(place) = bytes.get_mut(at + behind.len()..at + behind.len() + HASH_CHARS) {
        place.copy_from_slice(hash.to_string().as_bytes());
    }
}

/// A checkpoint with the lengths and hashes that sidecars have now.
fn with_sidecars(text: &[u8], sidecars: &[(Uuid, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|b| *b == b'\n') {
        match corrected(line, sidecars) {
            Some(line) => out.extend_from_slice(&line),
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn corrected(line: &[u8], sidecars: &[(Uuid, &[u8])]) -> Option<Vec<u8>> {
    let mut line: serde_json::Value = serde_json::from_slice(line).ok()?;
    let sidecar = line.get_mut("sidecar")?;
    let path = sidecar.get("path")?.as_str()?;
    let (_, bytes) = sidecars.iter().find(|(id, _)| path == format!("{id}.dlb"))?;
    sidecar["sizeInBytes"] = bytes.len().into();
    *sidecar.get_mut("tags")?.get_mut("deltalite.hash")? = ContentHash::of(bytes).to_string().into();
    Some(format!("{line}\n").into_bytes())
}
