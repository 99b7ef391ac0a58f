//! The machine: cores, NUMA nodes and caches.
//!
//! - here: [`Topology`], what it is made of, and how the first source that answers is found
//! - `hwloc`: what libhwloc says, of this machine or of a made-up one (feature `topology`)
//! - `sysfs`: what the kernel says, where libhwloc is missing
//! - `affinity`: which hardware threads this process may use, and pinning to one

mod affinity;
#[cfg(feature = "topology")]
mod hwloc;
mod sysfs;

use std::collections::{BTreeMap, BTreeSet};

pub use affinity::pin_current_thread;

use crate::Degraded;

/// A NUMA node, by the kernel's number (`/sys/devices/system/node/nodeN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A physical core, by its place in [`Topology::cores`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u32);

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumaNode {
    /// The kernel's number.
    pub id: NodeId,
    /// Its memory in bytes; 0 where unknown.
    pub memory_bytes: u64,
    /// The cores next to it.
    pub cores: Vec<CoreId>,
}

/// A physical core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Its place in [`Topology::cores`].
    pub id: CoreId,
    /// The node whose memory is nearest.
    pub node: NodeId,
    /// The processor package (socket).
    pub package: u32,
    /// Its hardware threads, by the kernel's CPU number.
    pub pus: Vec<u32>,
    /// Size of its level-2 cache in bytes, which other cores may share; 0 where unknown.
    pub l2_bytes: u64,
    /// Its level-3 cache, by its place in [`Topology::l3_caches`].
    pub l3: Option<usize>,
}

/// A level-3 cache and the cores that share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// Size in bytes; 0 where unknown.
    pub bytes: u64,
    /// The cores that share it.
    pub cores: Vec<CoreId>,
}

/// Where a topology comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologySource {
    /// libhwloc, looking at this machine.
    Hwloc,
    /// libhwloc, from a description: [`Topology::synthetic`], or the environment's `HWLOC_SYNTHETIC` or
    /// `HWLOC_XMLFILE`.
    Described,
    /// `/sys/devices/system`.
    Sysfs,
    /// Nothing answered: one node, and a core for each hardware thread that may be used.
    Assumed,
}

/// Cores, nodes and caches of a machine, and which of its hardware threads this process may use.
///
/// ```
/// use deltalite_alloc::Topology;
///
/// let topology = Topology::detect();
/// assert!(!topology.nodes.is_empty() && !topology.allowed().is_empty());
/// println!("{topology}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Where this comes from.
    pub source: TopologySource,
    /// The nodes, by number.
    pub nodes: Vec<NumaNode>,
    /// The cores, by node, level-3 cache and first hardware thread.
    pub cores: Vec<Core>,
    /// The level-3 caches.
    pub l3_caches: Vec<SharedCache>,
    /// What could not be found out.
    pub degraded: Vec<Degraded>,
    allowed: BTreeSet<u32>,
    /// How many threads the process may run at once, if a CPU quota allows fewer than `allowed`.
    quota: Option<usize>,
}

/// A core as a source describes it, before cores and caches are numbered.
struct RawCore {
    node: NodeId,
    package: u32,
    pus: Vec<u32>,
    l2_bytes: u64,
    /// The lowest hardware thread of its level-3 cache, and the cache's size in bytes.
    l3: Option<(u32, u64)>,
}

/// What a source knows.
struct RawTopology {
    cores: Vec<RawCore>,
    /// Memory in bytes by node.
    memory_bytes: BTreeMap<NodeId, u64>,
}

impl Topology {
    /// This machine's: from libhwloc, else from sysfs, else assumed. Takes milliseconds; ask once.
    pub fn detect() -> Topology {
        let (source, raw, reason) = Self::read();
        let described = source == TopologySource::Described;
        let mut topology = Self::assemble(source, raw);
        if !described {
            let allowed = affinity::allowed();
            topology.allowed.retain(|pu| allowed.contains(pu));
            topology.quota = std::thread::available_parallelism()
                .ok()
                .map(usize::from)
                .filter(|n| *n < topology.allowed.len());
        }
        if topology.allowed.is_empty() {
            topology = Self::assemble(TopologySource::Assumed, Self::assumed());
        }
        if topology.source == TopologySource::Assumed {
            topology.degraded.push(Degraded::TopologyUnknown { reason });
        }
        topology
    }

    /// A made-up machine, in hwloc's words: `numa:2 core:4 pu:1` has two nodes of four cores of one hardware
    /// thread each.
    ///
    /// ```
    /// # #[cfg(feature = "topology")] {
    /// use deltalite_alloc::Topology;
    ///
    /// let topology = Topology::synthetic("numa:2 l3:2 core:4 pu:2")?;
    /// assert_eq!((topology.nodes.len(), topology.cores.len()), (2, 16));
    /// assert_eq!(topology.cores[0].pus, [0, 1]);
    /// # }
    /// # Ok::<(), deltalite_alloc::AllocError>(())
    /// ```
    #[cfg(feature = "topology")]
    pub fn synthetic(description: &str) -> Result<Topology, crate::AllocError> {
        let raw = hwloc::describe(description).map_err(|reason| crate::AllocError::InvalidTopology {
            description: description.to_owned(),
            reason,
        })?;
        Ok(Self::assemble(TopologySource::Described, raw))
    }

    /// The hardware threads that this process may use, by the kernel's CPU number: those of the machine that
    /// neither `sched_setaffinity` nor a cpuset withholds.
    pub fn allowed(&self) -> &BTreeSet<u32> {
        &self.allowed
    }

    /// The same machine, of which only `pus` (and those allowed before) may be used.
    pub fn restricted_to(mut self, pus: impl IntoIterator<Item = u32>) -> Topology {
        let pus: BTreeSet<u32> = pus.into_iter().collect();
        self.allowed.retain(|pu| pus.contains(pu));
        self.quota = self.quota.filter(|quota| *quota < self.allowed.len());
        self
    }

    /// How many threads can run at once: the hardware threads allowed, or the cgroup's CPU quota if that is
    /// less.
    pub fn parallelism(&self) -> usize {
        self.quota.unwrap_or(self.allowed.len())
    }

    /// The core that a hardware thread belongs to.
    pub fn core_of(&self, pu: u32) -> Option<&Core> {
        self.cores.iter().find(|core| core.pus.contains(&pu))
    }

    /// The first source that answers, and why those before it did not.
    fn read() -> (TopologySource, RawTopology, String) {
        let mut reasons = Vec::new();
        #[cfg(feature = "topology")]
        match hwloc::detect() {
            Ok((raw, true)) => return (TopologySource::Hwloc, raw, String::new()),
            Ok((raw, false)) => return (TopologySource::Described, raw, String::new()),
            Err(reason) => reasons.push(format!("hwloc: {reason}")),
        }
        match sysfs::read(std::path::Path::new("/sys/devices/system")) {
            Ok(raw) => return (TopologySource::Sysfs, raw, reasons.join("; ")),
            Err(reason) => reasons.push(format!("sysfs: {reason}")),
        }
        (TopologySource::Assumed, Self::assumed(), reasons.join("; "))
    }

    fn assumed() -> RawTopology {
        let node = NodeId(0);
        let core = |pu| RawCore { node, package: 0, pus: vec![pu], l2_bytes: 0, l3: None };
        RawTopology {
            cores: affinity::allowed().into_iter().map(core).collect(),
            memory_bytes: BTreeMap::from([(node, crate::machine::memory_bytes() as u64)]),
        }
    }

    /// Numbers cores and caches so that neighbours stand together.
    fn assemble(source: TopologySource, mut raw: RawTopology) -> Topology {
        for core in &mut raw.cores {
            core.pus.sort_unstable();
        }
        raw.cores.retain(|core| !core.pus.is_empty());
        raw.cores.sort_by_key(|core| (core.node, core.l3.map(|l3| l3.0), core.pus[0]));
        let mut nodes: BTreeMap<NodeId, NumaNode> = raw
            .memory_bytes
            .iter()
            .map(|(&id, &memory_bytes)| (id, NumaNode { id, memory_bytes, cores: Vec::new() }))
            .collect();
        let mut l3_caches: Vec<SharedCache> = Vec::new();
        let mut l3_places: BTreeMap<u32, usize> = BTreeMap::new();
        let mut cores = Vec::with_capacity(raw.cores.len());
        for (place, core) in raw.cores.into_iter().enumerate() {
            let id = CoreId(place as u32);
            nodes
                .entry(core.node)
                .or_insert_with(|| NumaNode { id: core.node, memory_bytes: 0, cores: Vec::new() })
                .cores
                .push(id);
            let l3 = core.l3.map(|(key, bytes)| {
                let place = *l3_places.entry(key).or_insert_with(|| {
                    l3_caches.push(SharedCache { bytes, cores: Vec::new() });
                    l3_caches.len() - 1
                });
                l3_caches[place].cores.push(id);
                place
            });
            let RawCore { node, package, pus, l2_bytes, .. } = core;
            cores.push(Core { id, node, package, pus, l2_bytes, l3 });
        }
        let allowed = cores.iter().flat_map(|core| core.pus.iter().copied()).collect();
        Topology {
            source,
            nodes: nodes.into_values().collect(),
            cores,
            l3_caches,
            degraded: Vec::new(),
            allowed,
            quota: None,
        }
    }
}

impl std::fmt::Display for Topology {
    /// One line for people: `2 nodes, 16 cores, 32 threads (8 usable), L2 1 MiB, L3 2 × 32 MiB`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let threads: usize = self.cores.iter().map(|core| core.pus.len()).sum();
        write!(
            f,
            "{}, {}, {}",
            plural(self.nodes.len(), "node"),
            plural(self.cores.len(), "core"),
            plural(threads, "thread")
        )?;
        if self.parallelism() < threads {
            write!(f, " ({} usable)", self.parallelism())?;
        }
        if let Some(core) = self.cores.first().filter(|core| core.l2_bytes > 0) {
            write!(f, ", L2 {} KiB", core.l2_bytes >> 10)?;
        }
        if let Some(l3) = self.l3_caches.first().filter(|l3| l3.bytes > 0) {
            write!(f, ", L3 {} × {} MiB", self.l3_caches.len(), l3.bytes >> 20)?;
        }
        Ok(())
    }
}
