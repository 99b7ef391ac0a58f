//! Shards of every kind do the same; what a machine withholds is told, not fatal.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalite_alloc::{NodeId, ShardCount, Topology, place};

use super::options::from_environment;
use super::*;
use crate::device::{BlockDevice, ByteRange, SimDevice, SimDisk, SimFaults, ring_available};

fn options(io: IoMode, shards: u32) -> ShardOptions {
    ShardOptions { io, ..ShardOptions::with_shards(shards).unwrap().arena(8 << 20) }
}

fn modes() -> Vec<IoMode> {
    let mut modes = vec![IoMode::Threads];
    if ring_available().is_ok() {
        modes.push(IoMode::Ring);
    }
    let disk = SimDisk::new();
    let factory = DeviceFactory::new(move |place| {
        let device = SimDevice::new(&disk, SimFaults::transient(u64::from(place.shard)));
        Ok(Rc::new(device) as Rc<dyn BlockDevice>)
    });
    modes.push(IoMode::Custom(factory));
    modes
}

#[test]
fn tasks_run_where_they_are_sent() {
    for mode in modes() {
        let shards = ShardSet::start(options(mode, 3)).unwrap();
        let tasks: Vec<_> = (0..300)
            .map(|i| {
                let class = IoClass::ALL[i % 4];
                shards.spawn_on(i, class, move |shard| async move {
                    shard.yield_if_needed().await;
                    let inner = shard.spawn(class, async move { i * 2 });
                    (
                        shard.index() as usize,
                        inner.await.unwrap(),
                        std::thread::current().name().map(str::to_owned),
                    )
                })
            })
            .collect::<Result<_, _>>()
            .unwrap();
        for (i, task) in tasks.into_iter().enumerate() {
            let (shard, doubled, thread) = task.join().unwrap();
            assert_eq!((shard, doubled), (i % 3, i * 2));
            assert_eq!(thread.unwrap(), format!("shard-{}", i % 3));
        }
        shards.shutdown();
    }
}

#[test]
fn files_are_read_on_all_shards_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    for mode in modes().into_iter().filter(|mode| !matches!(mode, IoMode::Custom(_))) {
        let shards = ShardSet::start(options(mode, 2)).unwrap();
        let tasks: Vec<_> = (0..2)
            .map(|index| {
                let path = path.clone();
                shards.spawn_on(index, IoClass::Scan, move |shard| async move {
                    let file = shard.open(&path).unwrap();
                    let mut bytes = Vec::new();
                    for start in (0..file.len()).step_by(1 << 18) {
                        let range = ByteRange::new(start, 1 << 18);
                        let read = shard.read(&file, range, IoClass::Scan).unwrap();
                        bytes.extend_from_slice(read.await.unwrap().as_slice());
                    }
                    bytes
                })
            })
            .collect::<Result<_, _>>()
            .unwrap();
        for task in tasks {
            assert!(task.join().unwrap() == content);
        }
        let stats = shards.stats().unwrap();
        assert!(
            stats.iter().all(|s| s.device.bytes_read == content.len() as u64 && s.arena_in_use == 0),
            "{stats:?}"
        );
    }
}

#[test]
fn a_panic_is_the_handles_error_and_the_shard_goes_on() {
    for mode in modes() {
        let shards = ShardSet::start(options(mode, 1)).unwrap();
        for class in IoClass::ALL {
            let task =
                shards.spawn_on(0, class, |_| async { assert_eq!(1 + 1, 3, "out of cheese") }).unwrap();
            let error = task.join().unwrap_err();
            assert_eq!(error.code(), "DL-0321");
            assert!(error.to_string().contains("out of cheese"), "{error}");
        }
        assert_eq!(shards.spawn_on(0, IoClass::Rpc, |_| async { 7 }).unwrap().join().unwrap(), 7);
    }
}

struct Tally(Arc<AtomicU64>);

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn dropping_a_handle_cancels_and_detaching_does_not() {
    for mode in modes() {
        let shards = ShardSet::start(options(mode, 1)).unwrap();
        let ended = Arc::new(AtomicU64::new(0));
        let endless = |ended: &Arc<AtomicU64>| {
            let tally = Tally(Arc::clone(ended));
            shards.spawn_on(0, IoClass::Scan, move |_| async move {
                let _tally = tally;
                std::future::pending::<()>().await;
            })
        };
        drop(endless(&ended).unwrap());
        let cancelled = endless(&ended).unwrap();
        cancelled.cancel();
        assert_eq!(cancelled.join().unwrap_err().code(), "DL-0322");
        while ended.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        let (sender, receiver) = bounded(1);
        shards.spawn_on(0, IoClass::Scan, move |_| async move { sender.send(5).unwrap() }).unwrap().detach();
        assert_eq!(receiver.recv().unwrap(), 5);
        endless(&ended).unwrap().detach();
        drop(shards);
        assert_eq!(ended.load(Ordering::SeqCst), 3, "the end of the shards is the end of their tasks");
    }
}

#[test]
fn shutdown_lets_tasks_finish() {
    for mode in modes() {
        let shards = ShardSet::start(options(mode, 2)).unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                shards.spawn_on(i, IoClass::Scan, move |shard| async move {
                    for _ in 0..100 {
                        shard.yield_if_needed().await;
                        std::hint::black_box((0..2000).sum::<u64>());
                    }
                    i
                })
            })
            .collect::<Result<_, _>>()
            .unwrap();
        shards.shutdown();
        for (i, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), i);
        }
    }
}

#[test]
fn a_shard_can_use_the_others() {
    for mode in modes() {
        let shards = Arc::new(ShardSet::start(options(mode, 2)).unwrap());
        let others = Arc::clone(&shards);
        let task = shards.spawn_on(0, IoClass::Rpc, move |_| async move {
            let mut sum = 0;
            for i in 0..200_u32 {
                sum += others.spawn_on(1, IoClass::Scan, move |_| async move { i }).unwrap().await.unwrap();
            }
            // The set must not end on one of its own shards.
            std::mem::forget(others);
            sum
        });
        assert_eq!(task.unwrap().join().unwrap(), (0..200).sum::<u32>());
    }
}

#[test]
fn a_full_mailbox_is_busy() {
    let shards = ShardSet::start(options(IoMode::Threads, 1)).unwrap();
    let (hold, held) = bounded::<()>(0);
    let blocker = shards.spawn_on(0, IoClass::Rpc, move |_| async move { held.recv().is_err() }).unwrap();
    let mut waiting = Vec::new();
    let error = loop {
        match shards.spawn_on(0, IoClass::Rpc, |_| async {}) {
            Ok(task) => waiting.push(task),
            Err(error) => break error,
        }
        assert!(waiting.len() <= 2 * MAILBOX_MAX);
    };
    assert_eq!(error.code(), "DL-0320");
    drop(hold);
    assert!(blocker.join().unwrap());
    for task in waiting {
        task.join().unwrap();
    }
}

#[test]
fn caches_are_shared_within_a_node_only() {
    let topology = Topology::synthetic("numa:2 core:2 pu:1").unwrap();
    let placement = place(&topology, ShardCount::Exactly(4)).unwrap();
    let options = ShardOptions { io: IoMode::Threads, ..ShardOptions::at(placement).arena(2 << 20) };
    let shards = ShardSet::start(options).unwrap();
    let nodes: Vec<NodeId> = shards.placement().shards.iter().map(|place| place.node).collect();
    for a in 0..4 {
        for b in 0..4 {
            let same = Arc::ptr_eq(shards.cache_of(a).unwrap(), shards.cache_of(b).unwrap());
            assert_eq!(same, nodes[a] == nodes[b]);
        }
    }
    assert_eq!(shards.cache_stats().len(), 2);
    assert_eq!(
        shards.spawn_on(3, IoClass::Rpc, |shard| async move { shard.place().node }).unwrap().join().unwrap(),
        nodes[3]
    );
    let pinned = shards.degraded().iter().filter(|d| matches!(d, Degraded::NotPinned { .. })).count();
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(pinned > 0 || cpus >= 4, "places that this machine lacks are told: {:?}", shards.degraded());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let good = options(IoMode::Threads, 1);
    for bad in [
        ShardOptions { arena_bytes: 100, ..good.clone() },
        ShardOptions { queue_depth: 0, ..good.clone() },
        ShardOptions { io_workers: 0, ..good.clone() },
        ShardOptions { placement: Placement { shards: Vec::new() }, ..good.clone() },
    ] {
        assert_eq!(ShardSet::start(bad).unwrap_err().code(), "DL-0324");
    }
    assert!(matches!(from_environment(Some("threads")), Ok(IoMode::Threads)));
    assert!(matches!(from_environment(Some("ring")), Ok(IoMode::Ring)));
    assert!(matches!(from_environment(None), Ok(IoMode::Auto)));
    assert_eq!(from_environment(Some("fast")).unwrap_err().code(), "DL-0324");
}

#[test]
fn an_arena_that_is_full_does_not_stop_reading() {
    for mode in modes().into_iter().filter(|mode| !matches!(mode, IoMode::Custom(_))) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, vec![5; 1 << 20]).unwrap();
        let shards = ShardSet::start(ShardOptions { ..options(mode, 1).arena(2 << 20) }).unwrap();
        let task = shards.spawn_on(0, IoClass::Scan, move |shard| async move {
            let file = shard.open(&path).unwrap();
            let mut held = Vec::new();
            for _ in 0..10 {
                let read = shard.read(&file, ByteRange::new(0, 1 << 20), IoClass::Scan).unwrap();
                held.push(read.await.unwrap());
            }
            held.iter().all(|buffer| buffer.as_slice().iter().all(|byte| *byte == 5))
        });
        assert!(task.unwrap().join().unwrap());
        assert!(shards.stats().unwrap()[0].arena_overflows >= 8);
    }
}

#[test]
fn no_wake_up_is_lost_between_threads() {
    for mode in modes() {
        let shards = ShardSet::start(options(mode, 2)).unwrap();
        let busy = shards.spawn_on(1, IoClass::Scrub, |shard| async move {
            loop {
                std::hint::black_box((0..500_u64).sum::<u64>());
                shard.yield_if_needed().await;
            }
        });
        std::thread::scope(|scope| {
            // The busy shard takes up a task once a turn, the idle one parks before each.
            for (shard, hops) in [(0, 10_000), (1, 300)] {
                let shards = &shards;
                scope.spawn(move || {
                    for i in 0..hops {
                        assert_eq!(
                            shards
                                .spawn_on(shard, IoClass::Rpc, move |_| async move { i })
                                .unwrap()
                                .join()
                                .unwrap(),
                            i
                        );
                    }
                });
            }
        });
        let busy: TaskHandle<()> = busy.unwrap();
        busy.cancel();
    }
}

#[test]
fn a_shard_at_rest_holds_no_files() {
    for mode in modes().into_iter().filter(|mode| !matches!(mode, IoMode::Custom(_))) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held while busy");
        std::fs::write(&path, vec![5; 8192]).unwrap();
        let shards = ShardSet::start(options(mode, 1)).unwrap();
        let opened = path.clone();
        let task = shards.spawn_on(0, IoClass::Scan, move |shard| async move {
            let file = shard.open(&opened).unwrap();
            let (again, id) = (shard.open_in_state(&opened, file.id()).unwrap(), file.id());
            assert_eq!(again.id(), id);
            std::fs::write(&opened, [1]).unwrap();
            shard.open_in_state(&opened, id).unwrap_err().code()
        });
        assert_eq!(task.unwrap().join().unwrap(), "DL-0305");
        std::fs::remove_file(&path).unwrap();
        let is_held = || {
            let mut open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(folder.path())))
        };
        while is_held() {
            std::thread::yield_now();
        }
    }
}
