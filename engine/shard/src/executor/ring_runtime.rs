//! The executor of ring shards. This is the one file that knows glommio, so that a successor is a change of this file.
//!
//! glommio owns the thread, the task queues and its own rings for timers and wake-ups. Block I/O goes through our ring
//! on the same thread, coupled by public API only, by a pump task that is in turn for as long as anything happens:
//!
//! - it issues what was queued and delivers what is answered, between the turns of other tasks;
//! - while the shard has nothing to do but wait for its disk, it waits in our ring, which also hears a bell that other
//!   threads ring: parking glommio and waking it costs several times what a read of 1 MiB costs itself;
//! - it passes on wake-ups from other threads (`doorbell`), which glommio itself notices only between preemptions.
//!
//! With nothing to do at all the pump sleeps and glommio parks. glommio 0.9 can miss a wake-up from another thread that
//! comes while it is about to park, and sleep for good (seen once in some ten thousand hops on a busy machine), unless
//! the woken task's queue is latency sensitive: then each wake-up is written to its eventfd. So the pump, in such a
//! queue, is the only task that is ever woken from another thread. glommio's preemption timer plays no part: turns are
//! measured here.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Context;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use io_uring::{IoUring, Probe, opcode};

use super::doorbell::{Doorbell, DoorbellWaker};
use super::shard::{Runtime, Shard};
use super::{Birth, Ground};
use crate::device::{BlockDevice, DeviceError, Errno, IoClass, RingDevice, RingOptions};
use crate::error::ShardError;

/// How long a task may run before others get their turn.
const TURN: Duration = Duration::from_micros(500);
/// glommio's preemption timer is not to fire, ever.
const PREEMPT_NEVER: Duration = Duration::from_hours(24 * 365);
/// The longest spell that the pump waits in our ring. Only glommio's own timers, which nothing here uses, could be delayed.
const SPELL: Duration = Duration::from_millis(10);
/// glommio refuses to start below this limit of locked memory, in bytes.
const MEMLOCK_MIN: u64 = 512 << 10;
/// glommio's own buffers, which nothing here uses, in bytes: the least it takes.
const IO_MEMORY: usize = 64 << 10;

/// Shares of the thread by class, in the order of [`IoClass::ALL`].
const QUEUES: [(&str, usize); 4] = [("rpc", 4000), ("scan", 1000), ("prefetch", 250), ("scrub", 50)];
/// Shares of the pump, which takes next to nothing but should have it soon. Its queue has to be latency sensitive, for
/// the sake of wake-ups from other threads.
const PUMP_SHARES: usize = 4000;

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
                .preempt_timer(PREEMPT_NEVER)
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
    let (device, bell) = match made.and_then(|device| device.bell().map(|bell| (device, bell))) {
        Ok(made) => made,
        Err(error) => {
            birth.tell(Err(error.into()));
            return;
        }
    };
    let device: Rc<dyn BlockDevice> = Rc::new(device);
    let doorbell = Doorbell::new(bell);
    let runtime = Rc::new(GlommioRuntime::new(Arc::clone(&doorbell)));
    let shard = Shard::new(ground, Rc::clone(&device), Rc::<GlommioRuntime>::clone(&runtime));
    let notify = Arc::clone(&doorbell);
    device.on_queued(Box::new(move || notify.ring()));
    let pumping = glommio::spawn_local_into(
        pump(Rc::clone(&device), doorbell, Rc::clone(&runtime), Rc::downgrade(&shard)),
        glommio::executor().create_task_queue(
            Shares::Static(PUMP_SHARES),
            Latency::Matters(PREEMPT_NEVER),
            "pump",
        ),
    );
    let pumping = match pumping {
        Ok(pumping) => pumping,
        Err(error) => {
            let reason = format!("glommio: {error}");
            birth.tell(Err(ShardError::Start { shard: shard.index(), reason }));
            return;
        }
    };
    birth.tell(Ok(()));
    let (served, done) = oneshot::channel();
    let mailbox = birth.mailbox;
    runtime.spawn(
        IoClass::Rpc,
        Box::pin(async move {
            shard.serve(mailbox).await;
            // Whoever waits for this is on this thread and outlives it.
            let _ = served.send(());
        }),
    );
    // An error would mean that the task was dropped, which ends the shard as well.
    let _ = done.await;
    pumping.cancel().await;
}

/// Issues, delivers and passes on wake-ups for as long as the shard lives.
async fn pump(
    device: Rc<dyn BlockDevice>,
    doorbell: Arc<Doorbell>,
    runtime: Rc<GlommioRuntime>,
    shard: Weak<Shard>,
) {
    loop {
        let polls = runtime.polls.get();
        doorbell.pass_on();
        device.poll();
        glommio::executor().yield_task_queue_now().await;
        if runtime.polls.get() != polls {
            continue;
        }
        // Nobody else had anything to do.
        let load = device.load();
        if load.in_flight > 0 {
            if let Some(Err(error)) = doorbell.while_in_ring(|| device.wait(Some(SPELL))) {
                tracing::error!(%error, "the ring cannot be waited for");
                glommio::timer::sleep(SPELL).await;
            }
        } else if load.operations == 0 {
            if let Some(shard) = shard.upgrade() {
                shard.close_files();
            }
            doorbell.rung().await;
        }
    }
}

struct GlommioRuntime {
    queues: [TaskQueueHandle; 4],
    doorbell: Arc<Doorbell>,
    /// How often tasks have run.
    polls: Rc<Cell<u64>>,
    /// When the running task began to run.
    turn_began: Rc<Cell<Instant>>,
}

impl GlommioRuntime {
    fn new(doorbell: Arc<Doorbell>) -> Self {
        let queues = QUEUES.map(|(name, shares)| {
            glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name)
        });
        Self { queues, doorbell, polls: Rc::default(), turn_began: Rc::new(Cell::new(Instant::now())) }
    }
}

impl Runtime for GlommioRuntime {
    fn spawn(&self, class: IoClass, mut task: LocalBoxFuture<'static, ()>) {
        let (polls, turn_began) = (Rc::clone(&self.polls), Rc::clone(&self.turn_began));
        let mut waker = DoorbellWaker::new(Arc::clone(&self.doorbell));
        let taking_turns = poll_fn(move |cx| {
            polls.set(polls.get().wrapping_add(1));
            turn_began.set(Instant::now());
            let waker = waker.around(cx.waker());
            task.as_mut().poll(&mut Context::from_waker(waker))
        });
        match glommio::spawn_local_into(taking_turns, self.queues[class.index()]) {
            Ok(task) => drop(task.detach()),
            // The queues live as long as the executor, so this cannot be; were it so, the task is dropped and its
            // handle says that it was cancelled.
            Err(error) => tracing::error!(%error, "a task queue is gone"),
        }
        // A task begun from outside of any task has to be seen by a pump that sleeps.
        self.doorbell.ring();
    }

    fn should_yield(&self) -> bool {
        self.turn_began.get().elapsed() >= TURN
    }

    fn yield_now(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async { glommio::executor().yield_task_queue_now().await })
    }
}
