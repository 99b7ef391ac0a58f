//! Row maps of compactions as files of the log: whoever deletes rows of a file that was compacted meanwhile finds them by it.
//!
//! A map is a sidecar with a row a run: `source` and `output` (paths), `old`, `len`, `new` (row numbers). The commit names it, with its hash,
//! in `commitInfo.tags` under `deltalite.rowMap`, as `<uuid>:<hash>`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, StringViewArray, UInt64Array};
use uuid::Uuid;

use crate::error::{Result, TableError};
use crate::log::action::{CommitInfo, StringMap};
use crate::log::files::{open_columns, read_columns, write_columns};
use crate::log::sidecar::ROW_MAP_TAG;
use crate::log::{ContentHash, LogFile, LogStore};
use crate::txn::{RowMap, RowMapBuilder};

/// Puts a map beside the log and names it in the commit.
///
/// # Errors
/// When the medium fails.
pub(crate) fn put(store: &dyn LogStore, map: &RowMap, info: &mut CommitInfo) -> Result<()> {
    let id = Uuid::new_v4();
    let file = LogFile::Sidecar(id);
    let (mut sources, mut outputs, mut numbers) = (Vec::new(), Vec::new(), [vec![], vec![], vec![]]);
    for run in map.runs() {
        sources.push(run.source);
        outputs.push(run.output);
        numbers[0].push(run.old);
        numbers[1].push(run.len);
        numbers[2].push(run.new);
    }
    let text = |texts: Vec<&str>| Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef;
    let mut columns = vec![("source".to_owned(), text(sources)), ("output".to_owned(), text(outputs))];
    for (name, values) in ["old", "len", "new"].into_iter().zip(numbers) {
        columns.push((name.to_owned(), Arc::new(UInt64Array::from(values)) as ArrayRef));
    }
    let bytes = write_columns(&file.to_string(), columns)?;
    store.put_files(&[(file, &bytes)])?;
    let tag = format!("{id}:{}", ContentHash::of(&bytes));
    let tags: Vec<(String, Option<String>)> = info
        .tags
        .iter()
        .flat_map(StringMap::iter)
        .map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned)))
        .chain([(ROW_MAP_TAG.to_owned(), Some(tag))])
        .collect();
    info.tags = Some(tags.into_iter().collect());
    Ok(())
}

/// The map that a commit names, if it does.
///
/// # Errors
/// When it is missing or damaged.
pub(crate) fn get(store: &dyn LogStore, info: &CommitInfo) -> Result<Option<RowMap>> {
    let Some(tag) = info.tags.as_ref().and_then(|tags| tags.value(ROW_MAP_TAG)) else { return Ok(None) };
    let commit = LogFile::Commit(info.version);
    let bad = || TableError::corrupt(commit, format!("its row map {tag:?} is no <uuid>:<hash>"));
    let (id, hash) = tag.split_once(':').ok_or_else(bad)?;
    let file = LogFile::Sidecar(Uuid::parse_str(id).map_err(|_| bad())?);
    let bytes = store.read_file(file)?.ok_or_else(|| TableError::Missing {
        file: file.to_string(),
        detail: format!("the row map of version {}", info.version),
    })?;
    if ContentHash::of(&bytes).to_string() != hash {
        return Err(TableError::Mismatch {
            version: info.version,
            file: file.to_string(),
            what: "the hash of the row map",
            found: ContentHash::of(&bytes).to_string(),
            expected: hash.to_owned(),
        });
    }
    let name = file.to_string();
    let reader = open_columns(&name, bytes)?;
    let columns = read_columns(&reader, &name, &["source", "output", "old", "len", "new"])?;
    let texts = |at: usize| {
        columns[at]
            .as_string_view_opt()
            .filter(|a| a.null_count() == 0)
            .ok_or_else(|| TableError::corrupt(&name, "a column of paths is of another type, or has nulls"))
    };
    let numbers = |at: usize| {
        columns[at].as_primitive_opt::<UInt64Type>().filter(|a| a.null_count() == 0).ok_or_else(|| {
            TableError::corrupt(&name, "a column of row numbers is of another type, or has nulls")
        })
    };
    let (sources, outputs) = (texts(0)?, texts(1)?);
    let (old, len, new) = (numbers(2)?, numbers(3)?, numbers(4)?);
    let mut builder = RowMapBuilder::default();
    for at in 0..sources.len() {
        if len.value(at) == 0 {
            builder.source(sources.value(at));
        } else {
            builder.run(sources.value(at), old.value(at), len.value(at), outputs.value(at), new.value(at));
        }
    }
    builder.build().map(Some).map_err(|e| TableError::corrupt(&name, e.to_string()))
}
