//! NUMA topology, aligned buffer pools and memory budgets for DeltaLite.
//!
//! - [`BufferPool`] (`pool/`) hands out [`PoolBuffer`]s (`buffer`): filled by one owner, then shared as
//!   [`SharedBuffer`]s or Arrow buffers without a copy, and back in their pool when the last reader drops
//!   them
//! - `mapping`: memory from the kernel, with huge pages and NUMA binding where there are any
//! - [`MemoryBudget`] (`budget/`): limits on memory, in a tree, that can be asked, waited for and observed
//! - [`Topology`] (`topology/`): the machine's cores, NUMA nodes and caches
//! - [`place`] (`placement`): which shard runs on which core
//! - [`Machine`] (`machine`): what machine this is, and how much memory there is
//! - [`Degraded`] (`degraded`): what works worse than it could, and how to fix it
//! - [`AllocError`] (`error`): what can go wrong

mod budget;
mod buffer;
mod degraded;
mod error;
mod machine;
mod mapping;
mod placement;
mod pool;
mod topology;

pub use budget::{BudgetSnapshot, MemoryBudget, Reservation, Reserve};
pub use buffer::{PoolBuffer, SharedBuffer};
pub use degraded::Degraded;
pub use error::AllocError;
pub use machine::{Machine, memory_bytes};
pub use placement::{Placement, SHARDS_MAX, ShardCount, ShardPlace, place};
pub use pool::{BufferPool, HugePages, PoolOptions, PoolShape, PoolStats};
pub use topology::{
    Core, CoreId, NodeId, NumaNode, SharedCache, Topology, TopologySource, pin_current_thread,
};

/// Alignment of buffers in bytes: what O_DIRECT asks of the common disks, and a page.
pub const ALIGNMENT: usize = 4096;

/// Alignment of the small buffers (below 4 KiB) of a growing pool in bytes: a cache line, and what Arrow
/// recommends.
pub const MIN_ALIGNMENT: usize = 64;
