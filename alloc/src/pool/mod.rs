//! Buffer pools.
//!
//! - here: [`BufferPool`], its options and statistics, and when it maps, flushes, trims and refuses
//! - `heap`: which memory is free, as data structures without locks
//! - `class`: size classes

mod class;
mod heap;

use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard};

pub(crate) use class::BlockClass;
use heap::Heap;

use crate::budget::Reclaim;
use crate::mapping::{self, HUGE_PAGE, Mapping};
use crate::{ALIGNMENT, AllocError, Degraded, MemoryBudget, NodeId, PoolBuffer, Reservation};

/// A growing pool maps chunks of at least this, and of more the larger it is.
const CHUNK_BYTES_MIN: usize = HUGE_PAGE;
/// … but of no more than this, unless one buffer needs it.
const CHUNK_BYTES_MAX: usize = 16 << 20;

/// Whether to ask for huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Ask, and report [`Degraded::NoHugePages`] when there are none.
    #[default]
    Try,
    /// Stay on the system's small pages.
    Never,
}

/// How a pool gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolShape {
    /// Maps chunks of 2 MiB and more as they are needed, up to the limit, and gives empty ones back beyond an
    /// amount that it retains.
    Growing {
        /// Free bytes that it keeps for the next request.
        retain_bytes: usize,
    },
    /// One contiguous mapping of the limit's size, made up front: what io_uring can register, which also
    /// brings its pages into memory; unregistered, each comes in when first touched. Every buffer starts at a
    /// multiple of 4 KiB.
    Arena,
}

/// What a pool should be.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// What messages, statistics and `/proc/PID/smaps` call it.
    pub name: String,
    /// The NUMA node to take memory from; none leaves it to the kernel (the node of the thread that touches a
    /// page first).
    pub node: Option<NodeId>,
    /// Bytes it may map at most.
    pub limit_bytes: usize,
    /// Whether to ask for huge pages.
    pub huge_pages: HugePages,
    /// How it gets its memory.
    pub shape: PoolShape,
    /// What to reserve the bytes from that it maps. A growing pool gives free ones back when they are needed
    /// elsewhere.
    pub budget: Option<MemoryBudget>,
}

impl PoolOptions {
    /// A growing pool of at most `limit_bytes` that retains half of them.
    pub fn growing(name: impl Into<String>, limit_bytes: usize) -> Self {
        Self {
            name: name.into(),
            node: None,
            limit_bytes,
            huge_pages: HugePages::default(),
            shape: PoolShape::Growing { retain_bytes: limit_bytes / 2 },
            budget: None,
        }
    }

    /// An arena of `limit_bytes`.
    pub fn arena(name: impl Into<String>, limit_bytes: usize) -> Self {
        Self { shape: PoolShape::Arena, ..Self::growing(name, limit_bytes) }
    }
}

/// What a pool has done and holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes it may map at most.
    pub limit: usize,
    /// Bytes mapped.
    pub mapped: usize,
    /// Bytes in live buffers, rounded up to their size classes.
    pub in_use: usize,
    /// Bytes mapped that are in no live buffer.
    pub free: usize,
    /// The most that `in_use` has been.
    pub peak: usize,
    /// Buffers handed out so far.
    pub taken: u64,
    /// Buffers that came back so far.
    pub returned: u64,
    /// Requests refused so far.
    pub exhausted: u64,
    /// Bytes of `mapped` that are in memory, touched at least once.
    pub resident_bytes: usize,
    /// Bytes of `resident_bytes` on huge pages, as smaps has it.
    pub huge_page_bytes: usize,
    /// What works worse than it could.
    pub degraded: Vec<Degraded>,
}

/// A pool of page-aligned buffers; cloning makes another handle to the same pool.
///
/// It never blocks and never aborts: what doesn't fit is an error. Its memory lives until the last handle and
/// the last buffer are gone, in whatever order.
///
/// ```
/// use deltalite_alloc::{AllocError, BufferPool, PoolOptions};
///
/// let pool = BufferPool::new(PoolOptions::arena("example", 1 << 20))?;
/// let buffer = pool.take(600_000)?;
/// assert!(matches!(pool.take(600_000), Err(AllocError::Exhausted { .. })));
/// drop(buffer);
/// assert!(pool.take(600_000).is_ok());
/// # Ok::<(), AllocError>(())
/// ```
#[derive(Clone)]
pub struct BufferPool {
    core: Arc<PoolCore>,
}

/// What the handles and the buffers of a pool share.
pub(crate) struct PoolCore {
    options: PoolOptions,
    pages_only: bool,
    state: Mutex<PoolState>,
}

struct PoolState {
    heap: Heap,
    taken: u64,
    returned: u64,
    exhausted: u64,
    /// Free bytes above which a returning buffer has the pool trimmed.
    trim_above: usize,
    degraded: Vec<Degraded>,
}

impl PoolState {
    /// Notes a degraded mode, once of each kind.
    fn degrade(&mut self, degraded: Degraded) {
        let kind = std::mem::discriminant(&degraded);
        if self.degraded.iter().all(|known| std::mem::discriminant(known) != kind) {
            self.degraded.push(degraded);
        }
    }
}

// An Arrow buffer must be RefUnwindSafe. No invariant of the heap spans a call that can unwind.
impl std::panic::RefUnwindSafe for PoolCore {}

impl BufferPool {
    /// Makes a pool. An arena maps its memory now; a growing pool maps nothing yet.
    /// Limits round down to whole pages.
    pub fn new(mut options: PoolOptions) -> Result<Self, AllocError> {
        let limit = options.limit_bytes;
        if limit < ALIGNMENT {
            let reason = format!("limit_bytes is {limit}; it must be {ALIGNMENT} or more");
            return Err(AllocError::InvalidPool { pool: options.name, reason });
        }
        options.limit_bytes = limit / ALIGNMENT * ALIGNMENT;
        let pool = Self::unmapped(options);
        if pool.core.pages_only {
            pool.core.map_arena()?;
        } else if let Some(budget) = &pool.core.options.budget {
            let core: Weak<PoolCore> = Arc::downgrade(&pool.core);
            budget.add_reclaimer(core);
        }
        Ok(pool)
    }

    /// The process's pool for decoded data: growing, to at most half of the machine's memory (or its
    /// cgroup's).
    pub fn global() -> &'static BufferPool {
        static GLOBAL: OnceLock<BufferPool> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            let limit = crate::machine::memory_bytes() / 2 / ALIGNMENT * ALIGNMENT;
            let shape = PoolShape::Growing { retain_bytes: limit / 4 };
            Self::unmapped(PoolOptions { shape, ..PoolOptions::growing("global", limit) })
        })
    }

    fn unmapped(options: PoolOptions) -> Self {
        let trim_above = match options.shape {
            PoolShape::Growing { retain_bytes } => retain_bytes.saturating_mul(2).max(CHUNK_BYTES_MIN),
            PoolShape::Arena => usize::MAX,
        };
        let core = PoolCore {
            pages_only: options.shape == PoolShape::Arena,
            options,
            state: Mutex::new(PoolState {
                heap: Heap::new(),
                taken: 0,
                returned: 0,
                exhausted: 0,
                trim_above,
                degraded: Vec::new(),
            }),
        };
        Self { core: Arc::new(core) }
    }

    /// A buffer of `len` bytes: the most recently returned of its size class, if any. Never blocks.
    #[inline]
    pub fn take(&self, len: usize) -> Result<PoolBuffer, AllocError> {
        let (block, bytes, class) = self.core.take(len)?;
        // SAFETY: the block was just taken from this pool.
        Ok(unsafe { PoolBuffer::from_block(block, len, bytes, class, Arc::clone(&self.core)) })
    }

    /// First byte and length of an arena's mapping, to be registered with io_uring; none for a growing pool.
    pub fn region(&self) -> Option<(NonNull<u8>, usize)> {
        self.core.pages_only.then(|| self.core.state.lock().heap.first_mapping()).flatten()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.core.name()
    }

    /// What it was made with.
    pub fn options(&self) -> &PoolOptions {
        &self.core.options
    }

    /// Bytes in live buffers, rounded up to their size classes: the cheap part of [`stats`](Self::stats), one
    /// lock.
    pub fn in_use(&self) -> usize {
        self.core.state.lock().heap.in_use()
    }

    /// What it has done and holds. Reads smaps, which takes milliseconds.
    pub fn stats(&self) -> PoolStats {
        self.core.stats()
    }

    /// Gives wholly free chunks back to the kernel, all but the amount to retain. An arena keeps its mapping.
    pub fn trim(&self) {
        if let PoolShape::Growing { retain_bytes } = self.core.options.shape {
            self.core.trim_to(retain_bytes);
        }
    }

    /// Gives every wholly free chunk back to the kernel, and its bytes to the budget. An arena keeps its
    /// mapping.
    pub fn trim_all(&self) {
        if !self.core.pages_only {
            self.core.trim_to(0);
        }
    }
}

impl std::fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufferPool").field("options", &self.core.options).finish_non_exhaustive()
    }
}

impl PoolCore {
    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    #[inline]
    fn take(&self, len: usize) -> Result<(NonNull<u8>, usize, BlockClass), AllocError> {
        if len > self.options.limit_bytes {
            return Err(self.too_large(len));
        }
        let (mut class, mut bytes) = BlockClass::of(len, self.pages_only);
        if bytes > self.options.limit_bytes {
            (class, bytes) = BlockClass::run_of(len);
        }
        let mut state = self.state.lock();
        let cached = class.index().and_then(|index| state.heap.take_cached(index));
        let block = match cached {
            Some(block) => block,
            None => self.take_uncached(&mut state, class, bytes)?,
        };
        state.taken += 1;
        Ok((block, bytes, class))
    }

    /// # Safety
    ///
    /// The block came from [`take`](Self::take) of this pool with this length and class, and nobody uses it
    /// any more.
    #[inline]
    pub(crate) unsafe fn put(&self, block: NonNull<u8>, bytes: usize, class: BlockClass) {
        let mut state = self.state.lock();
        // SAFETY: passed on.
        unsafe { state.heap.put(block, bytes, class) };
        state.returned += 1;
        if state.heap.free() > state.trim_above {
            drop(state);
            self.trim_after_put();
        }
    }

    /// The cold half of `take`: carve, then map, then carve again from everything that can be gathered.
    #[cold]
    fn take_uncached(
        &self,
        state: &mut MutexGuard<'_, PoolState>,
        class: BlockClass,
        bytes: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        if let Some(block) = state.heap.take_carved(class, bytes) {
            return Ok(block);
        }
        // Blocks of other sizes hoard a good part of the memory: joining them is better than growing.
        if state.heap.cached() >= (state.heap.mapped() / 4).max(bytes.saturating_mul(4)) {
            state.heap.flush();
            if let Some(block) = state.heap.take_carved(class, bytes) {
                return Ok(block);
            }
        }
        let mut refused = self.grow(state, bytes, None).err();
        if refused.is_some() {
            state.heap.flush();
        }
        if let Some(block) = state.heap.take_carved(class, bytes) {
            return Ok(block);
        }
        // Free chunks too short for this request count towards the limit: exchange them for one that is long
        // enough.
        // And other pools may retain what the budget lacks.
        let empty = if self.pages_only { Vec::new() } else { state.heap.take_empty_chunks(0) };
        let lacking = match refused {
            Some(AllocError::BudgetExceeded { .. }) => self.options.budget.as_ref(),
            _ => None,
        };
        if !empty.is_empty() || lacking.is_some() {
            let charge = MutexGuard::unlocked(state, || {
                drop(empty);
                lacking.and_then(|budget| budget.try_reserve(heap::run_bytes_of(bytes)).ok())
            });
            refused = self.grow(state, bytes, charge).err();
            if let Some(block) = state.heap.take_carved(class, bytes) {
                return Ok(block);
            }
        }
        state.exhausted += 1;
        Err(refused.unwrap_or_else(|| self.exhausted(state, bytes)))
    }

    fn exhausted(&self, state: &PoolState, asked: usize) -> AllocError {
        AllocError::Exhausted {
            pool: self.options.name.clone(),
            asked,
            in_use: state.heap.in_use(),
            limit: self.options.limit_bytes,
        }
    }

    #[cold]
    fn too_large(&self, asked: usize) -> AllocError {
        self.state.lock().exhausted += 1;
        AllocError::TooLarge { pool: self.options.name.clone(), asked, limit: self.options.limit_bytes }
    }

    /// Maps another chunk that holds a block of `bytes`, or says what forbids it. Bytes of the budget for the
    /// least that will do may be `charged` already.
    fn grow(
        &self,
        state: &mut MutexGuard<'_, PoolState>,
        bytes: usize,
        charged: Option<Reservation>,
    ) -> Result<(), AllocError> {
        let mapped = state.heap.mapped();
        let room = self.options.limit_bytes - mapped;
        let needed = heap::run_bytes_of(bytes);
        if self.pages_only || needed > room {
            Self::give_back(state, charged);
            return Err(self.exhausted(state, bytes));
        }
        let usual = (mapped / 8).next_multiple_of(HUGE_PAGE).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        // Whole huge pages, except for a buffer with a chunk of its own: a shared last page would keep it
        // mapped.
        let wanted = if bytes > class::CLASSED_BYTES_MAX {
            needed
        } else {
            needed.next_multiple_of(HUGE_PAGE).max(usual).min(room)
        };
        // A budget without room for a good chunk may have room for the least that will do.
        let (len, charge) = if charged.is_some() {
            (needed, charged)
        } else {
            match self.charge(wanted) {
                Ok(charge) => (wanted, charge),
                Err(_) => (needed, self.charge(needed)?),
            }
        };
        match self.map(state, len) {
            Ok(mapping) => {
                state.heap.add_chunk(mapping, charge);
                Ok(())
            }
            Err(error) => {
                Self::give_back(state, charge);
                Err(error)
            }
        }
    }

    /// Drops a reservation outside of the pool's lock: it may wake who waits for it, which is anybody's code.
    fn give_back(state: &mut MutexGuard<'_, PoolState>, charge: Option<Reservation>) {
        if charge.is_some() {
            MutexGuard::unlocked(state, || drop(charge));
        }
    }

    /// Reserves the bytes of a new chunk, where there is a budget.
    fn charge(&self, bytes: usize) -> Result<Option<Reservation>, AllocError> {
        self.options.budget.as_ref().map(|budget| budget.try_reserve_unassisted(bytes)).transpose()
    }

    fn map_arena(&self) -> Result<(), AllocError> {
        let charge = self.charge(self.options.limit_bytes)?;
        let mut state = self.state.lock();
        let mapping = self.map(&mut state, self.options.limit_bytes)?;
        state.heap.add_chunk(mapping, charge);
        Ok(())
    }

    /// Maps memory, advised and bound as the options say.
    fn map(&self, state: &mut PoolState, len: usize) -> Result<Mapping, AllocError> {
        let pool = || self.options.name.clone();
        let mapping =
            Mapping::anonymous(len).map_err(|errno| AllocError::Map { pool: pool(), bytes: len, errno })?;
        mapping.name(&self.options.name);
        if let Some(node) = self.options.node
            && let Err(errno) = mapping.prefer_node(node)
        {
            state.degrade(Degraded::NotBound { pool: pool(), node, errno });
        }
        match self.options.huge_pages {
            HugePages::Never => {
                // Without transparent huge pages in the kernel there is nothing to refuse.
                let _ = mapping.advise_small();
            }
            HugePages::Try => {
                let advised = mapping.advise_huge().map_err(|errno| {
                    format!("madvise(MADV_HUGEPAGE): {}", std::io::Error::from_raw_os_error(errno))
                });
                if let Some(reason) = advised.err().or_else(mapping::huge_pages_forbidden) {
                    state.degrade(Degraded::NoHugePages { pool: pool(), reason });
                }
            }
        }
        Ok(mapping)
    }

    fn stats(&self) -> PoolStats {
        let ranges = self.state.lock().heap.ranges();
        let seen = mapping::residency(&ranges).unwrap_or_default();
        let mut state = self.state.lock();
        // Less than a huge page touched says nothing about how the kernel will back the rest.
        if self.options.huge_pages == HugePages::Try
            && seen.resident_bytes >= 2 * HUGE_PAGE
            && seen.huge_bytes < seen.resident_bytes / 2
        {
            let reason =
                format!("the kernel gave {} of {} bytes in use", seen.huge_bytes, seen.resident_bytes);
            state.degrade(Degraded::NoHugePages { pool: self.options.name.clone(), reason });
        }
        PoolStats {
            limit: self.options.limit_bytes,
            mapped: state.heap.mapped(),
            in_use: state.heap.in_use(),
            free: state.heap.free(),
            peak: state.heap.peak(),
            taken: state.taken,
            returned: state.returned,
            exhausted: state.exhausted,
            resident_bytes: seen.resident_bytes,
            huge_page_bytes: seen.huge_bytes,
            degraded: state.degraded.clone(),
        }
    }

    #[cold]
    fn trim_after_put(&self) {
        if let PoolShape::Growing { retain_bytes } = self.options.shape {
            self.trim_to(if self.is_awaited() { 0 } else { retain_bytes });
        }
    }

    fn trim_to(&self, keep: usize) {
        let emptied = {
            let mut state = self.state.lock();
            state.heap.flush();
            let emptied = state.heap.take_empty_chunks(keep);
            if let PoolShape::Growing { retain_bytes } = self.options.shape {
                // Free memory that live buffers keep mapped must not have every returning buffer trim again,
                // except while somebody waits for it.
                let free = state.heap.free().max(retain_bytes);
                let spare = free.saturating_add(retain_bytes.max(CHUNK_BYTES_MIN));
                state.trim_above = if self.is_awaited() { 0 } else { spare };
            }
            emptied
        };
        drop(emptied);
    }

    /// Whether somebody waits for bytes of the budget that this pool has mapped.
    fn is_awaited(&self) -> bool {
        self.options.budget.as_ref().is_some_and(MemoryBudget::is_awaited)
    }
}

impl Reclaim for PoolCore {
    fn reclaim(&self) {
        self.trim_to(0);
    }
}
