//! The executor of shards without io_uring: a plain thread that runs tasks by class and parks when there is nothing.
//!
//! It is what `DELTALITE_IO=threads` and refused io_uring lead to, and it drives devices of the caller's making, so it
//! must not assume more of a device than the trait says.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;

use super::options::DeviceFactory;
use super::shard::{Runtime, Shard};
use super::{Birth, Ground};
use crate::device::{BlockDevice, DeviceError, DeviceKind, IoClass, ThreadDevice, ThreadOptions};
use crate::error::ShardError;

/// How long a task may run before others get their turn.
const TURN: Duration = Duration::from_micros(500);

/// The longest spell to wait in a device that does not unpark its owner.
const SPELL: Duration = Duration::from_micros(100);

/// Starts a shard's thread.
pub(super) fn start(birth: Birth, factory: Option<DeviceFactory>) -> Result<JoinHandle<()>, ShardError> {
    let shard = birth.place.shard;
    std::thread::Builder::new()
        .name(format!("shard-{shard}"))
        .spawn(move || {
            let Some(ground) = birth.settle() else { return };
            match make_device(&ground, factory.as_ref()) {
                Ok(device) => live(birth, ground, &device),
                Err(error) => birth.tell(Err(error.into())),
            }
        })
        .map_err(|error| ShardError::Start { shard, reason: format!("no thread: {error}") })
}

fn make_device(ground: &Ground, factory: Option<&DeviceFactory>) -> Result<Rc<dyn BlockDevice>, DeviceError> {
    if let Some(factory) = factory {
        return factory.make(ground.place);
    }
    let options = &ground.common.options;
    let device = ThreadDevice::new(&ThreadOptions {
        workers: options.io_workers,
        depth: options.queue_depth as usize,
        tokens: ground.common.tokens.clone(),
    })?;
    Ok(Rc::new(device))
}

fn live(birth: Birth, ground: Ground, device: &Rc<dyn BlockDevice>) {
    let runtime = Rc::new(PlainRuntime::default());
    let shard = Shard::new(ground, Rc::clone(device), Rc::<PlainRuntime>::clone(&runtime));
    birth.tell(Ok(()));
    let serving = Rc::new(Cell::new(true));
    let (done, mailbox, resting) = (Rc::clone(&serving), birth.mailbox, Rc::downgrade(&shard));
    runtime.spawn(
        IoClass::Rpc,
        Box::pin(async move {
            shard.serve(mailbox).await;
            done.set(false);
        }),
    );
    let rest = || {
        if let Some(shard) = resting.upgrade() {
            shard.close_files();
        }
    };
    run(&runtime, &**device, &serving, &rest);
}

/// Set and unparked by wakers of this thread's tasks, from any thread.
struct Alarm {
    thread: Thread,
    rang: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rang.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

fn run(runtime: &PlainRuntime, device: &dyn BlockDevice, serving: &Cell<bool>, rest: &dyn Fn()) {
    let alarm = Arc::new(Alarm { thread: std::thread::current(), rang: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&alarm));
    let mut cx = Context::from_waker(&waker);
    let mut tasks: [FuturesUnordered<LocalBoxFuture<'static, ()>>; 4] = Default::default();
    let unparks = device.stats().kind == DeviceKind::Threads;
    while serving.get() {
        alarm.rang.store(false, Ordering::Release);
        for (class, running) in IoClass::ALL.into_iter().zip(&mut tasks) {
            runtime.begin_turn();
            runtime.take_new(class, running);
            while let Poll::Ready(Some(())) = running.poll_next_unpin(&mut cx) {
                runtime.take_new(class, running);
            }
        }
        let completed = device.poll();
        if completed > 0 || alarm.rang.load(Ordering::Acquire) || runtime.has_new() || !serving.get() {
            continue;
        }
        if !unparks && device.load().operations > 0 {
            if let Err(error) = device.wait(Some(SPELL)) {
                tracing::error!(%error, "the device cannot be waited for");
                std::thread::park_timeout(SPELL);
            }
            continue;
        }
        if device.load().operations == 0 {
            rest();
        }
        // A device of worker threads unparks its owner for each answer; wakers do too.
        std::thread::park();
    }
}

#[derive(Default)]
struct PlainRuntime {
    new: RefCell<[Vec<LocalBoxFuture<'static, ()>>; 4]>,
    turn_began: Cell<Option<Instant>>,
}

impl PlainRuntime {
    fn take_new(&self, class: IoClass, running: &mut FuturesUnordered<LocalBoxFuture<'static, ()>>) {
        running.extend(self.new.borrow_mut()[class.index()].drain(..));
    }

    fn has_new(&self) -> bool {
        self.new.borrow().iter().any(|new| !new.is_empty())
    }

    fn begin_turn(&self) {
        self.turn_began.set(Some(Instant::now()));
    }
}

impl Runtime for PlainRuntime {
    fn spawn(&self, class: IoClass, task: LocalBoxFuture<'static, ()>) {
        self.new.borrow_mut()[class.index()].push(task);
    }

    fn should_yield(&self) -> bool {
        self.turn_began.get().is_none_or(|began| began.elapsed() >= TURN)
    }

    fn yield_now(&self) -> LocalBoxFuture<'_, ()> {
        self.begin_turn();
        Box::pin(YieldOnce(false))
    }
}

struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
