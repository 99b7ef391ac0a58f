//! Which shard runs where.

use std::collections::BTreeMap;

use crate::{AllocError, CoreId, NodeId, Topology};

/// More shards than the largest machines have hardware threads.
pub const SHARDS_MAX: u32 = 4096;

/// How many shards to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardCount {
    /// One on each core that may be used, or fewer where a CPU quota allows fewer threads.
    PerCore,
    /// So many, sharing cores when there are more shards than cores.
    Exactly(u32),
}

/// Where one shard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPlace {
    /// The shard, counted from 0.
    pub shard: u32,
    /// The core it runs on.
    pub core: CoreId,
    /// The hardware thread to pin it to, by the kernel's CPU number.
    pub pu: u32,
    /// The node to take its memory from.
    pub node: NodeId,
}

/// Where all shards run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// One place a shard, in the order of their numbers.
    pub shards: Vec<ShardPlace>,
}

impl Placement {
    /// Whether some hardware thread has more than one shard: they take turns then.
    pub fn is_oversubscribed(&self) -> bool {
        let mut pus: Vec<u32> = self.shards.iter().map(|place| place.pu).collect();
        pus.sort_unstable();
        pus.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Places shards on the cores that this process may use.
///
/// Nodes take turns, so that the shards share all memory channels; within a node level-3 caches take turns. A
/// core gets a second shard only when every core has one, on another hardware thread as long as it has one; a
/// hardware thread gets a second shard only when every one has one.
///
/// ```
/// # #[cfg(feature = "topology")] {
/// use deltalite_alloc::{ShardCount, Topology, place};
///
/// let placement = place(&Topology::synthetic("numa:2 core:4 pu:1")?, ShardCount::Exactly(4))?;
/// let nodes: Vec<u32> = placement.shards.iter().map(|place| place.node.0).collect();
/// assert_eq!(nodes, [0, 1, 0, 1]);
/// # }
/// # Ok::<(), deltalite_alloc::AllocError>(())
/// ```
pub fn place(topology: &Topology, shards: ShardCount) -> Result<Placement, AllocError> {
    let refused = |reason: String| AllocError::Placement { reason };
    let order = spread(topology);
    if order.is_empty() {
        return Err(refused("no core may be used; check taskset and the cgroup's cpuset".to_owned()));
    }
    let count = match shards {
        ShardCount::PerCore => (order.len().min(topology.parallelism()) as u32).min(SHARDS_MAX),
        ShardCount::Exactly(count) => count,
    };
    if count == 0 || count > SHARDS_MAX {
        return Err(refused(format!("{count} shards were asked for; 1 to {SHARDS_MAX} are possible")));
    }
    let threads_most = order.iter().map(|(_, pus)| pus.len()).max().unwrap_or(0);
    // First every core's first hardware thread, then the second of those that have one, and so on; then
    // again.
    let once: Vec<(CoreId, NodeId, u32)> = (0..threads_most)
        .flat_map(|turn| {
            order.iter().filter_map(move |((core, node), pus)| pus.get(turn).map(|pu| (*core, *node, *pu)))
        })
        .collect();
    let shards = (0..count)
        .zip(once.into_iter().cycle())
        .map(|(shard, (core, node, pu))| ShardPlace { shard, core, pu, node })
        .collect();
    Ok(Placement { shards })
}

/// The usable cores with their usable hardware threads, in the order in which they get their first shard.
fn spread(topology: &Topology) -> Vec<((CoreId, NodeId), Vec<u32>)> {
    let mut nodes: BTreeMap<NodeId, BTreeMap<Option<usize>, Vec<CoreId>>> = BTreeMap::new();
    for core in &topology.cores {
        if core.pus.iter().any(|pu| topology.allowed().contains(pu)) {
            nodes.entry(core.node).or_default().entry(core.l3).or_default().push(core.id);
        }
    }
    let by_node: Vec<Vec<CoreId>> =
        nodes.into_values().map(|caches| take_turns(&caches.into_values().collect::<Vec<_>>())).collect();
    take_turns(&by_node)
        .into_iter()
        .map(|id| {
            let core = &topology.cores[id.0 as usize];
            let pus = core.pus.iter().copied().filter(|pu| topology.allowed().contains(pu)).collect();
            ((core.id, core.node), pus)
        })
        .collect()
}

/// The first of each group, then the second of each, and so on.
fn take_turns(groups: &[Vec<CoreId>]) -> Vec<CoreId> {
    let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|turn| groups.iter().filter_map(move |group| group.get(turn).copied())).collect()
}
