//! Single rows by number.

use std::sync::Arc;

use arrow_array::RecordBatch;
use deltalite_format::reader::{ScanOptions, ScanPlan, Step, TakePlan, TakeScan};

use super::fetch::{Fetcher, Reader};
use super::file::DataFile;
use super::metrics::Counters;
use super::segments::BlockSegments;
use super::stream::fetcher;
use super::{ScanMetrics, Verify};
use crate::cache::CachedSegment;
use crate::error::ShardError;
use crate::executor::{ShardSet, block_on};

/// Takes single rows of a file, again and again: columns are resolved once.
///
/// Rows come in the order asked for, repeated ones included. A row of a column costs one page, of which one vector is decoded.
#[derive(Debug)]
pub struct RowReader {
    file: Arc<DataFile>,
    plan: Arc<ScanPlan>,
    shards: Arc<ShardSet>,
    counters: Arc<Counters>,
    segments: Vec<std::sync::OnceLock<BlockSegments>>,
    verify: Verify,
}

impl RowReader {
    /// A reader of these columns (all without).
    ///
    /// # Errors
    /// For unknown columns or damaged metadata.
    pub fn new(
        file: Arc<DataFile>,
        columns: Option<Vec<String>>,
        shards: &Arc<ShardSet>,
    ) -> Result<Self, ShardError> {
        let plan =
            Arc::new(ScanPlan::new(file.meta().clone(), ScanOptions { columns, ..ScanOptions::default() })?);
        let segments = (0..file.meta().blocks().len()).map(|_| std::sync::OnceLock::new()).collect();
        Ok(Self {
            file,
            plan,
            shards: shards.clone(),
            counters: Arc::default(),
            segments,
            verify: Verify::Fail,
        })
    }

    /// The rows with these numbers, counted in the file.
    ///
    /// # Errors
    /// When a row is beyond the file's end, or reading or decoding fails.
    pub fn take(&self, rows: &[u64]) -> Result<RecordBatch, ShardError> {
        let fetcher = fetcher(Reader::Set(self.shards.clone()), self.verify, self.counters.clone());
        block_on(self.run(&fetcher, rows))
    }

    /// What the reader did so far.
    pub fn metrics(&self) -> ScanMetrics {
        self.counters.snapshot()
    }

    async fn run(&self, fetcher: &Fetcher, rows: &[u64]) -> Result<RecordBatch, ShardError> {
        let mut take = TakeScan::new(TakePlan::new(self.plan.clone(), rows)?);
        loop {
            match take.step()? {
                Step::NeedsData(pages) => {
                    let mut placed = Vec::with_capacity(pages.len());
                    let blocks = self.file.meta().blocks();
                    for page in &pages {
                        let block = blocks.partition_point(|b| b.offset <= page.offset).saturating_sub(1);
                        let segments = self
                            .segments
                            .get(block)
                            .map(|s| s.get_or_init(|| BlockSegments::of(&self.plan, block as u32)));
                        placed.extend(segments.and_then(|s| s.find(page)).copied());
                    }
                    // Pages of one segment lie together: it is looked up once. All reads start before the first is waited for.
                    let mut segments: Vec<Option<Arc<CachedSegment>>> = Vec::with_capacity(placed.len());
                    for (i, p) in placed.iter().enumerate() {
                        segments.push(if i > 0 && placed[i - 1].range == p.range {
                            segments[i - 1].clone()
                        } else {
                            fetcher.cached_or_started(&self.file, p)?
                        });
                    }
                    fetcher.submit()?;
                    for (p, segment) in placed.iter().zip(segments) {
                        let segment = match segment {
                            Some(segment) => segment,
                            None => fetcher.segment(&self.file, p).await?,
                        };
                        take.provide(&p.page, fetcher.page(&self.file, p, &segment)?);
                    }
                }
                Step::Batch(batch) => return Ok(batch),
                Step::Done => return Ok(RecordBatch::new_empty(self.plan.schema().clone())),
            }
        }
    }
}
