//! What works worse than it could on this machine, so that `doctor` and reports can say so.

use crate::device::DeviceDegraded;

/// A mode in which shards are slower than the machine could, and how to leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Degraded {
    /// io_uring cannot be used: shards are plain threads that read with `pread`.
    NoRing {
        /// What refused it.
        reason: String,
    },
    /// A shard may wander between cores.
    NotPinned {
        /// Which shard.
        shard: u32,
        /// The hardware thread it was meant for.
        pu: u32,
        /// What refused it.
        reason: String,
    },
    /// There are more shards than hardware threads.
    Oversubscribed {
        /// Shards started.
        shards: usize,
    },
    /// Something about a shard's device.
    Device {
        /// Which shard.
        shard: u32,
        /// What it is.
        what: DeviceDegraded,
    },
    /// Something about a shard's memory, or about the topology.
    Memory(deltalite_alloc::Degraded),
}

impl std::fmt::Display for Degraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Degraded::NoRing { reason } => write!(
                f,
                "io_uring is not used ({reason}): reads go through plain threads and cost more CPU. Fix: allow \
                 io_uring (sysctl kernel.io_uring_disabled=0, the container's seccomp profile, ulimit -l)"
            ),
            Degraded::NotPinned { shard, pu, reason } => {
                write!(
                    f,
                    "shard {shard} is not pinned to CPU {pu} ({reason}). Fix: allow CPU {pu} in taskset or the cpuset"
                )
            }
            Degraded::Oversubscribed { shards } => {
                write!(f, "{shards} shards share fewer hardware threads. Fix: start one shard a core")
            }
            Degraded::Device { shard, what } => write!(f, "shard {shard}: {what}"),
            Degraded::Memory(what) => write!(f, "{what}"),
        }
    }
}
