//! The memory of one pool and who may have it, without locks: chunks cut into runs of pages, runs cut into
//! blocks.
//!
//! ```text
//! take ── class list (LIFO, hot) ── runs of free pages (best fit, coalesced) ── chunks (mapped from the kernel)
//!            └─ small classes: a slab, which is one run, cut into equal blocks
//! ```
//!
//! A freed block goes on top of its class's list, so that the next request of its size gets the memory that
//! is still in cache. The lists are poured back into the runs ([`Heap::flush`]) when they hoard what another
//! size needs, and before memory is refused or given back to the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

use super::class::{BlockClass, CLASSES, SMALL_CLASSES, class_bytes};
use crate::mapping::Mapping;
use crate::{ALIGNMENT, Reservation};

/// Length of the run that small blocks are cut from.
const SLAB_BYTES: usize = 32 << 10;

/// A mapping, and the budget's bytes that it takes: given back after it is unmapped.
pub(crate) struct Chunk {
    mapping: Mapping,
    _charge: Option<Reservation>,
    free_bytes: usize,
}

/// All memory of a pool.
pub(crate) struct Heap {
    /// Free blocks by class, the last freed on top.
    lists: Vec<Vec<NonNull<u8>>>,
    /// Chunks by address.
    chunks: BTreeMap<usize, Chunk>,
    /// Free runs, none touching another of its chunk: length by address.
    runs: BTreeMap<usize, usize>,
    /// The same runs as (length, address).
    runs_by_len: BTreeSet<(usize, usize)>,
    /// Runs that serve as slabs: class index by address.
    slabs: BTreeMap<usize, usize>,
    mapped: usize,
    run_bytes: usize,
    slab_waste: usize,
    in_use: usize,
    peak: usize,
}

// SAFETY: the pointers in the lists lead into the chunks, which the heap owns.
unsafe impl Send for Heap {}

impl Heap {
    pub(crate) fn new() -> Self {
        Self {
            lists: vec![Vec::new(); CLASSES],
            chunks: BTreeMap::new(),
            runs: BTreeMap::new(),
            runs_by_len: BTreeSet::new(),
            slabs: BTreeMap::new(),
            mapped: 0,
            run_bytes: 0,
            slab_waste: 0,
            in_use: 0,
            peak: 0,
        }
    }

    /// Bytes mapped.
    pub(crate) fn mapped(&self) -> usize {
        self.mapped
    }

    /// Bytes in blocks that were taken and not put back.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }

    /// The most that `in_use` has been.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// Bytes mapped that no taken block covers.
    pub(crate) fn free(&self) -> usize {
        self.mapped - self.in_use
    }

    /// Bytes of free blocks in the class lists.
    pub(crate) fn cached(&self) -> usize {
        self.mapped - self.in_use - self.run_bytes - self.slab_waste
    }

    /// Address and length of each chunk.
    pub(crate) fn ranges(&self) -> Vec<(usize, usize)> {
        self.chunks.iter().map(|(&base, chunk)| (base, chunk.mapping.len())).collect()
    }

    /// First byte and length of the lowest chunk.
    pub(crate) fn first_mapping(&self) -> Option<(NonNull<u8>, usize)> {
        self.chunks.values().next().map(|chunk| (chunk.mapping.base(), chunk.mapping.len()))
    }

    /// The most recently freed block of this class.
    #[inline]
    pub(crate) fn take_cached(&mut self, index: usize) -> Option<NonNull<u8>> {
        let block = self.lists[index].pop()?;
        self.count_taken(class_bytes(index));
        Some(block)
    }

    /// A block cut from the free runs, if one is long enough.
    pub(crate) fn take_carved(&mut self, class: BlockClass, bytes: usize) -> Option<NonNull<u8>> {
        match class.index() {
            Some(index) if index < SMALL_CLASSES => {
                self.carve_slab(index)?;
                self.take_cached(index)
            }
            _ => {
                let block = self.carve(bytes)?;
                self.count_taken(bytes);
                Some(block)
            }
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block came from this heap with this class and length, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn put(&mut self, block: NonNull<u8>, bytes: usize, class: BlockClass) {
        debug_assert!(self.in_use >= bytes);
        self.in_use -= bytes;
        match class.index() {
            Some(index) => self.lists[index].push(block),
            None => self.release(block.addr().get(), bytes),
        }
    }

    /// Adds a mapping's memory.
    pub(crate) fn add_chunk(&mut self, mapping: Mapping, charge: Option<Reservation>) {
        let (base, len) = (mapping.base().addr().get(), mapping.len());
        debug_assert!(base.is_multiple_of(ALIGNMENT) && len.is_multiple_of(ALIGNMENT) && len > 0);
        self.mapped += len;
        self.chunks.insert(base, Chunk { mapping, _charge: charge, free_bytes: 0 });
        self.release(base, len);
    }

    /// Pours the class lists back into the runs, where neighbours join.
    pub(crate) fn flush(&mut self) {
        for index in SMALL_CLASSES..CLASSES {
            for block in std::mem::take(&mut self.lists[index]) {
                self.release(block.addr().get(), class_bytes(index));
            }
        }
        for index in 0..SMALL_CLASSES {
            self.flush_slabs(index);
        }
    }

    /// Takes out chunks that are wholly free, the highest addresses first, until no more than `keep` bytes
    /// are free. What it returns is for the caller to drop, outside of any lock: that unmaps memory and wakes
    /// who waits for the budget.
    pub(crate) fn take_empty_chunks(&mut self, keep: usize) -> Vec<Chunk> {
        let mut excess = self.free().saturating_sub(keep);
        let mut empty: Vec<usize> = Vec::new();
        for (&base, chunk) in self.chunks.iter().rev() {
            let len = chunk.mapping.len();
            if chunk.free_bytes == len && excess > 0 {
                excess = excess.saturating_sub(len);
                empty.push(base);
            }
        }
        empty
            .into_iter()
            .filter_map(|base| {
                let chunk = self.chunks.remove(&base)?;
                let len = chunk.mapping.len();
                self.remove_run(base, len);
                self.mapped -= len;
                Some(chunk)
            })
            .collect()
    }

    fn count_taken(&mut self, bytes: usize) {
        self.in_use += bytes;
        self.peak = self.peak.max(self.in_use);
    }

    /// The shortest run that holds `bytes`, the lowest address of those; what is left of it stays free.
    fn carve(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let &(len, addr) = self.runs_by_len.range((bytes, 0)..).next()?;
        self.remove_run(addr, len);
        if len > bytes {
            self.insert_run(addr + bytes, len - bytes);
        }
        let (base, chunk) = self.chunks.range_mut(..=addr).next_back()?;
        chunk.free_bytes -= bytes;
        // SAFETY: the run lies within this chunk, the last that starts at or below it.
        Some(unsafe { chunk.mapping.base().add(addr - base) })
    }

    /// Makes `addr..addr + len`, part of one chunk, a free run, joined with its free neighbours.
    fn release(&mut self, mut addr: usize, mut len: usize) {
        let Some((&base, chunk)) = self.chunks.range_mut(..=addr).next_back() else {
            debug_assert!(false, "a block of no chunk was put back");
            return;
        };
        let end = base + chunk.mapping.len();
        debug_assert!(addr + len <= end);
        chunk.free_bytes += len;
        if addr + len < end
            && let Some(&after) = self.runs.get(&(addr + len))
        {
            self.remove_run(addr + len, after);
            len += after;
        }
        if addr > base
            && let Some((&before, &before_len)) = self.runs.range(base..addr).next_back()
            && before + before_len == addr
        {
            self.remove_run(before, before_len);
            addr = before;
            len += before_len;
        }
        self.insert_run(addr, len);
    }

    fn insert_run(&mut self, addr: usize, len: usize) {
        let overlapped = self.runs.insert(addr, len);
        debug_assert!(overlapped.is_none());
        self.runs_by_len.insert((len, addr));
        self.run_bytes += len;
    }

    fn remove_run(&mut self, addr: usize, len: usize) {
        let known = self.runs.remove(&addr);
        debug_assert_eq!(known, Some(len));
        self.runs_by_len.remove(&(len, addr));
        self.run_bytes -= len;
    }

    /// Cuts a new slab into blocks of a small class and lists them, the lowest address on top.
    fn carve_slab(&mut self, index: usize) -> Option<()> {
        let slab = self.carve(SLAB_BYTES)?;
        let bytes = class_bytes(index);
        let blocks = SLAB_BYTES / bytes;
        self.slabs.insert(slab.addr().get(), index);
        self.slab_waste += SLAB_BYTES - blocks * bytes;
        // SAFETY: block `i` of `blocks` lies within the slab.
        self.lists[index].extend((0..blocks).rev().map(|i| unsafe { slab.add(i * bytes) }));
        Some(())
    }

    /// Returns those slabs of a small class to the runs of which every block is free.
    fn flush_slabs(&mut self, index: usize) {
        let bytes = class_bytes(index);
        let blocks = SLAB_BYTES / bytes;
        let list = std::mem::take(&mut self.lists[index]);
        let mut free_blocks: BTreeMap<usize, usize> = BTreeMap::new();
        let slab_of = |slabs: &BTreeMap<usize, usize>, block: &NonNull<u8>| {
            slabs.range(..=block.addr().get()).next_back().map(|(&slab, _)| slab)
        };
        for slab in list.iter().filter_map(|block| slab_of(&self.slabs, block)) {
            *free_blocks.entry(slab).or_default() += 1;
        }
        free_blocks.retain(|_, free| *free == blocks);
        let kept = list
            .into_iter()
            .filter(|block| !slab_of(&self.slabs, block).is_some_and(|slab| free_blocks.contains_key(&slab)))
            .collect();
        self.lists[index] = kept;
        for &slab in free_blocks.keys() {
            self.slabs.remove(&slab);
            self.slab_waste -= SLAB_BYTES - blocks * bytes;
            self.release(slab, SLAB_BYTES);
        }
    }
}

/// Length of the run that a block of `bytes` is carved from.
pub(crate) fn run_bytes_of(bytes: usize) -> usize {
    if bytes < ALIGNMENT { SLAB_BYTES } else { bytes }
}
