//! The consumer's end of a scan.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::channel::mpsc;
use futures::{Future, SinkExt, Stream, StreamExt};

use super::fetch::{Fetcher, Reader};
use super::metrics::{Counters, ScanMetrics};
use super::worker::{Share, Worker, Yielded};
use super::{DecodeOn, ScanShared, Verify};
use crate::device::IoClass;
use crate::error::ShardError;
use crate::executor::{Shard, ShardSet, TaskHandle, block_on};

/// Rows after which a shard sends what it has: a hop to another thread costs 5–50 µs, so batches travel together.
const SEND_ROWS: usize = 65_536;
/// Time after which a shard sends what it has, however little.
const SEND_AFTER_US: u128 = 500;
/// Messages that wait in each shard's channel before the shard waits for the consumer (one more is in the shard's hands).
const MESSAGES_MAX: usize = 2;

enum Message {
    Batches { batches: Vec<RecordBatch>, unit_done: bool },
    Failed(ShardError),
}

/// The batches of a scan: an iterator for plain threads; [`ScanStream::into_async`] makes it a [`Stream`].
///
/// Dropping it cancels the scan.
pub struct ScanStream {
    shared: Arc<ScanShared>,
    source: Source,
    ready: VecDeque<RecordBatch>,
    left: Option<u64>,
    finished: bool,
    /// Shards stop when their last owner goes; a scan is one.
    _shards: Arc<ShardSet>,
}

enum Source {
    /// Decoding here.
    Caller(Movable),
    /// From all shards, as they come.
    Unordered { lanes: futures::stream::SelectAll<mpsc::Receiver<Message>>, tasks: Vec<TaskHandle<()>> },
    /// From the shards in turn.
    Ordered { lanes: Vec<mpsc::Receiver<Message>>, tasks: Vec<TaskHandle<()>>, unit: usize },
}

/// A worker that decodes for whoever asks, from one thread or another in turn.
struct Movable(Box<Worker>);

// SAFETY: a worker that reads through the shard set, the only kind that is put in here (see `ScanStream::start`), holds no shard and
// no open device file; its other `Rc`s (segments of blocks) are clones of each other that never leave it. Moving it moves all
// owners of each count at once.
unsafe impl Send for Movable {}

impl std::fmt::Debug for ScanStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanStream").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

pub(super) fn fetcher(reader: Reader, verify: Verify, counters: Arc<Counters>) -> Fetcher {
    let (cache, arena) = match &reader {
        Reader::Shard(shard) => (shard.cache().clone(), Some(shard.arena().clone())),
        Reader::Set(set) => match set.cache_of(0) {
            Some(cache) => (cache.clone(), None),
            None => (crate::cache::PageCache::new(0, Vec::new()), None),
        },
    };
    Fetcher {
        reader,
        cache,
        arena,
        verify,
        counters,
        open: RefCell::new(HashMap::new()),
        queued: RefCell::new(Vec::new()),
    }
}

impl ScanShared {
    fn fetcher(&self, reader: Reader) -> Fetcher {
        fetcher(reader, self.options.verify, self.counters.clone())
    }
}

impl ScanStream {
    pub(super) fn start(
        shared: Arc<ScanShared>,
        shards: &Arc<ShardSet>,
        decode_on: DecodeOn,
    ) -> Result<Self, ShardError> {
        let source = match decode_on {
            DecodeOn::Caller => {
                let fetcher = shared.fetcher(Reader::Set(shards.clone()));
                Source::Caller(Movable(Box::new(Worker::new(shared.clone(), fetcher, Share::Next))))
            }
            DecodeOn::Shards => {
                let n = shards.len().min(shared.tasks.len()).max(1);
                let (mut lanes, mut tasks) = (Vec::new(), Vec::new());
                for lane in 0..n {
                    let share =
                        if shared.options.ordered { Share::Every { at: lane, step: n } } else { Share::Next };
                    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
                    let scan = shared.clone();
                    let task =
                        shards.spawn_on(lane, IoClass::Scan, move |shard| run(shard, scan, share, sender))?;
                    lanes.push(receiver);
                    tasks.push(task);
                }
                if shared.options.ordered {
                    Source::Ordered { lanes, tasks, unit: 0 }
                } else {
                    Source::Unordered { lanes: futures::stream::select_all(lanes), tasks }
                }
            }
        };
        Ok(Self {
            left: shared.options.limit,
            shared,
            source,
            ready: VecDeque::new(),
            finished: false,
            _shards: shards.clone(),
        })
    }

    /// The batches' schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.shared.schema
    }

    /// What the scan did so far.
    pub fn metrics(&self) -> ScanMetrics {
        self.shared.counters.snapshot()
    }

    /// The same scan as a [`Stream`].
    pub fn into_async(self) -> AsyncScan {
        AsyncScan(self)
    }

    /// Rows as values of a type of the caller's, by field name.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use deltalite_shard::executor::{ShardOptions, ShardSet};
    /// # use deltalite_shard::scan::{DataFile, Scan};
    /// #[derive(serde::Deserialize)]
    /// struct Flight { origin: String, delay: i16 }
    ///
    /// # let shards = Arc::new(ShardSet::start(ShardOptions::per_core()?)?);
    /// let scan = Scan::of(DataFile::open("flights.dlb")?).columns(["origin", "delay"]).start(&shards)?;
    /// for flight in scan.records::<Flight>() {
    ///     let flight = flight?;
    ///     println!("{} {}", flight.origin, flight.delay);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn records<T: serde::de::DeserializeOwned>(self) -> impl Iterator<Item = Result<T, ShardError>> {
        self.flat_map(|batch| {
            let rows = batch.and_then(|b| {
                serde_arrow::from_record_batch::<Vec<T>>(&b)
                    .map_err(|e| ShardError::Record { reason: e.to_string() })
            });
            match rows {
                Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(e) => vec![Err(e)],
            }
        })
    }

    async fn advance(&mut self) -> Result<Option<RecordBatch>, ShardError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(self.count(batch));
            }
            if self.finished {
                return Ok(None);
            }
            match &mut self.source {
                Source::Caller(Movable(worker)) => match worker.next().await? {
                    Some(Yielded::Batch(batch)) => self.ready.push_back(batch),
                    Some(Yielded::UnitDone) => {}
                    None => self.finished = true,
                },
                Source::Unordered { lanes, tasks } => match lanes.next().await {
                    Some(Message::Batches { batches, .. }) => self.ready.extend(batches),
                    Some(Message::Failed(error)) => return Err(error),
                    None => {
                        while let Some(task) = tasks.last_mut() {
                            task.await?;
                            tasks.pop();
                        }
                        self.finished = true;
                    }
                },
                Source::Ordered { lanes, tasks, unit } => {
                    if *unit >= self.shared.tasks.len() {
                        self.finished = true;
                        continue;
                    }
                    let lane = *unit % lanes.len();
                    match lanes[lane].next().await {
                        Some(Message::Batches { batches, unit_done }) => {
                            *unit += usize::from(unit_done);
                            self.ready.extend(batches);
                        }
                        Some(Message::Failed(error)) => return Err(error),
                        None => {
                            // A worker that ends early panicked or was stopped: its handle says which.
                            (&mut tasks[lane]).await?;
                            return Err(ShardError::TaskCancelled);
                        }
                    }
                }
            }
        }
    }

    /// Counts a batch and cuts it to the limit.
    fn count(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        let batch = match &mut self.left {
            Some(0) => {
                self.end();
                return None;
            }
            Some(left) => {
                let n = (batch.num_rows() as u64).min(*left);
                *left -= n;
                if *left == 0 {
                    let cut = batch.slice(0, n as usize);
                    self.end();
                    cut
                } else {
                    batch
                }
            }
            None => batch,
        };
        let counters = &self.shared.counters;
        counters.batches.fetch_add(1, Relaxed);
        counters.rows.fetch_add(batch.num_rows() as u64, Relaxed);
        Some(batch)
    }

    fn end(&mut self) {
        self.finished = true;
        self.ready.clear();
        match &mut self.source {
            Source::Caller(_) => {}
            Source::Unordered { lanes, tasks } => {
                lanes.clear();
                tasks.clear();
            }
            Source::Ordered { lanes, tasks, .. } => {
                lanes.clear();
                tasks.clear();
            }
        }
    }
}

impl Iterator for ScanStream {
    type Item = Result<RecordBatch, ShardError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = block_on(self.advance());
        if next.is_err() {
            self.end();
        }
        next.transpose()
    }
}

/// The async face of a scan, for any runtime. One that decodes on the caller's thread blocks it, for reads too.
#[derive(Debug)]
pub struct AsyncScan(ScanStream);

impl AsyncScan {
    /// The batches' schema.
    pub fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    /// What the scan did so far.
    pub fn metrics(&self) -> ScanMetrics {
        self.0.metrics()
    }
}

impl Stream for AsyncScan {
    type Item = Result<RecordBatch, ShardError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut self.get_mut().0;
        let polled = if matches!(this.source, Source::Caller(_)) {
            Poll::Ready(block_on(this.advance()))
        } else {
            // With shards, all that `advance` waits for lives in `self`, so the future may be dropped and made anew.
            std::pin::pin!(this.advance()).poll(cx)
        };
        polled.map(|next| {
            if next.is_err() {
                this.end();
            }
            next.transpose()
        })
    }
}

/// A scan inside a shard: its batches never leave the thread.
pub struct LocalScan {
    shared: Arc<ScanShared>,
    worker: Worker,
    left: Option<u64>,
}

impl LocalScan {
    pub(super) fn new(shared: Arc<ScanShared>, shard: &Rc<Shard>) -> Self {
        let fetcher = shared.fetcher(Reader::Shard(shard.clone()));
        Self { left: shared.options.limit, worker: Worker::new(shared.clone(), fetcher, Share::Next), shared }
    }

    /// The batches' schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.shared.schema
    }

    /// What the scan did so far.
    pub fn metrics(&self) -> ScanMetrics {
        self.shared.counters.snapshot()
    }

    /// The next rows, in order.
    ///
    /// # Errors
    /// When reading or decoding fails; the scan can't go on then.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ShardError> {
        while self.left != Some(0) {
            match self.worker.next().await? {
                Some(Yielded::Batch(batch)) => {
                    let batch = match &mut self.left {
                        Some(left) => {
                            let n = (batch.num_rows() as u64).min(*left);
                            *left -= n;
                            batch.slice(0, n as usize)
                        }
                        None => batch,
                    };
                    self.shared.counters.batches.fetch_add(1, Relaxed);
                    self.shared.counters.rows.fetch_add(batch.num_rows() as u64, Relaxed);
                    self.worker.breathe().await;
                    return Ok(Some(batch));
                }
                Some(Yielded::UnitDone) => {}
                None => break,
            }
        }
        Ok(None)
    }
}

/// A shard's part of a scan: decodes units and sends their batches.
async fn run(shard: Rc<Shard>, shared: Arc<ScanShared>, share: Share, mut sender: mpsc::Sender<Message>) {
    let ordered = shared.options.ordered;
    let mut worker = Worker::new(shared.clone(), shared.fetcher(Reader::Shard(shard)), share);
    let mut batches = Vec::new();
    let mut rows = 0;
    let mut sent = Instant::now();
    loop {
        let (flush, unit_done, last) = match worker.next().await {
            Ok(Some(Yielded::Batch(batch))) => {
                rows += batch.num_rows();
                batches.push(batch);
                (rows >= SEND_ROWS, false, false)
            }
            Ok(Some(Yielded::UnitDone)) => {
                let due =
                    !batches.is_empty() && (rows >= SEND_ROWS || sent.elapsed().as_micros() >= SEND_AFTER_US);
                (ordered || due, true, false)
            }
            Ok(None) => (!batches.is_empty(), false, true),
            Err(error) => {
                // A consumer that is gone wants no error.
                let _ = sender.send(Message::Failed(error)).await;
                return;
            }
        };
        if flush {
            let waiting = Instant::now();
            let message =
                Message::Batches { batches: std::mem::take(&mut batches), unit_done: ordered && unit_done };
            if sender.send(message).await.is_err() {
                return;
            }
            shared.counters.blocked_ns.fetch_add(waiting.elapsed().as_nanos() as u64, Relaxed);
            rows = 0;
            sent = Instant::now();
        }
        if last {
            return;
        }
        worker.breathe().await;
    }
}
