//! Getting segments: from the cache, or read by a shard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow_buffer::Buffer;
use deltalite_alloc::{BufferPool, PoolBuffer};
use deltalite_format::checksum;

use super::metrics::Counters;
use super::segments::Placed;
use super::{Verify, file::DataFile};
use crate::cache::{CachedSegment, LoadTicket, Lookup, PageCache, SegmentKey};
use crate::device::{ByteRange, DeviceError, DeviceFile, FileId, IoClass};
use crate::error::ShardError;
use crate::executor::{Shard, ShardSet};

/// How often a segment is looked up again after somebody else's read of it failed, before the failure is taken for one's own.
const LOOKUPS_MAX: usize = 8;

/// Who reads a segment that nobody has.
pub(super) enum Reader {
    /// This shard, whose thread we are on.
    Shard(Rc<Shard>),
    /// A shard of the set; this is a thread outside.
    Set(Arc<ShardSet>),
}

/// Gets the segments of a scan's files.
pub(super) struct Fetcher {
    pub(super) reader: Reader,
    pub(super) cache: Arc<PageCache>,
    pub(super) arena: Option<BufferPool>,
    pub(super) verify: Verify,
    pub(super) counters: Arc<Counters>,
    /// Files opened on this shard since the last [`Fetcher::submit`]: each batch of reads looks at their names anew.
    pub(super) open: RefCell<HashMap<FileId, DeviceFile>>,
    /// Reads for shards of a set that [`Fetcher::submit`] will send.
    pub(super) queued: RefCell<Vec<Queued>>,
}

/// What [`Fetcher::prefetch`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefetched {
    /// It was cached.
    Cached,
    /// Somebody is reading it.
    Loading,
    /// This led to a read.
    Started,
}

/// A read for a shard of the set.
pub(super) struct Queued {
    path: PathBuf,
    id: FileId,
    range: ByteRange,
    pages: u32,
    ticket: LoadTicket,
}

impl Fetcher {
    /// The page's bytes, verified as the scan asks for.
    pub(super) fn page(
        &self,
        file: &DataFile,
        placed: &Placed,
        segment: &CachedSegment,
    ) -> Result<Buffer, ShardError> {
        let start = (placed.page.offset - placed.range.offset) as usize;
        let bytes = segment.bytes();
        let end = start + placed.page.len as usize;
        if end > bytes.len() {
            return Err(DeviceError::ShortRead {
                path: file.path().to_owned(),
                offset: placed.range.offset,
                expected: end as u64,
                got: bytes.len() as u64,
            }
            .into());
        }
        if self.verify != Verify::Off && !segment.is_page_verified(placed.index as usize) {
            checksum::verify("page", placed.page.offset, &bytes.as_slice()[start..end], placed.page.crc)
                .map_err(|e| e.with_place(Some(file.meta().file()), placed.page.offset))?;
            segment.mark_page_verified(placed.index as usize);
        }
        let page = bytes.slice(start..end);
        Ok(match &self.arena {
            Some(arena) => self.cache.hand_out(&page, arena)?.into_arrow(),
            None => page.into_arrow(),
        })
    }

    /// Starts reading a segment unless it is cached or being read; [`Fetcher::submit`] sends the read off.
    pub(super) fn prefetch(&self, file: &DataFile, placed: &Placed) -> Result<Prefetched, ShardError> {
        match self.cache.lookup(key(file, placed)) {
            Lookup::Miss(ticket) => self.start(file, placed, ticket).map(|()| Prefetched::Started),
            Lookup::Hit(_) => Ok(Prefetched::Cached),
            Lookup::Loading(_) => Ok(Prefetched::Loading),
        }
    }

    /// The segment if it is cached; else starts reading it unless somebody is; [`Fetcher::submit`] sends the reads off.
    pub(super) fn cached_or_started(
        &self,
        file: &DataFile,
        placed: &Placed,
    ) -> Result<Option<Arc<CachedSegment>>, ShardError> {
        match self.cache.lookup(key(file, placed)) {
            Lookup::Hit(segment) => {
                self.counters.cache_hits.fetch_add(1, Relaxed);
                Ok(Some(segment))
            }
            Lookup::Miss(ticket) => self.start(file, placed, ticket).map(|()| None),
            Lookup::Loading(_) => Ok(None),
        }
    }

    /// The segment: from the cache, from whoever is reading it, or read now.
    pub(super) async fn segment(
        &self,
        file: &DataFile,
        placed: &Placed,
    ) -> Result<Arc<CachedSegment>, ShardError> {
        for _ in 0..LOOKUPS_MAX {
            match self.cache.lookup(key(file, placed)) {
                Lookup::Hit(segment) => {
                    self.counters.cache_hits.fetch_add(1, Relaxed);
                    return Ok(segment);
                }
                Lookup::Loading(wait) => {
                    if let Some(segment) = wait.await {
                        return Ok(segment);
                    }
                }
                Lookup::Miss(ticket) => return self.read(file, placed, ticket).await,
            }
        }
        Err(ShardError::Busy {
            stage: "reading a segment that others fail to read",
            retry_after: std::time::Duration::from_millis(10),
        })
    }

    fn device_file(&self, shard: &Shard, file: &DataFile) -> Result<DeviceFile, ShardError> {
        if let Some(open) = self.open.borrow().get(&file.id()) {
            return Ok(open.clone());
        }
        let open = shard.open_in_state(file.path(), file.id())?;
        self.open.borrow_mut().insert(file.id(), open.clone());
        Ok(open)
    }

    async fn read(
        &self,
        file: &DataFile,
        placed: &Placed,
        ticket: LoadTicket,
    ) -> Result<Arc<CachedSegment>, ShardError> {
        let task = match &self.reader {
            Reader::Shard(shard) => {
                let device_file = self.device_file(shard, file)?;
                let load =
                    load(shard.clone(), device_file, placed.range, placed.pages, ticket, IoClass::Scan);
                shard.spawn(IoClass::Scan, load)
            }
            Reader::Set(set) => Self::read_on_set(set, file, placed, ticket, IoClass::Scan)?,
        };
        self.count(placed);
        task.await?
    }

    /// Starts a read that fills the cache on its own, whatever becomes of this scan's other work: a reader that waited for its
    /// consumer before filling what others wait for could stop them all.
    fn start(&self, file: &DataFile, placed: &Placed, ticket: LoadTicket) -> Result<(), ShardError> {
        match &self.reader {
            Reader::Shard(shard) => {
                let device_file = self.device_file(shard, file)?;
                load_ahead(shard, &device_file, placed.range, placed.pages, ticket);
            }
            Reader::Set(_) => self.queued.borrow_mut().push(Queued {
                path: file.path().to_owned(),
                id: file.id(),
                range: placed.range,
                pages: placed.pages,
                ticket,
            }),
        }
        self.count(placed);
        Ok(())
    }

    /// Sends off the reads that were started: those for one shard travel as one task.
    pub(super) fn submit(&self) -> Result<(), ShardError> {
        let set = match &self.reader {
            Reader::Shard(shard) => {
                shard.submit();
                self.open.borrow_mut().clear();
                return Ok(());
            }
            Reader::Set(set) => set,
        };
        let mut by_shard: Vec<Vec<Queued>> = Vec::new();
        by_shard.resize_with(set.len(), Vec::new);
        for read in self.queued.borrow_mut().drain(..) {
            by_shard[shard_of(read.range, set.len())].push(read);
        }
        for (on, reads) in by_shard.into_iter().enumerate().filter(|(_, reads)| !reads.is_empty()) {
            let task = set.spawn_on(on, IoClass::Prefetch, move |shard| async move {
                let mut open: Option<DeviceFile> = None;
                for read in reads {
                    let file = match open.take().filter(|file| file.id() == read.id) {
                        Some(file) => file,
                        None => shard.open_in_state(&read.path, read.id)?,
                    };
                    load_ahead(&shard, &file, read.range, read.pages, read.ticket);
                    open = Some(file);
                }
                shard.submit();
                Ok::<_, ShardError>(())
            })?;
            task.detach();
        }
        Ok(())
    }

    fn count(&self, placed: &Placed) {
        self.counters.cache_misses.fetch_add(1, Relaxed);
        self.counters.reads.fetch_add(1, Relaxed);
        self.counters.bytes_read.fetch_add(placed.range.len, Relaxed);
    }

    fn read_on_set(
        set: &ShardSet,
        file: &DataFile,
        placed: &Placed,
        ticket: LoadTicket,
        class: IoClass,
    ) -> Result<crate::executor::TaskHandle<Result<Arc<CachedSegment>, ShardError>>, ShardError> {
        let (path, id): (PathBuf, FileId) = (file.path().to_owned(), file.id());
        let (range, pages) = (placed.range, placed.pages);
        set.spawn_on(shard_of(range, set.len()), class, move |shard| async move {
            let device_file = shard.open_in_state(&path, id)?;
            load(shard, device_file, range, pages, ticket, class).await
        })
    }
}

/// The shard that reads a range: neighbouring segments go to different ones.
fn shard_of(range: ByteRange, shards: usize) -> usize {
    (range.offset >> 20) as usize % shards
}

fn key(file: &DataFile, placed: &Placed) -> SegmentKey {
    SegmentKey { file: file.id(), offset: placed.range.offset, len: placed.range.len }
}

/// Reads a segment and fills it in.
async fn load(
    shard: Rc<Shard>,
    file: DeviceFile,
    range: ByteRange,
    pages: u32,
    ticket: LoadTicket,
    class: IoClass,
) -> Result<Arc<CachedSegment>, ShardError> {
    let bytes = shard.read(&file, range, class)?.await?;
    shard.device().check_contents(&file, range.offset)?;
    Ok(ticket.fill(bytes.freeze(), pages as usize))
}

/// Reads a segment and fills it in, without a task: nobody waits for this read itself. Where it fails, whoever waits for
/// the segment reads it anew and learns why.
fn load_ahead(shard: &Rc<Shard>, file: &DeviceFile, range: ByteRange, pages: u32, ticket: LoadTicket) {
    let Ok(buffer) = shard.buffer(range.len as usize) else { return };
    // Weak: the shard owns the device, which owns this until the read is answered.
    let (on, of) = (Rc::downgrade(shard), file.clone());
    let done = move |read: Result<PoolBuffer, DeviceError>| {
        if let (Ok(bytes), Some(shard)) = (read, on.upgrade())
            && shard.device().check_contents(&of, range.offset).is_ok()
        {
            ticket.fill(bytes.freeze(), pages as usize);
        }
    };
    shard.device().read_then(file, range, buffer, IoClass::Prefetch, Box::new(done));
}
