//! Wake-ups from other threads, collected for the pump of a shard.
//!
//! A task's waker is wrapped: woken on its own thread it wakes the task as ever; woken on another it is put here, and
//! the pump, which has its turn often, passes it on. Only a pump that sleeps has to be woken across threads.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use parking_lot::Mutex;

use crate::device::RingBell;

#[derive(Default)]
struct Waiting {
    /// Tasks to wake.
    tasks: Vec<Waker>,
    /// The pump, while it sleeps.
    pump: Option<Waker>,
}

/// The doorbell of one shard.
pub(super) struct Doorbell {
    waiting: Mutex<Waiting>,
    /// There is something for the pump to do: `tasks` is not empty, or somebody rang.
    has_rung: AtomicBool,
    /// The pump waits in the ring, which only `bell` ends early.
    in_ring: AtomicBool,
    bell: RingBell,
    home: ThreadId,
}

impl Doorbell {
    /// A doorbell for the shard on the calling thread.
    pub(super) fn new(bell: RingBell) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            has_rung: AtomicBool::new(false),
            in_ring: AtomicBool::new(false),
            bell,
            home: thread::current().id(),
        })
    }

    /// Runs `wait`, which waits in the ring, unless there is something to do. Whoever rings meanwhile ends it.
    pub(super) fn while_in_ring<T>(&self, wait: impl FnOnce() -> T) -> Option<T> {
        // Sequentially consistent, as in `ring`: either this sees that somebody rang, or they see that the pump waits.
        self.in_ring.store(true, Ordering::SeqCst);
        let waited = (!self.has_rung.load(Ordering::SeqCst)).then(wait);
        self.in_ring.store(false, Ordering::Relaxed);
        waited
    }

    /// Wakes the pump, if it sleeps.
    pub(super) fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            if self.in_ring.load(Ordering::SeqCst) {
                self.bell.ring();
                return;
            }
            let pump = self.waiting.lock().pump.take();
            if let Some(pump) = pump {
                pump.wake();
            }
        }
    }

    fn leave(&self, task: Waker) {
        self.waiting.lock().tasks.push(task);
        self.ring();
    }

    /// Wakes the tasks that other threads woke. Called on the shard's thread.
    pub(super) fn pass_on(&self) {
        // Reset first: what is left from here on rings again.
        if self.has_rung.load(Ordering::Relaxed) && self.has_rung.swap(false, Ordering::SeqCst) {
            let tasks = std::mem::take(&mut self.waiting.lock().tasks);
            for task in tasks {
                task.wake();
            }
        }
    }

    /// Sleeps until somebody rings.
    pub(super) async fn rung(&self) {
        poll_fn(|cx| {
            let mut waiting = self.waiting.lock();
            if self.has_rung.load(Ordering::Acquire) {
                waiting.pump = None;
                return Poll::Ready(());
            }
            // Whoever rings from here on takes the lock after this and finds the pump.
            waiting.pump = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

struct Wrapped {
    task: Waker,
    doorbell: Arc<Doorbell>,
}

impl Wake for Wrapped {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread::current().id() == self.doorbell.home {
            self.task.wake_by_ref();
            // The executor runs the task next; a pump that sleeps has to be in turn again as long as tasks run.
            self.doorbell.ring();
        } else {
            self.doorbell.leave(self.task.clone());
        }
    }
}

/// A task's waker, wrapped once and kept for as long as the executor's own stays the same.
pub(super) struct DoorbellWaker {
    doorbell: Arc<Doorbell>,
    wrapped: Option<(Waker, Waker)>,
}

impl DoorbellWaker {
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self { doorbell, wrapped: None }
    }

    /// The wrapped form of `task`.
    pub(super) fn around(&mut self, task: &Waker) -> &Waker {
        if !self.wrapped.as_ref().is_some_and(|(inner, _)| inner.will_wake(task)) {
            self.wrapped = None;
        }
        let (_, wrapped) = self.wrapped.get_or_insert_with(|| {
            let wrapped = Wrapped { task: task.clone(), doorbell: Arc::clone(&self.doorbell) };
            (task.clone(), Waker::from(Arc::new(wrapped)))
        });
        wrapped
    }
}
