//! The simulated medium: an in-memory disk behind seeded faults and virtual time.
//!
//! A schedule is a function of its seed: requests are answered in an order drawn from it, some with EAGAIN or EINTR,
//! some in part, some with EIO or ENOSPC, some with a flipped bit; syncs may lie. Time is virtual: `poll` advances it
//! by one unit, `wait` to the next answer, so a schedule of thousands of requests takes microseconds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::DeviceKind;
use super::backend::{Answer, Backend, RawKind, RawOp};
use super::core::Device;
use super::error::{DeviceError, Errno, IoOp};
use super::file::{DeviceFile, FileId, FileInner, Handle, OpenMode};
use super::rng::Rng;
use super::sim_disk::SimDisk;
use super::tokens::{DeviceTokens, TokenOptions};

/// What goes wrong and how often, in cases per thousand requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFaults {
    /// What the schedule is drawn from.
    pub seed: u64,
    /// An answer comes up to this many units of virtual time after its request: above 0, answers are reordered.
    pub latency_max: u64,
    /// EAGAIN, without any effect.
    pub eagain: u32,
    /// EINTR, without any effect.
    pub eintr: u32,
    /// Reads and writes that move only a part.
    pub partial: u32,
    /// Reads, writes and syncs that fail with EIO.
    pub eio: u32,
    /// Writes that fail with ENOSPC.
    pub enospc: u32,
    /// Reads in whose data one bit is wrong.
    pub bit_flip: u32,
    /// Syncs of files and folders that answer well and do nothing.
    pub lost_sync: u32,
}

impl SimFaults {
    /// No faults, answers in random order.
    pub fn none(seed: u64) -> Self {
        Self {
            seed,
            latency_max: 8,
            eagain: 0,
            eintr: 0,
            partial: 0,
            eio: 0,
            enospc: 0,
            bit_flip: 0,
            lost_sync: 0,
        }
    }

    /// Faults that a device must hide from its callers: retries and partial answers, at rates drawn from the seed.
    pub fn transient(seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let mut rate = |max: u64| rng.below(max) as u32;
        Self { eagain: rate(300), eintr: rate(200), partial: rate(400), ..Self::none(seed) }
    }

    /// Transient faults and such that callers must be told of.
    pub fn all(seed: u64) -> Self {
        let mut rng = Rng::new(seed.rotate_left(17));
        let mut rate = |max: u64| rng.below(max) as u32;
        Self { eio: rate(60), enospc: rate(60), ..Self::transient(seed) }
    }
}

/// What was injected so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimInjected {
    /// EAGAIN and EINTR answers.
    pub retries: u64,
    /// Partial answers.
    pub partial: u64,
    /// EIO answers.
    pub eio: u64,
    /// ENOSPC answers.
    pub enospc: u64,
    /// Where bits were flipped: file and byte offset.
    pub flips: Vec<(PathBuf, u64)>,
    /// Syncs that did nothing.
    pub lost_syncs: u64,
}

struct Pending {
    id: u32,
    kind: RawKind,
    file: DeviceFile,
    ptr: *mut u8,
    len: u32,
    offset: u64,
}

/// The medium behind a [`SimDevice`].
pub struct SimBackend {
    disk: SimDisk,
    faults: SimFaults,
    rng: Rng,
    now: u64,
    order: BinaryHeap<Reverse<(u64, u64)>>,
    pending: HashMap<u64, Pending>,
    pushed: u64,
    injected: SimInjected,
}

/// Block I/O on a [`SimDisk`] with faults.
pub type SimDevice = Device<SimBackend>;

impl SimDevice {
    /// A device on `disk` that fails as `faults` say and takes up to 64 requests.
    pub fn new(disk: &SimDisk, faults: SimFaults) -> Self {
        let backend = SimBackend {
            disk: disk.clone(),
            faults,
            rng: Rng::new(faults.seed),
            now: 0,
            order: BinaryHeap::new(),
            pending: HashMap::new(),
            pushed: 0,
            injected: SimInjected::default(),
        };
        Device::over(backend, DeviceTokens::new(TokenOptions::unlimited()), 64)
    }

    /// The faults injected so far.
    pub fn injected(&self) -> SimInjected {
        self.with_backend(|backend| backend.injected.clone())
    }
}

impl SimBackend {
    fn execute(&mut self, op: &Pending) -> Result<u32, Errno> {
        let faults = self.faults;
        if self.rng.chance(faults.eagain) {
            self.injected.retries += 1;
            return Err(Errno(libc::EAGAIN));
        }
        if self.rng.chance(faults.eintr) {
            self.injected.retries += 1;
            return Err(Errno(libc::EINTR));
        }
        if self.rng.chance(faults.eio) {
            self.injected.eio += 1;
            return Err(Errno(libc::EIO));
        }
        let inode = inode_of(&op.file)?;
        match op.kind {
            RawKind::Sync if self.rng.chance(faults.lost_sync) => {
                self.injected.lost_syncs += 1;
                Ok(0)
            }
            RawKind::Sync => self.disk.sync(inode).map(|()| 0),
            RawKind::Read => {
                let len = self.moved(op.len);
                // SAFETY: the core keeps `ptr` valid for `len` bytes until this request's answer is reaped.
                let into = unsafe { std::slice::from_raw_parts_mut(op.ptr, len as usize) };
                let read = self.disk.read(inode, op.offset, into)?;
                if read > 0 && self.rng.chance(faults.bit_flip) {
                    let at = self.rng.below(read as u64);
                    into[at as usize] ^= 1 << self.rng.below(8);
                    self.injected.flips.push((op.file.path().to_owned(), op.offset + at));
                }
                Ok(read as u32)
            }
            RawKind::Write => {
                if self.rng.chance(faults.enospc) {
                    self.injected.enospc += 1;
                    return Err(Errno(libc::ENOSPC));
                }
                let len = self.moved(op.len);
                // SAFETY: as above; a write only reads from it.
                let bytes = unsafe { std::slice::from_raw_parts(op.ptr.cast_const(), len as usize) };
                self.disk.write(inode, op.offset, bytes).map(|n| n as u32)
            }
        }
    }

    /// How much of a request is moved: sometimes only a part, at least one byte.
    fn moved(&mut self, len: u32) -> u32 {
        if self.rng.chance(self.faults.partial) {
            self.injected.partial += 1;
            1 + self.rng.below(u64::from(len)) as u32
        } else {
            len
        }
    }

    fn is_lost_sync(&mut self) -> bool {
        let lost = self.rng.chance(self.faults.lost_sync);
        self.injected.lost_syncs += u64::from(lost);
        lost
    }
}

fn inode_of(file: &DeviceFile) -> Result<u64, Errno> {
    match file.0.handle {
        Handle::Sim(inode) => Ok(inode),
        Handle::Os { .. } => Err(Errno(libc::EBADF)),
    }
}

impl Backend for SimBackend {
    const KIND: DeviceKind = DeviceKind::Sim;

    unsafe fn push(&mut self, id: u32, op: &RawOp<'_>) -> bool {
        let due = self.now + self.rng.below(self.faults.latency_max + 1);
        self.pushed += 1;
        self.order.push(Reverse((due, self.pushed)));
        let pending =
            Pending { id, kind: op.kind, file: op.file.clone(), ptr: op.ptr, len: op.len, offset: op.offset };
        self.pending.insert(self.pushed, pending);
        true
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.now += 1;
        Ok(())
    }

    fn reap(&mut self, into: &mut Vec<Answer>) {
        while let Some(&Reverse((due, sequence))) = self.order.peek()
            && due <= self.now
        {
            self.order.pop();
            if let Some(op) = self.pending.remove(&sequence) {
                let answer = self.execute(&op);
                into.push((op.id, answer));
            }
        }
    }

    fn wait(&mut self, _batch: u32, _timeout: Option<Duration>) -> Result<(), DeviceError> {
        if let Some(&Reverse((due, _))) = self.order.peek() {
            self.now = self.now.max(due);
        }
        Ok(())
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<DeviceFile, DeviceError> {
        let opened = match mode {
            OpenMode::Write { create: true } => self.disk.create(path),
            OpenMode::Read | OpenMode::Write { create: false } => self.disk.open(path),
        };
        let (inode, id) =
            opened.map_err(|errno| DeviceError::Name { op: IoOp::Open, path: path.to_owned(), errno })?;
        let inner = FileInner { path: path.to_owned(), id, direct: true, handle: Handle::Sim(inode) };
        Ok(DeviceFile(Rc::new(inner)))
    }

    fn identity(&mut self, file: &DeviceFile) -> Result<FileId, Errno> {
        self.disk.identity(inode_of(file)?)
    }

    fn identity_at(&mut self, path: &Path) -> Result<FileId, Errno> {
        self.disk.open(path).map(|(_, id)| id)
    }

    fn set_len(&mut self, file: &DeviceFile, len: u64) -> Result<(), Errno> {
        self.disk.set_len(inode_of(file)?, len)
    }

    fn reserve(&mut self, _file: &DeviceFile, _offset: u64, _len: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.disk.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        self.disk.remove(path)
    }

    fn sync_folder(&mut self, folder: &Path) -> Result<(), Errno> {
        if self.rng.chance(self.faults.eio) {
            self.injected.eio += 1;
            return Err(Errno(libc::EIO));
        }
        if !self.is_lost_sync() {
            self.disk.sync_folder(folder);
        }
        Ok(())
    }
}
