//! Device tokens: how many operations and bytes all shards of a process may keep in flight together.
//!
//! A disk that is given too much at once answers each request late; one that foreground reads share with a scan must
//! not have megabytes queued in front of them. Tokens bound both, and while foreground reads are about they leave
//! background classes only a small window.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What an operation is for: decides its place in the queue and its share of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoClass {
    /// A reader waits for exactly this: point lookups, footers, replies. Always first.
    Rpc,
    /// What a scan needs next.
    Scan,
    /// What a scan will need later.
    Prefetch,
    /// Checking and maintenance.
    Scrub,
}

impl IoClass {
    /// All classes, most urgent first.
    pub const ALL: [IoClass; 4] = [IoClass::Rpc, IoClass::Scan, IoClass::Prefetch, IoClass::Scrub];

    /// Position in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// True for everything that nobody waits for on its own.
    pub fn is_background(self) -> bool {
        self != IoClass::Rpc
    }
}

/// However narrow the window, a background request may have this many bytes: a multiple of every alignment.
const REQUEST_MIN: u64 = 64 << 10;

/// How much a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenOptions {
    /// Background operations in flight at most, over all shards.
    pub ops: u64,
    /// Background bytes in flight at most, over all shards.
    pub bytes: u64,
    /// Background bytes in flight at most while foreground reads are about.
    pub contended_bytes: u64,
    /// How long after a foreground read the device counts as contended; zero switches the narrowing off.
    pub contended_for: Duration,
}

impl Default for TokenOptions {
    /// 128 operations and 32 MiB; 256 KiB while foreground reads were issued within the last 20 ms.
    fn default() -> Self {
        Self {
            ops: 128,
            bytes: 32 << 20,
            contended_bytes: 256 << 10,
            contended_for: Duration::from_millis(20),
        }
    }
}

impl TokenOptions {
    /// No bound at all: for tests and simulations, where wall-clock time must not steer a schedule.
    pub fn unlimited() -> Self {
        Self { ops: u64::MAX, bytes: u64::MAX, contended_bytes: u64::MAX, contended_for: Duration::ZERO }
    }
}

#[derive(Debug)]
struct Shared {
    options: TokenOptions,
    epoch: Instant,
    /// Nanoseconds since `epoch` plus one of the last foreground operation; 0: none yet.
    foreground_at: AtomicU64,
    ops: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
}

/// The tokens of one block device; clones share them.
#[derive(Clone, Debug)]
pub struct DeviceTokens(Arc<Shared>);

impl DeviceTokens {
    /// Tokens for a device that takes what `options` say.
    pub fn new(options: TokenOptions) -> Self {
        Self(Arc::new(Shared {
            options,
            epoch: Instant::now(),
            foreground_at: AtomicU64::new(0),
            ops: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// The limits.
    pub fn options(&self) -> TokenOptions {
        self.0.options
    }

    /// Background operations and bytes in flight now.
    pub fn in_flight(&self) -> (u64, u64) {
        (self.0.ops.load(Relaxed), self.0.bytes.load(Relaxed))
    }

    /// How often an operation was held back.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Asks to issue an operation. A device with nothing in flight (`idle`) is never refused: its own completion is
    /// what makes it ask again, so that no shard has to wake another.
    pub(crate) fn take(&self, class: IoClass, bytes: u64, idle: bool) -> bool {
        let shared = &*self.0;
        if !class.is_background() {
            if !shared.options.contended_for.is_zero() {
                shared.foreground_at.store(self.now() + 1, Relaxed);
            }
            return true;
        }
        let limit = if self.contended() { shared.options.contended_bytes } else { shared.options.bytes };
        // Optimistic: the sum may pass the limit by one operation per shard for a moment, which does no harm.
        let fits = shared.ops.load(Relaxed) < shared.options.ops
            && shared.bytes.load(Relaxed).saturating_add(bytes) <= limit;
        if !(fits || idle) {
            shared.refused.fetch_add(1, Relaxed);
            return false;
        }
        shared.ops.fetch_add(1, Relaxed);
        shared.bytes.fetch_add(bytes, Relaxed);
        true
    }

    /// The largest request of a class now, in bytes: while foreground reads are about none of the others takes long.
    pub(crate) fn request_max(&self, class: IoClass) -> u32 {
        if class.is_background() && self.contended() {
            let bytes = self.0.options.contended_bytes.clamp(REQUEST_MIN, u64::from(u32::MAX));
            (bytes & !(REQUEST_MIN - 1)) as u32
        } else {
            u32::MAX
        }
    }

    /// Returns what [`Self::take`] granted.
    pub(crate) fn give(&self, class: IoClass, bytes: u64) {
        if class.is_background() {
            self.0.ops.fetch_sub(1, Relaxed);
            self.0.bytes.fetch_sub(bytes, Relaxed);
        }
    }

    fn now(&self) -> u64 {
        self.0.epoch.elapsed().as_nanos() as u64
    }

    pub(crate) fn contended(&self) -> bool {
        let hold = self.0.options.contended_for.as_nanos() as u64;
        if hold == 0 {
            return false;
        }
        let at = self.0.foreground_at.load(Relaxed);
        at != 0 && self.now().saturating_sub(at) < hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_come_back() {
        let tokens = DeviceTokens::new(TokenOptions { ops: 2, bytes: 100, ..TokenOptions::default() });
        assert!(tokens.take(IoClass::Scan, 60, false));
        assert!(!tokens.take(IoClass::Scan, 60, false));
        assert!(tokens.take(IoClass::Prefetch, 40, false));
        assert!(!tokens.take(IoClass::Scrub, 0, false), "operations are bounded too");
        assert!(tokens.take(IoClass::Scan, 1000, true), "an idle device always gets one");
        tokens.give(IoClass::Scan, 1000);
        tokens.give(IoClass::Prefetch, 40);
        tokens.give(IoClass::Scan, 60);
        assert_eq!(tokens.in_flight(), (0, 0));
        assert_eq!(tokens.refused(), 2);
    }

    #[test]
    fn foreground_narrows_the_background() {
        let options = TokenOptions {
            contended_bytes: 10,
            contended_for: Duration::from_hours(1),
            ..TokenOptions::default()
        };
        let tokens = DeviceTokens::new(options);
        assert!(tokens.take(IoClass::Scan, 50, false));
        assert!(tokens.take(IoClass::Rpc, 50, false));
        assert!(!tokens.take(IoClass::Scan, 50, false));
        let unbounded = DeviceTokens::new(TokenOptions::unlimited());
        assert!(unbounded.take(IoClass::Rpc, 50, false));
        assert!(unbounded.take(IoClass::Scan, u64::MAX / 2, false));
    }
}
