//! What is written is read: any schema, any data, any cut into batches, units and blocks.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use deltalite_format::{FileReader, FileWriter, Profile, ScanOptions, WriterOptions};
use proptest::prelude::*;

use crate::arrays::leaf_types;
use crate::tables::{
    Pattern, any_options, any_table, array, assert_same, batch_of, collect, read, seeds, small, small_tables,
    write,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_table_comes_back(table in any_table(1500, 3), options in any_options(), step in 0..700usize, batch_rows in 1..2000usize) {
        let file = write(&table, options, step);
        let reader = FileReader::open_bytes(file).unwrap();
        let scan = ScanOptions { batch_rows: Some(batch_rows), ..ScanOptions::default() };
        let found = collect(reader.scan(scan).unwrap()).unwrap();
        assert_same(&found, &table);
    }

    #[test]
    fn any_projection_comes_back(table in any_table(600, 2), options in any_options(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        prop_assume!(table.num_columns() > 0);
        let file = write(&table, options, 0);
        let picks: Vec<usize> = picks.iter().map(|p| p.index(table.num_columns())).collect();
        let columns = picks.iter().map(|i| format!("c{i}")).collect();
        let scan = ScanOptions { columns: Some(columns), ..ScanOptions::default() };
        let found = collect(FileReader::open_bytes(file).unwrap().scan(scan).unwrap()).unwrap();
        assert_same(&found, &table.project(&picks).unwrap());
    }

    #[test]
    fn take_is_scan(table in any_table(1500, 2), options in any_options(), rows in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
                    sorted: bool) {
        // Arrow's own kernel takes no rows of a table without columns.
        prop_assume!(table.num_rows() > 0 && table.num_columns() > 0);
        let mut rows: Vec<u64> = rows.iter().map(|r| r.index(table.num_rows()) as u64).collect();
        if sorted {
            rows.sort_unstable();
            rows.dedup();
        }
        let reader = FileReader::open_bytes(write(&table, options, 0)).unwrap();
        let found = reader.take(&rows, ScanOptions::default()).unwrap();
        let indices = arrow_array::UInt64Array::from(rows);
        assert_same(&found, &arrow_select::take::take_record_batch(&table, &indices).unwrap());
    }

    #[test]
    fn equal_input_gives_equal_bytes(table in any_table(600, 2), options in any_options()) {
        // Also with another number of threads: columns are encoded apart and placed in order.
        let other = WriterOptions { threads: 3 - options.threads, ..options.clone() };
        prop_assert_eq!(write(&table, options, 0), write(&table, other, 0));
    }
}

#[test]
fn every_pattern_of_every_leaf_type_comes_back() {
    for data_type in leaf_types() {
        for pattern in [
            Pattern::Random,
            Pattern::Constant,
            Pattern::Ascending,
            Pattern::Runs,
            Pattern::FewDistinct,
            Pattern::MostlyOne,
            Pattern::AllNull,
        ] {
            for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
                let rows = 3000;
                let columns = vec![
                    array(&data_type, &seeds(pattern, rows, 0, 77)),
                    array(&data_type, &seeds(pattern, rows, 2, 5)),
                ];
                let table = batch_of(columns, rows);
                let file = write(&table, small(profile, 2500, 2048), 0);
                assert_same(&read(&file).unwrap(), &table);
            }
        }
    }
}

#[test]
fn long_and_extreme_values_come_back() {
    let long = "x".repeat(100_000);
    let mixed: String =
        (0..100_000u32).map(|i| char::from_u32(0x61 + i * 7919 % 700).unwrap_or('z')).collect();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some(long.as_str()),
        Some(""),
        None,
        Some(mixed.as_str()),
        Some("a"),
    ]));
    let blobs: ArrayRef = Arc::new(BinaryArray::from(vec![
        Some(&[0u8; 100_000][..]),
        None,
        Some(b""),
        Some(&[0xff; 33]),
        Some(long.as_bytes()),
    ]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![
        f64::NAN,
        -0.0,
        f64::from_bits(0x7ff0_0000_0000_0001),
        f64::from_bits(0xfff8_1234_5678_9abc),
        5e-324,
    ]));
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX, 0, -1, 1]));
    let table = batch_of(vec![texts, blobs, floats, ints], 5);
    for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
        for step in [0, 1, 2] {
            let file = write(&table, small(profile, 3, 2), step);
            assert_same(&read(&file).unwrap(), &table);
        }
    }
}

#[test]
fn a_file_without_rows_or_columns_is_a_file() {
    let no_columns = RecordBatch::try_new_with_options(
        Arc::new(arrow_schema::Schema::empty()),
        Vec::new(),
        &arrow_array::RecordBatchOptions::new().with_row_count(Some(0)),
    )
    .unwrap();
    let file = write(&no_columns, WriterOptions::default(), 0);
    let reader = FileReader::open_bytes(file).unwrap();
    assert_eq!((reader.meta().rows(), reader.meta().column_count()), (0, 0));
    assert_eq!(collect(reader.scan(ScanOptions::default()).unwrap()).unwrap().num_rows(), 0);

    let ids: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let file = write(&batch_of(vec![ids], 0), WriterOptions::default(), 0);
    let found = read(&file).unwrap();
    assert_eq!((found.num_rows(), found.num_columns()), (0, 1));
}

/// Counts the bytes that pass, and keeps none.
struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn writing_leaves_the_sink_in_order() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let table = batch_of(vec![ids], 10_000);
    let mut writer = FileWriter::new(Counter(0), &table.schema(), WriterOptions::default()).unwrap();
    writer.write(&table).unwrap();
    let (summary, sink) = writer.finish_into().unwrap();
    assert_eq!(summary.bytes, sink.0);
}

#[test]
fn portable_code_gives_the_same_bytes_and_rows() {
    use deltalite_format::kernels::Level;
    for (_, table) in small_tables() {
        for profile in [Profile::Default, Profile::Compact] {
            let options = small(profile, 500, 256);
            Level::force_portable(true);
            let portable = write(&table, options.clone(), 0);
            assert_same(&read(&portable).unwrap(), &table);
            Level::force_portable(false);
            assert_eq!(portable, write(&table, options, 0));
            assert_same(&read(&portable).unwrap(), &table);
        }
    }
}
