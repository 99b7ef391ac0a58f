//! What shards to start, and which kind of I/O they use.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use deltalite_alloc::{HugePages, Placement, ShardCount, ShardPlace, Topology, place};

use crate::device::{BlockDevice, DeviceError, TokenOptions, ring_available};
use crate::error::ShardError;
use crate::executor::ring_runtime;

/// Environment variable that chooses the I/O of [`IoMode::Auto`]: `auto`, `ring` or `threads`.
const IO_VARIABLE: &str = "DELTALITE_IO";
/// The smallest arena that a scan can work in, in bytes.
const ARENA_BYTES_MIN: usize = 1 << 20;

type Made = Result<Rc<dyn BlockDevice>, DeviceError>;

/// Makes a shard's device, on the shard's thread.
#[derive(Clone)]
pub struct DeviceFactory(Arc<dyn Fn(ShardPlace) -> Made + Send + Sync>);

impl DeviceFactory {
    /// A factory that calls `make` for each shard.
    pub fn new(
        make: impl Fn(ShardPlace) -> Result<Rc<dyn BlockDevice>, DeviceError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn make(&self, place: ShardPlace) -> Result<Rc<dyn BlockDevice>, DeviceError> {
        (self.0)(place)
    }
}

impl fmt::Debug for DeviceFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceFactory")
    }
}

/// How shards do their I/O.
#[derive(Clone, Debug, Default)]
pub enum IoMode {
    /// io_uring where it is allowed, plain threads otherwise; the environment variable `DELTALITE_IO` overrides it.
    #[default]
    Auto,
    /// io_uring, or an error.
    Ring,
    /// Plain threads, without any io_uring.
    Threads,
    /// Devices of the caller's making, on plain threads: a simulated disk, for tests.
    Custom(DeviceFactory),
}

/// What a [`ShardSet`](super::ShardSet) is made of.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Where the shards run; one shard a place.
    pub placement: Placement,
    /// Bytes of each shard's arena: reads in flight, cached segments and what consumers hold. It is mapped, touched
    /// and (with io_uring) registered when the shard starts.
    pub arena_bytes: usize,
    /// Bytes of the arena, per shard, that cached segments may take.
    pub cache_bytes: u64,
    /// Whether arenas ask for huge pages.
    pub huge_pages: HugePages,
    /// How they do I/O.
    pub io: IoMode,
    /// Requests a shard's device keeps in flight at most.
    pub queue_depth: u32,
    /// Worker threads of each shard's device where io_uring is not used.
    pub io_workers: usize,
    /// What all shards together may keep in flight.
    pub tokens: TokenOptions,
}

impl ShardOptions {
    /// One shard per core that this process may use.
    pub fn per_core() -> Result<Self, ShardError> {
        Ok(Self::at(place(&Topology::detect(), ShardCount::PerCore)?))
    }

    /// `shards` shards, spread over nodes and cores.
    pub fn with_shards(shards: u32) -> Result<Self, ShardError> {
        Ok(Self::at(place(&Topology::detect(), ShardCount::Exactly(shards))?))
    }

    /// Shards at given places, each with an arena of 256 MiB of which 160 MiB may be cache.
    pub fn at(placement: Placement) -> Self {
        Self {
            placement,
            arena_bytes: 256 << 20,
            cache_bytes: 160 << 20,
            huge_pages: HugePages::Try,
            io: IoMode::Auto,
            queue_depth: 128,
            io_workers: 8,
            tokens: TokenOptions::default(),
        }
    }

    /// Sets the arena's size and lets five eighths of it be cache.
    pub fn arena(mut self, bytes: usize) -> Self {
        self.arena_bytes = bytes;
        self.cache_bytes = bytes as u64 / 8 * 5;
        self
    }

    pub(super) fn check(&self) -> Result<(), ShardError> {
        let refuse = |option, value: String, reason: &str| {
            Err(ShardError::Option { option, value, reason: reason.to_owned() })
        };
        if self.placement.shards.is_empty() {
            return refuse("placement", "empty".to_owned(), "there must be at least one shard");
        }
        let in_order = self.placement.shards.iter().enumerate().all(|(i, place)| place.shard as usize == i);
        if !in_order {
            return refuse(
                "placement",
                format!("{:?}", self.placement),
                "shards are numbered from 0 on, in order",
            );
        }
        if self.arena_bytes < ARENA_BYTES_MIN {
            return refuse("arena_bytes", self.arena_bytes.to_string(), "a scan needs 1 MiB or more");
        }
        if self.queue_depth == 0 || self.queue_depth > 4096 {
            return refuse("queue_depth", self.queue_depth.to_string(), "1 to 4096 are possible");
        }
        if self.io_workers == 0 {
            return refuse("io_workers", "0".to_owned(), "at least one worker has to read");
        }
        Ok(())
    }

    /// The mode to use, never `Auto`, and why it is not the ring where the ring was refused.
    pub(super) fn resolve_io(&self) -> Result<(IoMode, Option<String>), ShardError> {
        let mode = match &self.io {
            IoMode::Auto => io_mode()?,
            chosen => chosen.clone(),
        };
        match mode {
            IoMode::Auto => match ring_usable() {
                Ok(()) => Ok((IoMode::Ring, None)),
                Err(error) => Ok((IoMode::Threads, Some(error.to_string()))),
            },
            IoMode::Ring => ring_usable().map(|()| (IoMode::Ring, None)),
            other => Ok((other, None)),
        }
    }
}

/// Whether both our ring and the executor's rings can be made here.
fn ring_usable() -> Result<(), ShardError> {
    ring_available()?;
    ring_runtime::usable()
}

/// What the environment variable `DELTALITE_IO` asks for.
pub(crate) fn io_mode() -> Result<IoMode, ShardError> {
    from_environment(std::env::var(IO_VARIABLE).ok().as_deref())
}

pub(super) fn from_environment(value: Option<&str>) -> Result<IoMode, ShardError> {
    match value {
        None | Some("" | "auto") => Ok(IoMode::Auto),
        Some("ring" | "io_uring") => Ok(IoMode::Ring),
        Some("threads") => Ok(IoMode::Threads),
        Some(other) => Err(ShardError::Option {
            option: IO_VARIABLE,
            value: other.to_owned(),
            reason: "it can be auto, ring or threads".to_owned(),
        }),
    }
}
