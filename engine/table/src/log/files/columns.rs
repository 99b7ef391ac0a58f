//! Files as Arrow arrays.
//!
//! Rows are in the order of [`path_hash`], then of path: a file is found by binary search, and a bucket is split by slicing.
//! A column that says nothing for any row is left out, in memory and on disk. Statistics are by far the longest column; of a
//! sidecar they are only decoded when somebody asks.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::builder::{BooleanBuilder, Int64Builder, StringViewBuilder, UInt32Builder, UInt64Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, UInt32Array, UInt64Array,
};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema};
use deltalite_format::{FileReader, FileWriter, FormatError, ScanOptions, WriterOptions};

use super::view::FileView;
use crate::error::{Result, TableError};
use crate::log::action::{Add, DeletionVector, DvStorage, StringMap};
use crate::log::hash::path_hash;

/// Before the name of a partition column in a sidecar's schema.
const PARTITION_PREFIX: &str = "partitionValues.";
const BATCH_ROWS_MAX: usize = 65_536;

/// Statistics, in memory or still in their sidecar.
#[derive(Debug)]
enum Stats {
    None,
    Here(StringViewArray),
    Stored { file: String, reader: FileReader, decoded: OnceLock<StringViewArray> },
}

#[derive(Debug, Clone)]
struct DvColumns {
    /// Null where there is no vector.
    storage: StringViewArray,
    text: StringViewArray,
    offset: UInt32Array,
    size: UInt32Array,
    cardinality: UInt64Array,
}

/// Files as Arrow arrays; see the module.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    hash: UInt64Array,
    path: StringViewArray,
    size: UInt64Array,
    time: Int64Array,
    partition: Vec<(Box<str>, StringViewArray)>,
    dv: Option<DvColumns>,
    row_id: Option<Int64Array>,
    row_version: Option<Int64Array>,
    provider: Option<StringViewArray>,
    tags: Option<StringViewArray>,
    stats: Arc<Stats>,
    /// Where this slice begins in `stats`.
    stats_start: usize,
    /// Only in sidecars of commits.
    data_change: Option<BooleanArray>,
}

fn text(array: &StringViewArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

fn opt_text(array: Option<&StringViewArray>, row: usize) -> Option<&str> {
    array.and_then(|a| text(a, row))
}

fn opt_int(array: Option<&Int64Array>, row: usize) -> Option<i64> {
    array.and_then(|a| a.is_valid(row).then(|| a.value(row)))
}

impl Columns {
    /// No files.
    pub(crate) fn empty() -> Self {
        ColumnsBuilder::new(std::iter::empty(), false).finish()
    }

    pub(crate) fn len(&self) -> usize {
        self.path.len()
    }

    /// Where the rows of hashes from `hash` on begin.
    pub(crate) fn start_of(&self, hash: u64) -> usize {
        self.hash.values().partition_point(|h| *h < hash)
    }

    pub(crate) fn hashes(&self) -> &[u64] {
        self.hash.values()
    }

    /// The row of a path.
    pub(crate) fn find(&self, hash: u64, path: &str) -> Option<usize> {
        let start = self.start_of(hash);
        let same = self.hash.values()[start..].iter().take_while(|h| **h == hash).count();
        (start..start + same).find(|row| self.path.value(*row) == path)
    }

    /// Some of the rows, without copying.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let (at, len) = (rows.start, rows.len());
        Self {
            hash: self.hash.slice(at, len),
            path: self.path.slice(at, len),
            size: self.size.slice(at, len),
            time: self.time.slice(at, len),
            partition: self.partition.iter().map(|(n, a)| (n.clone(), a.slice(at, len))).collect(),
            dv: self.dv.as_ref().map(|dv| DvColumns {
                storage: dv.storage.slice(at, len),
                text: dv.text.slice(at, len),
                offset: dv.offset.slice(at, len),
                size: dv.size.slice(at, len),
                cardinality: dv.cardinality.slice(at, len),
            }),
            row_id: self.row_id.as_ref().map(|a| a.slice(at, len)),
            row_version: self.row_version.as_ref().map(|a| a.slice(at, len)),
            provider: self.provider.as_ref().map(|a| a.slice(at, len)),
            tags: self.tags.as_ref().map(|a| a.slice(at, len)),
            stats: self.stats.clone(),
            stats_start: self.stats_start + at,
            data_change: self.data_change.as_ref().map(|a| a.slice(at, len)),
        }
    }

    pub(crate) fn path(&self, row: usize) -> &str {
        self.path.value(row)
    }

    pub(crate) fn size(&self, row: usize) -> u64 {
        self.size.value(row)
    }

    pub(crate) fn total_size(&self) -> u64 {
        self.size.values().iter().fold(0, |sum: u64, n| sum.wrapping_add(*n))
    }

    pub(crate) fn modification_time(&self, row: usize) -> i64 {
        self.time.value(row)
    }

    pub(crate) fn partition_value(&self, name: &str, row: usize) -> Option<&str> {
        self.partition.iter().find(|(n, _)| &**n == name).and_then(|(_, array)| text(array, row))
    }

    pub(crate) fn partition_values(&self, row: usize) -> StringMap {
        self.partition.iter().map(|(name, array)| (name, text(array, row))).collect()
    }

    pub(crate) fn partition_keys(&self) -> impl Iterator<Item = &str> {
        self.partition.iter().map(|(name, _)| &**name)
    }

    pub(crate) fn deletion_vector(&self, row: usize) -> Option<DeletionVector> {
        let dv = self.dv.as_ref()?;
        Some(DeletionVector {
            storage_type: DvStorage::parse(text(&dv.storage, row)?)?,
            path_or_inline_dv: text(&dv.text, row)?.into(),
            offset: dv.offset.is_valid(row).then(|| dv.offset.value(row)),
            size_in_bytes: dv.size.value(row),
            cardinality: dv.cardinality.value(row),
        })
    }

    pub(crate) fn base_row_id(&self, row: usize) -> Option<i64> {
        opt_int(self.row_id.as_ref(), row)
    }

    pub(crate) fn default_row_commit_version(&self, row: usize) -> Option<i64> {
        opt_int(self.row_version.as_ref(), row)
    }

    pub(crate) fn clustering_provider(&self, row: usize) -> Option<&str> {
        opt_text(self.provider.as_ref(), row)
    }

    pub(crate) fn tags_text(&self, row: usize) -> Option<&str> {
        opt_text(self.tags.as_ref(), row)
    }

    /// False where the sidecar says nothing of it.
    pub(crate) fn data_change(&self, row: usize) -> bool {
        self.data_change.as_ref().is_some_and(|a| a.value(row))
    }

    /// A file's statistics; the first question decodes those of all the sidecar's files.
    pub(crate) fn stats_text(&self, row: usize) -> Result<Option<&str>> {
        let array = match self.stats.as_ref() {
            Stats::None => return Ok(None),
            Stats::Here(array) => array,
            Stats::Stored { file, reader, decoded } => match decoded.get() {
                Some(array) => array,
                None => {
                    let columns = read_columns(reader, file, &["stats"])?;
                    let array =
                        columns.first().ok_or_else(|| TableError::corrupt(file, "it has no statistics"))?;
                    decoded.get_or_init(|| array.as_string_view().clone())
                }
            },
        };
        Ok(text(array, self.stats_start + row))
    }

    /// As a sidecar's bytes.
    pub(crate) fn write(&self, name: &str) -> Result<Vec<u8>> {
        let stats = match self.stats.as_ref() {
            Stats::None => None,
            Stats::Here(array) => Some(array.slice(self.stats_start, self.len())),
            Stats::Stored { .. } => {
                let mut copy = StringViewBuilder::new();
                for row in 0..self.len() {
                    copy.append_option(self.stats_text(row)?);
                }
                Some(copy.finish())
            }
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("path".to_owned(), Arc::new(self.path.clone())),
            ("size".to_owned(), Arc::new(self.size.clone())),
            ("modificationTime".to_owned(), Arc::new(self.time.clone())),
        ];
        for (key, array) in &self.partition {
            columns.push((format!("{PARTITION_PREFIX}{key}"), Arc::new(array.clone())));
        }
        if let Some(dv) = &self.dv {
            columns.push(("dvStorageType".to_owned(), Arc::new(dv.storage.clone())));
            columns.push(("dvPathOrInlineDv".to_owned(), Arc::new(dv.text.clone())));
            columns.push(("dvOffset".to_owned(), Arc::new(dv.offset.clone())));
            columns.push(("dvSizeInBytes".to_owned(), Arc::new(dv.size.clone())));
            columns.push(("dvCardinality".to_owned(), Arc::new(dv.cardinality.clone())));
        }
        let optional: [(&str, Option<ArrayRef>); 6] = [
            ("baseRowId", self.row_id.clone().map(|a| Arc::new(a) as ArrayRef)),
            ("defaultRowCommitVersion", self.row_version.clone().map(|a| Arc::new(a) as ArrayRef)),
            ("clusteringProvider", self.provider.clone().map(|a| Arc::new(a) as ArrayRef)),
            ("tags", self.tags.clone().map(|a| Arc::new(a) as ArrayRef)),
            ("dataChange", self.data_change.clone().map(|a| Arc::new(a) as ArrayRef)),
            ("stats", stats.map(|a| Arc::new(a) as ArrayRef)),
        ];
        columns.extend(optional.into_iter().filter_map(|(name, array)| Some((name.to_owned(), array?))));
        write_columns(name, columns)
    }

    /// Reads a sidecar. Its bytes have been checked against their hash, so what is wrong here was written wrong.
    pub(crate) fn read(name: &str, bytes: Buffer) -> Result<Self> {
        let bad = |detail: String| TableError::corrupt(name, detail);
        let reader = open_columns(name, bytes)?;
        let schema = reader.meta().schema().map_err(TableError::sidecar(name))?.arrow().clone();
        let wanted: Vec<&str> =
            schema.fields().iter().map(|f| f.name().as_str()).filter(|n| *n != "stats").collect();
        let arrays = read_columns(&reader, name, &wanted)?;
        let by_name = |column: &str| wanted.iter().position(|n| *n == column).map(|at| arrays[at].clone());
        let need = |column: &str| by_name(column).ok_or_else(|| bad(format!("it has no column {column}")));
        let typed = |column: &str, array: ArrayRef, expected: &DataType| {
            if array.data_type() == expected {
                return Ok(array);
            }
            Err(bad(format!("column {column} is of type {}, not {expected}", array.data_type())))
        };
        let strings = |column: &str, array: ArrayRef| {
            Ok::<_, TableError>(typed(column, array, &DataType::Utf8View)?.as_string_view().clone())
        };
        let opt_strings = |column: &str| by_name(column).map(|a| strings(column, a)).transpose();
        let opt_ints = |column: &str| {
            let array = by_name(column).map(|a| typed(column, a, &DataType::Int64)).transpose();
            array.map(|a| a.map(|a| a.as_primitive::<Int64Type>().clone()))
        };
        let no_nulls = |column: &str, array: ArrayRef, expected: &DataType| {
            let array = typed(column, array, expected)?;
            if array.null_count() > 0 {
                return Err(bad(format!("column {column} has nulls")));
            }
            Ok(array)
        };
        let path = no_nulls("path", need("path")?, &DataType::Utf8View)?.as_string_view().clone();
        let size = no_nulls("size", need("size")?, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone();
        let time = no_nulls("modificationTime", need("modificationTime")?, &DataType::Int64)?;
        let hash: UInt64Array = path.iter().map(|p| path_hash(p.unwrap_or_default())).collect();
        let in_order =
            |row: usize| (hash.value(row), path.value(row)) < (hash.value(row + 1), path.value(row + 1));
        if let Some(row) = (0..path.len().saturating_sub(1)).find(|row| !in_order(*row)) {
            return Err(bad(format!("row {} is out of order, or its path stands twice", row + 1)));
        }
        let mut partition = Vec::new();
        for column in &wanted {
            if let Some(key) = column.strip_prefix(PARTITION_PREFIX) {
                partition.push((key.into(), strings(column, need(column)?)?));
            }
        }
        let dv = match opt_strings("dvStorageType")? {
            Some(storage) => Some(DvColumns {
                storage,
                text: strings("dvPathOrInlineDv", need("dvPathOrInlineDv")?)?,
                offset: typed("dvOffset", need("dvOffset")?, &DataType::UInt32)?
                    .as_primitive::<UInt32Type>()
                    .clone(),
                size: typed("dvSizeInBytes", need("dvSizeInBytes")?, &DataType::UInt32)?
                    .as_primitive::<UInt32Type>()
                    .clone(),
                cardinality: typed("dvCardinality", need("dvCardinality")?, &DataType::UInt64)?
                    .as_primitive::<UInt64Type>()
                    .clone(),
            }),
            None => None,
        };
        let data_change = by_name("dataChange").map(|a| no_nulls("dataChange", a, &DataType::Boolean));
        let has_stats = schema.fields().iter().any(|f| f.name() == "stats");
        Ok(Self {
            row_id: opt_ints("baseRowId")?,
            row_version: opt_ints("defaultRowCommitVersion")?,
            provider: opt_strings("clusteringProvider")?,
            tags: opt_strings("tags")?,
            data_change: data_change.transpose()?.map(|a| a.as_boolean().clone()),
            stats: Arc::new(if has_stats {
                Stats::Stored { file: name.to_owned(), reader, decoded: OnceLock::new() }
            } else {
                Stats::None
            }),
            stats_start: 0,
            time: time.as_primitive::<Int64Type>().clone(),
            hash,
            path,
            size,
            partition,
            dv,
        })
    }
}

/// Puts files into columns, one by one in their order.
pub(crate) struct ColumnsBuilder {
    hash: UInt64Builder,
    path: StringViewBuilder,
    size: UInt64Builder,
    time: Int64Builder,
    partition: Vec<(Box<str>, StringViewBuilder)>,
    dv_storage: StringViewBuilder,
    dv_text: StringViewBuilder,
    dv_offset: UInt32Builder,
    dv_size: UInt32Builder,
    dv_cardinality: UInt64Builder,
    row_id: Int64Builder,
    row_version: Int64Builder,
    provider: StringViewBuilder,
    tags: StringViewBuilder,
    stats: StringViewBuilder,
    data_change: Option<BooleanBuilder>,
}

impl ColumnsBuilder {
    /// For files that together have these partition columns. With `data_change`, that of each add is kept.
    pub(crate) fn new<'a>(partition: impl Iterator<Item = &'a str>, data_change: bool) -> Self {
        let names: BTreeSet<&str> = partition.collect();
        let text = || StringViewBuilder::new().with_fixed_block_size(1 << 20);
        Self {
            hash: UInt64Builder::new(),
            path: text(),
            size: UInt64Builder::new(),
            time: Int64Builder::new(),
            partition: names.into_iter().map(|n| (n.into(), StringViewBuilder::new())).collect(),
            dv_storage: StringViewBuilder::new(),
            dv_text: StringViewBuilder::new(),
            dv_offset: UInt32Builder::new(),
            dv_size: UInt32Builder::new(),
            dv_cardinality: UInt64Builder::new(),
            row_id: Int64Builder::new(),
            row_version: Int64Builder::new(),
            provider: StringViewBuilder::new(),
            tags: StringViewBuilder::new(),
            stats: text(),
            data_change: data_change.then(BooleanBuilder::new),
        }
    }

    /// Adds the next file: its hash and path must be after the last one's.
    pub(crate) fn push(&mut self, hash: u64, file: FileView<'_>, data_change: bool) -> Result<()> {
        self.hash.append_value(hash);
        self.path.append_value(file.path());
        self.size.append_value(file.size());
        self.time.append_value(file.modification_time());
        for (name, values) in &mut self.partition {
            values.append_option(file.partition_value(name));
        }
        let dv = file.deletion_vector();
        self.dv_storage.append_option(dv.as_ref().map(|dv| dv.storage_type.as_str()));
        self.dv_text.append_option(dv.as_ref().map(|dv| &dv.path_or_inline_dv));
        self.dv_offset.append_option(dv.as_ref().and_then(|dv| dv.offset));
        self.dv_size.append_option(dv.as_ref().map(|dv| dv.size_in_bytes));
        self.dv_cardinality.append_option(dv.as_ref().map(|dv| dv.cardinality));
        self.row_id.append_option(file.base_row_id());
        self.row_version.append_option(file.default_row_commit_version());
        self.provider.append_option(file.clustering_provider());
        self.tags.append_option(file.tags_text()?);
        self.stats.append_option(file.stats_text()?);
        if let Some(changes) = &mut self.data_change {
            changes.append_value(data_change);
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Columns {
        fn used<A: Array>(array: A) -> Option<A> {
            (array.null_count() < array.len()).then_some(array)
        }
        let dv = used(self.dv_storage.finish()).map(|storage| DvColumns {
            storage,
            text: self.dv_text.finish(),
            offset: self.dv_offset.finish(),
            size: self.dv_size.finish(),
            cardinality: self.dv_cardinality.finish(),
        });
        Columns {
            hash: self.hash.finish(),
            path: self.path.finish(),
            size: self.size.finish(),
            time: self.time.finish(),
            partition: self.partition.into_iter().map(|(name, mut values)| (name, values.finish())).collect(),
            dv,
            row_id: used(self.row_id.finish()),
            row_version: used(self.row_version.finish()),
            provider: used(self.provider.finish()),
            tags: used(self.tags.finish()),
            stats: Arc::new(used(self.stats.finish()).map_or(Stats::None, Stats::Here)),
            stats_start: 0,
            data_change: self.data_change.map(|mut b| b.finish()).filter(|a| !a.is_empty()),
        }
    }

    /// Columns of adds in any order, of which no two have one path.
    pub(crate) fn of_adds(adds: &[Add], data_change: bool) -> Result<Columns> {
        let mut sorted: Vec<(u64, &Add)> = adds.iter().map(|a| (path_hash(&a.path), a)).collect();
        sorted.sort_unstable_by(|(h, a), (i, b)| (h, &a.path).cmp(&(i, &b.path)));
        let names = adds.iter().flat_map(|a| a.partition_values.iter().map(|(key, _)| key));
        let mut builder = ColumnsBuilder::new(names, data_change);
        for (hash, add) in sorted {
            builder.push(hash, FileView::of(add), add.data_change)?;
        }
        Ok(builder.finish())
    }
}

/// Writes columns as a block file.
pub(crate) fn write_columns(name: &str, columns: Vec<(String, ArrayRef)>) -> Result<Vec<u8>> {
    let fields: Vec<Field> =
        columns.iter().map(|(n, a)| Field::new(n, a.data_type().clone(), a.null_count() > 0)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let write = || -> Result<Vec<u8>, FormatError> {
        let batch = RecordBatch::try_new(schema.clone(), arrays)?;
        let mut writer = FileWriter::new(Vec::new(), &schema, WriterOptions::default())?;
        writer.write(&batch)?;
        Ok(writer.finish_into()?.1)
    };
    write().map_err(TableError::sidecar(name))
}

/// Opens a block file held in memory.
pub(crate) fn open_columns(name: &str, bytes: Buffer) -> Result<FileReader> {
    FileReader::open(Arc::new(bytes), name).map_err(TableError::sidecar(name))
}

/// Reads whole columns.
pub(crate) fn read_columns(reader: &FileReader, name: &str, columns: &[&str]) -> Result<Vec<ArrayRef>> {
    let read = || -> Result<Vec<ArrayRef>, FormatError> {
        let options = ScanOptions {
            columns: Some(columns.iter().map(|c| (*c).to_owned()).collect()),
            batch_rows: Some(BATCH_ROWS_MAX),
            ..ScanOptions::default()
        };
        let scan = reader.scan(options)?;
        let schema = scan.schema().clone();
        let batches = scan.collect::<Result<Vec<_>, _>>()?;
        let whole = match batches.as_slice() {
            [only] => only.clone(),
            many => arrow_select::concat::concat_batches(&schema, many)?,
        };
        Ok(whole.columns().to_vec())
    };
    read().map_err(TableError::sidecar(name))
}
