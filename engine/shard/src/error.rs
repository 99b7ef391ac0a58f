//! What can go wrong on a shard.

use std::time::Duration;

use deltalite_alloc::AllocError;
use deltalite_format::FormatError;

use crate::device::DeviceError;

/// Errors of this crate. Codes DL-0301 to DL-0319 are [`DeviceError`]'s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// A file could not be opened, read or written.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Memory was refused.
    #[error(transparent)]
    Memory(#[from] AllocError),
    /// A file's bytes are not what they should be, or what was asked of them can't be had.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A bounded stage is full. Nothing was done; try again later.
    #[error("{stage} is full; try again in {} ms, or start fewer scans at a time", retry_after.as_millis())]
    Busy {
        /// Which stage.
        stage: &'static str,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// A task on a shard panicked; the shard goes on.
    #[error(
        "a task on shard {shard} panicked: {message}; this is a bug in DeltaLite, please report it with the message"
    )]
    TaskPanicked {
        /// Which shard.
        shard: u32,
        /// What the panic said.
        message: String,
    },
    /// A task was cancelled: its handle was dropped or the shards were stopped.
    #[error("the task was cancelled before it finished")]
    TaskCancelled,
    /// The shard has been stopped.
    #[error("shard {shard} has been stopped; start a new set of shards")]
    Stopped {
        /// Which shard.
        shard: u32,
    },
    /// An option or environment variable makes no sense.
    #[error("{option} cannot be {value:?}: {reason}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What it can be.
        reason: String,
    },
    /// A row does not fit the type it was to become.
    #[error("rows can't become the type asked for: {reason}; compare its fields with the scan's schema")]
    Record {
        /// Which field, and why.
        reason: String,
    },
    /// A shard could not be started.
    #[error("shard {shard} could not be started: {reason}")]
    Start {
        /// Which shard.
        shard: u32,
        /// What failed and what to do.
        reason: String,
    },
}

impl ShardError {
    /// The stable code of this error, for `explain-error` and for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            ShardError::Device(error) => error.code(),
            ShardError::Memory(error) => error.code(),
            ShardError::Format(error) => error.code(),
            ShardError::Busy { .. } => "DL-0320",
            ShardError::TaskPanicked { .. } => "DL-0321",
            ShardError::TaskCancelled => "DL-0322",
            ShardError::Stopped { .. } => "DL-0323",
            ShardError::Option { .. } => "DL-0324",
            ShardError::Start { .. } => "DL-0325",
            ShardError::Record { .. } => "DL-0326",
        }
    }
}

impl From<ShardError> for std::io::Error {
    /// Keeps the kind where there is one and carries the whole error as its source.
    fn from(error: ShardError) -> Self {
        let kind = match &error {
            ShardError::Device(device) => std::io::Error::from(device.clone()).kind(),
            ShardError::Memory(_) => std::io::ErrorKind::OutOfMemory,
            ShardError::Busy { .. } => std::io::ErrorKind::WouldBlock,
            ShardError::Option { .. } => std::io::ErrorKind::InvalidInput,
            ShardError::Format(_) | ShardError::Record { .. } => std::io::ErrorKind::InvalidData,
            ShardError::TaskPanicked { .. }
            | ShardError::TaskCancelled
            | ShardError::Stopped { .. }
            | ShardError::Start { .. } => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}
