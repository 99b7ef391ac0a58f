//! What a scan did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use deltalite_format::reader::{PruneCounts, UnitCounts};
use parking_lot::Mutex;

/// Counters of a scan, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanMetrics {
    /// What statistics and bloom filters left out.
    pub pruned: PruneCounts,
    /// What decoding did.
    pub decoded: UnitCounts,
    /// Bytes read from devices for this scan, prefetched ones included.
    pub bytes_read: u64,
    /// Reads issued.
    pub reads: u64,
    /// Segments found in the cache.
    pub cache_hits: u64,
    /// Segments read.
    pub cache_misses: u64,
    /// Time spent decoding and filtering, over all threads.
    pub decode_time: Duration,
    /// Time spent waiting for reads, over all threads.
    pub wait_time: Duration,
    /// Time spent waiting for the consumer, over all shards.
    pub blocked_time: Duration,
    /// Batches yielded.
    pub batches: u64,
    /// Rows yielded.
    pub rows: u64,
    /// Rows left out because their pages are damaged, under [`Verify::Skip`](super::Verify::Skip).
    pub skipped: Vec<SkippedRows>,
}

/// Rows that a scan left out because a page they need is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRows {
    /// The file.
    pub file: String,
    /// First row, counted in the file.
    pub first_row: u64,
    /// Number of rows.
    pub rows: u64,
    /// What is wrong.
    pub reason: String,
}

/// The counters while they are counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) pruned: Mutex<PruneCounts>,
    pub(super) decoded: Mutex<UnitCounts>,
    pub(super) bytes_read: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) cache_hits: AtomicU64,
    pub(super) cache_misses: AtomicU64,
    pub(super) decode_ns: AtomicU64,
    pub(super) wait_ns: AtomicU64,
    pub(super) blocked_ns: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) skipped: Mutex<Vec<SkippedRows>>,
}

impl Counters {
    pub(super) fn snapshot(&self) -> ScanMetrics {
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed));
        ScanMetrics {
            pruned: *self.pruned.lock(),
            decoded: *self.decoded.lock(),
            bytes_read: self.bytes_read.load(Relaxed),
            reads: self.reads.load(Relaxed),
            cache_hits: self.cache_hits.load(Relaxed),
            cache_misses: self.cache_misses.load(Relaxed),
            decode_time: time(&self.decode_ns),
            wait_time: time(&self.wait_ns),
            blocked_time: time(&self.blocked_ns),
            batches: self.batches.load(Relaxed),
            rows: self.rows.load(Relaxed),
            skipped: self.skipped.lock().clone(),
        }
    }
}
