//! One worker of a scan: takes units, gets their pages, decodes them. It runs on a shard or on the consumer's thread.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use arrow_array::RecordBatch;
use deltalite_format::FormatError;
use deltalite_format::reader::{PageRef, Step, UnitScan};

use super::fetch::{Fetcher, Prefetched, Reader};
use super::file::DataFile;
use super::metrics::SkippedRows;
use super::segments::{BlockSegments, Placed};
use super::{ScanShared, Verify};
use crate::cache::CachedSegment;
use crate::error::ShardError;

/// Which units a worker takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Share {
    /// Whatever is next: workers steal from one another by construction.
    Next,
    /// Every `step`-th from `at` on: each worker's units are known, so a consumer can put them in order.
    Every { at: usize, step: usize },
}

/// A unit taken but not decoded yet.
struct Claimed {
    seq: usize,
    segments: Rc<BlockSegments>,
    /// Bytes of the reads that it led to.
    bytes: u64,
}

/// A worker of a scan.
pub(super) struct Worker {
    scan: Arc<ScanShared>,
    fetcher: Fetcher,
    share: Share,
    claimed: VecDeque<Claimed>,
    current: Option<(usize, UnitScan, Rc<BlockSegments>)>,
    /// The block whose segments were looked up last.
    block: Option<(usize, u32, Rc<BlockSegments>)>,
    /// Bytes of reads started for claimed units.
    ahead_bytes: u64,
    /// Whether the last unit needed pages of the projection: then those of the next are worth reading ahead.
    projected: bool,
}

/// What a worker yields.
pub(super) enum Yielded {
    /// Rows of a unit.
    Batch(RecordBatch),
    /// A unit is done.
    UnitDone,
}

impl Worker {
    pub(super) fn new(scan: Arc<ScanShared>, fetcher: Fetcher, share: Share) -> Self {
        Self {
            projected: true,
            scan,
            fetcher,
            share,
            claimed: VecDeque::new(),
            current: None,
            block: None,
            ahead_bytes: 0,
        }
    }

    fn claim(&mut self) -> Option<usize> {
        let seq = match &mut self.share {
            Share::Next => self.scan.next.fetch_add(1, Relaxed),
            Share::Every { at, step } => {
                let seq = *at;
                *at += *step;
                seq
            }
        };
        (seq < self.scan.tasks.len()).then_some(seq)
    }

    fn segments(&mut self, seq: usize) -> Rc<BlockSegments> {
        let (file, task) = self.scan.tasks[seq];
        match &self.block {
            Some((f, b, segments)) if (*f, *b) == (file, task.block) => segments.clone(),
            _ => {
                let segments = Rc::new(BlockSegments::of(&self.scan.files[file].1, task.block));
                self.block = Some((file, task.block, segments.clone()));
                segments
            }
        }
    }

    /// Takes units ahead as long as that leads to reads and the budget allows.
    fn read_ahead(&mut self) -> Result<(), ShardError> {
        while self.claimed.is_empty() || self.ahead_bytes < self.scan.options.prefetch_bytes {
            let Some(seq) = self.claim() else { break };
            let segments = self.segments(seq);
            let bytes = self.prefetch(seq, &segments)?;
            self.ahead_bytes += bytes;
            self.claimed.push_back(Claimed { seq, segments, bytes });
            if bytes == 0 {
                break;
            }
        }
        self.fetcher.submit()
    }

    /// Starts the reads of a unit; returns their bytes.
    fn prefetch(&self, seq: usize, segments: &BlockSegments) -> Result<u64, ShardError> {
        let scan = self.scan.clone();
        let (file, task) = scan.tasks[seq];
        let (data, plan) = &scan.files[file];
        let pages = if self.projected {
            UnitScan::all_pages(plan, &task)
        } else {
            UnitScan::predicate_pages(plan, &task)
        };
        let (mut last, mut bytes) = (None, 0);
        for placed in pages.iter().filter_map(|p| segments.find(p)) {
            if last != Some(placed.range) {
                last = Some(placed.range);
                if self.fetcher.prefetch(data, placed)? == Prefetched::Started {
                    bytes += placed.range.len;
                }
            }
        }
        Ok(bytes)
    }

    /// The next rows.
    pub(super) async fn next(&mut self) -> Result<Option<Yielded>, ShardError> {
        loop {
            if self.current.is_none() {
                self.read_ahead()?;
                let Some(claimed) = self.claimed.pop_front() else { return Ok(None) };
                self.ahead_bytes -= claimed.bytes;
                let (file, task) = self.scan.tasks[claimed.seq];
                let unit = UnitScan::new(self.scan.files[file].1.clone(), task);
                self.current = Some((claimed.seq, unit, claimed.segments));
                self.projected = self.scan.files[file].1.options().predicate.is_none();
            }
            let Some((seq, unit, segments)) = &mut self.current else { continue };
            let seq = *seq;
            let started = Instant::now();
            let step = unit.step();
            self.fetcher.counters.decode_ns.fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
            match step {
                Ok(Step::NeedsData(pages)) => {
                    let segments = segments.clone();
                    match self.load(seq, &segments, &pages).await {
                        Ok(()) => {}
                        Err(error) => return self.skip_or(seq, error).map(Some),
                    }
                }
                Ok(Step::Batch(batch)) => {
                    self.projected = true;
                    return Ok(Some(Yielded::Batch(batch)));
                }
                Ok(Step::Done) => {
                    self.fetcher.counters.decoded.lock().add(&unit.counts());
                    self.current = None;
                    return Ok(Some(Yielded::UnitDone));
                }
                Err(error) => return self.skip_or(seq, error.into()).map(Some),
            }
        }
    }

    /// Under [`Verify::Skip`] a damaged unit is left out and reported, otherwise it ends the scan.
    fn skip_or(&mut self, seq: usize, error: ShardError) -> Result<Yielded, ShardError> {
        self.current = None;
        let damaged =
            matches!(&error, ShardError::Format(FormatError::Checksum { .. } | FormatError::Corrupt { .. }));
        if self.scan.options.verify != Verify::Skip || !damaged {
            return Err(error);
        }
        let (file, task) = self.scan.tasks[seq];
        let data = &self.scan.files[file].0;
        let block = &data.meta().blocks()[task.block as usize];
        self.fetcher.counters.skipped.lock().push(SkippedRows {
            file: data.path().display().to_string(),
            first_row: block.first_row + u64::from(task.unit * block.unit_rows + task.start),
            rows: u64::from(task.end - task.start),
            reason: error.to_string(),
        });
        Ok(Yielded::UnitDone)
    }

    async fn load(
        &mut self,
        seq: usize,
        segments: &BlockSegments,
        pages: &[PageRef],
    ) -> Result<(), ShardError> {
        let scan = self.scan.clone();
        let data = &scan.files[scan.tasks[seq].0].0;
        let placed: Vec<Placed> = pages
            .iter()
            .map(|p| {
                segments.find(p).copied().ok_or_else(|| {
                    FormatError::invalid("scan", format!("the page at {} belongs to no segment", p.offset))
                })
            })
            .collect::<Result<_, _>>()?;
        // All reads start before the first is waited for.
        let (mut started, mut last_missing) = (false, None);
        for (i, p) in placed.iter().enumerate() {
            if i == 0 || placed[i - 1].range != p.range {
                let found = self.fetcher.prefetch(data, p)?;
                started |= found == Prefetched::Started;
                if found != Prefetched::Cached {
                    last_missing = Some(p);
                }
            }
        }
        if started {
            self.fetcher.submit()?;
        }
        if let Some(p) = last_missing {
            // Reads end about in order: once the last is here so are the others, and this thread was woken once for all.
            self.segment(data, p).await?;
        }
        let mut last: Option<(Placed, Arc<CachedSegment>)> = None;
        for p in &placed {
            let segment = match &last {
                Some((q, segment)) if q.range == p.range => segment.clone(),
                _ => {
                    let segment = self.segment(data, p).await?;
                    last = Some((*p, segment.clone()));
                    segment
                }
            };
            let bytes = self.fetcher.page(data, p, &segment)?;
            if let Some((_, unit, _)) = &mut self.current {
                unit.provide(&p.page, bytes);
            }
        }
        Ok(())
    }

    async fn segment(&self, data: &DataFile, placed: &Placed) -> Result<Arc<CachedSegment>, ShardError> {
        let started = Instant::now();
        let segment = self.fetcher.segment(data, placed).await?;
        self.fetcher.counters.wait_ns.fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
        Ok(segment)
    }

    /// Lets other tasks of the shard run, if this is on one.
    pub(super) async fn breathe(&self) {
        if let Reader::Shard(shard) = &self.fetcher.reader {
            shard.yield_if_needed().await;
        }
    }
}
