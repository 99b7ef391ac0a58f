//! The page cache: segments of files that were read and verified, shared by the shards of a NUMA node.
//!
//! A segment is the stretch of a file that a scan plans to read as one piece (a column chunk, usually). Its pages are
//! verified once, on first use, and remembered as such. Eviction is quick_cache's S3-FIFO-like policy, so one large
//! scan does not wash out what is used often. Two readers that miss the same segment read it once.
//!
//! Cached segments live in the shards' arenas, next to reads in flight and to buffers that consumers still hold. When
//! an arena has less than 15 % free, the cache gives way first, and after that hands out copies, so that a consumer
//! that never lets go cannot stop reading.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use deltalite_alloc::{ALIGNMENT, AllocError, BufferPool, SharedBuffer};
use futures::FutureExt;
use futures::channel::oneshot;
use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::device::FileId;

/// An arena with less than this part of its bytes free is under pressure, in percent.
pub const ARENA_FREE_PERCENT_MIN: usize = 15;
/// The cache grows back to its full size once all arenas have this part free, in percent.
const ARENA_FREE_PERCENT_RELAXED: usize = 40;
/// Under pressure the cache is halved at most this often, then emptied.
const HALVINGS_MAX: u32 = 4;
/// What a segment weighs about, in bytes, to size the cache's tables.
const SEGMENT_BYTES_TYPICAL: u64 = 128 << 10;
/// A part of the cache with a lock of its own has at least this many bytes, so that large segments fit.
const PART_BYTES_MIN: u64 = 64 << 20;
const FLIGHT_TABLES: usize = 16;

/// Which segment: a stretch of a file in a certain state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentKey {
    /// The file and its state.
    pub file: FileId,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A cached segment: its bytes and which of its pages were found to be intact.
#[derive(Debug)]
pub struct CachedSegment {
    bytes: SharedBuffer,
    verified: Box<[AtomicU64]>,
    unverified: AtomicU64,
    all_verified: AtomicBool,
}

impl CachedSegment {
    /// A segment of `pages` pages, none verified yet. A segment without pages counts as verified.
    pub fn new(bytes: SharedBuffer, pages: usize) -> Self {
        Self {
            bytes,
            verified: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            unverified: AtomicU64::new(pages as u64),
            all_verified: AtomicBool::new(pages == 0),
        }
    }

    /// The segment's bytes. Clone (or slice) them to keep them; see [`PageCache::hand_out`] for consumers outside.
    pub fn bytes(&self) -> &SharedBuffer {
        &self.bytes
    }

    /// True once every page was verified.
    #[inline]
    pub fn is_verified(&self) -> bool {
        self.all_verified.load(Relaxed)
    }

    /// True where page `page` of this segment was verified.
    #[inline]
    pub fn is_page_verified(&self, page: usize) -> bool {
        self.is_verified()
            || self.verified.get(page / 64).is_some_and(|word| word.load(Relaxed) & (1 << (page % 64)) != 0)
    }

    /// Remembers that page `page` is intact. Pages beyond the number given to [`Self::new`] are ignored.
    pub fn mark_page_verified(&self, page: usize) {
        let Some(word) = self.verified.get(page / 64) else { return };
        let bit = 1_u64 << (page % 64);
        if word.fetch_or(bit, Relaxed) & bit == 0 && self.unverified.fetch_sub(1, Relaxed) == 1 {
            self.all_verified.store(true, Relaxed);
        }
    }
}

/// Counters of a cache since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups answered from the cache.
    pub hits: u64,
    /// Lookups that led to a read.
    pub misses: u64,
    /// Lookups that waited for somebody else's read.
    pub shared_reads: u64,
    /// Segments that were filled in.
    pub filled: u64,
    /// Segments evicted or refused for lack of room.
    pub evicted: u64,
    /// Segments in the cache now.
    pub segments: u64,
    /// Their bytes, rounded up to pages.
    pub bytes: u64,
    /// The bytes it may hold now: less than configured while an arena is under pressure.
    pub capacity: u64,
    /// Hand-outs that had to be copies because an arena was nearly full.
    pub copies: u64,
    /// Bytes in these copies.
    pub copied_bytes: u64,
    /// How often an arena under pressure made the cache give way.
    pub relieved: u64,
}

#[derive(Clone)]
struct PageWeight;

impl Weighter<SegmentKey, Arc<CachedSegment>> for PageWeight {
    fn weight(&self, _key: &SegmentKey, segment: &Arc<CachedSegment>) -> u64 {
        (segment.bytes.len().max(1) as u64).next_multiple_of(ALIGNMENT as u64)
    }
}

type Waiters = Vec<oneshot::Sender<Arc<CachedSegment>>>;
type Segments = Cache<SegmentKey, Arc<CachedSegment>, PageWeight>;

/// The cache of a NUMA node.
pub struct PageCache {
    segments: Segments,
    capacity: u64,
    arenas: Vec<BufferPool>,
    flights: [Mutex<HashMap<SegmentKey, Waiters>>; FLIGHT_TABLES],
    hasher: DefaultHashBuilder,
    halvings: Mutex<u32>,
    is_shrunk: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    shared_reads: AtomicU64,
    filled: AtomicU64,
    copies: AtomicU64,
    copied_bytes: AtomicU64,
    relieved: AtomicU64,
}

/// What a lookup found.
pub enum Lookup {
    /// The segment is here.
    Hit(Arc<CachedSegment>),
    /// Nobody has it: the caller is to read it and [`fill`](LoadTicket::fill) it in.
    Miss(LoadTicket),
    /// Somebody is reading it. Wait for it only after filling all tickets of one's own, or two readers could wait for
    /// each other.
    Loading(LoadWait),
}

impl PageCache {
    /// A cache of at most `capacity_bytes` whose segments live in `arenas`.
    pub fn new(capacity_bytes: u64, arenas: Vec<BufferPool>) -> Arc<Self> {
        let parts = (capacity_bytes / PART_BYTES_MIN).clamp(1, 16) as usize;
        let parts = if parts.is_power_of_two() { parts } else { parts.next_power_of_two() / 2 };
        // Multiples of 64 per part survive being halved and doubled again without rounding, as `relieve` does.
        let unit = 64 * parts as u64;
        let capacity = (capacity_bytes / unit * unit).max(unit);
        let items = (capacity / SEGMENT_BYTES_TYPICAL).next_multiple_of(unit).max(unit);
        let options = OptionsBuilder::new()
            .shards(parts)
            .weight_capacity(capacity)
            .estimated_items_capacity(items as usize)
            .build();
        let segments = match options {
            Ok(options) => Cache::with_options(
                options,
                PageWeight,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(items as usize, capacity, PageWeight),
        };
        Arc::new(Self {
            segments,
            capacity,
            arenas,
            flights: Default::default(),
            hasher: DefaultHashBuilder::default(),
            halvings: Mutex::new(0),
            is_shrunk: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            shared_reads: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
            relieved: AtomicU64::new(0),
        })
    }

    /// The segment, if it is cached. Does not count as a miss otherwise.
    #[inline]
    pub fn get(&self, key: &SegmentKey) -> Option<Arc<CachedSegment>> {
        let found = self.segments.get(key);
        if found.is_some() {
            self.hits.fetch_add(1, Relaxed);
        }
        found
    }

    /// The segment, or the duty to read it, or the prospect of somebody else's read.
    pub fn lookup(self: &Arc<Self>, key: SegmentKey) -> Lookup {
        if let Some(segment) = self.get(&key) {
            return Lookup::Hit(segment);
        }
        let mut flights = self.flights_of(&key).lock();
        // Whoever filled it since the first look has taken its flight away under this lock.
        if let Some(segment) = self.get(&key) {
            return Lookup::Hit(segment);
        }
        match flights.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Vec::new());
                self.misses.fetch_add(1, Relaxed);
                Lookup::Miss(LoadTicket { cache: Arc::clone(self), key, has_landed: false })
            }
            Entry::Occupied(mut waiters) => {
                let (sender, receiver) = oneshot::channel();
                waiters.get_mut().push(sender);
                self.shared_reads.fetch_add(1, Relaxed);
                Lookup::Loading(LoadWait(receiver))
            }
        }
    }

    /// Bytes to give to a consumer who may keep them: `bytes` itself while `arena` has room, a copy from the global
    /// pool when it is nearly full even after the cache gave way.
    ///
    /// # Errors
    ///
    /// [`AllocError::Exhausted`] where a copy is needed and the global pool is full too.
    #[inline]
    pub fn hand_out(&self, bytes: &SharedBuffer, arena: &BufferPool) -> Result<SharedBuffer, AllocError> {
        if is_under_pressure(arena) { self.hand_out_under_pressure(bytes, arena) } else { Ok(bytes.clone()) }
    }

    #[cold]
    fn hand_out_under_pressure(
        &self,
        bytes: &SharedBuffer,
        arena: &BufferPool,
    ) -> Result<SharedBuffer, AllocError> {
        if self.relieve(arena) {
            return Ok(bytes.clone());
        }
        let mut copy = BufferPool::global().take(bytes.len())?;
        copy.as_mut_slice().copy_from_slice(bytes.as_slice());
        self.copies.fetch_add(1, Relaxed);
        self.copied_bytes.fetch_add(bytes.len() as u64, Relaxed);
        Ok(copy.freeze())
    }

    /// Gives way to an arena under pressure: halves the cache until the arena has room or nothing is left to evict.
    /// True where the arena has room afterwards.
    pub fn relieve(&self, arena: &BufferPool) -> bool {
        let mut halvings = self.halvings.lock();
        while is_under_pressure(arena) {
            if self.segments.is_empty() {
                return false;
            }
            self.relieved.fetch_add(1, Relaxed);
            self.is_shrunk.store(true, Relaxed);
            if *halvings < HALVINGS_MAX {
                *halvings += 1;
                self.segments.set_capacity(self.capacity >> *halvings);
            } else {
                self.segments.clear();
            }
        }
        true
    }

    /// Grows back to full size once the arenas have room again.
    fn recover(&self) {
        if !self.is_shrunk.load(Relaxed) {
            return;
        }
        let roomy = |arena: &BufferPool| {
            free_bytes(arena) >= arena.options().limit_bytes / 100 * ARENA_FREE_PERCENT_RELAXED
        };
        if self.arenas.iter().all(roomy) {
            let mut halvings = self.halvings.lock();
            *halvings = 0;
            self.is_shrunk.store(false, Relaxed);
            self.segments.set_capacity(self.capacity);
        }
    }

    /// Drops all segments of a file, in whatever state of it.
    pub fn remove_file(&self, file: &FileId) {
        self.segments.retain(|key, _| (key.file.device, key.file.inode) != (file.device, file.inode));
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.segments.clear();
    }

    /// Counters.
    pub fn stats(&self) -> CacheStats {
        let (filled, segments) = (self.filled.load(Relaxed), self.segments.len() as u64);
        CacheStats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            shared_reads: self.shared_reads.load(Relaxed),
            filled,
            evicted: filled.saturating_sub(segments),
            segments,
            bytes: self.segments.weight(),
            capacity: self.segments.capacity(),
            copies: self.copies.load(Relaxed),
            copied_bytes: self.copied_bytes.load(Relaxed),
            relieved: self.relieved.load(Relaxed),
        }
    }

    fn flights_of(&self, key: &SegmentKey) -> &Mutex<HashMap<SegmentKey, Waiters>> {
        &self.flights[self.hasher.hash_one(key) as usize % FLIGHT_TABLES]
    }

    fn land(&self, key: &SegmentKey) -> Waiters {
        self.flights_of(key).lock().remove(key).unwrap_or_default()
    }
}

impl std::fmt::Debug for PageCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn free_bytes(arena: &BufferPool) -> usize {
    arena.options().limit_bytes.saturating_sub(arena.in_use())
}

/// Whether less than [`ARENA_FREE_PERCENT_MIN`] percent of `arena` are free.
pub fn is_under_pressure(arena: &BufferPool) -> bool {
    free_bytes(arena) < arena.options().limit_bytes / 100 * ARENA_FREE_PERCENT_MIN
}

/// The duty to read a segment. Dropping it unfilled lets the next reader try.
#[must_use = "readers wait for this segment until it is filled or the ticket dropped"]
pub struct LoadTicket {
    cache: Arc<PageCache>,
    key: SegmentKey,
    has_landed: bool,
}

impl LoadTicket {
    /// Which segment is to be read.
    pub fn key(&self) -> SegmentKey {
        self.key
    }

    /// Fills in what was read and gives it to everybody who waits. `pages` is the number of pages that can be
    /// verified one by one.
    pub fn fill(mut self, bytes: SharedBuffer, pages: usize) -> Arc<CachedSegment> {
        let segment = Arc::new(CachedSegment::new(bytes, pages));
        self.cache.recover();
        self.cache.segments.insert(self.key, Arc::clone(&segment));
        self.cache.filled.fetch_add(1, Relaxed);
        self.has_landed = true;
        for waiter in self.cache.land(&self.key) {
            // One that no longer waits needs nothing.
            let _ = waiter.send(Arc::clone(&segment));
        }
        segment
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        // After `fill` the key's flight, if there is one again, is somebody else's.
        if !self.has_landed {
            drop(self.cache.land(&self.key));
        }
    }
}

/// Somebody else's read. Resolves to the segment, or to `None` where that reader gave up: look up again then.
#[must_use = "a wait does nothing unless awaited"]
pub struct LoadWait(oneshot::Receiver<Arc<CachedSegment>>);

impl Future for LoadWait {
    type Output = Option<Arc<CachedSegment>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx).map(Result::ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltalite_alloc::PoolOptions;

    fn arena(bytes: usize) -> BufferPool {
        BufferPool::new(PoolOptions::arena("cache tests", bytes)).unwrap()
    }

    fn key(offset: u64) -> SegmentKey {
        SegmentKey { file: FileId { device: 1, inode: 2, len: 1 << 40, modified_ns: 3 }, offset, len: 4096 }
    }

    fn read(pool: &BufferPool, fill: u8, len: usize) -> SharedBuffer {
        let mut buf = pool.take(len).unwrap();
        buf.as_mut_slice().fill(fill);
        buf.freeze()
    }

    fn load(cache: &Arc<PageCache>, at: u64, pool: &BufferPool, len: usize) -> Arc<CachedSegment> {
        match cache.lookup(key(at)) {
            Lookup::Hit(segment) => segment,
            Lookup::Miss(ticket) => ticket.fill(read(pool, at as u8, len), 1),
            Lookup::Loading(_) => panic!("nobody else reads"),
        }
    }

    #[test]
    fn pages_are_verified_one_by_one() {
        let segment = CachedSegment::new(read(&arena(1 << 20), 0, 10), 130);
        assert!(!segment.is_verified());
        for page in 0..130 {
            assert!(!segment.is_page_verified(page));
            segment.mark_page_verified(page);
            segment.mark_page_verified(page);
            assert!(segment.is_page_verified(page));
            assert_eq!(segment.is_verified(), page == 129);
        }
        segment.mark_page_verified(100_000);
        assert!(CachedSegment::new(read(&arena(1 << 20), 0, 10), 0).is_verified());
    }

    #[test]
    fn one_read_serves_all_who_miss_together() {
        let pool = arena(1 << 20);
        let cache = PageCache::new(1 << 20, vec![pool.clone()]);
        let Lookup::Miss(ticket) = cache.lookup(key(0)) else { panic!() };
        let waits: Vec<LoadWait> = (0..3)
            .map(|_| match cache.lookup(key(0)) {
                Lookup::Loading(wait) => wait,
                _ => panic!("a second reader must wait"),
            })
            .collect();
        ticket.fill(read(&pool, 9, 4096), 1);
        for wait in waits {
            assert_eq!(wait.now_or_never().unwrap().unwrap().bytes().as_slice(), [9; 4096]);
        }
        assert!(matches!(cache.lookup(key(0)), Lookup::Hit(_)));
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.shared_reads, stats.filled), (1, 1, 3, 1));
    }

    #[test]
    fn a_reader_that_gives_up_lets_the_next_try() {
        let cache = PageCache::new(1 << 20, vec![arena(1 << 20)]);
        let Lookup::Miss(ticket) = cache.lookup(key(0)) else { panic!() };
        let Lookup::Loading(wait) = cache.lookup(key(0)) else { panic!() };
        drop(ticket);
        assert!(wait.now_or_never().unwrap().is_none());
        assert!(matches!(cache.lookup(key(0)), Lookup::Miss(_)));
    }

    #[test]
    fn bytes_are_bounded_and_a_scan_does_not_wash_out_what_is_hot() {
        let pool = arena(64 << 20);
        let cache = PageCache::new(4 << 20, vec![pool.clone()]);
        let hot = 200..220;
        for _ in 0..5 {
            for at in hot.clone() {
                load(&cache, at, &pool, 65536);
            }
        }
        for at in 1000..3000 {
            load(&cache, at, &pool, 65536);
            assert!(cache.stats().bytes <= 4 << 20);
        }
        let kept = hot.filter(|&at| cache.get(&key(at)).is_some()).count();
        assert!(kept >= 15, "only {kept} of 20 hot segments survived a scan");
        assert!(cache.stats().evicted > 1900);
        assert!(pool.in_use() <= 5 << 20, "evicted segments are back in the arena");
    }

    #[test]
    fn a_consumer_that_never_lets_go_cannot_fill_the_arena() {
        let pool = arena(16 << 20);
        let cache = PageCache::new(8 << 20, vec![pool.clone()]);
        let mut held = Vec::new();
        for at in 0..1000 {
            let segment = load(&cache, at, &pool, 65536);
            let bytes = cache.hand_out(segment.bytes(), &pool).unwrap();
            assert_eq!(bytes.as_slice()[0], at as u8);
            held.push(bytes);
        }
        let stats = cache.stats();
        assert!(stats.copies > 500 && stats.copied_bytes == stats.copies * 65536, "{stats:?}");
        assert!(stats.relieved > 0 && stats.capacity < 8 << 20);
        assert!(free_bytes(&pool) >= (16 << 20) / 100 * 14, "room for reads remains");

        drop(held);
        for at in 2000..2010 {
            let segment = load(&cache, at, &pool, 65536);
            let handed = cache.hand_out(segment.bytes(), &pool).unwrap();
            assert_eq!(handed.as_ptr(), segment.bytes().as_ptr(), "no copy once there is room");
        }
        assert_eq!(cache.stats().capacity, cache.capacity, "the cache has grown back");
    }

    #[test]
    fn another_state_of_a_file_is_another_file() {
        let pool = arena(1 << 20);
        let cache = PageCache::new(1 << 20, vec![pool.clone()]);
        load(&cache, 0, &pool, 4096);
        let mut changed = key(0);
        changed.file.modified_ns += 1;
        assert!(cache.get(&changed).is_none());
        cache.remove_file(&changed.file);
        assert!(cache.get(&key(0)).is_none());
    }

    #[test]
    fn racing_readers_read_once() {
        let pool = arena(8 << 20);
        let cache = PageCache::new(4 << 20, vec![pool.clone()]);
        let reads = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for at in 0..500_u64 {
                        let segment = loop {
                            match cache.lookup(key(at % 50)) {
                                Lookup::Hit(segment) => break segment,
                                Lookup::Miss(ticket) => {
                                    reads.fetch_add(1, Relaxed);
                                    break ticket.fill(read(&pool, (at % 50) as u8, 4096), 1);
                                }
                                Lookup::Loading(mut wait) => {
                                    let done = loop {
                                        if let Some(done) = (&mut wait).now_or_never() {
                                            break done;
                                        }
                                        std::thread::yield_now();
                                    };
                                    if let Some(segment) = done {
                                        break segment;
                                    }
                                }
                            }
                        };
                        assert_eq!(segment.bytes().as_slice(), [(at % 50) as u8; 4096]);
                    }
                });
            }
        });
        assert_eq!(reads.load(Relaxed), 50);
    }
}
