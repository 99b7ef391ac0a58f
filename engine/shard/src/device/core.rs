//! What all devices share: which operation owns which buffer, queues by class, tokens, splitting and retries.
//!
//! An operation is split into units of at most [`UNIT_MAX`] bytes. A unit waits in its class queue, gets a token, is
//! with the medium, and is answered; its operation is delivered when its last unit is. The operation owns its buffer
//! all that time, whether or not somebody still waits for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::task::Waker;
use std::time::Duration;

use deltalite_alloc::{PoolBuffer, SharedBuffer};

use super::backend::{Answer, Backend, RawKind, RawOp};
use super::error::{DeviceError, IoOp};
use super::file::{ByteRange, DeviceFile, OpenMode};
use super::future::{IoFuture, IoPromise, promise};
use super::tokens::{DeviceTokens, IoClass};
use super::transfer::{Step, Transfer};
use super::{BLOCK_ALIGNMENT, BlockDevice, DeviceLoad, DeviceStats, ReadDone};

/// The largest request given to a medium, in bytes: a segment of a scan, of 1 MiB and what headers and alignment add. Much
/// larger ones may come back with EAGAIN after partial work, and several smaller ones keep a disk's queues busy.
const UNIT_MAX: u64 = (1 << 20) + (64 << 10);

/// Answers that one wake-up waits for at most.
const BATCH_MAX: usize = 8;

/// Order in which background classes are served when all of them wait: prefetch and scrub advance, slowly.
const BACKGROUND_TURNS: [IoClass; 8] = [
    IoClass::Scan,
    IoClass::Scan,
    IoClass::Prefetch,
    IoClass::Scan,
    IoClass::Scan,
    IoClass::Scan,
    IoClass::Prefetch,
    IoClass::Scrub,
];

/// Who learns of a read's outcome.
enum Reader {
    Waiting(IoPromise<PoolBuffer>),
    Called(ReadDone),
}

enum Payload {
    Read(PoolBuffer, Reader),
    Write(SharedBuffer, IoPromise<usize>),
    Sync(IoPromise<()>),
}

impl Payload {
    fn is_abandoned(&self) -> bool {
        match self {
            Payload::Read(_, Reader::Waiting(promise)) => promise.is_abandoned(),
            // A write or sync was ordered for its effect: it happens although nobody waits for the answer.
            Payload::Read(_, Reader::Called(_)) | Payload::Write(..) | Payload::Sync(_) => false,
        }
    }

    fn raw_kind(&self) -> RawKind {
        match self {
            Payload::Read(..) => RawKind::Read,
            Payload::Write(..) => RawKind::Write,
            Payload::Sync(_) => RawKind::Sync,
        }
    }

    /// Start of the operation's memory.
    fn ptr(&mut self) -> *mut u8 {
        match self {
            Payload::Read(buf, _) => buf.as_mut_ptr(),
            Payload::Write(buf, _) => buf.as_slice().as_ptr().cast_mut(),
            Payload::Sync(_) => std::ptr::null_mut(),
        }
    }
}

struct Operation {
    file: DeviceFile,
    payload: Payload,
    offset: u64,
    /// Bytes that its caller gets in the end.
    expect: u64,
    units_left: u32,
    failure: Option<DeviceError>,
}

struct Unit {
    operation: u32,
    class: IoClass,
    transfer: Transfer,
    /// Bytes that the medium was last given of it.
    issued: u32,
}

struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = Some(value);
            return index;
        }
        self.slots.push(Some(value));
        (self.slots.len() - 1) as u32
    }

    fn get(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(value)
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

struct Inner<B> {
    backend: B,
    tokens: DeviceTokens,
    depth: usize,
    operations: Slab<Operation>,
    units: Slab<Unit>,
    queues: [VecDeque<u32>; 4],
    turn: usize,
    in_flight: usize,
    /// Of these, requests that somebody waits for already.
    urgent_in_flight: usize,
    answers: Vec<Answer>,
    wakers: Vec<Waker>,
    calls: Vec<(ReadDone, Result<PoolBuffer, DeviceError>)>,
    stats: DeviceStats,
}

/// A [`BlockDevice`] over a medium. Dropping it waits for what the medium still has.
pub struct Device<B: Backend> {
    inner: RefCell<Inner<B>>,
    notify: RefCell<Option<Box<dyn Fn()>>>,
    /// Operations were queued since the last poll: the executor has been told.
    notified: Cell<bool>,
}

impl<B: Backend> Device<B> {
    /// A device that keeps at most `depth` requests with its medium.
    pub(crate) fn over(backend: B, tokens: DeviceTokens, depth: usize) -> Self {
        let stats = DeviceStats {
            kind: B::KIND,
            issued: 0,
            reads: 0,
            bytes_read: 0,
            writes: 0,
            bytes_written: 0,
            syncs: 0,
            failed: 0,
            retries: 0,
            cancelled: 0,
            enters: 0,
            fixed: 0,
            operations: 0,
            in_flight: 0,
            depth_max: 0,
            depth_sum: 0,
            degraded: Vec::new(),
        };
        let inner = Inner {
            backend,
            tokens,
            depth: depth.max(1),
            operations: Slab::new(),
            units: Slab::new(),
            queues: Default::default(),
            turn: 0,
            in_flight: 0,
            urgent_in_flight: 0,
            answers: Vec::new(),
            wakers: Vec::new(),
            calls: Vec::new(),
            stats,
        };
        Self { inner: RefCell::new(inner), notify: RefCell::new(None), notified: Cell::new(false) }
    }

    /// Runs `f` on the medium: for what only one kind of device offers.
    pub(crate) fn with_backend<T>(&self, f: impl FnOnce(&mut B) -> T) -> T {
        f(&mut self.inner.borrow_mut().backend)
    }

    fn enqueue_read(
        &self,
        file: &DeviceFile,
        range: ByteRange,
        payload: Payload,
        expect: u64,
        class: IoClass,
    ) {
        self.inner.borrow_mut().enqueue(file, payload, range, expect, BLOCK_ALIGNMENT as u32, class);
        self.queued();
    }

    fn queued(&self) {
        if !self.notified.replace(true)
            && let Some(notify) = &*self.notify.borrow()
        {
            notify();
        }
    }

    /// Runs `f` and tells whom it completed, after the device can be used again.
    fn drive<T>(&self, f: impl FnOnce(&mut Inner<B>) -> T) -> (T, usize) {
        self.notified.set(false);
        let mut inner = self.inner.borrow_mut();
        let before = inner.finished();
        let result = f(&mut inner);
        let completed = inner.finished() - before;
        let mut wakers = std::mem::take(&mut inner.wakers);
        let mut calls = std::mem::take(&mut inner.calls);
        drop(inner);
        for waker in wakers.drain(..) {
            waker.wake();
        }
        for (done, outcome) in calls.drain(..) {
            done(outcome);
        }
        let mut inner = self.inner.borrow_mut();
        if inner.wakers.is_empty() {
            inner.wakers = wakers;
        }
        if inner.calls.is_empty() {
            inner.calls = calls;
        }
        (result, completed as usize)
    }
}

fn is_urgent(class: IoClass) -> bool {
    matches!(class, IoClass::Rpc | IoClass::Scan)
}

/// Checks that a read is aligned, fits its buffer and lies in the file; returns the bytes that it will yield.
fn readable(file: &DeviceFile, range: ByteRange, buf: &PoolBuffer) -> Result<u64, DeviceError> {
    let aligned = range.offset.is_multiple_of(BLOCK_ALIGNMENT) && range.len.is_multiple_of(BLOCK_ALIGNMENT);
    let memory = (buf.as_ptr() as usize as u64).is_multiple_of(BLOCK_ALIGNMENT) || !file.is_direct();
    if !aligned || !memory || range.len > buf.capacity() as u64 || range.len > u64::from(u32::MAX) {
        return Err(DeviceError::Misaligned {
            path: file.path().to_owned(),
            offset: range.offset,
            len: range.len,
            capacity: buf.capacity() as u64,
            alignment: BLOCK_ALIGNMENT,
        });
    }
    if range.offset >= file.len() || range.len == 0 {
        return Err(DeviceError::PastEnd {
            path: file.path().to_owned(),
            offset: range.offset,
            len: range.len,
            file_len: file.len(),
        });
    }
    Ok(range.len.min(file.len() - range.offset))
}

impl<B: Backend> Inner<B> {
    fn finished(&self) -> u64 {
        self.stats.reads + self.stats.writes + self.stats.syncs + self.stats.failed
    }

    fn enqueue(
        &mut self,
        file: &DeviceFile,
        payload: Payload,
        range: ByteRange,
        expect: u64,
        alignment: u32,
        class: IoClass,
    ) {
        let sync = matches!(payload, Payload::Sync(_));
        let issue = if sync { 1 } else { expect.next_multiple_of(u64::from(alignment)).min(range.len) };
        let units_left = issue.div_ceil(UNIT_MAX).max(1) as u32;
        let operation = self.operations.insert(Operation {
            file: file.clone(),
            payload,
            offset: range.offset,
            expect,
            units_left,
            failure: None,
        });
        for unit in 0..u64::from(units_left) {
            let start = unit * UNIT_MAX;
            let transfer = if sync {
                Transfer::new(0, 0, 0, 1)
            } else {
                let len = (issue - start).min(UNIT_MAX);
                let expect = (expect - start).min(len);
                Transfer::new(range.offset + start, len as u32, expect as u32, alignment)
            };
            let unit = self.units.insert(Unit { operation, class, transfer, issued: 0 });
            self.queues[class.index()].push_back(unit);
        }
    }

    /// The class to serve next: foreground first, then background by turns.
    fn next_class(&mut self) -> Option<IoClass> {
        if !self.queues[IoClass::Rpc.index()].is_empty() {
            return Some(IoClass::Rpc);
        }
        for _ in 0..BACKGROUND_TURNS.len() {
            let class = BACKGROUND_TURNS[self.turn % BACKGROUND_TURNS.len()];
            if !self.queues[class.index()].is_empty() {
                return Some(class);
            }
            self.turn = self.turn.wrapping_add(1);
        }
        None
    }

    /// How many answers are worth one wake-up: while nothing but reads ahead is about, a part of what is in flight, so that
    /// the medium never runs dry.
    fn batch(&self) -> u32 {
        if self.urgent_in_flight > 0 || self.tokens.contended() {
            return 1;
        }
        (self.in_flight / 4).clamp(1, BATCH_MAX) as u32
    }

    /// Gives queued units to the medium as far as depth and tokens allow.
    fn dispatch(&mut self) {
        while self.in_flight < self.depth {
            let Some(class) = self.next_class() else { return };
            let Some(&id) = self.queues[class.index()].front() else { return };
            if self.drop_if_abandoned(id) {
                self.queues[class.index()].pop_front();
                continue;
            }
            let Some(unit) = self.units.get(id) else { return };
            let (done, len) = unit.transfer.remaining();
            // The rest follows like that of a short answer.
            let len = len.min(self.tokens.request_max(class));
            unit.issued = len;
            let (offset, start) = (unit.transfer.offset + u64::from(done), unit.transfer.offset);
            let Some(operation) = self.operations.get(unit.operation) else { return };
            if !self.tokens.take(class, u64::from(len), self.in_flight == 0) {
                return;
            }
            let base = operation.payload.ptr();
            let within = (start - operation.offset) as usize + done as usize;
            let raw = RawOp {
                kind: operation.payload.raw_kind(),
                file: &operation.file,
                // For syncs the base is null and nothing is added.
                ptr: if base.is_null() { base } else { base.wrapping_add(within) },
                len,
                offset,
            };
            // SAFETY: the operation owns its buffer until its last unit is answered, `enqueue` sized the units to
            // lie within it, and dropping the device waits for all answers.
            if !unsafe { self.backend.push(id, &raw) } {
                self.tokens.give(class, u64::from(len));
                return;
            }
            self.queues[class.index()].pop_front();
            if class.is_background() {
                self.turn = self.turn.wrapping_add(1);
            }
            self.in_flight += 1;
            self.urgent_in_flight += usize::from(is_urgent(class));
            self.stats.issued += 1;
            self.stats.depth_max = self.stats.depth_max.max(self.in_flight);
            self.stats.depth_sum += self.in_flight as u64;
        }
    }

    /// Drops a queued unit whose operation nobody waits for; true where it did.
    fn drop_if_abandoned(&mut self, id: u32) -> bool {
        let Some(unit) = self.units.get(id) else { return true };
        let index = unit.operation;
        let Some(operation) = self.operations.get(index) else { return true };
        if !operation.payload.is_abandoned() {
            return false;
        }
        operation.units_left -= 1;
        if operation.units_left == 0 {
            self.operations.remove(index);
            self.stats.cancelled += 1;
        }
        self.units.remove(id);
        true
    }

    /// Reaps and settles all answers that are there.
    fn settle(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        self.backend.reap(&mut answers);
        for (id, answer) in answers.drain(..) {
            let Some(unit) = self.units.get(id) else {
                debug_assert!(false, "the medium answered a request it was not given");
                continue;
            };
            let (class, asked) = (unit.class, unit.issued);
            let (index, step, transfer) = (unit.operation, unit.transfer.answer(answer), unit.transfer);
            self.in_flight -= 1;
            self.urgent_in_flight -= usize::from(is_urgent(class));
            self.tokens.give(class, u64::from(asked));
            let failure = match step {
                Step::Again => {
                    self.stats.retries += 1;
                    // Back to the head: an operation that has begun is finished before another begins.
                    self.queues[class.index()].push_front(id);
                    continue;
                }
                Step::Finished => None,
                failed => Some((failed, transfer)),
            };
            self.units.remove(id);
            self.unit_done(index, failure);
        }
        self.answers = answers;
    }

    fn unit_done(&mut self, index: u32, failure: Option<(Step, Transfer)>) {
        let Some(operation) = self.operations.get(index) else { return };
        operation.units_left -= 1;
        let last = operation.units_left == 0;
        if let Some((step, transfer)) = failure
            && operation.failure.is_none()
        {
            let (file, kind) = (operation.file.clone(), operation.payload.raw_kind());
            let error = self.explain(&file, kind, step, transfer);
            if let Some(operation) = self.operations.get(index) {
                operation.failure = Some(error);
            }
        }
        if last && let Some(operation) = self.operations.remove(index) {
            self.deliver(operation);
        }
    }

    /// Turns a raw failure into an error that says what is the matter with the file.
    fn explain(&mut self, file: &DeviceFile, kind: RawKind, step: Step, transfer: Transfer) -> DeviceError {
        let path = file.path().to_owned();
        let (offset, len) = (transfer.offset, u64::from(transfer.len));
        let op = match kind {
            RawKind::Read => IoOp::Read,
            RawKind::Write => IoOp::Write,
            RawKind::Sync => IoOp::Sync,
        };
        match step {
            Step::Failed(errno) if kind != RawKind::Read && errno.is_no_space() => {
                DeviceError::NoSpace { path, offset, len, errno }
            }
            Step::Failed(errno) => DeviceError::Io { op, path, offset, len, errno },
            Step::NoProgress { retries, errno } => {
                DeviceError::NoProgress { path, offset, len, retries, errno }
            }
            Step::EndedEarly { got } => match self.backend.identity(file) {
                Ok(now) if file.id().contents_differ(&now) && kind == RawKind::Read => {
                    DeviceError::Changed { path, offset, was: file.id(), now }
                }
                _ => DeviceError::ShortRead {
                    path,
                    offset,
                    expected: u64::from(transfer.expect),
                    got: u64::from(got),
                },
            },
            Step::Again | Step::Finished => DeviceError::ShutDown,
        }
    }

    fn deliver(&mut self, operation: Operation) {
        let Operation { payload, expect, failure, .. } = operation;
        if failure.is_some() {
            self.stats.failed += 1;
        }
        let waker = match (payload, failure) {
            (Payload::Read(mut buf, reader), failure) => {
                let outcome = match failure {
                    Some(error) => Err(error),
                    None => {
                        self.stats.reads += 1;
                        self.stats.bytes_read += expect;
                        buf.set_len(expect as usize);
                        Ok(buf)
                    }
                };
                match reader {
                    Reader::Waiting(promise) => promise.keep(outcome),
                    Reader::Called(done) => {
                        self.calls.push((done, outcome));
                        None
                    }
                }
            }
            (Payload::Write(_, promise), Some(error)) => promise.keep(Err(error)),
            (Payload::Write(_, promise), None) => {
                self.stats.writes += 1;
                self.stats.bytes_written += expect;
                promise.keep(Ok(expect as usize))
            }
            (Payload::Sync(promise), Some(error)) => promise.keep(Err(error)),
            (Payload::Sync(promise), None) => {
                self.stats.syncs += 1;
                promise.keep(Ok(()))
            }
        };
        self.wakers.extend(waker);
    }

    /// One round: issue, reap, and issue once more what the answers made room for.
    fn turn_over(&mut self) -> Result<(), DeviceError> {
        self.dispatch();
        self.backend.flush()?;
        self.settle();
        let issued = self.stats.issued;
        self.dispatch();
        if self.stats.issued != issued {
            self.backend.flush()?;
        }
        Ok(())
    }
}

impl<B: Backend> BlockDevice for Device<B> {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<DeviceFile, DeviceError> {
        self.inner.borrow_mut().backend.open(path, mode)
    }

    fn read(
        &self,
        file: &DeviceFile,
        range: ByteRange,
        buf: PoolBuffer,
        class: IoClass,
    ) -> IoFuture<PoolBuffer> {
        let expect = match readable(file, range, &buf) {
            Ok(expect) => expect,
            Err(error) => return IoFuture::ready(Err(error)),
        };
        let (kept, future) = promise();
        self.enqueue_read(file, range, Payload::Read(buf, Reader::Waiting(kept)), expect, class);
        future
    }

    fn read_then(
        &self,
        file: &DeviceFile,
        range: ByteRange,
        buf: PoolBuffer,
        class: IoClass,
        done: ReadDone,
    ) {
        match readable(file, range, &buf) {
            Ok(expect) => {
                self.enqueue_read(file, range, Payload::Read(buf, Reader::Called(done)), expect, class);
            }
            Err(error) => {
                self.inner.borrow_mut().calls.push((done, Err(error)));
                self.queued();
            }
        }
    }

    fn write(&self, file: &DeviceFile, offset: u64, buf: SharedBuffer, class: IoClass) -> IoFuture<usize> {
        let len = buf.as_slice().len() as u64;
        let alignment = if file.is_direct() { BLOCK_ALIGNMENT } else { 1 };
        let memory = buf.as_slice().as_ptr() as usize as u64;
        if len > u64::from(u32::MAX) || [offset, len, memory].iter().any(|v| !v.is_multiple_of(alignment)) {
            return IoFuture::ready(Err(DeviceError::Misaligned {
                path: file.path().to_owned(),
                offset,
                len,
                capacity: len,
                alignment,
            }));
        }
        if len == 0 {
            return IoFuture::ready(Ok(0));
        }
        let (kept, future) = promise();
        let range = ByteRange::new(offset, len);
        self.inner.borrow_mut().enqueue(file, Payload::Write(buf, kept), range, len, alignment as u32, class);
        self.queued();
        future
    }

    fn sync(&self, file: &DeviceFile) -> IoFuture<()> {
        let (kept, future) = promise();
        let range = ByteRange::new(0, 0);
        self.inner.borrow_mut().enqueue(file, Payload::Sync(kept), range, 0, 1, IoClass::Scan);
        self.queued();
        future
    }

    fn poll(&self) -> usize {
        let (result, completed) = self.drive(Inner::turn_over);
        if let Err(error) = result {
            // The requests stay queued and the next round tries again; whoever blocks in `wait` gets the error.
            tracing::error!(%error, "the block device could not submit");
        }
        completed
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<usize, DeviceError> {
        let (result, completed) = self.drive(|inner| {
            inner.dispatch();
            if inner.in_flight == 0 {
                return Ok(());
            }
            inner.backend.wait(inner.batch(), timeout)?;
            inner.settle();
            inner.turn_over()
        });
        result.map(|()| completed)
    }

    fn load(&self) -> DeviceLoad {
        let inner = self.inner.borrow();
        DeviceLoad { operations: inner.operations.len(), in_flight: inner.in_flight }
    }

    fn stats(&self) -> DeviceStats {
        let inner = self.inner.borrow();
        let (enters, fixed) = inner.backend.counters();
        DeviceStats {
            enters,
            fixed,
            operations: inner.operations.len(),
            in_flight: inner.in_flight,
            degraded: inner.backend.degraded(),
            ..inner.stats.clone()
        }
    }

    fn check_contents(&self, file: &DeviceFile, offset: u64) -> Result<(), DeviceError> {
        let path = || file.path().to_owned();
        let now = self.inner.borrow_mut().backend.identity(file);
        let now = now.map_err(|errno| DeviceError::Name { op: IoOp::Stat, path: path(), errno })?;
        if file.id().contents_differ(&now) {
            return Err(DeviceError::Changed { path: path(), offset, was: file.id(), now });
        }
        Ok(())
    }

    fn check_unchanged(&self, file: &DeviceFile, offset: u64) -> Result<(), DeviceError> {
        self.check_contents(file, offset)?;
        let path = || file.path().to_owned();
        let mut inner = self.inner.borrow_mut();
        match inner.backend.identity_at(file.path()) {
            Ok(named) if named == file.id() => Ok(()),
            Ok(now) => Err(DeviceError::Changed { path: path(), offset, was: file.id(), now }),
            Err(errno) if errno.0 == libc::ENOENT => Err(DeviceError::Vanished { path: path(), offset }),
            Err(errno) => Err(DeviceError::Name { op: IoOp::Stat, path: path(), errno }),
        }
    }

    fn set_len(&self, file: &DeviceFile, len: u64) -> Result<(), DeviceError> {
        let result = self.inner.borrow_mut().backend.set_len(file, len);
        result.map_err(|errno| DeviceError::Io {
            op: IoOp::SetLen,
            path: file.path().to_owned(),
            offset: len,
            len,
            errno,
        })
    }

    fn reserve(&self, file: &DeviceFile, offset: u64, len: u64) -> Result<(), DeviceError> {
        let result = self.inner.borrow_mut().backend.reserve(file, offset, len);
        result.map_err(|errno| DeviceError::NoSpace { path: file.path().to_owned(), offset, len, errno })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DeviceError> {
        let result = self.inner.borrow_mut().backend.rename(from, to);
        result.map_err(|errno| DeviceError::Name { op: IoOp::Rename, path: from.to_owned(), errno })
    }

    fn remove(&self, path: &Path) -> Result<(), DeviceError> {
        let result = self.inner.borrow_mut().backend.remove(path);
        result.map_err(|errno| DeviceError::Name { op: IoOp::Remove, path: path.to_owned(), errno })
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), DeviceError> {
        let result = self.inner.borrow_mut().backend.sync_folder(folder);
        result.map_err(|errno| DeviceError::Name { op: IoOp::SyncFolder, path: folder.to_owned(), errno })
    }

    fn on_queued(&self, notify: Box<dyn Fn()>) {
        *self.notify.borrow_mut() = Some(notify);
    }
}

impl<B: Backend> Drop for Device<B> {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        for queue in &mut inner.queues {
            queue.clear();
        }
        while inner.in_flight > 0 {
            if let Err(error) = inner.backend.wait(1, None) {
                // The medium may still write into these buffers: they are lost rather than given to somebody else.
                tracing::error!(%error, lost = inner.operations.len(), "the block device could not be drained");
                std::mem::forget(std::mem::replace(&mut inner.operations, Slab::new()));
                return;
            }
            inner.settle();
        }
    }
}
