//! Simulated time and a scheduler that runs one task at a time, in an order that only the seed decides.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::drive::Timer;
use crate::time::{Clock, Time};

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    runnable: Arc<Flag>,
}

struct Inner {
    now: Arc<AtomicU64>,
    rng: RefCell<SmallRng>,
    tasks: RefCell<Vec<Task>>,
    spawned: RefCell<Vec<Task>>,
    alarms: RefCell<BTreeMap<(Time, u64), Waker>>,
    alarms_set: Cell<u64>,
    violations: RefCell<Vec<String>>,
}

/// A world of its own. Clones are the same one.
#[derive(Clone)]
pub(crate) struct World(Rc<Inner>);

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            now: Arc::new(AtomicU64::new(1)),
            rng: RefCell::new(SmallRng::seed_from_u64(seed)),
            tasks: RefCell::default(),
            spawned: RefCell::default(),
            alarms: RefCell::default(),
            alarms_set: Cell::new(0),
            violations: RefCell::default(),
        }))
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_micros(self.0.now.load(Ordering::Relaxed))
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0.now);
        Clock::of(move || Time::from_micros(now.load(Ordering::Relaxed)))
    }

    /// Time leaps, as on a machine that slept.
    pub(crate) fn leap(&self, by: Duration) {
        self.0.now.store(self.now().after(by).as_micros(), Ordering::Relaxed);
    }

    /// A random number from 0 up to below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.0.rng.borrow_mut().random_range(0..end.max(1))
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let runnable = Arc::new(Flag(AtomicBool::new(true)));
        self.0.spawned.borrow_mut().push(Task { future: Box::pin(future), runnable });
    }

    pub(crate) fn wake_at(&self, at: Time, waker: &Waker) {
        let n = self.0.alarms_set.get();
        self.0.alarms_set.set(n + 1);
        self.0.alarms.borrow_mut().insert((at, n), waker.clone());
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let at = self.now().after(duration);
        poll_fn(|cx| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            self.wake_at(at, cx.waker());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn timer(&self) -> SimTimer {
        SimTimer { world: self.clone(), set: None }
    }

    /// Something that must never be.
    pub(crate) fn violated(&self, what: String) {
        self.0.violations.borrow_mut().push(what);
    }

    /// What must never be, and was.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.0.violations.borrow().clone()
    }

    /// Runs tasks until `done`, time `until` or a violation; true where it was done.
    pub(crate) fn run(&self, until: Time, done: impl Fn() -> bool) -> bool {
        let mut tasks = self.0.tasks.take();
        let finished = loop {
            tasks.append(&mut self.0.spawned.borrow_mut());
            if done() {
                break true;
            }
            if !self.0.violations.borrow().is_empty() {
                break false;
            }
            let runnable: Vec<usize> =
                (0..tasks.len()).filter(|&i| tasks[i].runnable.0.load(Ordering::Relaxed)).collect();
            if runnable.is_empty() {
                let first = self.0.alarms.borrow().first_key_value().map(|(&key, _)| key);
                let Some(key) = first.filter(|(at, _)| *at <= until) else { break false };
                let Some(waker) = self.0.alarms.borrow_mut().remove(&key) else { break false };
                let (at, _) = key;
                self.0.now.fetch_max(at.as_micros(), Ordering::Relaxed);
                waker.wake();
                continue;
            }
            let i = runnable[self.below(runnable.len() as u64) as usize];
            let task = &mut tasks[i];
            task.runnable.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&task.runnable));
            if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                drop(tasks.swap_remove(i));
            }
            // Computing takes time.
            self.0.now.fetch_add(1, Ordering::Relaxed);
        };
        *self.0.tasks.borrow_mut() = tasks;
        finished
    }

    /// Ends all tasks.
    pub(crate) fn end(&self) {
        let tasks = self.0.tasks.take();
        drop(tasks);
        self.0.spawned.take();
        self.0.alarms.take();
    }
}

/// Alarms of a world.
pub(crate) struct SimTimer {
    world: World,
    set: Option<Time>,
}

impl Timer for SimTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, now: Time, at: Time) -> Poll<()> {
        if now >= at {
            return Poll::Ready(());
        }
        if self.set.is_none_or(|set| set <= now || set > at) {
            self.world.wake_at(at, cx.waker());
            self.set = Some(at);
        }
        Poll::Pending
    }
}
