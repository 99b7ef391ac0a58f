//! What is in a file: layout, encodings, sizes, statistics. Reads metadata only.
//!
//! ```
//! # use std::sync::Arc;
//! # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
//! # let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
//! # let batch = RecordBatch::try_from_iter([("id", ids)])?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ids.dlb");
//! # deltalite::write_file(&path, &batch.schema(), [Ok(batch)], Default::default())?;
//! let file = deltalite::open(&path)?;
//! let report = deltalite::inspect::inspect(&file)?;
//! assert_eq!((report.rows, report.columns[0].name.as_str()), (1000, "id"));
//! assert_eq!(report.columns[0].max.as_deref(), Some("999"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::DataType;
use deltalite_format::layout::SectionKind;
use deltalite_format::page::EncodingKind;
use deltalite_format::reader::ColumnMeta;
use deltalite_format::stats::{DistinctSketch, ExactBounds};
use deltalite_shard::scan::DataFile;
use serde::Serialize;

use crate::convert::type_text;
use crate::error::Result;

/// A file.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// Its path.
    pub file: String,
    /// Its identity, in hexadecimal digits.
    pub uuid: String,
    /// Bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of headers, directories, statistics, bloom filters, footer and padding: all but pages.
    pub metadata_bytes: u64,
    /// Bytes of the rows before encoding: of Arrow arrays with 4-byte offsets. Absent where a column's can't be told from metadata.
    pub raw_bytes: Option<u64>,
    /// `raw_bytes` by `bytes`.
    pub ratio: Option<f64>,
    /// Pairs stored in the footer.
    pub key_values: Vec<(String, String)>,
    /// Columns, in order.
    pub columns: Vec<ColumnReport>,
    /// Blocks, in order.
    pub blocks: Vec<BlockReport>,
    /// Sections of the footer.
    pub sections: Vec<SectionReport>,
}

/// A column.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// Its Arrow type, as written.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether it may have nulls.
    pub nullable: bool,
    /// Its stable id.
    pub field_id: u32,
    /// Encoded bytes.
    pub bytes: u64,
    /// Bytes before encoding, for types of fixed width.
    pub raw_bytes: Option<u64>,
    /// `raw_bytes` by `bytes`.
    pub ratio: Option<f64>,
    /// Encodings of its pages (of their outermost layer), largest first.
    pub encodings: Vec<EncodingReport>,
    /// Pages, dictionaries included.
    pub pages: u64,
    /// Bytes of dictionaries shared by pages.
    pub dictionary_bytes: u64,
    /// Bytes of bloom filters.
    pub bloom_bytes: u64,
    /// Nulls.
    pub nulls: u64,
    /// NaNs.
    pub nans: u64,
    /// Smallest value, where kept; `…` at its end where it was cut.
    pub min: Option<String>,
    /// Largest value, where kept; `…` at its end where it was cut.
    pub max: Option<String>,
    /// Estimated number of distinct values, where a sketch was kept.
    pub distinct: Option<u64>,
}

/// What an encoding holds.
#[derive(Debug, Clone, Serialize)]
pub struct EncodingReport {
    /// Its name.
    pub name: String,
    /// Pages.
    pub pages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A block.
#[derive(Debug, Clone, Serialize)]
pub struct BlockReport {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// First row.
    pub first_row: u64,
    /// Rows.
    pub rows: u32,
    /// Rows of a unit.
    pub unit_rows: u32,
}

/// A section of the footer.
#[derive(Debug, Clone, Serialize)]
pub struct SectionReport {
    /// What it holds.
    pub kind: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Reports on an open file.
///
/// # Errors
/// When its metadata is damaged.
pub fn inspect(file: &DataFile) -> Result<FileReport> {
    let meta = file.meta();
    let mut columns = Vec::new();
    for i in 0..meta.column_count() {
        columns.push(column(&*meta.column(i)?, meta.rows()));
    }
    let pages: u64 = columns.iter().map(|c| c.bytes).sum();
    let raw_bytes: Option<u64> = columns.iter().map(|c| c.raw_bytes).sum();
    Ok(FileReport {
        file: file.path().display().to_string(),
        uuid: meta.uuid().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
        bytes: meta.file_len(),
        rows: meta.rows(),
        metadata_bytes: meta.file_len().saturating_sub(pages),
        raw_bytes,
        ratio: ratio(raw_bytes, meta.file_len()),
        key_values: meta.key_values()?,
        columns,
        blocks: meta
            .blocks()
            .iter()
            .map(|b| BlockReport {
                offset: b.offset,
                bytes: b.length,
                first_row: b.first_row,
                rows: b.rows,
                unit_rows: b.unit_rows,
            })
            .collect(),
        sections: meta
            .sections()
            .iter()
            .map(|s| SectionReport { kind: section_name(s.kind), offset: s.offset, bytes: s.len })
            .collect(),
    })
}

fn section_name(kind: u32) -> String {
    let known = [
        (SectionKind::Schema, "schema"),
        (SectionKind::Blocks, "blocks"),
        (SectionKind::Columns, "columns"),
        (SectionKind::NameIndex, "name index"),
        (SectionKind::KeyValues, "key values"),
    ];
    known
        .iter()
        .find(|(k, _)| *k as u32 == kind)
        .map_or_else(|| format!("kind {kind}"), |(_, name)| (*name).to_owned())
}

fn ratio(raw: Option<u64>, bytes: u64) -> Option<f64> {
    raw.filter(|_| bytes > 0).map(|raw| raw as f64 / bytes as f64)
}

fn column(meta: &ColumnMeta, rows: u64) -> ColumnReport {
    let mut encodings: BTreeMap<u8, EncodingReport> = BTreeMap::new();
    let (mut bytes, mut pages, mut dictionary_bytes) = (0, 0, 0);
    for chunk in meta.streams.iter().flatten() {
        for page in &chunk.pages {
            let name =
                || EncodingKind::from_code(page.encoding).map_or("unknown", EncodingKind::name).to_owned();
            let of = encodings.entry(page.encoding).or_insert_with(|| EncodingReport {
                name: name(),
                pages: 0,
                bytes: 0,
            });
            of.pages += 1;
            of.bytes += u64::from(page.len);
            pages += 1;
        }
        if let Some(dictionary) = &chunk.dictionary {
            dictionary_bytes += u64::from(dictionary.len);
            pages += 1;
        }
        bytes += chunk.bytes();
    }
    let mut encodings: Vec<_> = encodings.into_values().collect();
    encodings.sort_by_key(|e| std::cmp::Reverse(e.bytes));
    let data_type = meta.field.data_type();
    let raw_bytes = raw_bytes(data_type, rows, meta.field.is_nullable());
    let (min, max) = meta.bounds.as_ref().map_or((None, None), |b| bounds_text(b, data_type));
    ColumnReport {
        name: meta.field.name().clone(),
        data_type: type_text(data_type),
        nullable: meta.field.is_nullable(),
        field_id: meta.entry.field_id,
        bytes,
        raw_bytes,
        ratio: ratio(raw_bytes, bytes),
        encodings,
        pages,
        dictionary_bytes,
        bloom_bytes: u64::from(meta.entry.bloom_len),
        nulls: meta.nulls,
        nans: meta.nans,
        min,
        max,
        distinct: (!meta.sketch.is_empty())
            .then(|| DistinctSketch::from_bytes(&meta.sketch).ok())
            .flatten()
            .map(|s| s.estimate().round() as u64),
    }
}

/// Bytes of a column's values and validity as an Arrow array, where the type alone tells.
fn raw_bytes(data_type: &DataType, rows: u64, nullable: bool) -> Option<u64> {
    let validity = if nullable { rows.div_ceil(8) } else { 0 };
    let values = match data_type {
        DataType::Null => 0,
        DataType::Boolean => rows.div_ceil(8),
        DataType::FixedSizeBinary(n) => rows * u64::try_from(*n).ok()?,
        DataType::Struct(fields) => {
            fields.iter().map(|f| raw_bytes(f.data_type(), rows, f.is_nullable())).sum::<Option<u64>>()?
        }
        DataType::FixedSizeList(item, n) => {
            raw_bytes(item.data_type(), rows * u64::try_from(*n).ok()?, item.is_nullable())?
        }
        other => rows * other.primitive_width()? as u64,
    };
    Some(values + validity)
}

fn bounds_text(bounds: &ExactBounds, data_type: &DataType) -> (Option<String>, Option<String>) {
    let text = |bytes: &[u8], exact: bool| {
        let text = value_text(bytes, data_type)?;
        Some(if exact { text } else { format!("{text}…") })
    };
    (text(&bounds.min, bounds.min_exact), text(&bounds.max, bounds.max_exact))
}

/// A value kept as bytes, as text.
fn value_text(bytes: &[u8], data_type: &DataType) -> Option<String> {
    let array: ArrayRef = match data_type {
        DataType::Dictionary(_, value) => return value_text(bytes, value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            return Some(String::from_utf8_lossy(bytes).into_owned());
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            return Some(bytes.iter().fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}")));
        }
        DataType::Boolean => {
            let values = BooleanBuffer::from_iter([bytes.first().is_some_and(|&b| b != 0)]);
            Arc::new(arrow_array::BooleanArray::new(values, None))
        }
        other if other.primitive_width() == Some(bytes.len()) => {
            let data = arrow_data::ArrayData::builder(other.clone())
                .len(1)
                .add_buffer(Buffer::from_slice_ref(bytes))
                .build()
                .ok()?;
            make_array(data)
        }
        _ => return None,
    };
    (array.len() == 1).then(|| arrow_cast::display::array_value_to_string(&array, 0).ok()).flatten()
}
