//! Properties of buffer pools, seen from outside.

use deltalite_alloc::{
    ALIGNMENT, AllocError, BufferPool, Degraded, HugePages, MIN_ALIGNMENT, NodeId, PoolBuffer, PoolOptions,
    PoolShape, SharedBuffer,
};
use proptest::prelude::*;
use std::sync::mpsc;

const MIB: usize = 1 << 20;

#[derive(Debug, Clone)]
enum Step {
    Take(usize),
    Drop(prop::sample::Index),
    Truncate(prop::sample::Index, usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![
        3 => 0..4096_usize,
        4 => 4096..300_000_usize,
        2 => 300_000..4 * MIB,
        1 => 4 * MIB..9 * MIB,
    ];
    prop_oneof![
        5 => len.prop_map(Step::Take),
        4 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => (any::<prop::sample::Index>(), 0..10_000_usize).prop_map(|(i, len)| Step::Truncate(i, len)),
        1 => Just(Step::Trim),
    ]
}

/// A buffer and the byte that its ends were filled with.
struct Live {
    buffer: PoolBuffer,
    mark: u8,
}

fn mark_ends(buffer: &mut PoolBuffer, mark: u8) {
    let capacity = buffer.capacity();
    let len = buffer.len();
    buffer.set_len(capacity);
    let bytes = buffer.as_mut_slice();
    let ends = capacity.min(64);
    bytes[..ends].fill(mark);
    bytes[capacity - ends..].fill(mark);
    buffer.set_len(len);
}

fn ends_hold(live: &mut Live) -> bool {
    let capacity = live.buffer.capacity();
    let len = live.buffer.len();
    live.buffer.set_len(capacity);
    let bytes = live.buffer.as_slice();
    let ends = capacity.min(64);
    let hold = bytes[..ends].iter().chain(&bytes[capacity - ends..]).all(|b| *b == live.mark);
    live.buffer.set_len(len);
    hold
}

fn check_steps(options: PoolOptions, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let arena = options.shape == PoolShape::Arena;
    let pool = BufferPool::new(options).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let limit = pool.options().limit_bytes;
    let mut live: Vec<Live> = Vec::new();
    let mut peak = 0;
    for (number, step) in steps.into_iter().enumerate() {
        let in_use: usize = live.iter().map(|l| l.buffer.capacity()).sum();
        match step {
            Step::Take(len) => match pool.take(len) {
                Ok(mut buffer) => {
                    prop_assert_eq!(buffer.len(), len);
                    prop_assert!(buffer.capacity() >= len);
                    let alignment =
                        if arena || buffer.capacity() >= ALIGNMENT { ALIGNMENT } else { MIN_ALIGNMENT };
                    prop_assert_eq!(buffer.as_ptr().addr() % alignment, 0);
                    let unit = alignment;
                    prop_assert!(buffer.capacity() * 4 <= len.next_multiple_of(unit).max(unit) * 5);
                    let mark = number as u8;
                    mark_ends(&mut buffer, mark);
                    live.push(Live { buffer, mark });
                }
                Err(AllocError::Exhausted { asked, in_use: reported, limit: of, .. }) => {
                    prop_assert!(asked >= len);
                    prop_assert_eq!(of, limit);
                    prop_assert_eq!(reported, in_use);
                    prop_assert!(!live.is_empty(), "an idle pool refused {} of {} bytes", asked, limit);
                }
                Err(AllocError::TooLarge { asked, .. }) => prop_assert!(asked > limit),
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            },
            Step::Drop(index) if !live.is_empty() => {
                let mut gone = live.swap_remove(index.index(live.len()));
                prop_assert!(ends_hold(&mut gone), "a live buffer was overwritten");
            }
            Step::Truncate(index, len) if !live.is_empty() => {
                let chosen = index.index(live.len());
                let before = live[chosen].buffer.len();
                live[chosen].buffer.truncate(len);
                prop_assert_eq!(live[chosen].buffer.len(), before.min(len));
            }
            Step::Trim => pool.trim(),
            Step::Drop(_) | Step::Truncate(..) => {}
        }
        let mut ranges: Vec<(usize, usize)> =
            live.iter().map(|l| (l.buffer.as_ptr().addr(), l.buffer.capacity())).collect();
        ranges.sort_unstable();
        prop_assert!(ranges.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "live buffers overlap");
        if let Some((base, len)) = pool.region() {
            let base = base.as_ptr().addr();
            prop_assert!(ranges.iter().all(|r| r.0 >= base && r.0 + r.1 <= base + len));
        }
        peak = peak.max(ranges.iter().map(|r| r.1).sum());
    }
    let stats = pool.stats();
    prop_assert!(stats.mapped <= limit);
    prop_assert_eq!(stats.in_use, live.iter().map(|l| l.buffer.capacity()).sum::<usize>());
    prop_assert_eq!(stats.free, stats.mapped - stats.in_use);
    prop_assert_eq!(stats.peak, peak);
    prop_assert_eq!(stats.taken - stats.returned, live.len() as u64);
    for mut gone in live.drain(..) {
        prop_assert!(ends_hold(&mut gone), "a live buffer was overwritten");
    }
    pool.trim();
    let stats = pool.stats();
    prop_assert_eq!((stats.in_use, stats.taken), (0, stats.returned));
    match pool.options().shape {
        PoolShape::Growing { retain_bytes } => prop_assert!(stats.mapped <= retain_bytes),
        PoolShape::Arena => prop_assert_eq!(stats.mapped, limit),
    }
    // Whatever happened, the whole pool is there again in one piece.
    prop_assert!(pool.take(limit).is_ok());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn growing_pools_keep_their_promises(
        steps in prop::collection::vec(step(), 1..150),
        limit in prop_oneof![Just(16 * MIB), 100_000..40 * MIB],
        retain_bytes in prop_oneof![Just(0), Just(4 * MIB), Just(usize::MAX)],
    ) {
        let options = PoolOptions {
            shape: PoolShape::Growing { retain_bytes },
            huge_pages: HugePages::Never,
            ..PoolOptions::growing("growing", limit)
        };
        check_steps(options, steps)?;
    }

    #[test]
    fn arenas_keep_their_promises(
        steps in prop::collection::vec(step(), 1..150),
        pages in prop_oneof![Just(15_usize), 1..4000_usize],
    ) {
        check_steps(PoolOptions::arena("arena", pages * ALIGNMENT), steps)?;
    }
}

#[test]
fn the_last_returned_buffer_comes_first() {
    let pool = BufferPool::new(PoolOptions::growing("lifo", 64 * MIB)).unwrap();
    for len in [100, 4096, 128 << 10, 3 * MIB] {
        let buffers: Vec<PoolBuffer> = (0..4).map(|_| pool.take(len).unwrap()).collect();
        let addresses: Vec<usize> = buffers.iter().map(|b| b.as_ptr().addr()).collect();
        buffers.into_iter().for_each(drop);
        let again: Vec<PoolBuffer> = (0..4).map(|_| pool.take(len).unwrap()).collect();
        assert!(again.iter().map(|b| b.as_ptr().addr()).eq(addresses.into_iter().rev()));
    }
}

#[test]
fn buffers_outlive_their_pool() {
    for options in [PoolOptions::growing("short", 8 * MIB), PoolOptions::arena("short", 8 * MIB)] {
        let pool = BufferPool::new(options).unwrap();
        let mut buffer = pool.take(10_000).unwrap();
        drop(pool);
        buffer.as_mut_slice().fill(9);
        let shared = buffer.freeze();
        let arrow = shared.slice(5_000..10_000).into_arrow();
        drop(shared);
        assert_eq!(arrow.as_slice(), [9; 5_000]);
    }
}

#[test]
fn arrow_buffers_share_memory_and_return_it() {
    let pool = BufferPool::new(PoolOptions::arena("arrow", MIB)).unwrap();
    let mut buffer = pool.take(MIB).unwrap();
    let address = buffer.as_ptr();
    buffer.typed_mut::<u32>().fill(0xABCD);
    let shared = buffer.freeze();
    let arrow = shared.to_arrow();
    assert_eq!(arrow.as_ptr(), address);
    let shared = shared.try_into_unique().map(drop).unwrap_err();
    drop(shared);
    let tail = arrow.slice_with_length(MIB - 8, 8);
    drop(arrow);
    assert!(matches!(pool.take(1), Err(AllocError::Exhausted { in_use: MIB, .. })));
    assert_eq!(tail.typed_data::<u32>(), [0xABCD; 2]);
    drop(tail);
    assert_eq!(pool.take(MIB).unwrap().as_ptr(), address);
    let unique = pool.take(MIB).unwrap().freeze().try_into_unique().unwrap();
    assert_eq!(unique.into_arrow().as_ptr(), address);
}

#[test]
fn impossible_options_are_errors() {
    for options in [PoolOptions::growing("none", 0), PoolOptions::arena("less than a page", 4095)] {
        let error = BufferPool::new(options).unwrap_err();
        assert_eq!(error.code(), "DL-0104");
        assert!(error.to_string().contains("4096"), "{error}");
    }
    let error = BufferPool::new(PoolOptions::arena("vast", 1 << 62)).unwrap_err();
    assert_eq!(error.code(), "DL-0103");
}

#[test]
fn buffers_return_from_any_thread() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 5000;
    for options in [PoolOptions::growing("threads", 24 * MIB), PoolOptions::arena("threads", 8 * MIB)] {
        let pool = BufferPool::new(options).unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::sync_channel(8)).unzip();
        std::thread::scope(|scope| {
            for (thread, receiver) in receivers.into_iter().enumerate() {
                // Each fills buffers for the next and drops those of the one before.
                let next: mpsc::SyncSender<SharedBuffer> = senders[(thread + 1) % THREADS].clone();
                let pool = pool.clone();
                scope.spawn(move || {
                    let mut refused = 0;
                    for round in 0..ROUNDS {
                        let len = [100, 5_000, 70_000, 200_000][(round + thread) % 4];
                        match pool.take(len) {
                            Ok(mut buffer) => {
                                let mark = (round ^ thread << 4) as u8;
                                let bytes = buffer.as_mut_slice();
                                bytes[0] = mark;
                                bytes[len - 1] = mark;
                                if let Err(mpsc::TrySendError::Disconnected(_)) =
                                    next.try_send(buffer.freeze())
                                {
                                    break;
                                }
                            }
                            Err(AllocError::Exhausted { .. }) => refused += 1,
                            Err(other) => panic!("{other}"),
                        }
                        while let Ok(shared) = receiver.try_recv() {
                            assert_eq!(shared.as_slice().first(), shared.as_slice().last());
                        }
                        if round % 512 == 0 {
                            pool.trim_all();
                        }
                    }
                    assert!(refused < ROUNDS);
                });
            }
            drop(senders);
        });
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.taken), (0, stats.returned));
        assert!(stats.peak <= stats.limit);
        drop(pool.take(8 * MIB).unwrap());
    }
}

#[test]
fn a_trimmed_pool_gives_its_memory_back() {
    let options = PoolOptions {
        shape: PoolShape::Growing { retain_bytes: 4 * MIB },
        ..PoolOptions::growing("trimmed", 256 * MIB)
    };
    let pool = BufferPool::new(options).unwrap();
    let buffers: Vec<PoolBuffer> = (0..300).map(|_| pool.take(200_000).unwrap()).collect();
    assert!(pool.stats().mapped >= 60 * MIB);
    // Returning so much trims by itself, to near the amount to retain.
    drop(buffers);
    assert!(pool.stats().free <= 16 * MIB, "{:?}", pool.stats());
    let kept = pool.take(10 * MIB).unwrap();
    pool.trim();
    assert!(pool.stats().free <= 4 * MIB);
    pool.trim_all();
    assert_eq!(pool.stats().mapped, kept.capacity());
}

#[test]
fn mixed_sizes_share_a_small_pool() {
    // Each size in turn takes all there is: what the one before left in its lists must come back.
    let pool = BufferPool::new(PoolOptions::growing("mixed", 4 * MIB)).unwrap();
    for len in [64, 3 * MIB, 1000, 4096, MIB, 64, 4 * MIB, 100_000] {
        let mut taken = Vec::new();
        loop {
            match pool.take(len) {
                Ok(buffer) => taken.push(buffer),
                Err(AllocError::Exhausted { .. }) => break,
                Err(other) => panic!("{other}"),
            }
        }
        let bytes: usize = taken.iter().map(PoolBuffer::capacity).sum();
        assert!(bytes >= 3 * MIB, "{len}: {bytes} bytes of buffers");
    }
}

#[test]
fn huge_pages_are_there_or_reported() {
    for options in [PoolOptions::growing("huge", 64 * MIB), PoolOptions::arena("huge", 16 * MIB)] {
        let pool = BufferPool::new(options).unwrap();
        pool.take(16 * MIB).unwrap().as_mut_slice().fill(1);
        let stats = pool.stats();
        assert!(stats.resident_bytes >= 16 * MIB);
        let reported = stats.degraded.iter().any(|d| matches!(d, Degraded::NoHugePages { .. }));
        assert_eq!(reported, stats.huge_page_bytes < stats.resident_bytes / 2, "{stats:?}");
    }
}

#[test]
fn a_node_that_is_not_there_is_reported_once() {
    let options = PoolOptions { node: Some(NodeId(900)), ..PoolOptions::growing("elsewhere", 64 * MIB) };
    let pool = BufferPool::new(options).unwrap();
    let _buffers: Vec<PoolBuffer> = (0..10).map(|_| pool.take(3 * MIB).unwrap()).collect();
    let bound: Vec<Degraded> =
        pool.stats().degraded.into_iter().filter(|d| matches!(d, Degraded::NotBound { .. })).collect();
    assert!(matches!(&bound[..], [Degraded::NotBound { node: NodeId(900), .. }]), "{bound:?}");
}

#[test]
fn the_global_pool_serves_everybody() {
    let buffer = BufferPool::global().take(1_000_000).unwrap();
    assert_eq!((buffer.pool_name(), buffer.as_slice()[999_999]), ("global", 0));
    assert!(BufferPool::global().stats().in_use >= buffer.capacity());
}
