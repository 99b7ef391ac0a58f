//! How much at once: scans, memory, bytes a second. One too many is told to come back later: slowing all of them helps nobody.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deltalite_alloc::{MemoryBudget, Reservation};
use deltalite_net::{ErrorKind, Result, RpcError};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{InsufficientCapacity, Quota, RateLimiter};

use crate::ServerOptions;

/// Memory that a scan has at most besides the buffers of its shard: rows that are gathered, and a message that waits to be sent.
pub(crate) const SCAN_BYTES: usize = 2 << 20;
/// What bytes are counted in where a rate is limited.
const RATE_UNIT: usize = 1 << 10;
/// What a caller may send at once, whatever its rate: a message has to pass.
const BURST_LEAST: u32 = (8 << 20) / RATE_UNIT as u32;
/// What a caller must have left to begin a scan.
const BEGINNING: NonZeroU32 = NonZeroU32::new((64 << 10) / RATE_UNIT as u32).unwrap();

type Rates =
    RateLimiter<Arc<str>, DashMapStateStore<Arc<str>>, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// Counts scans, and what callers are sent.
pub(crate) struct Admission {
    scans: Arc<AtomicU64>,
    max: u64,
    retry_after: Duration,
    memory: Option<MemoryBudget>,
    rates: Option<(Rates, MonotonicClock)>,
    closed: AtomicBool,
}

/// A scan's place; dropping it makes room.
pub(crate) struct Place {
    scans: Arc<AtomicU64>,
    memory: Option<Reservation>,
}

impl Place {
    fn with(mut self, memory: Reservation) -> Self {
        self.memory = Some(memory);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Given back before the next one is let in.
        self.memory.take();
        self.scans.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        let rates = options.caller_rate.map(|bytes_per_second| {
            let units = u32::try_from(bytes_per_second / RATE_UNIT as u64).unwrap_or(u32::MAX);
            let units = NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN);
            let burst = units.max(NonZeroU32::new(BURST_LEAST).unwrap_or(NonZeroU32::MIN));
            let quota = Quota::per_second(units).allow_burst(burst);
            (RateLimiter::new(quota, DashMapStateStore::default(), MonotonicClock), MonotonicClock)
        });
        Self {
            scans: Arc::default(),
            max: options.scans_max,
            retry_after: options.retry_after,
            memory: options.memory.clone(),
            rates,
            closed: AtomicBool::new(false),
        }
    }

    /// A place for a caller's scan.
    ///
    /// # Errors
    /// Where there is none, and when to come back.
    pub(crate) fn enter(&self, caller: &Arc<str>) -> Result<Place> {
        if let Some(wait) = self.rate(caller, BEGINNING) {
            return Err(RpcError::new(
                ErrorKind::Overloaded,
                format!("{caller} was sent more than its rate allows"),
            )
            .retry_after(wait));
        }
        let before = self.scans.fetch_add(1, Ordering::AcqRel);
        let place = Place { scans: Arc::clone(&self.scans), memory: None };
        let full = |what: String| RpcError::new(ErrorKind::Overloaded, what).retry_after(self.retry_after);
        if before >= self.max {
            return Err(full(format!("{} scans are under way, which is the limit", self.max)));
        }
        let Some(memory) = &self.memory else { return Ok(place) };
        let reserved = memory.try_reserve(SCAN_BYTES);
        let reserved = reserved.map_err(|e| full("no memory for another scan".into()).caused_by(e))?;
        Ok(place.with(reserved))
    }

    /// Memory for an answer that waits to be sent.
    ///
    /// # Errors
    /// Where there is none, and when to come back.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Option<Reservation>> {
        self.memory.as_ref().map(|memory| memory.try_reserve(bytes)).transpose().map_err(|e| {
            RpcError::new(ErrorKind::Overloaded, "no memory for an answer")
                .caused_by(e)
                .retry_after(self.retry_after)
        })
    }

    /// After how long a caller may be sent so many bytes; none: now, and they are counted.
    pub(crate) fn pause_before(&self, caller: &Arc<str>, bytes: usize) -> Option<Duration> {
        let units = u32::try_from(bytes / RATE_UNIT).unwrap_or(u32::MAX).clamp(1, BURST_LEAST);
        self.rate(caller, NonZeroU32::new(units)?)
    }

    fn rate(&self, caller: &Arc<str>, units: NonZeroU32) -> Option<Duration> {
        let (rates, clock) = self.rates.as_ref()?;
        match rates.check_key_n(caller, units) {
            Ok(Err(until)) => Some(until.wait_time_from(clock.now())),
            // More than a burst can't be asked for: the burst is at least that.
            Ok(Ok(())) | Err(InsufficientCapacity(_)) => None,
        }
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
