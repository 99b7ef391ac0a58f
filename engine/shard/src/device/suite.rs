//! One set of tests for all devices, and the seeded schedules of the simulated one.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use deltalite_alloc::{BufferPool, PoolBuffer, PoolOptions};
use futures::future::join_all;

use super::backend::Backend;
use super::rng::Rng;
use super::*;

/// A device and a way to make files on its medium.
trait Lab {
    fn device(&self, tokens: DeviceTokens) -> Rc<dyn BlockDevice>;
    fn pool(&self) -> &BufferPool;
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf;
    fn get(&self, path: &Path) -> Vec<u8>;
    fn remove(&self, path: &Path);
    fn path(&self, name: &str) -> PathBuf;
}

fn pool() -> BufferPool {
    BufferPool::new(PoolOptions::arena("device tests", 64 << 20)).unwrap()
}

fn free_tokens() -> DeviceTokens {
    DeviceTokens::new(TokenOptions::unlimited())
}

struct OsLab {
    folder: tempfile::TempDir,
    pool: BufferPool,
    ring: bool,
}

impl OsLab {
    fn new(ring: bool) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), pool: pool(), ring }
    }
}

impl Lab for OsLab {
    fn device(&self, tokens: DeviceTokens) -> Rc<dyn BlockDevice> {
        if self.ring {
            let options = RingOptions { arena: Some(self.pool.clone()), ..RingOptions::new(tokens) };
            Rc::new(RingDevice::new(&options).unwrap())
        } else {
            Rc::new(ThreadDevice::new(&ThreadOptions::new(tokens)).unwrap())
        }
    }
    fn pool(&self) -> &BufferPool {
        &self.pool
    }
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
    fn get(&self, path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }
    fn remove(&self, path: &Path) {
        std::fs::remove_file(path).unwrap();
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

struct SimLab {
    disk: SimDisk,
    pool: BufferPool,
    faults: SimFaults,
}

impl SimLab {
    fn new(faults: SimFaults) -> Self {
        Self { disk: SimDisk::new(), pool: pool(), faults }
    }
}

impl Lab for SimLab {
    fn device(&self, _tokens: DeviceTokens) -> Rc<dyn BlockDevice> {
        Rc::new(SimDevice::new(&self.disk, self.faults))
    }
    fn pool(&self) -> &BufferPool {
        &self.pool
    }
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        self.disk.put(&path, bytes);
        path
    }
    fn get(&self, path: &Path) -> Vec<u8> {
        self.disk.get(path).unwrap()
    }
    fn remove(&self, path: &Path) {
        self.disk.unlink(path);
    }
    fn path(&self, name: &str) -> PathBuf {
        Path::new("/sim").join(name)
    }
}

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn filled(lab: &dyn Lab, bytes: &[u8]) -> PoolBuffer {
    let mut buf = lab.pool().take(bytes.len()).unwrap();
    buf.as_mut_slice().copy_from_slice(bytes);
    buf
}

fn assert_nothing_held(lab: &dyn Lab, device: &dyn BlockDevice) {
    let stats = device.stats();
    assert_eq!((stats.operations, stats.in_flight), (0, 0), "{stats:?}");
    assert_eq!(lab.pool().in_use(), 0, "every buffer is back in its pool");
}

fn reads_any_range(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let mut rng = Rng::new(1);
    for len in [1, 511, 4096, 4097, 1_000_000, 3_333_333] {
        let content = bytes(len, len as u64);
        let path = lab.put("data", &content);
        let file = device.open(&path, OpenMode::Read).unwrap();
        assert_eq!(file.len(), len as u64);
        let pages = (len as u64).div_ceil(4096);
        let ranges: Vec<ByteRange> = (0..40)
            .map(|_| ByteRange::new(rng.below(pages) * 4096, (1 + rng.below(pages + 2)) * 4096))
            .collect();
        for chunk in ranges.chunks(8) {
            let reads = chunk.iter().map(|range| {
                let buf = lab.pool().take(range.len as usize).unwrap();
                device.read(&file, *range, buf, IoClass::ALL[rng.below(4) as usize])
            });
            let results = block_on(&*device, join_all(reads)).unwrap();
            for (range, result) in chunk.iter().zip(results) {
                let buf = result.unwrap();
                let end = (range.end() as usize).min(len);
                assert_eq!(buf.as_slice(), &content[range.offset as usize..end], "{range:?} of {len}");
            }
        }
    }
    assert_nothing_held(lab, &*device);
}

fn writes_are_found_again(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let path = lab.path("written");
    let file = device.open(&path, OpenMode::Write { create: true }).unwrap();
    let content = bytes(5 * (1 << 20) + 4096 * 3, 9);
    let pieces: Vec<usize> = (0..content.len()).step_by(300 * 4096).collect();
    let writes = pieces.iter().rev().map(|&start| {
        let end = (start + 300 * 4096).min(content.len());
        let buf = filled(lab, &content[start..end]).freeze();
        device.write(&file, start as u64, buf, IoClass::Scan)
    });
    for (written, start) in block_on(&*device, join_all(writes)).unwrap().into_iter().zip(pieces.iter().rev())
    {
        assert_eq!(written.unwrap(), (content.len() - start).min(300 * 4096));
    }
    device.set_len(&file, content.len() as u64 - 77).unwrap();
    block_on(&*device, device.sync(&file)).unwrap().unwrap();
    let renamed = lab.path("renamed");
    device.rename(&path, &renamed).unwrap();
    device.sync_folder(renamed.parent().unwrap()).unwrap();
    drop(file);
    assert_eq!(lab.get(&renamed), content[..content.len() - 77]);
    let error = device.open(&renamed, OpenMode::Write { create: true }).unwrap_err();
    assert_eq!(error.errno(), Some(Errno(libc::EEXIST)));
    device.remove(&renamed).unwrap();
    assert_nothing_held(lab, &*device);
}

fn breaches_of_the_rules_are_told(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let missing = device.open(&lab.path("missing"), OpenMode::Read).unwrap_err();
    assert_eq!((missing.code(), missing.errno()), ("DL-0303", Some(Errno(libc::ENOENT))));
    assert!(missing.to_string().contains("missing"), "{missing}");

    let file = device.open(&lab.put("small", &bytes(5000, 2)), OpenMode::Read).unwrap();
    let ask = |offset, len, capacity| {
        let buf = lab.pool().take(capacity).unwrap();
        let result =
            block_on(&*device, device.read(&file, ByteRange::new(offset, len), buf, IoClass::Rpc)).unwrap();
        result.map(|b| b.len()).map_err(|e| e.code())
    };
    assert_eq!(ask(1, 4096, 4096), Err("DL-0308"));
    assert_eq!(ask(0, 4095, 4096), Err("DL-0308"));
    assert_eq!(ask(0, 8192, 4096), Err("DL-0308"));
    assert_eq!(ask(8192, 4096, 4096), Err("DL-0307"));
    assert_eq!(ask(0, 0, 4096), Err("DL-0307"));
    assert_eq!(ask(4096, 4096, 4096), Ok(904));
    let empty = device.open(&lab.put("empty", &[]), OpenMode::Read).unwrap();
    assert!(empty.is_empty());
    assert_nothing_held(lab, &*device);
}

fn a_file_that_changes_is_noticed(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let content = bytes(40_000, 4);
    let path = lab.put("shrinks", &content);
    let file = device.open(&path, OpenMode::Read).unwrap();
    device.check_unchanged(&file, 0).unwrap();
    lab.put("shrinks", &content[..10_000]);
    let buf = lab.pool().take(8192).unwrap();
    let error =
        block_on(&*device, device.read(&file, ByteRange::new(16384, 8192), buf, IoClass::Scan)).unwrap();
    let error = error.unwrap_err();
    assert_eq!(error.code(), "DL-0305", "{error}");
    assert!(error.to_string().contains("shrinks") && error.to_string().contains("16384"), "{error}");
    assert_eq!(device.check_unchanged(&file, 7).unwrap_err().code(), "DL-0305");

    let path = lab.put("vanishes", &content);
    let file = device.open(&path, OpenMode::Read).unwrap();
    lab.remove(&path);
    let error = device.check_unchanged(&file, 77).unwrap_err();
    assert_eq!(error.code(), "DL-0306");
    assert!(error.to_string().contains("vanishes") && error.to_string().contains("77"), "{error}");
    lab.put("vanishes", &content);
    assert_eq!(device.check_unchanged(&file, 0).unwrap_err().code(), "DL-0305", "another file has the name");
    drop(file);
    assert_nothing_held(lab, &*device);
}

fn reads_can_call_back(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let content = bytes(300_000, 8);
    let path = lab.put("data", &content);
    let file = device.open(&path, OpenMode::Read).unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let read = |device: &Rc<dyn BlockDevice>, offset: u64, len: usize| {
        let (seen, again, of) = (Rc::clone(&seen), Rc::downgrade(device), file.clone());
        let done = move |outcome: Result<PoolBuffer, DeviceError>| {
            // What is called may use the device.
            if let Some(device) = again.upgrade() {
                device.check_contents(&of, offset).unwrap();
            }
            let outcome = outcome.map(|buf| buf.as_slice()[..buf.len()].to_vec()).map_err(|e| e.code());
            seen.borrow_mut().push((offset, outcome));
        };
        let buf = lab.pool().take(len.next_multiple_of(4096)).unwrap();
        device.read_then(&file, ByteRange::new(offset, len as u64), buf, IoClass::Prefetch, Box::new(done));
    };
    for i in 0..50 {
        read(&device, i * 4096, 8192);
    }
    read(&device, 77, 4096);
    assert!(seen.borrow().is_empty(), "nothing is called before the device is driven");
    device.poll();
    while device.load().operations > 0 {
        device.wait(None).unwrap();
    }
    let mut all = seen.take();
    all.sort_by_key(|(offset, _)| *offset);
    assert_eq!(all.len(), 51);
    for (offset, outcome) in all {
        if offset == 77 {
            assert_eq!(outcome, Err("DL-0308"));
        } else {
            let at = offset as usize;
            assert_eq!(outcome.as_deref(), Ok(&content[at..at + 8192]));
        }
    }
    assert_nothing_held(lab, &*device);
    read(&device, 0, 4096);
    drop(device);
    assert!(seen.borrow().is_empty(), "a device that is gone calls nobody");
    assert_eq!((Rc::strong_count(&seen), lab.pool().in_use()), (1, 0), "and keeps nothing");
}

fn dropped_futures_leak_nothing(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let path = lab.put("data", &bytes(8 << 20, 3));
    let file = device.open(&path, OpenMode::Read).unwrap();
    let mut rng = Rng::new(5);
    for round in 0..30 {
        let mut reads: Vec<_> = (0..16)
            .map(|_| {
                let range = ByteRange::new(rng.below(1024) * 4096, (1 + rng.below(512)) * 4096);
                device.read(&file, range, lab.pool().take(range.len as usize).unwrap(), IoClass::Scan)
            })
            .collect();
        if round % 3 == 0 {
            reads.clear();
        }
        device.poll();
        reads.truncate(8);
        device.poll();
        for result in block_on(&*device, join_all(reads)).unwrap() {
            result.unwrap();
        }
    }
    while device.stats().operations > 0 {
        device.wait(Some(Duration::from_secs(10))).unwrap();
    }
    assert!(device.stats().cancelled >= 10 * 16, "what was queued and dropped was never issued");
    assert_nothing_held(lab, &*device);

    let reads: Vec<_> = (0..16)
        .map(|i| {
            let buf = lab.pool().take(1 << 18).unwrap();
            device.read(&file, ByteRange::new(i << 18, 1 << 18), buf, IoClass::Scan)
        })
        .collect();
    device.poll();
    drop((device, file));
    for read in reads {
        let result =
            futures::FutureExt::now_or_never(read).expect("a device that is gone has answered everything");
        assert!(matches!(result, Ok(_) | Err(DeviceError::ShutDown)));
    }
    assert_eq!(lab.pool().in_use(), 0);
}

fn every_class_advances_with_one_token(lab: &dyn Lab) {
    let tokens = DeviceTokens::new(TokenOptions { ops: 1, bytes: 4096, ..TokenOptions::default() });
    let devices = [lab.device(tokens.clone()), lab.device(tokens.clone())];
    let path = lab.put("data", &bytes(1 << 20, 8));
    let mut reads = Vec::new();
    for device in &devices {
        let file = device.open(&path, OpenMode::Read).unwrap();
        for i in 0..64_u64 {
            let buf = lab.pool().take(8192).unwrap();
            let class = IoClass::ALL[i as usize % 4];
            reads.push(device.read(&file, ByteRange::new(i * 8192, 8192), buf, class));
        }
    }
    while devices.iter().any(|d| d.stats().operations > 0) {
        for device in &devices {
            device.wait(Some(Duration::from_millis(1))).unwrap();
        }
    }
    for read in reads {
        assert_eq!(futures::FutureExt::now_or_never(read).unwrap().unwrap().len(), 8192);
    }
    assert_eq!(tokens.in_flight(), (0, 0));
}

fn large_reads_go_in_pieces_while_others_wait(lab: &dyn Lab) {
    let hour = Duration::from_hours(1);
    let tokens = DeviceTokens::new(TokenOptions {
        contended_bytes: 100_000,
        contended_for: hour,
        ..TokenOptions::default()
    });
    let device = lab.device(tokens.clone());
    let content = bytes(700_001, 12);
    let file = device.open(&lab.put("data", &content), OpenMode::Read).unwrap();
    let read = |offset, len, class| {
        device.read(&file, ByteRange::new(offset, len), lab.pool().take(len as usize).unwrap(), class)
    };
    let all = read(0, 704_512, IoClass::Scan);
    let one = read(4096, 4096, IoClass::Rpc);
    let (all, one) = block_on(&*device, futures::future::join(all, one)).unwrap();
    assert_eq!(one.unwrap().as_slice(), &content[4096..8192]);
    assert_eq!(all.unwrap().as_slice(), content);
    assert_eq!(tokens.in_flight(), (0, 0));
    let stats = device.stats();
    if stats.kind != DeviceKind::Sim {
        assert!(stats.issued >= 11, "{} requests of 64 KiB", stats.issued);
    }
    assert_nothing_held(lab, &*device);
}

fn queueing_tells_the_executor_once(lab: &dyn Lab) {
    let device = lab.device(free_tokens());
    let told = Rc::new(std::cell::Cell::new(0));
    let count = Rc::clone(&told);
    device.on_queued(Box::new(move || count.set(count.get() + 1)));
    let file = device.open(&lab.put("data", &bytes(65536, 8)), OpenMode::Read).unwrap();
    let read = |i: u64| {
        device.read(&file, ByteRange::new(i * 4096, 4096), lab.pool().take(4096).unwrap(), IoClass::Rpc)
    };
    let first: Vec<_> = (0..8).map(read).collect();
    assert_eq!(told.get(), 1);
    block_on(&*device, join_all(first)).unwrap();
    let second = read(9);
    assert_eq!(told.get(), 2);
    block_on(&*device, second).unwrap().unwrap();
}

macro_rules! on_every_device {
    ($($test:ident),* $(,)?) => {
        mod ring {
            $(#[test] fn $test() {
                if super::ring_available().is_ok() { super::$test(&super::OsLab::new(true)) }
            })*
        }
        mod threads {
            $(#[test] fn $test() { super::$test(&super::OsLab::new(false)) })*
        }
        mod sim {
            $(#[test] fn $test() {
                for seed in 0..20 {
                    super::$test(&super::SimLab::new(super::SimFaults::none(seed)));
                    super::$test(&super::SimLab::new(super::SimFaults::transient(seed)));
                }
            })*
        }
    };
}

on_every_device!(
    reads_any_range,
    writes_are_found_again,
    breaches_of_the_rules_are_told,
    a_file_that_changes_is_noticed,
    reads_can_call_back,
    dropped_futures_leak_nothing,
    every_class_advances_with_one_token,
    large_reads_go_in_pieces_while_others_wait,
    queueing_tells_the_executor_once,
);

#[test]
fn a_bell_ends_the_wait_of_a_ring() {
    if ring_available().is_err() {
        return;
    }
    let device = RingDevice::new(&RingOptions::new(free_tokens())).unwrap();
    let bell = device.bell().unwrap();
    let ring = |times: u32| {
        let bell = bell.clone();
        std::thread::spawn(move || (0..times).for_each(|_| bell.ring()))
    };
    let wait = || device.with_backend(|ring| ring.wait(8, None)).unwrap();
    let reap = || {
        let mut answers = Vec::new();
        device.with_backend(|ring| ring.reap(&mut answers));
        assert!(answers.is_empty(), "a bell is no answer");
    };
    // Rung before, meanwhile, several times, and again: each of these waits would last for good without the bell.
    for times in [1, 1, 5, 1] {
        let ringing = ring(times);
        wait();
        ringing.join().unwrap();
        reap();
    }
    ring(1).join().unwrap();
    wait();
    reap();
}

/// One seeded schedule of reads with faults: each read is right or an error, each future completes once, no buffer
/// stays behind.
fn schedule(seed: u64, pool: &BufferPool, content: &[u8]) -> (u64, u64, SimInjected) {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new();
    let path = Path::new("/sim/data");
    let len = content.len() - rng.below(5000) as usize;
    disk.put(path, &content[..len]);
    let mut faults = SimFaults::all(seed);
    if rng.chance(250) {
        faults.bit_flip = rng.below(200) as u32;
    }
    faults.latency_max = rng.below(20);
    let device = SimDevice::new(&disk, faults);
    let file = device.open(path, OpenMode::Read).unwrap();
    let pages = (len as u64).div_ceil(4096);

    let mut waiting: Vec<(ByteRange, IoFuture<PoolBuffer>)> = Vec::new();
    let (mut started, mut right, mut wrong) = (0, 0, 0);
    let mut shrunk = false;
    let total = 4 + rng.below(24);
    while started < total || !waiting.is_empty() {
        match rng.below(6) {
            0..=2 if started < total => {
                let range = ByteRange::new(rng.below(pages) * 4096, (1 + rng.below(6)) * 4096);
                let buf = pool.take(range.len as usize).unwrap();
                waiting.push((range, device.read(&file, range, buf, IoClass::ALL[rng.below(4) as usize])));
                started += 1;
            }
            3 if rng.chance(100) && !waiting.is_empty() => {
                let at = rng.below(waiting.len() as u64) as usize;
                drop(waiting.swap_remove(at));
            }
            4 if rng.chance(10) && !shrunk => {
                shrunk = true;
                disk.put(path, &content[..len / 2]);
            }
            5 => {
                device.poll();
            }
            _ => {
                device.wait(None).unwrap();
            }
        }
        waiting.retain_mut(|(range, future)| {
            let Some(result) = future.try_take() else { return true };
            assert!(future.try_take().is_none(), "seed {seed}: a future completed twice");
            match result {
                Ok(buf) => {
                    let end = (range.end() as usize).min(len);
                    let expected = &content[range.offset as usize..end];
                    assert_eq!(buf.len(), expected.len(), "seed {seed}: {range:?}");
                    if buf.as_slice() != expected {
                        let injected = device.injected();
                        let differs =
                            buf.as_slice().iter().zip(expected).enumerate().filter(|(_, (a, b))| a != b);
                        for (at, (a, b)) in differs {
                            let place = (path.to_owned(), range.offset + at as u64);
                            assert!(
                                injected.flips.contains(&place),
                                "seed {seed}: wrong byte at {place:?}: {a} {b}"
                            );
                        }
                    }
                    right += 1;
                }
                Err(DeviceError::Io { errno: Errno(libc::EIO), path: p, .. }) => {
                    assert_eq!(p, path);
                    wrong += 1;
                }
                Err(DeviceError::Changed { .. } | DeviceError::ShortRead { .. }) => {
                    assert!(shrunk, "seed {seed}: an end of file that is none");
                    wrong += 1;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            }
            false
        });
    }
    if rng.chance(300) {
        drop(device.read(&file, ByteRange::new(0, 4096), pool.take(4096).unwrap(), IoClass::Scan));
        device.poll();
    }
    let injected = device.injected();
    drop(device);
    assert_eq!(pool.in_use(), 0, "seed {seed}: a buffer was not given back");
    (right, wrong, injected)
}

#[test]
fn ten_thousand_schedules() {
    let pool = BufferPool::new(PoolOptions::arena("schedules", 4 << 20)).unwrap();
    let content = bytes(90_000, 77);
    let (mut right, mut wrong, mut retries, mut partial, mut flips) = (0, 0, 0, 0, 0);
    for seed in 0..12_000 {
        let (r, w, injected) = schedule(seed, &pool, &content);
        right += r;
        wrong += w;
        retries += injected.retries;
        partial += injected.partial;
        flips += injected.flips.len();
    }
    assert!(right > 100_000 && wrong > 1000 && retries > 10_000 && partial > 10_000 && flips > 100);
}

#[test]
fn schedules_are_functions_of_their_seed() {
    let pool = BufferPool::new(PoolOptions::arena("schedules", 4 << 20)).unwrap();
    let content = bytes(90_000, 77);
    for seed in 0..50 {
        assert_eq!(schedule(seed, &pool, &content), schedule(seed, &pool, &content));
    }
}

#[test]
fn a_bare_loop_reads_everything() {
    if ring_available().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::write(&path, bytes(3_000_001, 1)).unwrap();
    for (read_bytes, depth, huge) in [(4096, 1, false), (1 << 20, 16, true), (65536, 128, true)] {
        let report = raw_loop(&path, read_bytes, depth, huge, &[ByteRange::new(0, 3_000_001)]).unwrap();
        assert_eq!(report.bytes, 3_000_001);
    }
    let report =
        raw_loop(&path, 4096, 8, false, &[ByteRange::new(4096, 8192), ByteRange::new(100, 1)]).unwrap();
    assert_eq!(report.bytes, 12288);
    assert_eq!(raw_loop(&path, 1000, 8, false, &[]).unwrap_err().code(), "DL-0308");
}

#[test]
fn files_beyond_the_fixed_table_are_read_too() {
    if ring_available().is_err() {
        return;
    }
    let lab = OsLab::new(true);
    let options = RingOptions { fixed_files: 2, ..RingOptions::new(free_tokens()) };
    let device = RingDevice::new(&options).unwrap();
    for round in 0..3_u8 {
        let files: Vec<DeviceFile> = (0..5)
            .map(|i| device.open(&lab.put(&format!("f{i}"), &[round * 10 + i; 100]), OpenMode::Read).unwrap())
            .collect();
        for (i, file) in files.iter().enumerate() {
            let buf = lab.pool().take(4096).unwrap();
            let read = device.read(file, ByteRange::new(0, 4096), buf, IoClass::Rpc);
            let buf = block_on(&device, read).unwrap().unwrap();
            assert_eq!(buf.as_slice(), [round * 10 + i as u8; 100]);
        }
    }
}
