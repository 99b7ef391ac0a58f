//! Removals as rows of sidecars: of large commits, and of checkpoints' tombstones.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, StringViewArray, UInt64Array};
use arrow_buffer::Buffer;
use arrow_schema::DataType;

use super::columns::{open_columns, read_columns, write_columns};
use super::tombstones::Tombstone;
use super::view::{map_text, parse_map};
use crate::error::{Result, TableError};
use crate::log::action::{DeletionVector, Remove};
use crate::version::Version;

/// The columns, with their types, in order. All but path, version and dataChange may be null; maps and vectors are their JSON.
const COLUMNS: [(&str, DataType); 12] = [
    ("path", DataType::Utf8View),
    ("version", DataType::UInt64),
    ("dataChange", DataType::Boolean),
    ("deletionTimestamp", DataType::Int64),
    ("extendedFileMetadata", DataType::Boolean),
    ("partitionValues", DataType::Utf8View),
    ("size", DataType::UInt64),
    ("stats", DataType::Utf8View),
    ("tags", DataType::Utf8View),
    ("deletionVector", DataType::Utf8View),
    ("baseRowId", DataType::Int64),
    ("defaultRowCommitVersion", DataType::Int64),
];

/// Removals, and the versions they happened in, as a sidecar's bytes.
pub(crate) fn write_removed(name: &str, rows: &[&Tombstone]) -> Result<Vec<u8>> {
    let removes = || rows.iter().map(|t| &t.remove);
    let texts = |of: &dyn Fn(&Remove) -> Result<Option<String>>| -> Result<ArrayRef> {
        Ok(Arc::new(removes().map(of).collect::<Result<StringViewArray>>()?))
    };
    let ints = |of: &dyn Fn(&Remove) -> Option<i64>| -> ArrayRef {
        Arc::new(removes().map(of).collect::<Int64Array>())
    };
    let vector = |dv: &DeletionVector| {
        serde_json::to_string(dv).map_err(|e| TableError::invalid("writing a deletion vector", e.to_string()))
    };
    let arrays: [ArrayRef; 12] = [
        Arc::new(removes().map(|r| Some(&*r.path)).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|t| Some(t.version.0)).collect::<UInt64Array>()),
        Arc::new(removes().map(|r| Some(r.data_change)).collect::<BooleanArray>()),
        ints(&|r| r.deletion_timestamp),
        Arc::new(removes().map(|r| r.extended_file_metadata).collect::<BooleanArray>()),
        texts(&|r| map_text(r.partition_values.as_ref()))?,
        Arc::new(removes().map(|r| r.size).collect::<UInt64Array>()),
        texts(&|r| Ok(r.stats.as_deref().map(Into::into)))?,
        texts(&|r| map_text(r.tags.as_ref()))?,
        texts(&|r| r.deletion_vector.as_deref().map(vector).transpose())?,
        ints(&|r| r.base_row_id),
        ints(&|r| r.default_row_commit_version),
    ];
    write_columns(name, COLUMNS.iter().map(|(n, _)| (*n).to_owned()).zip(arrays).collect())
}

/// Reads what [`write_removed`] wrote.
pub(crate) fn read_removed(name: &str, bytes: Buffer) -> Result<Vec<Tombstone>> {
    let reader = open_columns(name, bytes)?;
    let arrays = read_columns(&reader, name, &COLUMNS.map(|(n, _)| n))?;
    for ((column, expected), array) in COLUMNS.iter().zip(&arrays) {
        if array.data_type() != expected {
            let detail = format!("column {column} is of type {}, not {expected}", array.data_type());
            return Err(TableError::corrupt(name, detail));
        }
        if matches!(*column, "path" | "version" | "dataChange") && array.null_count() > 0 {
            return Err(TableError::corrupt(name, format!("column {column} has nulls")));
        }
    }
    let text = |column: usize, row: usize| {
        let array = arrays[column].as_string_view();
        array.is_valid(row).then(|| array.value(row))
    };
    let flag = |column: usize, row: usize| {
        let array = arrays[column].as_boolean();
        array.is_valid(row).then(|| array.value(row))
    };
    let int = |column: usize, row: usize| {
        let array = arrays[column].as_primitive::<Int64Type>();
        array.is_valid(row).then(|| array.value(row))
    };
    let count = |column: usize, row: usize| {
        let array = arrays[column].as_primitive::<UInt64Type>();
        array.is_valid(row).then(|| array.value(row))
    };
    let vector = |row: usize| {
        let parsed = text(9, row).map(serde_json::from_str::<DeletionVector>).transpose();
        parsed.map_err(|e| TableError::corrupt(name, format!("row {row} has no deletion vector's JSON: {e}")))
    };
    (0..arrays[0].len())
        .map(|row| {
            Ok(Tombstone {
                version: Version(count(1, row).unwrap_or_default()),
                remove: Remove {
                    path: text(0, row).unwrap_or_default().into(),
                    deletion_timestamp: int(3, row),
                    data_change: flag(2, row).unwrap_or_default(),
                    extended_file_metadata: flag(4, row),
                    partition_values: parse_map(name, text(5, row))?,
                    size: count(6, row),
                    stats: text(7, row).map(Into::into),
                    tags: parse_map(name, text(8, row))?,
                    deletion_vector: vector(row)?.map(Box::new),
                    base_row_id: int(10, row),
                    default_row_commit_version: int(11, row),
                },
            })
        })
        .collect()
}
