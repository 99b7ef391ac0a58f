//! What a side allows and how it waits; how a call is made.

use std::time::Duration;

use deltalite_alloc::{BufferPool, MemoryBudget};

#[cfg(test)]
use super::Fault;
use crate::limits::{self, HEADER_BYTES};

/// Whether bodies of messages have checksums. Headers always do, and so do all frames that are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// Where bytes may change on the way. Within TLS they can't unseen, and between two ends of one machine they don't leave its
    /// memory: there, where both sides see it so, they would say the same again. The default.
    #[default]
    WhereNeeded,
    /// Always.
    Always,
}

/// What a side allows, and how it waits.
#[derive(Debug, Clone)]
pub struct Config {
    /// This side's name among nodes; 0 for none.
    pub node: u64,
    /// The era of the cluster that this side believes to be in.
    pub epoch: u64,
    /// Largest body of a frame taken, in bytes. Default 1 MiB.
    pub frame_bytes_max: u32,
    /// Most streams at once that the peer may open. Default 1024.
    pub streams_max: u32,
    /// Bytes that may be on the way to this side, over all streams. Default 32 MiB.
    pub connection_window: u64,
    /// First window of a stream that the peer opened, in bytes. Default 1 MiB.
    pub stream_window: u64,
    /// Time for the handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// A peer that was silent for so long is pinged. Default 10 s.
    pub ping_after: Duration,
    /// One that stays silent for so long after is given up. Default 10 s.
    pub ping_timeout: Duration,
    /// A connection without calls for so long closes itself. Default: none does.
    pub idle_timeout: Option<Duration>,
    /// Whether bodies of messages have checksums.
    pub checksums: Checksums,
    /// Whether the way to the peer keeps bytes as they are. Drivers set it, by what they know of their sockets.
    pub safe_way: bool,
    /// What windows are reserved from.
    pub budget: Option<MemoryBudget>,
    /// Where what is received lies.
    pub pool: BufferPool,
    /// Whether credits count. Without them each window is as good as endless: for measuring what credits cost.
    pub credits: bool,
    #[cfg(test)]
    pub(crate) fault: Option<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: 0,
            epoch: 0,
            frame_bytes_max: 1 << 20,
            streams_max: 1024,
            connection_window: 32 << 20,
            stream_window: 1 << 20,
            handshake_timeout: Duration::from_secs(5),
            ping_after: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            idle_timeout: None,
            checksums: Checksums::default(),
            safe_way: false,
            budget: None,
            pool: BufferPool::global().clone(),
            credits: true,
            #[cfg(test)]
            fault: None,
        }
    }
}

impl Config {
    /// What a server's end of a connection keeps at most because of its peer, in bytes, whatever the peer does: what windows and
    /// requests may have, and errors that wait to be sent or to be seen.
    pub fn kept_bytes_max(&self) -> u64 {
        let window = self.connection_window.max(u64::from(self.frame_bytes_max) + HEADER_BYTES as u64);
        let streams = u64::from(self.streams_max);
        let error = u64::from(limits::ERROR_BYTES_MAX) + HEADER_BYTES as u64;
        let refusals = self.refusals_max() as u64 * HEADER_BYTES as u64 + limits::REFUSALS_BYTES_MAX as u64;
        // Each stream may have an error of its own, one more to be sent, and its numbers in queues.
        window + refusals + streams * (2 * error + 32) + 1024
    }

    /// Errors of calls that may wait when another is opened: all that can be under way may fail at once.
    pub(super) fn refusals_max(&self) -> usize {
        limits::REFUSALS_MAX.max(self.streams_max as usize)
    }
}

/// How a call is made.
#[derive(Debug, Clone)]
pub struct CallSpec {
    /// Time for the whole call; without, none but the connection's.
    pub timeout: Option<Duration>,
    /// Which request this is for; the same over attempts and nested calls.
    pub request: u64,
    /// Which attempt, counted from 0.
    pub attempt: u16,
    /// First window of the answers, in bytes. It also bounds a frame of the answer.
    pub window: u64,
    /// Whether more messages than the first will be sent.
    pub streaming: bool,
}

impl Default for CallSpec {
    fn default() -> Self {
        Self { timeout: None, request: 0, attempt: 0, window: 1 << 20, streaming: false }
    }
}
