//! Each encoding on its own: a column whose values call for it, written, decoded whole, and read by single rows.
//!
//! Files are in memory and go through the public writer and reader, so figures include the checksum of each page.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench that can't make its input should stop")]

mod shapes;

use std::hint::black_box;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deltalite_bench::data::table::batch_bytes;
use deltalite_format::reader::ScanOptions;
use deltalite_format::{FileReader, FileWriter, Profile, WriterOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn write(batch: &RecordBatch, profile: Profile) -> Vec<u8> {
    let options = WriterOptions { profile, ..WriterOptions::default() };
    let mut writer = FileWriter::new(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.finish_into().unwrap().1
}

fn encodings(criterion: &mut Criterion) {
    let batches: Vec<(&str, RecordBatch)> = shapes::all()
        .into_iter()
        .map(|(name, column)| (name, RecordBatch::try_from_iter([("column", column)]).unwrap()))
        .collect();
    for (label, profile) in [("default", Profile::Default), ("compact", Profile::Compact)] {
        let mut group = criterion.benchmark_group(format!("encode/{label}"));
        group.sample_size(10);
        for (name, batch) in &batches {
            group.throughput(Throughput::Bytes(batch_bytes(batch)));
            group.bench_function(*name, |bencher| bencher.iter(|| write(batch, profile)));
        }
        group.finish();

        let mut group = criterion.benchmark_group(format!("decode/{label}"));
        for (name, batch) in &batches {
            let reader = FileReader::open_bytes(Buffer::from(write(batch, profile))).unwrap();
            group.throughput(Throughput::Bytes(batch_bytes(batch)));
            group.bench_function(*name, |bencher| {
                bencher.iter(|| {
                    for batch in reader.scan(ScanOptions::default()).unwrap() {
                        black_box(batch.unwrap());
                    }
                });
            });
        }
        group.finish();
    }

    let mut group = criterion.benchmark_group("take_100_rows/default");
    let rows: Vec<u64> = (0..100).map(|row| row * shapes::ROWS as u64 / 100 + row % 7).collect();
    for (name, batch) in &batches {
        let reader = FileReader::open_bytes(Buffer::from(write(batch, Profile::Default))).unwrap();
        group.throughput(Throughput::Elements(rows.len() as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| black_box(reader.take(&rows, ScanOptions::default()).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, encodings);
criterion_main!(benches);
