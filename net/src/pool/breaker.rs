//! Leaves alone, for a while, a peer that fails again and again.

use std::time::Duration;

use crate::time::Time;

/// When a peer is left alone.
#[derive(Debug, Clone)]
pub struct BreakerOptions {
    /// Failures in a row after which it is. Default 5.
    pub failures: u32,
    /// For how long at first; twice as long each time that it still fails then. Default 500 ms.
    pub pause: Duration,
    /// For how long at most. Default 10 s.
    pub pause_max: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_millis(500), pause_max: Duration::from_secs(10) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls are made; so many failed in a row.
    Closed(u32),
    /// None are, for as long as this.
    Open { until: Time, pause: Duration },
    /// One is made, to see; what becomes of it should be known by then.
    Probing { until: Time, pause: Duration },
}

/// A circuit breaker: what is known of a peer's failures.
///
/// ```
/// use std::time::Duration;
/// use deltalite_net::Time;
/// use deltalite_net::pool::{Breaker, BreakerOptions};
///
/// let mut breaker = Breaker::new(BreakerOptions { failures: 2, ..BreakerOptions::default() });
/// let now = Time::default();
/// assert!(breaker.admit(now).is_ok());
/// breaker.failed(now);
/// breaker.failed(now);
/// assert_eq!(breaker.admit(now), Err(Duration::from_millis(500)), "left alone for so long");
/// let later = now.after(Duration::from_millis(500));
/// assert!(breaker.admit(later).is_ok(), "one may try");
/// assert!(breaker.admit(later).is_err(), "but one only");
/// breaker.succeeded();
/// assert!(breaker.admit(later).is_ok());
/// ```
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: State,
}

impl Breaker {
    /// Of a peer that nothing is known of.
    pub fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed(0) }
    }

    /// Whether a call may be made now.
    ///
    /// # Errors
    /// After how long one may be.
    pub fn admit(&mut self, now: Time) -> Result<(), Duration> {
        match self.state {
            State::Closed(_) => Ok(()),
            State::Open { until, .. } | State::Probing { until, .. } if now < until => Err(until.since(now)),
            // A probe that nothing was heard of was given up by whoever made it.
            State::Open { pause, .. } | State::Probing { pause, .. } => {
                self.state = State::Probing { until: now.after(pause), pause };
                Ok(())
            }
        }
    }

    /// The peer answered, whatever it said.
    pub fn succeeded(&mut self) {
        self.state = State::Closed(0);
    }

    /// The peer could not be reached, or the connection broke.
    pub fn failed(&mut self, now: Time) {
        self.state = match self.state {
            State::Closed(failures) if failures + 1 < self.options.failures => State::Closed(failures + 1),
            State::Closed(_) => {
                State::Open { until: now.after(self.options.pause), pause: self.options.pause }
            }
            State::Probing { pause, .. } => {
                let pause = (pause * 2).min(self.options.pause_max);
                State::Open { until: now.after(pause), pause }
            }
            // Of calls that were under way when it opened: known already.
            open @ State::Open { .. } => open,
        };
    }
}
