//! A file over one [`ReadAt`], blocking: for files in memory, for tools and for tests. Shards drive the same parts with their own
//! I/O.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use deltalite_alloc::{ALIGNMENT, BufferPool};

use super::meta::{FileMeta, PageRef};
use super::plan::{ScanOptions, ScanPlan, UnitTask};
use super::source::ReadAt;
use super::take::{TakePlan, TakeScan};
use super::unit::{Step, UnitCounts, UnitScan};
use crate::checksum::verify;
use crate::error::Result;
use crate::limits::PAGE_ALIGN;
use crate::split::SplitSpec;

/// Reads a file from a source.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use deltalite_format::predicate::{col, lit};
/// use deltalite_format::reader::{FileReader, ScanOptions};
/// use deltalite_format::{FileWriter, WriterOptions};
///
/// let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
/// let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// let mut writer = FileWriter::new(Vec::new(), &batch.schema(), WriterOptions::default())?;
/// writer.write(&batch)?;
/// let (_, file) = writer.finish_into()?;
///
/// let reader = FileReader::open_bytes(file)?;
/// let options = ScanOptions { predicate: Some(col("id").lt(lit(10))), ..ScanOptions::default() };
/// let rows: usize = reader.scan(options)?.map(|batch| batch.map(|b| b.num_rows())).sum::<Result<usize, _>>()?;
/// assert_eq!(rows, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileReader {
    meta: Arc<FileMeta>,
    source: Arc<dyn ReadAt>,
}

impl std::fmt::Debug for dyn ReadAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadAt({} bytes)", self.len())
    }
}

impl FileReader {
    /// Opens a file; `name` stands in errors.
    ///
    /// # Errors
    /// As [`FileMeta::open`].
    pub fn open(source: Arc<dyn ReadAt>, name: &str) -> Result<Self> {
        Ok(Self { meta: Arc::new(FileMeta::open(source.clone(), name)?), source })
    }

    /// A reader of a file opened by other means: [`open_salvaged`](crate::salvage::open_salvaged), or kept from before.
    pub fn with_meta(meta: Arc<FileMeta>, source: Arc<dyn ReadAt>) -> Self {
        Self { meta, source }
    }

    /// Opens a file held in memory.
    ///
    /// # Errors
    /// As [`FileMeta::open`].
    pub fn open_bytes(bytes: impl Into<Buffer>) -> Result<Self> {
        Self::open(Arc::new(bytes.into()), "memory")
    }

    /// The open file.
    pub fn meta(&self) -> &Arc<FileMeta> {
        &self.meta
    }

    /// All rows that `options` ask for, in order.
    ///
    /// # Errors
    /// As [`ScanPlan::new`].
    pub fn scan(&self, options: ScanOptions) -> Result<FileScan> {
        self.scan_split(options, None)
    }

    /// The rows of one split.
    ///
    /// # Errors
    /// As [`ScanPlan::new`].
    pub fn scan_split(&self, options: ScanOptions, split: Option<&SplitSpec>) -> Result<FileScan> {
        let plan = Arc::new(ScanPlan::new(self.meta.clone(), options)?);
        let (units, _) = plan.units(split)?;
        Ok(FileScan {
            source: self.source.clone(),
            plan,
            units: units.into_iter(),
            current: None,
            counts: UnitCounts::default(),
        })
    }

    /// Single rows by number, in the order given.
    ///
    /// # Errors
    /// When a row is beyond the end, or the file is damaged.
    pub fn take(&self, rows: &[u64], options: ScanOptions) -> Result<RecordBatch> {
        let plan = Arc::new(ScanPlan::new(self.meta.clone(), ScanOptions { predicate: None, ..options })?);
        let schema = plan.schema().clone();
        let mut take = TakeScan::new(TakePlan::new(plan, rows)?);
        loop {
            match take.step()? {
                Step::NeedsData(pages) => {
                    for page in pages {
                        take.provide(&page, read_page(self.source.as_ref(), &self.meta, &page)?);
                    }
                }
                Step::Batch(batch) => return Ok(batch),
                Step::Done => return Ok(RecordBatch::new_empty(schema)),
            }
        }
    }
}

/// Reads a page, aligned, and verifies it.
pub(crate) fn read_page(source: &dyn ReadAt, meta: &FileMeta, page: &PageRef) -> Result<Buffer> {
    let bytes = source.read_at(page.offset, page.len as usize)?;
    verify("page", page.offset, &bytes, page.crc)
        .map_err(|e| e.with_place(Some(meta.file()), page.offset))?;
    align(bytes)
}

/// The same bytes at an address that pages need.
pub(crate) fn align(bytes: Buffer) -> Result<Buffer> {
    const { assert!(ALIGNMENT.is_multiple_of(PAGE_ALIGN)) };
    if bytes.as_ptr().align_offset(PAGE_ALIGN) == 0 {
        return Ok(bytes);
    }
    let mut aligned = BufferPool::global().take(bytes.len())?;
    aligned.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
    Ok(aligned.into_arrow().slice_with_length(0, bytes.len()))
}

/// The batches of a scan, in order.
#[derive(Debug)]
pub struct FileScan {
    source: Arc<dyn ReadAt>,
    plan: Arc<ScanPlan>,
    units: std::vec::IntoIter<UnitTask>,
    current: Option<UnitScan>,
    counts: UnitCounts,
}

impl FileScan {
    /// The batches' schema.
    pub fn schema(&self) -> &SchemaRef {
        self.plan.schema()
    }

    /// What the units finished so far did.
    pub fn counts(&self) -> UnitCounts {
        self.counts
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(unit) = &mut self.current else {
                match self.units.next() {
                    Some(task) => self.current = Some(UnitScan::new(self.plan.clone(), task)),
                    None => return Ok(None),
                }
                continue;
            };
            match unit.step()? {
                Step::NeedsData(pages) => {
                    for page in pages {
                        unit.provide(&page, read_page(self.source.as_ref(), self.plan.meta(), &page)?);
                    }
                }
                Step::Batch(batch) => return Ok(Some(batch)),
                Step::Done => {
                    self.counts.add(&unit.counts());
                    self.current = None;
                }
            }
        }
    }
}

impl Iterator for FileScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.current = None;
            self.units = Vec::new().into_iter();
        }
        next.transpose()
    }
}
