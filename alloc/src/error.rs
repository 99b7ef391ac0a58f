//! The crate's one error type.

/// What can go wrong in this crate. Codes are stable: `DL-0101` to `DL-0199`.
///
/// Nothing here is fatal: exhaustion is for the caller to answer by waiting, by freeing or by refusing work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// The pool's limit leaves no room for the request now; it may once buffers are dropped.
    #[error(
        "buffer pool '{pool}' is exhausted: asked for {asked} bytes with {in_use} of {limit} bytes in use; \
         drop batches that hold its buffers, or raise the pool's limit"
    )]
    Exhausted {
        /// Name of the pool.
        pool: String,
        /// Bytes asked for.
        asked: usize,
        /// Bytes held by live buffers.
        in_use: usize,
        /// The pool's limit in bytes.
        limit: usize,
    },
    /// The request is larger than the whole pool: waiting can't help.
    #[error(
        "a buffer of {asked} bytes can never fit into buffer pool '{pool}' of {limit} bytes; raise the pool's limit \
         or ask for smaller pieces"
    )]
    TooLarge {
        /// Name of the pool.
        pool: String,
        /// Bytes asked for.
        asked: usize,
        /// The pool's limit in bytes.
        limit: usize,
    },
    /// The kernel refused to map memory.
    #[error(
        "mapping {bytes} bytes for buffer pool '{pool}' failed: {}; check `ulimit -v`, vm.overcommit_memory and \
         vm.max_map_count",
        std::io::Error::from_raw_os_error(*errno)
    )]
    Map {
        /// Name of the pool.
        pool: String,
        /// Bytes that were to be mapped.
        bytes: usize,
        /// The kernel's error number.
        errno: i32,
    },
    /// A pool was asked for with options that contradict each other.
    #[error("buffer pool '{pool}' can't be made: {reason}")]
    InvalidPool {
        /// Name of the pool.
        pool: String,
        /// What is wrong with the options, and what would be right.
        reason: String,
    },
    /// A memory budget leaves no room now, or others wait for the room it has.
    #[error(
        "memory budget '{budget}' is used up: asked for {asked} bytes with {used} of {limit} bytes reserved; wait for \
         others to finish, run fewer queries at once, or raise the limit"
    )]
    BudgetExceeded {
        /// The budget that has no room: the one asked, or one above it.
        budget: String,
        /// Bytes asked for.
        asked: usize,
        /// Bytes reserved from that budget.
        used: usize,
        /// That budget's limit in bytes.
        limit: usize,
    },
    /// The request is larger than a whole budget: waiting can't help.
    #[error(
        "{asked} bytes can never be reserved from memory budget '{budget}' of {limit} bytes; raise its limit or work \
         in smaller pieces"
    )]
    BudgetTooSmall {
        /// The budget that is too small: the one asked, or one above it.
        budget: String,
        /// Bytes asked for.
        asked: usize,
        /// That budget's limit in bytes.
        limit: usize,
    },
    /// Memory was waited for in vain.
    #[error(
        "no {asked} bytes of memory budget '{budget}' became free within {waited:?}, with {used} of {limit} bytes \
         reserved; look for a consumer that holds on to its batches, or raise the limit"
    )]
    BudgetTimeout {
        /// The budget asked.
        budget: String,
        /// Bytes asked for.
        asked: usize,
        /// Bytes reserved from that budget at the end.
        used: usize,
        /// That budget's limit in bytes.
        limit: usize,
        /// How long was waited.
        waited: std::time::Duration,
    },
    /// A description of a machine can't be read.
    #[error("the topology '{description}' can't be used: {reason}")]
    InvalidTopology {
        /// The description.
        description: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Shards can't be placed as asked.
    #[error("shards can't be placed: {reason}")]
    Placement {
        /// Why not, and what would be possible.
        reason: String,
    },
    /// The kernel refused to pin a thread.
    #[error(
        "pinning a thread to CPU {pu} failed: {}; check that it is online and within the process's cpuset",
        std::io::Error::from_raw_os_error(*errno)
    )]
    Pin {
        /// The hardware thread, by the kernel's CPU number.
        pu: u32,
        /// The kernel's error number.
        errno: i32,
    },
}

impl AllocError {
    /// The stable code of this error, such as `DL-0101`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "DL-0101",
            Self::TooLarge { .. } => "DL-0102",
            Self::Map { .. } => "DL-0103",
            Self::InvalidPool { .. } => "DL-0104",
            Self::BudgetExceeded { .. } => "DL-0110",
            Self::BudgetTooSmall { .. } => "DL-0111",
            Self::BudgetTimeout { .. } => "DL-0112",
            Self::InvalidTopology { .. } => "DL-0120",
            Self::Placement { .. } => "DL-0121",
            Self::Pin { .. } => "DL-0122",
        }
    }
}
