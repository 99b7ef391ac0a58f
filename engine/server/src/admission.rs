//! How many scans at once. One too many is told to come back later: slowing all of them helps nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts scans.
pub(crate) struct Admission {
    scans: Arc<AtomicU64>,
    max: u64,
    closed: AtomicBool,
}

/// A scan's place; dropping it makes room.
pub(crate) struct Place(Arc<AtomicU64>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    pub(crate) fn new(max: u64) -> Self {
        Self { scans: Arc::default(), max, closed: AtomicBool::new(false) }
    }

    /// A place, where there is one.
    pub(crate) fn enter(&self) -> Option<Place> {
        let before = self.scans.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.scans));
        (before < self.max).then_some(place)
    }

    pub(crate) fn scans(&self) -> u64 {
        self.scans.load(Ordering::Acquire)
    }

    /// The server is being stopped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}
