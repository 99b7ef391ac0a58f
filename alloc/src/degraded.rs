//! What works, but worse than it could: reported, never fatal.

use crate::topology::NodeId;

/// A mode in which DeltaLite runs slower than the machine could, and how to leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Degraded {
    /// Memory meant for huge pages sits on 4 KiB pages, or would.
    NoHugePages {
        /// Name of the pool concerned.
        pool: String,
        /// What was found.
        reason: String,
    },
    /// Memory meant for one NUMA node may come from any.
    NotBound {
        /// Name of the pool concerned.
        pool: String,
        /// The node asked for.
        node: NodeId,
        /// The kernel's error number.
        errno: i32,
    },
    /// Fewer bytes may be locked than the buffers to register with the kernel need.
    MemlockTooSmall {
        /// Bytes that were to be locked.
        needed_bytes: usize,
        /// The limit (`RLIMIT_MEMLOCK`) in bytes.
        limit_bytes: usize,
    },
    /// Cores, nodes and caches could not be read: placement assumes one node and no shared cores.
    TopologyUnknown {
        /// What was tried and what came of it.
        reason: String,
    },
}

impl Degraded {
    /// Whether registering `needed_bytes` of buffers with the kernel would exceed what this process may lock.
    pub fn of_memlock(needed_bytes: usize) -> Option<Degraded> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: getrlimit writes one `rlimit`; geteuid takes nothing.
        let (done, user) =
            unsafe { (libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit), libc::geteuid()) };
        // The limit doesn't bind root.
        if done != 0 || user == 0 || limit.rlim_cur == libc::RLIM_INFINITY {
            return None;
        }
        let limit_bytes = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
        (limit_bytes < needed_bytes).then_some(Self::MemlockTooSmall { needed_bytes, limit_bytes })
    }
}

impl std::fmt::Display for Degraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHugePages { pool, reason } => write!(
                f,
                "buffer pool '{pool}' has no huge pages ({reason}); large reads and first touches are slower. \
                 Fix: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
            ),
            Self::NotBound { pool, node, errno } => write!(
                f,
                "buffer pool '{pool}' is not bound to NUMA node {} ({}); reads may cross nodes. \
                 Fix: allow the mbind system call (CAP_SYS_NICE in containers) and node {} in the cpuset's mems",
                node.0,
                std::io::Error::from_raw_os_error(*errno),
                node.0
            ),
            Self::MemlockTooSmall { needed_bytes, limit_bytes } => write!(
                f,
                "only {limit_bytes} of {needed_bytes} bytes may be locked; buffers are smaller or not registered, and \
                 each read costs more CPU. Fix: ulimit -l unlimited, or LimitMEMLOCK=infinity in the service's unit"
            ),
            Self::TopologyUnknown { reason } => write!(
                f,
                "the machine's topology is unknown ({reason}); all cores count as one NUMA node. \
                 Fix: install libhwloc, or mount /sys"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_says_what_and_how_to_fix_it() {
        let pool = || "scan".to_owned();
        for (degraded, what) in [
            (Degraded::NoHugePages { pool: pool(), reason: "none today".into() }, "none today"),
            (Degraded::NotBound { pool: pool(), node: NodeId(3), errno: libc::EPERM }, "not permitted"),
            (Degraded::MemlockTooSmall { needed_bytes: 77, limit_bytes: 66 }, "66 of 77"),
            (Degraded::TopologyUnknown { reason: "hwloc: lost".into() }, "hwloc: lost"),
        ] {
            let text = degraded.to_string();
            assert!(text.contains(what) && text.contains("Fix: "), "{text}");
        }
    }

    #[test]
    fn memlock_is_enough_for_nothing_and_for_root() {
        assert_eq!(Degraded::of_memlock(0), None);
        // SAFETY: takes nothing.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(!root || Degraded::of_memlock(usize::MAX).is_none());
    }
}
