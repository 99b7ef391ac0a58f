//! Block devices: every read and write of a data file goes through a [`BlockDevice`].
//!
//! | module | job |
//! |---|---|
//! | `core` | what all devices share: operations and who owns their buffers, class queues, tokens, splitting, retries |
//! | `backend` | the narrow interface below the core: issue a raw request, reap raw answers |
//! | `ring` | io_uring: registered arena, fixed files, one `enter` per tick ([`RingDevice`]) |
//! | `threads` | plain threads with `pread`/`pwrite`, for machines that forbid io_uring ([`ThreadDevice`]) |
//! | `sim`, `sim_disk` | an in-memory disk with seeded faults, virtual time and crashes ([`SimDevice`]) |
//! | `os` | opening, identity, renaming: what ring and threads ask of the operating system directly |
//! | `transfer` | one transfer as a pure state machine: retries, partial answers, early ends |
//! | `tokens` | the bound on what all shards keep in flight, and how background yields to foreground |
//! | `file`, `future`, `error` | open files and identities; the two ends of an operation; errors |
//! | `ceiling` | a bare io_uring loop, the yardstick of benchmarks |
//!
//! Buffers are passed by ownership, so a buffer's state is its owner: the pool (free), the caller (reserved), the
//! device (in the kernel), the caller again (filled), Arrow (leased).

mod backend;
mod ceiling;
mod core;
mod error;
mod file;
mod future;
mod os;
mod ring;
mod ring_enter;
pub(crate) mod rng;
mod sim;
mod sim_disk;
#[cfg(test)]
mod suite;
mod threads;
mod tokens;
mod transfer;

use std::future::Future;
use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deltalite_alloc::{PoolBuffer, SharedBuffer};

pub use ceiling::{RawLoopReport, raw_loop};
pub use error::{DeviceError, Errno, IoOp};
pub use file::{ByteRange, DeviceFile, FileId, OpenMode};
pub use future::IoFuture;
pub(crate) use os::id_of;
pub(crate) use ring::RingBell;
pub use ring::{RingDevice, RingOptions, ring_available};
pub use sim::{SimDevice, SimFaults, SimInjected};
pub use sim_disk::SimDisk;
pub use threads::{ThreadDevice, ThreadOptions};
pub use tokens::{DeviceTokens, IoClass, TokenOptions};

/// Offsets and lengths of reads and of direct writes are multiples of this many bytes.
pub const BLOCK_ALIGNMENT: u64 = deltalite_alloc::ALIGNMENT as u64;

/// Which implementation a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// io_uring.
    Ring,
    /// Plain threads.
    Threads,
    /// Simulated.
    Sim,
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DeviceKind::Ring => "io_uring",
            DeviceKind::Threads => "threads",
            DeviceKind::Sim => "simulated",
        })
    }
}

/// What a device cannot do as well as it should on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceDegraded {
    /// Only a part of the arena, or none of it, could be registered with the ring.
    ArenaNotRegistered {
        /// Bytes that are registered.
        registered: u64,
        /// Bytes of the arena.
        arena: u64,
    },
    /// The ring has no fixed files: each request looks its file up.
    NoFixedFiles,
    /// The kernel lacks single-issuer rings with deferred task work (Linux 6.1).
    OldRing,
    /// Some files are read through the kernel's page cache: their file system refuses O_DIRECT.
    Buffered {
        /// A file of which it is true.
        example: std::path::PathBuf,
    },
}

impl std::fmt::Display for DeviceDegraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceDegraded::ArenaNotRegistered { registered, arena } => write!(
                f,
                "{registered} of {arena} arena bytes are registered with the ring, the rest costs a page walk per \
                 read; raise the locked-memory limit (ulimit -l, LimitMEMLOCK=) above {arena} bytes"
            ),
            DeviceDegraded::NoFixedFiles => {
                f.write_str("the ring has no fixed files, each request looks its file up; raise ulimit -n")
            }
            DeviceDegraded::OldRing => f.write_str(
                "this kernel has no deferred task work (Linux 6.1): completions interrupt the shard",
            ),
            DeviceDegraded::Buffered { example } => write!(
                f,
                "{} is read through the page cache, its file system refuses O_DIRECT; keep data on ext4, XFS or NVMe",
                example.display()
            ),
        }
    }
}

/// What a device has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLoad {
    /// Operations the device owns, queued ones included.
    pub operations: usize,
    /// Requests the medium has.
    pub in_flight: usize,
}

/// Counters of one device since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStats {
    /// Which implementation it is.
    pub kind: DeviceKind,
    /// Requests issued to the medium, retries and continuations included.
    pub issued: u64,
    /// Read operations completed.
    pub reads: u64,
    /// Bytes that completed reads delivered.
    pub bytes_read: u64,
    /// Write operations completed.
    pub writes: u64,
    /// Bytes that completed writes took.
    pub bytes_written: u64,
    /// Syncs completed.
    pub syncs: u64,
    /// Operations that ended in an error.
    pub failed: u64,
    /// Requests issued again after EAGAIN, EINTR or a partial answer, or for their next part while foreground reads are about.
    pub retries: u64,
    /// Operations dropped while still queued, because nobody waited any more.
    pub cancelled: u64,
    /// System calls made to submit or reap (ring only).
    pub enters: u64,
    /// Requests that used registered memory (ring only).
    pub fixed: u64,
    /// Operations the device owns now, queued ones included.
    pub operations: usize,
    /// Requests the medium has now.
    pub in_flight: usize,
    /// The most requests the medium had at once.
    pub depth_max: usize,
    /// Sum over all issued requests of the depth they met, for a mean depth of `depth_sum / issued`.
    pub depth_sum: u64,
    /// What this machine or file system withholds.
    pub degraded: Vec<DeviceDegraded>,
}

/// What [`BlockDevice::read_then`] calls with what was read.
pub type ReadDone = Box<dyn FnOnce(Result<PoolBuffer, DeviceError>)>;

/// A block device of one thread.
///
/// Operations start when they are called, not when they are polled: they are queued by class and issued by the next
/// [`poll`](Self::poll) or [`wait`](Self::wait), many in one system call. An executor calls `poll` once per tick;
/// plain threads use [`block_on`].
pub trait BlockDevice {
    /// Opens a file, bypassing the kernel's page cache where its file system allows that.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<DeviceFile, DeviceError>;

    /// Reads `range` into the start of `buf`.
    ///
    /// Offset and length must be multiples of [`BLOCK_ALIGNMENT`], and the length must fit the buffer. The buffer
    /// comes back with its length set to the bytes that the file has there (which is less only at its end). A read that finds
    /// fewer bytes than the file had when it was opened is an error, never a short buffer.
    fn read(
        &self,
        file: &DeviceFile,
        range: ByteRange,
        buf: PoolBuffer,
        class: IoClass,
    ) -> IoFuture<PoolBuffer>;

    /// Like [`read`](Self::read), for whoever needs no future: `done` is called on this thread with the outcome, by the
    /// [`poll`](Self::poll) or [`wait`](Self::wait) that learns of it. It may use the device. A device that is dropped first
    /// drops `done` uncalled.
    fn read_then(&self, file: &DeviceFile, range: ByteRange, buf: PoolBuffer, class: IoClass, done: ReadDone);

    /// Writes all of `buf` at `offset` and resolves to the number of bytes. On a direct file offset, length and
    /// memory must be aligned to [`BLOCK_ALIGNMENT`].
    fn write(&self, file: &DeviceFile, offset: u64, buf: SharedBuffer, class: IoClass) -> IoFuture<usize>;

    /// Makes what was written (by completed writes) and the file's length durable.
    fn sync(&self, file: &DeviceFile) -> IoFuture<()>;

    /// Issues what is queued and delivers what is complete, without blocking. Returns the operations completed.
    fn poll(&self) -> usize;

    /// Like [`poll`](Self::poll), but blocks until at least one request is answered or `timeout` is over. Returns at
    /// once where nothing is in flight.
    fn wait(&self, timeout: Option<Duration>) -> Result<usize, DeviceError>;

    /// What the device has to do: the cheap part of [`stats`](Self::stats).
    fn load(&self) -> DeviceLoad;

    /// Counters.
    fn stats(&self) -> DeviceStats;

    /// Checks that `file` still has the contents it was opened with; `offset` is where the reader is, for the error.
    fn check_contents(&self, file: &DeviceFile, offset: u64) -> Result<(), DeviceError>;

    /// As [`check_contents`](Self::check_contents), and that its name still leads to it.
    fn check_unchanged(&self, file: &DeviceFile, offset: u64) -> Result<(), DeviceError>;

    /// Sets a file's length. Blocks.
    fn set_len(&self, file: &DeviceFile, len: u64) -> Result<(), DeviceError>;

    /// Gives a file being written `len` bytes of disk without changing its length, so that writing cannot run out
    /// of space midway and extents are contiguous. Does nothing where the file system cannot. Blocks.
    fn reserve(&self, file: &DeviceFile, offset: u64, len: u64) -> Result<(), DeviceError>;

    /// Renames a file, replacing `to`. Durable once the folder is synced. Blocks.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DeviceError>;

    /// Removes a file. Blocks.
    fn remove(&self, path: &Path) -> Result<(), DeviceError>;

    /// Makes a folder's entries durable. Blocks.
    fn sync_folder(&self, folder: &Path) -> Result<(), DeviceError>;

    /// Installs what is called when an operation is queued while none was waiting to be issued: how an executor
    /// learns that [`poll`](Self::poll) has something to do.
    fn on_queued(&self, notify: Box<dyn Fn()>);
}

/// Drives `device` on this thread until `future` is complete: for plain threads without an executor.
///
/// The future may only wait for operations of this device.
pub fn block_on<F: Future>(device: &dyn BlockDevice, future: F) -> Result<F::Output, DeviceError> {
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        device.wait(None)?;
    }
}
