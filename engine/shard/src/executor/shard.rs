//! What a task finds on its shard.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use deltalite_alloc::{AllocError, BufferPool, PoolBuffer, ShardPlace, SharedBuffer};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{AbortHandle, LocalBoxFuture};

use super::signal::Signal;
use super::task::Job;
use super::{Common, Ground, ShardStats};
use crate::cache::PageCache;
use crate::degraded::Degraded;
use crate::device::{
    BlockDevice, ByteRange, DeviceDegraded, DeviceError, DeviceFile, DeviceTokens, FileId, IoClass, IoFuture,
    OpenMode,
};

/// Jobs taken from the mailbox before other tasks have a turn.
const JOBS_AT_ONCE: u32 = 64;

/// Data files that a shard keeps open while it is busy.
const OPEN_FILES_MAX: usize = 32;

/// What an executor offers to its shard.
pub(super) trait Runtime {
    /// Runs a task on this thread.
    fn spawn(&self, class: IoClass, task: LocalBoxFuture<'static, ()>);
    /// True where the running task has had its share of the thread for now.
    fn should_yield(&self) -> bool;
    /// Lets other tasks run.
    fn yield_now(&self) -> LocalBoxFuture<'_, ()>;
}

/// A shard, as seen by the tasks that run on it.
pub struct Shard {
    place: ShardPlace,
    common: Arc<Common>,
    device: Rc<dyn BlockDevice>,
    arena: BufferPool,
    cache: Arc<PageCache>,
    runtime: Rc<dyn Runtime>,
    tasks: RefCell<HashMap<u64, AbortHandle>>,
    tasks_begun: Cell<u64>,
    task_ended: Signal,
    overflows: Cell<u64>,
    /// Data files opened of late, the last used at the end.
    open_files: RefCell<Vec<DeviceFile>>,
}

impl Shard {
    pub(super) fn new(ground: Ground, device: Rc<dyn BlockDevice>, runtime: Rc<dyn Runtime>) -> Rc<Self> {
        let Ground { place, common, arena, cache } = ground;
        for what in device.stats().degraded {
            common.note(Degraded::Device { shard: place.shard, what });
        }
        Rc::new(Self {
            place,
            common,
            device,
            arena,
            cache,
            runtime,
            tasks: RefCell::default(),
            tasks_begun: Cell::new(0),
            task_ended: Signal::default(),
            overflows: Cell::new(0),
            open_files: RefCell::default(),
        })
    }

    /// Its number, counted from 0.
    pub fn index(&self) -> u32 {
        self.place.shard
    }

    /// Where it runs.
    pub fn place(&self) -> ShardPlace {
        self.place
    }

    /// Its device.
    pub fn device(&self) -> &Rc<dyn BlockDevice> {
        &self.device
    }

    /// Its arena.
    pub fn arena(&self) -> &BufferPool {
        &self.arena
    }

    /// The page cache that it shares with the other shards of its node.
    pub fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }

    /// The tokens that the devices of all shards share.
    pub fn tokens(&self) -> &DeviceTokens {
        &self.common.tokens
    }

    /// A data file in the state `expected`, opened now or of late.
    ///
    /// # Errors
    /// [`DeviceError::Changed`] or [`DeviceError::Vanished`] where its name no longer leads to that state; what opening says.
    pub fn open_in_state(&self, path: &Path, expected: FileId) -> Result<DeviceFile, DeviceError> {
        let mut files = self.open_files.borrow_mut();
        if let Some(at) = files.iter().position(|file| file.id() == expected && file.path() == path) {
            let file = files.remove(at);
            self.device.check_unchanged(&file, 0)?;
            files.push(file.clone());
            return Ok(file);
        }
        let file = self.open(path)?;
        if file.id() != expected {
            let (path, now) = (path.to_owned(), file.id());
            return Err(DeviceError::Changed { path, offset: 0, was: expected, now });
        }
        if files.len() == OPEN_FILES_MAX {
            files.remove(0);
        }
        files.push(file.clone());
        Ok(file)
    }

    /// Closes what only this shard keeps open, which holds disk space that others may have given up. Executors call it when
    /// there is nothing to do.
    pub(super) fn close_files(&self) {
        self.open_files.borrow_mut().clear();
    }

    /// Opens a file for reading. One that must be read through the kernel's page cache is noted as degraded.
    pub fn open(&self, path: &Path) -> Result<DeviceFile, DeviceError> {
        let file = self.device.open(path, OpenMode::Read)?;
        if !file.is_direct() {
            let what = DeviceDegraded::Buffered { example: path.parent().unwrap_or(path).to_owned() };
            self.common.note(Degraded::Device { shard: self.place.shard, what });
        }
        Ok(file)
    }

    /// A buffer to read into: from the arena; where that is full the cache gives way, and where that is not enough
    /// the global pool helps out (counted), so that reading goes on whatever consumers hold.
    ///
    /// # Errors
    ///
    /// [`AllocError::Exhausted`] where the global pool is full as well.
    #[inline]
    pub fn buffer(&self, len: usize) -> Result<PoolBuffer, AllocError> {
        match self.arena.take(len) {
            Ok(buffer) => Ok(buffer),
            Err(_) => self.buffer_elsewhere(len),
        }
    }

    #[cold]
    fn buffer_elsewhere(&self, len: usize) -> Result<PoolBuffer, AllocError> {
        self.cache.relieve(&self.arena);
        self.arena.take(len).or_else(|_| {
            self.overflows.set(self.overflows.get() + 1);
            // Direct reads need page-aligned memory, which the global pool gives from a page on.
            BufferPool::global().take(len.max(deltalite_alloc::ALIGNMENT))
        })
    }

    /// Bytes for a consumer outside, who may keep them: see [`PageCache::hand_out`].
    #[inline]
    pub fn hand_out(&self, bytes: &SharedBuffer) -> Result<SharedBuffer, AllocError> {
        self.cache.hand_out(bytes, &self.arena)
    }

    /// Reads a range of a file into a buffer of this shard: [`buffer`](Self::buffer) and
    /// [`BlockDevice::read`] in one.
    pub fn read(
        &self,
        file: &DeviceFile,
        range: ByteRange,
        class: IoClass,
    ) -> Result<IoFuture<PoolBuffer>, AllocError> {
        let buffer = self.buffer(range.len as usize)?;
        Ok(self.device.read(file, range, buffer, class))
    }

    /// Issues the reads queued so far, without waiting for the tick to end: worth a call after queueing what a scan
    /// needs next and before decoding for long.
    pub fn submit(&self) {
        self.device.poll();
    }

    /// Runs another task on this shard. Unlike [`ShardSet::spawn_on`](super::ShardSet::spawn_on) this needs neither
    /// `Send` nor a mailbox.
    pub fn spawn<T, Fut>(self: &Rc<Self>, class: IoClass, task: Fut) -> super::TaskHandle<T>
    where
        T: 'static,
        Fut: Future<Output = T> + 'static,
    {
        let (abort, handle, task) = super::task::local(self.place.shard, task);
        self.begin(class, abort, task);
        handle
    }

    /// Issues and delivers what the device has (some nanoseconds where there is nothing), and lets other tasks run if
    /// this one has had its share. To be awaited in decode loops, every few pages: it is what keeps the disk busy
    /// while a shard computes.
    #[inline]
    pub async fn yield_if_needed(&self) {
        self.device.poll();
        if self.runtime.should_yield() {
            self.runtime.yield_now().await;
        }
    }

    /// Counters.
    pub fn stats(&self) -> ShardStats {
        ShardStats {
            place: self.place,
            device: self.device.stats(),
            tasks: self.tasks.borrow().len(),
            arena_in_use: self.arena.in_use(),
            arena_bytes: self.arena.options().limit_bytes,
            arena_overflows: self.overflows.get(),
        }
    }

    fn begin(self: &Rc<Self>, class: IoClass, abort: AbortHandle, task: LocalBoxFuture<'static, ()>) {
        let id = self.tasks_begun.get();
        self.tasks_begun.set(id + 1);
        self.tasks.borrow_mut().insert(id, abort);
        let shard = Rc::clone(self);
        self.runtime.spawn(
            class,
            Box::pin(async move {
                task.await;
                shard.tasks.borrow_mut().remove(&id);
                shard.task_ended.set();
            }),
        );
    }

    /// Takes up tasks until told to end, and returns once the last task has ended.
    pub(super) async fn serve(self: &Rc<Self>, mut mailbox: mpsc::Receiver<Job>) {
        let mut begun = 0u32;
        let cancel = loop {
            match mailbox.next().await {
                Some(Job::Run { class, abort, begin }) => {
                    self.begin(class, abort, begin(Rc::clone(self)));
                    begun += 1;
                    // Senders faster than this loop would keep tasks from ever being run.
                    if begun.is_multiple_of(JOBS_AT_ONCE) {
                        self.runtime.yield_now().await;
                    }
                }
                Some(Job::Finish) => break false,
                Some(Job::Cancel) | None => break true,
            }
        };
        // Jobs still in the mailbox are dropped with it: their handles learn that they were cancelled.
        drop(mailbox);
        while !self.tasks.borrow().is_empty() {
            if cancel {
                // Tasks may begin others while they end, so this is asked anew each time.
                self.tasks.borrow().values().for_each(AbortHandle::abort);
            }
            self.task_ended.wait().await;
        }
    }
}
