//! Properties of memory budgets: limits hold, waiters come in turn, nobody is forgotten.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use deltalite_alloc::{AllocError, BufferPool, MemoryBudget, PoolOptions, Reservation, Reserve};
use proptest::prelude::*;

/// Longer than any test takes: who waits as long was forgotten.
const FOREVER: Duration = Duration::from_mins(2);

/// A pending request and whether it was woken.
struct Pending {
    future: Pin<Box<Reserve>>,
    woken: Arc<Flag>,
    bytes: usize,
    budget: usize,
    arrival: usize,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Pending {
    fn new(budgets: &[MemoryBudget], budget: usize, bytes: usize, arrival: usize) -> Self {
        let future = Box::pin(budgets[budget].reserve(bytes));
        Self { future, woken: Arc::default(), bytes, budget, arrival }
    }

    fn poll(&mut self) -> Poll<Result<Reservation, AllocError>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

#[test]
fn waiters_come_in_turn_and_nobody_overtakes() {
    let budgets = [MemoryBudget::root("root", 100)];
    let held = budgets[0].try_reserve(95).unwrap();
    let mut large = Pending::new(&budgets, 0, 50, 0);
    let mut small = Pending::new(&budgets, 0, 2, 1);
    assert!(large.poll().is_pending());
    assert!(small.poll().is_pending(), "a small request overtook a large one");
    assert!(matches!(budgets[0].try_reserve(1), Err(AllocError::BudgetExceeded { used: 95, .. })));
    assert!(budgets[0].try_reserve(0).is_ok());
    assert_eq!(budgets[0].snapshot().waiting, 2);
    drop(held);
    assert!(large.is_woken() && small.is_woken());
    let Poll::Ready(Ok(_small)) = small.poll() else { panic!("not granted") };
    let Poll::Ready(Ok(_large)) = large.poll() else { panic!("not granted") };
    assert_eq!(budgets[0].usage(), 52);
}

#[test]
fn a_waiter_of_one_query_does_not_hold_up_another() {
    let root = MemoryBudget::root("root", 100);
    let budgets = [root.child("a", 30), root.child("b", 30)];
    let a = budgets[0].try_reserve(30).unwrap();
    let mut waiting = Pending::new(&budgets, 0, 10, 0);
    assert!(waiting.poll().is_pending());
    let b = budgets[1].try_reserve(30).unwrap();
    let error = budgets[0].try_reserve(1).unwrap_err();
    assert!(matches!(&error, AllocError::BudgetExceeded { budget, .. } if budget == "root/a"), "{error}");
    drop(b);
    assert!(!waiting.is_woken());
    drop(a);
    assert!(waiting.is_woken());
}

#[test]
fn a_cancelled_request_makes_way() {
    let budgets = [MemoryBudget::root("root", 100)];
    let held = budgets[0].try_reserve(60).unwrap();
    let mut first = Pending::new(&budgets, 0, 50, 0);
    let mut second = Pending::new(&budgets, 0, 40, 1);
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(first);
    assert!(second.is_woken());
    // Granted but never fetched: the bytes come back all the same.
    assert_eq!(budgets[0].usage(), 100);
    let mut third = Pending::new(&budgets, 0, 100, 2);
    assert!(third.poll().is_pending());
    drop(second);
    assert_eq!(budgets[0].usage(), 60);
    drop(held);
    assert!(third.is_woken() && third.poll().is_ready());
    // A future that was never polled has no place in the queue.
    drop(Pending::new(&budgets, 0, 100, 3));
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let root = MemoryBudget::root("process", 100);
    let query = root.child("query", 1000);
    for error in [
        query.try_reserve(101).unwrap_err(),
        query.reserve_blocking(101, FOREVER).unwrap_err(),
        query.reserve_blocking(900, Duration::MAX).unwrap_err(),
    ] {
        assert!(
            matches!(&error, AllocError::BudgetTooSmall { budget, limit: 100, .. } if budget == "process"),
            "{error}"
        );
        assert_eq!(error.code(), "DL-0111");
    }
    assert_eq!(query.available(), 100);
}

#[test]
fn waiting_in_vain_ends_with_the_budget_named() {
    let budget = MemoryBudget::root("process", 10);
    let _held = budget.try_reserve(5).unwrap();
    let error = budget.reserve_blocking(6, Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.code(), "DL-0112");
    assert!(error.to_string().contains("'process'") && error.to_string().contains("5 of 10"), "{error}");
    assert_eq!(budget.snapshot().waiting, 0);
    assert!(budget.try_reserve(5).is_ok());
}

#[test]
fn reservations_grow_shrink_split_and_join() {
    let root = MemoryBudget::root("root", 100);
    let child = root.child("child", 80);
    let mut reservation = child.try_reserve(10).unwrap();
    reservation.grow(60).unwrap();
    assert!(reservation.grow(11).is_err());
    assert_eq!((reservation.bytes(), root.usage()), (70, 70));
    let part = reservation.split(30);
    assert_eq!((reservation.bytes(), part.bytes(), child.usage()), (40, 30, 70));
    reservation.resize(5).unwrap();
    assert_eq!(child.usage(), 35);
    reservation.absorb(part).unwrap();
    assert_eq!(reservation.bytes(), 35);
    let foreign = root.try_reserve(1).unwrap();
    assert_eq!(reservation.absorb(foreign).unwrap_err().bytes(), 1);
    drop(reservation);
    assert_eq!((root.usage(), child.peak(), child.parent().map(|p| p.name())), (0, 70, Some("root".into())));
}

#[test]
fn budgets_leave_the_tree_with_their_last_user() {
    let root = MemoryBudget::root("root", 100);
    let query = root.child("query", 50);
    let held = query.child("sort", 40).try_reserve(7).unwrap();
    drop(query);
    assert_eq!(held.budget().name(), "root/query/sort");
    let snapshot = root.snapshot();
    assert_eq!((snapshot.used, snapshot.children[0].children[0].used), (7, 7));
    drop(held);
    assert!(root.snapshot().children.is_empty());
    let _reused = root.child("next", 5);
    assert_eq!(root.snapshot().children[0].name, "next");
}

#[derive(Debug, Clone)]
enum Step {
    Try { budget: usize, bytes: usize },
    Wait { budget: usize, bytes: usize },
    Poll(prop::sample::Index),
    Cancel(prop::sample::Index),
    Release(prop::sample::Index),
    Shrink(prop::sample::Index, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => (0..5_usize, 0..120_usize).prop_map(|(budget, bytes)| Step::Try { budget, bytes }),
        3 => (0..5_usize, 0..120_usize).prop_map(|(budget, bytes)| Step::Wait { budget, bytes }),
        3 => index().prop_map(Step::Poll),
        1 => index().prop_map(Step::Cancel),
        3 => index().prop_map(Step::Release),
        1 => (index(), 0..40_usize).prop_map(|(i, bytes)| Step::Shrink(i, bytes)),
    ]
}

/// The budgets on the way from each budget to the root, which is 0.
const PATHS: [&[usize]; 5] = [&[0], &[1, 0], &[2, 0], &[3, 1, 0], &[4, 1, 0]];
const LIMITS: [usize; 5] = [100, 80, 60, 50, 40];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn limits_hold_and_no_wakeup_is_lost(steps in prop::collection::vec(step(), 1..80)) {
        let root = MemoryBudget::root("0", LIMITS[0]);
        let (one, two) = (root.child("1", LIMITS[1]), root.child("2", LIMITS[2]));
        let (three, four) = (one.child("3", LIMITS[3]), one.child("4", LIMITS[4]));
        let budgets = [root, one, two, three, four];
        let mut held: Vec<(usize, Reservation)> = Vec::new();
        let mut pending: Vec<Pending> = Vec::new();
        for (arrival, step) in steps.into_iter().enumerate() {
            match step {
                Step::Try { budget, bytes } => {
                    if let Ok(reservation) = budgets[budget].try_reserve(bytes) {
                        held.push((budget, reservation));
                    }
                }
                Step::Wait { budget, bytes } => {
                    let mut new = Pending::new(&budgets, budget, bytes, arrival);
                    match new.poll() {
                        Poll::Ready(Ok(reservation)) => held.push((budget, reservation)),
                        Poll::Ready(Err(error)) => {
                            prop_assert!(PATHS[budget].iter().any(|b| bytes > LIMITS[*b]), "{}", error);
                        }
                        Poll::Pending => pending.push(new),
                    }
                }
                Step::Poll(index) if !pending.is_empty() => {
                    let chosen = index.index(pending.len());
                    let woken = pending[chosen].is_woken();
                    match pending[chosen].poll() {
                        Poll::Ready(Ok(reservation)) => {
                            prop_assert!(woken, "granted without a wake-up");
                            let done = pending.swap_remove(chosen);
                            prop_assert_eq!(reservation.bytes(), done.bytes);
                            held.push((done.budget, reservation));
                        }
                        Poll::Ready(Err(error)) => return Err(TestCaseError::fail(error.to_string())),
                        Poll::Pending => prop_assert!(!woken, "woken for nothing"),
                    }
                }
                Step::Cancel(index) if !pending.is_empty() => {
                    drop(pending.swap_remove(index.index(pending.len())));
                }
                Step::Release(index) if !held.is_empty() => {
                    drop(held.swap_remove(index.index(held.len())));
                }
                Step::Shrink(index, bytes) if !held.is_empty() => {
                    let chosen = index.index(held.len());
                    let reservation = &mut held[chosen].1;
                    reservation.shrink(bytes.min(reservation.bytes()));
                }
                _ => {}
            }
            // Woken means granted: the bytes are reserved though nobody holds them yet.
            let mut used = [0; 5];
            let owned = held.iter().map(|(budget, r)| (*budget, r.bytes()));
            let granted = pending.iter().filter(|p| p.is_woken()).map(|p| (p.budget, p.bytes));
            for (budget, bytes) in owned.chain(granted) {
                for &above in PATHS[budget] {
                    used[above] += bytes;
                }
            }
            for (budget, used) in budgets.iter().zip(used) {
                prop_assert_eq!(budget.usage(), used);
                prop_assert!(used <= budget.limit() && used <= budget.peak());
            }
            // In turn: a waiter that fits waits for an older one that needs the same budget and doesn't fit there.
            let mut waiting: Vec<&Pending> = pending.iter().filter(|p| !p.is_woken()).collect();
            waiting.sort_by_key(|p| p.arrival);
            for (place, waiter) in waiting.iter().enumerate() {
                let fits = PATHS[waiter.budget].iter().all(|b| waiter.bytes <= LIMITS[*b] - used[*b]);
                let behind = waiting[..place].iter().any(|older| {
                    PATHS[waiter.budget]
                        .iter()
                        .any(|b| PATHS[older.budget].contains(b) && older.bytes > LIMITS[*b] - used[*b])
                });
                prop_assert!(!fits || behind, "a request of {} bytes was forgotten", waiter.bytes);
            }
        }
        held.clear();
        // With nothing held, each that was granted makes way for others until none is left.
        while !pending.is_empty() {
            let woken = pending.iter().position(Pending::is_woken);
            prop_assert!(woken.is_some(), "{} requests were forgotten", pending.len());
            let mut waiter = pending.swap_remove(woken.unwrap_or(0));
            prop_assert!(waiter.poll().is_ready());
        }
        prop_assert_eq!(budgets[0].usage(), 0);
    }
}

#[test]
fn threads_never_exceed_a_limit_and_none_is_forgotten() {
    const THREADS: usize = 6;
    const ROUNDS: usize = 3000;
    const LIMIT: usize = 100;
    let root = MemoryBudget::root("root", LIMIT);
    let held = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (root, held) = (&root, &held);
            let child = root.child(format!("query {}", thread % 3), 70);
            scope.spawn(move || {
                let mut random = thread as u64 + 1;
                for _ in 0..ROUNDS {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let bytes = (random >> 33) as usize % 70 + 1;
                    let budget = if random >> 62 == 0 { root } else { &child };
                    let granted = match random >> 60 & 3 {
                        0 => budget.try_reserve(bytes).ok(),
                        // Cut short at any moment, before the grant or after it.
                        1 => budget.reserve_blocking(bytes, Duration::from_micros(random >> 54 & 63)).ok(),
                        _ => Some(budget.reserve_blocking(bytes, FOREVER).unwrap()),
                    };
                    if let Some(reservation) = granted {
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(now <= LIMIT, "{now} bytes are reserved");
                        if random >> 59 & 1 == 0 {
                            std::thread::yield_now();
                        }
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(reservation);
                    }
                }
            });
        }
    });
    let snapshot = root.snapshot();
    assert_eq!((snapshot.used, snapshot.waiting, snapshot.children.len()), (0, 0, 0));
    assert!(snapshot.peak <= LIMIT);
}

#[test]
fn pools_answer_to_their_budget() {
    const MIB: usize = 1 << 20;
    let budget = MemoryBudget::root("process", 20 * MIB);
    let options = PoolOptions { budget: Some(budget.clone()), ..PoolOptions::growing("pool", 64 * MIB) };
    let pool = BufferPool::new(options).unwrap();
    let buffer = pool.take(3 * MIB).unwrap();
    assert_eq!(budget.usage(), pool.stats().mapped);
    assert!(budget.usage() >= 3 * MIB);
    let error = pool.take(18 * MIB).unwrap_err();
    assert!(matches!(error, AllocError::BudgetExceeded { .. }), "{error}");
    // What is free here makes room for what is asked here, and for others.
    drop(buffer);
    drop(pool.take(18 * MIB).unwrap());
    assert_eq!(pool.stats().mapped, 18 * MIB);
    drop(budget.try_reserve(10 * MIB).unwrap());
    assert_eq!((budget.usage(), pool.stats().mapped), (0, 0));
    // A budget with little left gets by with a small chunk.
    let _others = budget.try_reserve(20 * MIB - 8192).unwrap();
    assert!(pool.take(8000).is_ok());
    let arena = PoolOptions { budget: Some(budget.clone()), ..PoolOptions::arena("arena", 16 * MIB) };
    assert_eq!(BufferPool::new(arena).unwrap_err().code(), "DL-0110");
    drop(pool);
    assert_eq!(budget.usage(), 20 * MIB - 8192);
}

#[test]
fn retained_memory_reaches_those_who_wait_for_it() {
    const MIB: usize = 1 << 20;
    let root = MemoryBudget::root("process", 20 * MIB);
    let budgets = [root.child("query", 20 * MIB), root.child("small", MIB)];
    let make = |name: &str, budget: &MemoryBudget| {
        BufferPool::new(PoolOptions { budget: Some(budget.clone()), ..PoolOptions::growing(name, 64 * MIB) })
            .unwrap()
    };
    let (pool, other) = (make("pool", &budgets[0]), make("other", &budgets[0]));
    let buffers: Vec<_> = (0..5).map(|_| pool.take(2 * MIB).unwrap()).collect();
    // Nothing of the pool is free: the waiter stays until buffers return, from whatever thread.
    let mut waiting = Pending::new(&budgets, 0, 16 * MIB, 0);
    assert!(waiting.poll().is_pending() && !waiting.is_woken());
    std::thread::spawn(move || buffers.into_iter().for_each(drop)).join().unwrap();
    assert!(waiting.is_woken(), "{}", root.snapshot());
    drop(waiting);
    // What one pool retains is there for another.
    drop(pool.take(16 * MIB).unwrap());
    assert!(pool.stats().mapped >= 16 * MIB);
    drop(other.take(16 * MIB).unwrap());
    assert_eq!(pool.stats().mapped, 0);
    drop(other);
    // A waiter may come to need it only later, when its own budget has room again.
    drop(pool.take(8 * MIB).unwrap());
    let mut held = budgets[1].try_reserve(MIB).unwrap();
    let mut late = Pending::new(&budgets, 1, MIB / 2, 0);
    assert!(late.poll().is_pending());
    held.shrink(MIB / 4);
    let _rest = root.try_reserve(root.available()).unwrap();
    assert_eq!(pool.stats().mapped, 8 * MIB);
    held.shrink(MIB / 4);
    assert!(late.is_woken(), "{}", root.snapshot());
    drop((late, held));
    // Who waits for another budget takes nothing from here.
    drop(pool.take(MIB).unwrap());
    let _full = budgets[1].try_reserve(MIB).unwrap();
    let retained = pool.stats().mapped;
    let mut elsewhere = Pending::new(&budgets, 1, MIB, 0);
    assert!(elsewhere.poll().is_pending());
    assert!(budgets[1].try_reserve(1).is_err());
    drop(pool.take(MIB).unwrap());
    assert!(retained > 0 && pool.stats().mapped == retained);
}

#[test]
fn pools_and_waiters_share_a_budget_without_deadlock() {
    const KIB: usize = 1 << 10;
    let root = MemoryBudget::root("process", 3000 * KIB);
    let pools: Vec<BufferPool> = (0..2)
        .map(|number| {
            let budget = Some(root.child(format!("pool {number}"), 2500 * KIB));
            BufferPool::new(PoolOptions { budget, ..PoolOptions::growing("shared", 4000 * KIB) }).unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (root, pool) = (&root, &pools[thread % 2]);
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                for round in 0..1500_usize {
                    let len = [4, 60, 300, 900][(round * 7 + thread) % 4] * KIB;
                    match pool.take(len) {
                        Ok(buffer) => held.push_back(buffer),
                        Err(AllocError::Exhausted { .. } | AllocError::BudgetExceeded { .. }) => held.clear(),
                        Err(other) => panic!("{other}"),
                    }
                    if held.len() > 3 {
                        held.pop_front();
                    }
                    if round % 16 == 0 {
                        held.clear();
                        let reservation = root.reserve_blocking(2000 * KIB, FOREVER).unwrap();
                        assert!(root.usage() <= root.limit() && reservation.bytes() == 2000 * KIB);
                    }
                }
            });
        }
    });
    for pool in &pools {
        assert_eq!(pool.stats().in_use, 0);
        pool.trim_all();
    }
    assert_eq!(root.usage(), 0);
}
