//! The io_uring medium: one ring per thread, registered arena, fixed files, one system call per tick.
//!
//! The ring is made on the thread that uses it (single issuer) and completions are run by that thread's own `enter`
//! (deferred task work), so no interrupt disturbs a decode loop. Memory of the registered arena needs no page walk
//! per request, fixed files need no reference count per request.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use deltalite_alloc::BufferPool;
use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::backend::{Answer, Backend, RawKind, RawOp};
use super::core::Device;
use super::error::{DeviceError, Errno};
use super::file::{DeviceFile, FileInner, FixedSlot, Handle, OpenMode};
use super::ring_enter::RingEntry;
use super::tokens::DeviceTokens;
use super::{DeviceDegraded, DeviceKind, os};

/// A registered buffer may have at most this many bytes, so larger arenas are registered in pieces.
const REGISTERED_PIECE: usize = 1 << 30;

/// The smallest part of an arena worth registering.
const REGISTERED_MIN: usize = 4 << 20;

/// How long a wait for several answers goes on after the first.
const LINGER: Duration = Duration::from_micros(300);

/// The number of the request that waits for the bell; operations are counted from 0 and never get here.
const BELL: u64 = u64::MAX;

/// Ends a wait of a ring from another thread.
#[derive(Clone, Debug)]
pub(crate) struct RingBell(Arc<OwnedFd>);

impl RingBell {
    fn new() -> Result<Self, Errno> {
        // SAFETY: a plain system call; the descriptor is checked and then owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Ends the wait that the ring is in, or the next one.
    pub(crate) fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes of a live integer. It can fail only where the count is full, and then the bell rings anyway.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    fn silence(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes of a live integer. Where the bell has not rung, it answers EAGAIN.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

/// How to set a ring up.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Requests in the ring at most. Keep it below the disk's `nr_requests`, beyond which submitting blocks.
    pub depth: u32,
    /// Slots in the table of fixed files; files opened beyond them are used by descriptor.
    pub fixed_files: u32,
    /// The pool whose memory is registered; one that is not an arena is not registered.
    pub arena: Option<BufferPool>,
    /// What all devices of the process share.
    pub tokens: DeviceTokens,
}

impl RingOptions {
    /// A ring of 128 requests and 256 fixed files without an arena.
    pub fn new(tokens: DeviceTokens) -> Self {
        Self { depth: 128, fixed_files: 256, arena: None, tokens }
    }
}

/// Block I/O through a ring of its own. Stays on the thread that makes it.
pub type RingDevice = Device<RingBackend>;

impl RingDevice {
    /// What ends a [`wait`](super::BlockDevice::wait) from another thread. Without, waits take no notice of others.
    pub(crate) fn bell(&self) -> Result<RingBell, DeviceError> {
        self.with_backend(|backend| match &backend.bell {
            Some(bell) => Ok(bell.clone()),
            None => {
                let bell = RingBell::new().map_err(|errno| DeviceError::Unavailable {
                    device: "io_uring",
                    step: "eventfd",
                    errno,
                })?;
                Ok(backend.bell.insert(bell).clone())
            }
        })
    }

    /// Makes the ring on the calling thread.
    pub fn new(options: &RingOptions) -> Result<Self, DeviceError> {
        let backend = RingBackend::new(options)?;
        let depth = options.depth.min(backend.ring.params().sq_entries()) as usize;
        Ok(Device::over(backend, options.tokens.clone(), depth))
    }
}

/// Whether this process may use io_uring and the kernel has the operations that reading and writing need.
pub fn ring_available() -> Result<(), DeviceError> {
    let unavailable = |step, errno| DeviceError::Unavailable { device: "io_uring", step, errno };
    let ring = IoUring::new(4).map_err(|e| unavailable("io_uring_setup", Errno::of(&e)))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|e| unavailable("probe", Errno::of(&e)))?;
    let needed = [
        opcode::Read::CODE,
        opcode::ReadFixed::CODE,
        opcode::Write::CODE,
        opcode::WriteFixed::CODE,
        opcode::Fsync::CODE,
    ];
    if needed.iter().all(|&code| probe.is_supported(code)) {
        Ok(())
    } else {
        Err(unavailable("probe of operations", Errno(libc::EOPNOTSUPP)))
    }
}

struct Arena {
    base: usize,
    /// Bytes from `base` on that are registered.
    registered: usize,
    len: usize,
    /// Keeps the mapping alive as long as the kernel may use it.
    _pool: BufferPool,
}

impl Arena {
    /// Index of the registered piece that holds the whole stretch.
    fn index_of(&self, ptr: usize, len: usize) -> Option<u16> {
        let start = ptr.checked_sub(self.base)?;
        let end = start.checked_add(len)?;
        let piece = start / REGISTERED_PIECE;
        (end <= self.registered && end <= (piece + 1) * REGISTERED_PIECE).then_some(piece as u16)
    }
}

/// The ring, its registrations and what they lack.
pub struct RingBackend {
    // Dropped in this order: the ring first, then what it may point to.
    entry: RingEntry,
    ring: IoUring,
    arena: Option<Arena>,
    files_total: u32,
    files_used: u32,
    files_free: Vec<u32>,
    files_released: Rc<RefCell<Vec<u32>>>,
    modern: bool,
    buffered: Option<PathBuf>,
    bell: Option<RingBell>,
    /// A request in the ring waits for the bell.
    bell_heard: bool,
    /// The kernel can wait for several answers for a while, and for one after that (Linux 6.12).
    lingers: bool,
    pending: u32,
    enters: u64,
    fixed: u64,
}

impl RingBackend {
    fn new(options: &RingOptions) -> Result<Self, DeviceError> {
        let unavailable = |step, errno| DeviceError::Unavailable { device: "io_uring", step, errno };
        ring_available()?;
        let (ring, modern) = build(options.depth).map_err(|errno| unavailable("io_uring_setup", errno))?;

        let submitter = ring.submitter();
        let files_total = match submitter.register_files_sparse(options.fixed_files) {
            Ok(()) => options.fixed_files,
            Err(_) => 0,
        };
        let arena = options.arena.as_ref().and_then(|pool| register_arena(&ring, pool));
        Ok(Self {
            entry: RingEntry::register(ring.as_raw_fd()),
            ring,
            arena,
            files_total,
            files_used: 0,
            files_free: Vec::new(),
            files_released: Rc::default(),
            modern,
            buffered: None,
            bell: None,
            bell_heard: false,
            lingers: true,
            pending: 0,
            enters: 0,
            fixed: 0,
        })
    }

    fn take_slot(&mut self, fd: RawFd) -> Option<FixedSlot> {
        self.drop_released();
        let index = self.files_free.pop().or_else(|| {
            (self.files_used < self.files_total).then(|| {
                self.files_used += 1;
                self.files_used - 1
            })
        })?;
        if self.ring.submitter().register_files_update(index, &[fd]).is_err() {
            self.files_free.push(index);
            return None;
        }
        Some(FixedSlot { index, released: Rc::clone(&self.files_released) })
    }

    /// Lets go of files whose last user is gone: a file kept in the table would keep its disk space.
    fn drop_released(&mut self) {
        for index in self.files_released.take() {
            // A failure leaves the old file in the slot until the slot is used again.
            let _ = self.ring.submitter().register_files_update(index, &[-1]);
            self.files_free.push(index);
        }
    }

    fn request(&mut self, id: u32, op: &RawOp<'_>) -> squeue::Entry {
        let registered = self.arena.as_ref().and_then(|a| a.index_of(op.ptr as usize, op.len as usize));
        self.fixed += u64::from(registered.is_some() && op.kind != RawKind::Sync);
        macro_rules! on_file {
            ($build:expr) => {
                match op.file.fixed_slot() {
                    Some(slot) => $build(types::Fixed(slot)),
                    None => $build(types::Fd(op.file.fd().unwrap_or(-1))),
                }
            };
        }
        let (ptr, len, offset) = (op.ptr, op.len, op.offset);
        let entry = match (op.kind, registered) {
            (RawKind::Read, Some(index)) => {
                on_file!(|fd| opcode::ReadFixed::new(fd, ptr, len, index).offset(offset).build())
            }
            (RawKind::Read, None) => on_file!(|fd| opcode::Read::new(fd, ptr, len).offset(offset).build()),
            (RawKind::Write, Some(index)) => {
                on_file!(|fd| opcode::WriteFixed::new(fd, ptr, len, index).offset(offset).build())
            }
            (RawKind::Write, None) => on_file!(|fd| opcode::Write::new(fd, ptr, len).offset(offset).build()),
            (RawKind::Sync, _) => on_file!(|fd| opcode::Fsync::new(fd).build()),
        };
        entry.user_data(u64::from(id))
    }

    /// Enters the kernel. Being told to try later is no failure: what was not taken stays in the queue.
    fn enter(&mut self, want: u32, timeout: Option<Duration>) -> Result<(), DeviceError> {
        self.enters += 1;
        let lingering = want > 1 && self.lingers && timeout.is_some();
        let (want, linger) = if lingering { (want, LINGER) } else { (want.min(1), Duration::ZERO) };
        let mut result = self.entry.enter(self.pending, want, linger, timeout);
        if lingering && matches!(result, Err(Errno(libc::EINVAL))) {
            self.lingers = false;
            result = self.entry.enter(self.pending, 1, Duration::ZERO, timeout);
        }
        match result {
            Ok(taken) => {
                self.pending -= taken.min(self.pending);
                Ok(())
            }
            Err(Errno(libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ETIME)) => {
                // A timed-out wait reports only that; what it had submitted shows in the queue itself.
                self.pending = self.ring.submission().len() as u32;
                Ok(())
            }
            Err(errno) => Err(DeviceError::Unavailable { device: "io_uring", step: "io_uring_enter", errno }),
        }
    }
}

/// Builds the best ring that this kernel offers.
fn build(depth: u32) -> Result<(IoUring, bool), Errno> {
    let modern = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .dontfork()
        .build(depth);
    match modern {
        Ok(ring) => Ok((ring, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let ring = IoUring::builder().setup_clamp().dontfork().build(depth).map_err(|e| Errno::of(&e))?;
            Ok((ring, false))
        }
        Err(error) => Err(Errno::of(&error)),
    }
}

/// Registers as much of the pool's arena as the locked-memory limit allows.
fn register_arena(ring: &IoUring, pool: &BufferPool) -> Option<Arena> {
    let (base, len) = pool.region()?;
    let base = base.as_ptr() as usize;
    let mut registered = len;
    while registered >= REGISTERED_MIN.min(len) {
        let pieces: Vec<libc::iovec> = (0..registered)
            .step_by(REGISTERED_PIECE)
            .map(|start| libc::iovec {
                iov_base: (base + start) as *mut libc::c_void,
                iov_len: REGISTERED_PIECE.min(registered - start),
            })
            .collect();
        // SAFETY: the pieces lie in the arena, whose mapping `_pool` keeps as long as the ring.
        if unsafe { ring.submitter().register_buffers(&pieces) }.is_ok() {
            return Some(Arena { base, registered, len, _pool: pool.clone() });
        }
        registered = (registered / 2) & !(super::BLOCK_ALIGNMENT as usize - 1);
        if registered == 0 {
            break;
        }
    }
    Some(Arena { base, registered: 0, len, _pool: pool.clone() })
}

impl Backend for RingBackend {
    const KIND: DeviceKind = DeviceKind::Ring;

    unsafe fn push(&mut self, id: u32, op: &RawOp<'_>) -> bool {
        let entry = self.request(id, op);
        // SAFETY: the caller keeps memory and file until the answer is reaped.
        let pushed = unsafe { self.ring.submission().push(&entry) }.is_ok();
        self.pending += u32::from(pushed);
        pushed
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        if !self.files_released.borrow().is_empty() {
            self.drop_released();
        }
        let deferred = {
            let submission = self.ring.submission();
            submission.taskrun() || submission.cq_overflow()
        };
        if self.pending > 0 || deferred { self.enter(0, None) } else { Ok(()) }
    }

    fn reap(&mut self, into: &mut Vec<Answer>) {
        let mut rang = false;
        for completion in self.ring.completion() {
            if completion.user_data() == BELL {
                rang = true;
                continue;
            }
            let result = completion.result();
            let answer = if result < 0 { Err(Errno(-result)) } else { Ok(result as u32) };
            into.push((completion.user_data() as u32, answer));
        }
        if rang && let Some(bell) = &self.bell {
            bell.silence();
            self.bell_heard = false;
        }
    }

    fn wait(&mut self, batch: u32, timeout: Option<Duration>) -> Result<(), DeviceError> {
        if let (Some(bell), false) = (&self.bell, self.bell_heard) {
            let listen = opcode::PollAdd::new(types::Fd(bell.0.as_raw_fd()), libc::POLLIN as u32).build();
            // SAFETY: the request points to no memory, and the descriptor lives as long as the ring.
            self.bell_heard = unsafe { self.ring.submission().push(&listen.user_data(BELL)) }.is_ok();
            self.pending += u32::from(self.bell_heard);
        }
        let want = if self.ring.completion().is_empty() { batch.max(1) } else { 0 };
        self.enter(want, timeout)
    }

    fn counters(&self) -> (u64, u64) {
        (self.enters, self.fixed)
    }

    fn degraded(&self) -> Vec<DeviceDegraded> {
        let mut degraded = Vec::new();
        if let Some(arena) = &self.arena
            && arena.registered < arena.len
        {
            degraded.push(DeviceDegraded::ArenaNotRegistered {
                registered: arena.registered as u64,
                arena: arena.len as u64,
            });
        }
        if self.files_total == 0 {
            degraded.push(DeviceDegraded::NoFixedFiles);
        }
        if !self.modern {
            degraded.push(DeviceDegraded::OldRing);
        }
        if let Some(example) = &self.buffered {
            degraded.push(DeviceDegraded::Buffered { example: example.clone() });
        }
        degraded
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<DeviceFile, DeviceError> {
        let opened = os::open(path, mode)?;
        if !opened.direct {
            self.buffered.get_or_insert_with(|| path.to_owned());
        }
        let slot = self.take_slot(opened.fd.as_raw_fd());
        Ok(DeviceFile(Rc::new(FileInner {
            path: path.to_owned(),
            id: opened.id,
            direct: opened.direct,
            handle: Handle::Os { fd: opened.fd, slot },
        })))
    }
}
