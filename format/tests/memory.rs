//! What a writer keeps in memory: a binary of its own, because it counts every allocation.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use deltalite_format::limits::BLOCK_BYTES_DEFAULT;
use deltalite_format::{FileWriter, WriterOptions};
use deltalite_testkit::memory::Counting;

#[global_allocator]
static MEMORY: Counting = Counting::new();

/// Counts the bytes that pass, and keeps none.
struct Sink;

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_wide_table_writes_in_two_blocks_worth_of_memory() {
    const COLUMNS: u64 = 400;
    const ROWS: u64 = 4096;
    let batch = |n: u64| {
        let columns = (0..COLUMNS).map(|c| {
            // Values without a pattern: as many bytes encoded as raw.
            let value = |r: u64| {
                let mixed = (c << 32 | (n * ROWS + r)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31) as i64
            };
            (format!("c{c}"), Arc::new(Int64Array::from_iter_values((0..ROWS).map(value))) as ArrayRef)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let first = batch(0);
    let batch_bytes = first.get_array_memory_size();
    let before = MEMORY.begin() - batch_bytes;
    let mut writer = FileWriter::new(Sink, &first.schema(), WriterOptions::default()).unwrap();
    drop(first);
    // Three blocks and a part of one.
    let batches = 3 * BLOCK_BYTES_DEFAULT / (COLUMNS * ROWS * 8) + 3;
    for n in 0..batches {
        writer.write(&batch(n)).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.rows, batches * ROWS);
    assert!(summary.blocks >= 3, "{summary:?}");
    // The batch that is being given is the caller's.
    let peak = MEMORY.peak() - before - batch_bytes;
    assert!(
        peak as u64 <= 2 * BLOCK_BYTES_DEFAULT,
        "{} MiB in use at the peak, a block has {}",
        peak >> 20,
        BLOCK_BYTES_DEFAULT >> 20
    );
}
