//! The plain-thread medium: a few workers with `pread`, `pwrite` and `fsync`, for machines that forbid io_uring.
//!
//! The device still belongs to one thread; workers take requests from a channel, send answers back and unpark the
//! owner, which is how a blocking `wait` and a shard's idle loop both learn of them.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::backend::{Answer, Backend, RawKind, RawOp};
use super::core::Device;
use super::error::{DeviceError, Errno};
use super::file::{DeviceFile, FileInner, Handle, OpenMode};
use super::tokens::DeviceTokens;
use super::{DeviceDegraded, DeviceKind, os};

/// How many workers a thread device has.
#[derive(Clone, Debug)]
pub struct ThreadOptions {
    /// Worker threads, which is also how many requests the disk sees at once.
    pub workers: usize,
    /// Requests handed to the workers at most.
    pub depth: usize,
    /// What all devices of the process share.
    pub tokens: DeviceTokens,
}

impl ThreadOptions {
    /// Eight workers, 64 requests.
    pub fn new(tokens: DeviceTokens) -> Self {
        Self { workers: 8, depth: 64, tokens }
    }
}

/// Block I/O through worker threads.
pub type ThreadDevice = Device<ThreadBackend>;

impl ThreadDevice {
    /// Starts the workers. The calling thread becomes the owner that is unparked on answers.
    pub fn new(options: &ThreadOptions) -> Result<Self, DeviceError> {
        Ok(Device::over(ThreadBackend::new(options.workers.max(1))?, options.tokens.clone(), options.depth))
    }
}

struct Job {
    id: u32,
    kind: RawKind,
    fd: RawFd,
    ptr: *mut u8,
    len: u32,
    offset: u64,
}

// SAFETY: the memory behind `ptr` belongs to an operation that neither touches nor frees it before this job's answer
// was reaped (the contract of `Backend::push`), so the worker that runs the job is its only user until then.
unsafe impl Send for Job {}

impl Job {
    fn run(&self) -> Result<u32, Errno> {
        let (pointer, len) = (self.ptr.cast::<libc::c_void>(), self.len as usize);
        let offset = self.offset as libc::off_t;
        // SAFETY: `ptr` is valid for `len` bytes (see `Send`), and the core keeps the file open until the answer.
        let result = unsafe {
            match self.kind {
                RawKind::Read => libc::pread(self.fd, pointer, len, offset),
                RawKind::Write => libc::pwrite(self.fd, pointer, len, offset),
                RawKind::Sync => libc::fsync(self.fd) as isize,
            }
        };
        if result < 0 { Err(Errno::last()) } else { Ok(result as u32) }
    }
}

/// The workers and the two channels to them.
pub struct ThreadBackend {
    jobs: Option<Sender<Job>>,
    answers: Receiver<Answer>,
    /// An answer that `wait` received and `reap` has yet to hand out.
    received: Option<Answer>,
    workers: Vec<JoinHandle<()>>,
    buffered: Option<PathBuf>,
}

impl ThreadBackend {
    fn new(workers: usize) -> Result<Self, DeviceError> {
        let (jobs, todo) = unbounded::<Job>();
        let (done, answers) = unbounded::<Answer>();
        let owner = std::thread::current();
        let workers = (0..workers)
            .map(|index| {
                let (todo, done, owner) = (todo.clone(), done.clone(), owner.clone());
                std::thread::Builder::new()
                    .name(format!("deltalite-io-{index}"))
                    .spawn(move || work(&todo, &done, &owner))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| DeviceError::Unavailable {
                device: "thread",
                step: "starting workers",
                errno: Errno::of(&e),
            })?;
        Ok(Self { jobs: Some(jobs), answers, received: None, workers, buffered: None })
    }
}

fn work(todo: &Receiver<Job>, done: &Sender<Answer>, owner: &Thread) {
    for job in todo {
        if done.send((job.id, job.run())).is_err() {
            return;
        }
        owner.unpark();
    }
}

impl Backend for ThreadBackend {
    const KIND: DeviceKind = DeviceKind::Threads;

    unsafe fn push(&mut self, id: u32, op: &RawOp<'_>) -> bool {
        let job = Job {
            id,
            kind: op.kind,
            fd: op.file.fd().unwrap_or(-1),
            ptr: op.ptr,
            len: op.len,
            offset: op.offset,
        };
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reap(&mut self, into: &mut Vec<Answer>) {
        into.extend(self.received.take());
        into.extend(self.answers.try_iter());
    }

    fn wait(&mut self, _batch: u32, timeout: Option<Duration>) -> Result<(), DeviceError> {
        if self.received.is_some() {
            return Ok(());
        }
        let gone = DeviceError::Unavailable {
            device: "thread",
            step: "waiting for workers",
            errno: Errno(libc::ESRCH),
        };
        match timeout {
            None => self.received = Some(self.answers.recv().map_err(|_| gone)?),
            Some(timeout) => match self.answers.recv_timeout(timeout) {
                Ok(answer) => self.received = Some(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone),
            },
        }
        Ok(())
    }

    fn degraded(&self) -> Vec<DeviceDegraded> {
        let buffered =
            self.buffered.iter().map(|example| DeviceDegraded::Buffered { example: example.clone() });
        buffered.collect()
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> Result<DeviceFile, DeviceError> {
        let opened = os::open(path, mode)?;
        if !opened.direct {
            self.buffered.get_or_insert_with(|| path.to_owned());
        }
        Ok(DeviceFile(Rc::new(FileInner {
            path: path.to_owned(),
            id: opened.id,
            direct: opened.direct,
            handle: Handle::Os { fd: opened.fd, slot: None },
        })))
    }
}

impl Drop for ThreadBackend {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing more to do; there is nobody to tell in a drop.
            let _ = worker.join();
        }
    }
}
