//! When to try again: pauses that grow and vary, and a budget that keeps retries a small part of all calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Time;

/// How failed calls are tried again.
#[derive(Debug, Clone)]
pub struct RetryOptions {
    /// First pause; each next one is twice as long. Default 10 ms.
    pub pause: Duration,
    /// Longest pause. Default 1 s.
    pub pause_max: Duration,
    /// Failures in a row after which there is no other attempt. Those after which the peer said when to come back do not count.
    /// Default 8.
    pub failures_max: u32,
    /// Time without progress after which there is no other attempt. Default 30 s.
    pub patience: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(10),
            pause_max: Duration::from_secs(1),
            failures_max: 8,
            patience: Duration::from_secs(30),
        }
    }
}

impl RetryOptions {
    /// The pause after so many failed attempts: between half of what is due and all of it, as `random` (from 0 to 1) says.
    /// Clients that failed together should not come back together.
    ///
    /// ```
    /// use std::time::Duration;
    /// use deltalite_net::pool::RetryOptions;
    ///
    /// let options = RetryOptions::default();
    /// assert_eq!(options.pause_after(1, 1.0), Duration::from_millis(10));
    /// assert_eq!(options.pause_after(3, 0.0), Duration::from_millis(20));
    /// assert_eq!(options.pause_after(60, 1.0), Duration::from_secs(1));
    /// ```
    pub fn pause_after(&self, failed: u32, random: f64) -> Duration {
        let doubled = self.pause.saturating_mul(1 << failed.saturating_sub(1).min(20)).min(self.pause_max);
        doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

/// How often something failed in a row, and since when.
#[derive(Debug, Clone, Default)]
pub struct Failing {
    pub(super) failures: u32,
    pub(super) since: Option<Time>,
}

impl Failing {
    /// It went on: what failed before does not count any more.
    pub fn progressed(&mut self) {
        *self = Self::default();
    }
}

/// A retry costs as much as ten calls earn.
const RETRY: u64 = 10;
/// What a budget begins with, and what it holds at most.
const FIRST: u64 = 10 * RETRY;
const MOST: u64 = 100 * RETRY;

/// Retries allowed: ten, and one more for every ten answers, so that a server in trouble is not asked twice as much. Clones share it.
///
/// ```
/// use deltalite_net::pool::RetryBudget;
///
/// let budget = RetryBudget::default();
/// let at_first = (0..100).filter(|_| budget.spend()).count();
/// assert_eq!(at_first, 10);
/// (0..50).for_each(|_| budget.earn());
/// assert_eq!((0..100).filter(|_| budget.spend()).count(), 5);
/// ```
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<AtomicU64>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(FIRST)))
    }
}

impl RetryBudget {
    /// A call was answered.
    pub fn earn(&self) {
        let more = |held: u64| Some((held + 1).min(MOST));
        // Never refused.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes a retry, where one is left.
    pub fn spend(&self) -> bool {
        let less = |held: u64| held.checked_sub(RETRY);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}
