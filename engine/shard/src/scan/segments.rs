//! Segments: which stretches of a file are read and cached as one piece.
//!
//! A segment is a run of consecutive pages of one stream's chunk, of about 1 MiB at most. The cut follows from
//! the metadata alone, so every scan of a file asks the cache for the same segments.

use deltalite_format::reader::{ChunkMeta, PageRef, ScanPlan};

use crate::device::{BLOCK_ALIGNMENT, ByteRange};

/// Most bytes of a segment of several pages; a larger page is a segment of its own. 1 MiB and some, so that two pages of 65,536 plain
/// 64-bit values, with their headers and what alignment adds, are one read.
const SEGMENT_BYTES_MAX: u64 = (1 << 20) + (32 << 10);

/// A page's place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) page: PageRef,
    /// The aligned range to read and cache.
    pub(super) range: ByteRange,
    /// Number of the page in the segment.
    pub(super) index: u32,
    /// Pages of the segment.
    pub(super) pages: u32,
}

/// The pages of a plan's columns in one block, by offset.
#[derive(Debug)]
pub(super) struct BlockSegments {
    pages: Vec<Placed>,
}

impl BlockSegments {
    pub(super) fn of(plan: &ScanPlan, block: u32) -> Self {
        let mut pages = Vec::new();
        for column in plan.columns() {
            for stream in 0..column.streams.len() {
                if let Some(chunk) = column.chunk(stream, block) {
                    cut(chunk, &mut pages);
                }
            }
        }
        pages.sort_unstable_by_key(|p| p.page.offset);
        pages.dedup_by_key(|p| p.page.offset);
        Self { pages }
    }

    pub(super) fn find(&self, page: &PageRef) -> Option<&Placed> {
        self.pages.binary_search_by_key(&page.offset, |p| p.page.offset).ok().map(|i| &self.pages[i])
    }
}

fn cut(chunk: &ChunkMeta, out: &mut Vec<Placed>) {
    let mut run: Vec<PageRef> = Vec::new();
    let range = |run: &[PageRef]| {
        let (first, last) = (run[0], run[run.len() - 1]);
        ByteRange::new(first.offset, last.offset + u64::from(last.len) - first.offset)
            .aligned(BLOCK_ALIGNMENT)
    };
    let mut close = |run: &mut Vec<PageRef>| {
        if run.is_empty() {
            return;
        }
        let (range, pages) = (range(run), run.len() as u32);
        out.extend(run.drain(..).zip(0..).map(|(page, index)| Placed { page, range, index, pages }));
    };
    for page in chunk.dictionary.iter().chain(&chunk.pages) {
        run.push(*page);
        if run.len() > 1 && range(&run).len > SEGMENT_BYTES_MAX {
            run.pop();
            close(&mut run);
            run.push(*page);
        }
    }
    close(&mut run);
}
