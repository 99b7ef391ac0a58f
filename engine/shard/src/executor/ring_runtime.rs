//! The executor of ring shards. This is the one file that knows glommio, so that a successor is a change of this file.
//!
//! glommio owns the thread, the task queues and its own rings for timers and wake-ups. Block I/O goes through our ring
//! on the same thread, coupled by public API only: queueing wakes a flusher task, which submits everything queued in
//! one system call, and the ring's eventfd is read through glommio, so that a completion wakes an idle shard.

use std::cell::Cell;
use std::os::fd::{FromRawFd, RawFd};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use glommio::io::BufferedFile;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use io_uring::{IoUring, Probe, opcode};

use super::shard::{Runtime, Shard};
use super::signal::Signal;
use super::{Birth, Ground};
use crate::device::{BlockDevice, DeviceError, Errno, IoClass, RingDevice, RingOptions};
use crate::error::ShardError;

/// How long a task may run before others get their turn: also how late a completion is seen at most by a task that
/// computes without yielding to the device.
const TURN: Duration = Duration::from_micros(500);
/// glommio refuses to start below this limit of locked memory, in bytes.
const MEMLOCK_MIN: u64 = 512 << 10;
/// glommio's own buffers, which nothing here uses, in bytes: the least it takes.
const IO_MEMORY: usize = 64 << 10;

/// Shares of the thread by class, in the order of [`IoClass::ALL`].
const QUEUES: [(&str, usize, bool); 4] =
    [("rpc", 1000, true), ("scan", 1000, false), ("prefetch", 250, false), ("scrub", 50, false)];

/// Whether glommio can start here. It ends the process where an operation is missing, so that is asked before.
pub(super) fn usable() -> Result<(), ShardError> {
    let refused = |step, errno| DeviceError::Unavailable { device: "io_uring", step, errno };
    if raise_memlock() < MEMLOCK_MIN {
        return Err(refused("locked memory limit below 512 KiB (ulimit -l)", Errno(libc::ENOMEM)).into());
    }
    let ring = IoUring::new(4).map_err(|e| refused("io_uring_setup", Errno::of(&e)))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|e| refused("probe", Errno::of(&e)))?;
    let needed = [
        opcode::Nop::CODE,
        opcode::Readv::CODE,
        opcode::Writev::CODE,
        opcode::Fsync::CODE,
        opcode::ReadFixed::CODE,
        opcode::WriteFixed::CODE,
        opcode::PollAdd::CODE,
        opcode::PollRemove::CODE,
        opcode::SendMsg::CODE,
        opcode::RecvMsg::CODE,
        opcode::Timeout::CODE,
        opcode::TimeoutRemove::CODE,
        opcode::Accept::CODE,
        opcode::LinkTimeout::CODE,
        opcode::Connect::CODE,
        opcode::Fallocate::CODE,
        opcode::OpenAt::CODE,
        opcode::Close::CODE,
        opcode::Statx::CODE,
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::Send::CODE,
        opcode::Recv::CODE,
    ];
    if needed.iter().all(|&code| probe.is_supported(code)) {
        Ok(())
    } else {
        Err(refused("probe of operations", Errno(libc::EOPNOTSUPP)).into())
    }
}

/// Raises the soft limit of locked memory to the hard one, and returns what it is then, in bytes.
fn raise_memlock() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write one `rlimit` that lives here.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) != 0 {
            return u64::MAX;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if limit.rlim_cur < limit.rlim_max && libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const raised) == 0 {
            limit = raised;
        }
    }
    limit.rlim_cur
}

/// Starts a shard's thread.
pub(super) fn start(birth: Birth) -> Result<JoinHandle<()>, ShardError> {
    let shard = birth.place.shard;
    let failed = move |reason: String| ShardError::Start { shard, reason };
    // glommio's own thread handle is not a std one: a thread of ours makes the executor and runs it.
    std::thread::Builder::new()
        .name(format!("shard-{shard}"))
        .spawn(move || {
            let Some(ground) = birth.settle() else { return };
            // Not pinned by glommio: `settle` has done it, and goes on where pinning is refused.
            let executor = LocalExecutorBuilder::new(Placement::Unbound)
                .name(&format!("shard-{shard}"))
                .io_memory(IO_MEMORY)
                .preempt_timer(TURN)
                .make();
            match executor {
                Ok(executor) => executor.run(live(birth, ground)),
                Err(error) => birth.tell(Err(failed(format!("glommio: {error}")))),
            }
        })
        .map_err(|error| failed(format!("no thread: {error}")))
}

async fn live(birth: Birth, ground: Ground) {
    let options = &ground.common.options;
    let made = RingDevice::new(&RingOptions {
        depth: options.queue_depth,
        arena: Some(ground.arena.clone()),
        ..RingOptions::new(ground.common.tokens.clone())
    });
    let device: Rc<dyn BlockDevice> = match made {
        Ok(device) => Rc::new(device),
        Err(error) => {
            birth.tell(Err(error.into()));
            return;
        }
    };
    let runtime = Rc::new(GlommioRuntime::new());
    let shard = Shard::new(ground, Rc::clone(&device), Rc::<GlommioRuntime>::clone(&runtime));

    let (queued, stopping) = (Rc::new(Signal::default()), Rc::new(Cell::new(false)));
    let notify = Rc::clone(&queued);
    device.on_queued(Box::new(move || notify.set()));
    let (flushed, flag) = (Rc::clone(&device), Rc::clone(&stopping));
    let signal = Rc::clone(&queued);
    let flusher = runtime.spawn_into(IoClass::Rpc, async move {
        while !flag.get() {
            signal.wait().await;
            flushed.poll();
        }
    });
    let event = device.event_fd();
    let pump = event
        .map(|event| runtime.spawn_into(IoClass::Rpc, pump(event, Rc::clone(&device), Rc::clone(&stopping))));

    birth.tell(Ok(()));
    shard.serve(birth.mailbox).await;

    stopping.set(true);
    queued.set();
    if let Some(flusher) = flusher {
        flusher.await;
    }
    if let (Some(event), Some(Some(pump))) = (event, pump) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes that live here, to a descriptor that the device owns.
        if unsafe { libc::write(event, one.as_ptr().cast(), one.len()) } == 8 {
            pump.await;
        }
    }
}

/// Delivers completions whenever the ring's eventfd says that there are some.
async fn pump(event: RawFd, device: Rc<dyn BlockDevice>, stopping: Rc<Cell<bool>>) {
    // SAFETY: a descriptor of our own for glommio to own and close.
    let file = unsafe {
        let own = libc::fcntl(event, libc::F_DUPFD_CLOEXEC, 0);
        if own < 0 {
            tracing::error!(errno = %Errno::last(), "no descriptor for completions: they are seen when reads are queued");
            return;
        }
        BufferedFile::from_raw_fd(own)
    };
    while !stopping.get() {
        if let Err(error) = file.read_at(0, 8).await {
            tracing::error!(%error, "the ring's eventfd cannot be read");
            break;
        }
        device.poll();
    }
    if let Err(error) = file.close().await {
        tracing::debug!(%error, "closing the eventfd");
    }
}

struct GlommioRuntime {
    queues: [TaskQueueHandle; 4],
}

impl GlommioRuntime {
    fn new() -> Self {
        let queues = QUEUES.map(|(name, shares, urgent)| {
            let latency = if urgent { Latency::Matters(TURN) } else { Latency::NotImportant };
            glommio::executor().create_task_queue(Shares::Static(shares), latency, name)
        });
        Self { queues }
    }

    fn spawn_into(
        &self,
        class: IoClass,
        task: impl Future<Output = ()> + 'static,
    ) -> Option<glommio::Task<()>> {
        match glommio::spawn_local_into(task, self.queues[class.index()]) {
            Ok(task) => Some(task),
            Err(error) => {
                // The queues live as long as the executor, so this cannot be; were it so, the task is dropped and
                // its handle says that it was cancelled.
                tracing::error!(%error, "a task queue is gone");
                None
            }
        }
    }
}

impl Runtime for GlommioRuntime {
    fn spawn(&self, class: IoClass, task: LocalBoxFuture<'static, ()>) {
        if let Some(task) = self.spawn_into(class, task) {
            task.detach();
        }
    }

    fn should_yield(&self) -> bool {
        glommio::executor().need_preempt()
    }

    fn yield_now(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(glommio::yield_if_needed())
    }
}
