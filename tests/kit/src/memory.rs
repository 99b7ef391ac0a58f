//! An allocator that counts what is in use: for test binaries of their own, in which nothing else runs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, and how much of it is in use.
///
/// ```
/// use deltalite_testkit::memory::Counting;
///
/// #[global_allocator]
/// static MEMORY: Counting = Counting::new();
///
/// fn main() {
///     let before = MEMORY.begin();
///     drop(vec![0u8; 1 << 20]);
///     assert!(MEMORY.peak() - before >= 1 << 20);
/// }
/// ```
#[derive(Debug, Default)]
pub struct Counting {
    in_use: AtomicUsize,
    peak: AtomicUsize,
}

impl Counting {
    /// Nothing is in use yet.
    pub const fn new() -> Self {
        Self { in_use: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Bytes in use now; the peak is from now on.
    pub fn begin(&self) -> usize {
        let now = self.in_use.load(Relaxed);
        self.peak.store(now, Relaxed);
        now
    }

    /// Most bytes that were in use at once since [`Counting::begin`].
    pub fn peak(&self) -> usize {
        self.peak.load(Relaxed)
    }
}

// SAFETY: every call is the system allocator's; the counters only watch.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.in_use.fetch_add(layout.size(), Relaxed) + layout.size();
        self.peak.fetch_max(now, Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.in_use.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
