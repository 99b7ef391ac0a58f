//! What every page passes through beside its encoding: checksums, statistics, masks, bloom filters, buffers.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench that can't make its input should stop")]

mod shapes;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deltalite_alloc::BufferPool;
use deltalite_format::checksum::crc32c;
use deltalite_format::mask::BitMask;
use deltalite_format::stats::{DistinctSketch, zone_stats};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ZONE_ROWS: usize = 8192;

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        let page: Vec<u8> =
            (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(bytes.to_string(), |bencher| bencher.iter(|| crc32c(black_box(&page))));
    }
    group.finish();
}

fn statistics(criterion: &mut Criterion) {
    let mut zones = criterion.benchmark_group("zone_stats");
    for (name, column) in shapes::all() {
        zones.throughput(Throughput::Elements(column.len() as u64));
        zones.bench_function(name, |bencher| {
            bencher.iter(|| zone_stats(black_box(column.as_ref()), ZONE_ROWS));
        });
    }
    zones.finish();

    let mut sketches = criterion.benchmark_group("distinct_sketch");
    for (name, column) in shapes::all().into_iter().filter(|(name, _)| ["noise_64", "text"].contains(name)) {
        sketches.throughput(Throughput::Elements(column.len() as u64));
        sketches.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut sketch = DistinctSketch::new();
                sketch.insert_array(column.as_ref());
                black_box(sketch)
            });
        });
    }
    sketches.finish();
}

fn masks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask_indices");
    for percent in [1, 10, 50] {
        let mut mask = BitMask::zeros(65_536);
        (0..65_536).filter(|row| (row * 7919) % 100 < percent).for_each(|row| mask.set(row));
        let mut rows = Vec::new();
        group.throughput(Throughput::Elements(65_536));
        group.bench_function(format!("{percent}%"), |bencher| {
            bencher.iter(|| {
                rows.clear();
                mask.indices(0, 65_536, &mut rows);
                black_box(rows.len())
            });
        });
    }
    group.finish();
}

fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool_take_and_drop");
    for bytes in [4 << 10, 128 << 10, 1 << 20] {
        let pool = BufferPool::global();
        group.bench_function(bytes.to_string(), |bencher| {
            bencher.iter(|| black_box(pool.take(bytes).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, checksums, statistics, masks, buffers);
criterion_main!(benches);
