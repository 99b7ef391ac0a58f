//! Splits: any set of ranges that covers a file yields every row once.

use arrow_array::RecordBatch;
use deltalite_format::reader::file::FileScan;
use deltalite_format::split::plan_splits;
use deltalite_format::{FileReader, Result, ScanOptions, SplitSpec};
use proptest::prelude::*;

use crate::tables::{any_options, any_table, assert_same, concat, write};

/// The rows of all splits, one split after the other.
fn read_splits(reader: &FileReader, splits: &[SplitSpec]) -> RecordBatch {
    let options = ScanOptions { batch_rows: Some(333), ..ScanOptions::default() };
    let scans: Vec<FileScan> =
        splits.iter().map(|s| reader.scan_split(options.clone(), Some(s)).unwrap()).collect();
    let schema = reader.scan(options).unwrap().schema().clone();
    let batches = scans.into_iter().flatten().collect::<Result<Vec<_>>>().unwrap();
    concat(&schema, &batches).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_ranges_yield_every_row_once(table in any_table(1500, 1), options in any_options(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let file = write(&table, options, 0);
        let mut cuts: Vec<u64> = cuts.iter().map(|c| c.index(file.len() + 1) as u64).collect();
        cuts.extend([0, file.len() as u64]);
        cuts.sort_unstable();
        let splits: Vec<SplitSpec> = cuts
            .windows(2)
            .map(|w| SplitSpec { start: w[0], end: w[1], ..SplitSpec::whole("memory") })
            .collect();
        let reader = FileReader::open_bytes(file).unwrap();
        assert_same(&read_splits(&reader, &splits), &table);
    }

    #[test]
    fn ranges_of_rows_cut_blocks_finer(table in any_table(1500, 2), options in any_options(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9)) {
        let mut cuts: Vec<u64> = cuts.iter().map(|c| c.index(table.num_rows() + 1) as u64).collect();
        cuts.extend([0, table.num_rows() as u64]);
        cuts.sort_unstable();
        let splits: Vec<SplitSpec> =
            cuts.windows(2).map(|w| SplitSpec { rows: Some(w[0]..w[1]), ..SplitSpec::whole("memory") }).collect();
        let reader = FileReader::open_bytes(write(&table, options, 0)).unwrap();
        assert_same(&read_splits(&reader, &splits), &table);
    }

    #[test]
    fn planned_splits_yield_every_row_once(table in any_table(1500, 1), options in any_options(), target in 1..200_000u64) {
        let reader = FileReader::open_bytes(write(&table, options, 0)).unwrap();
        let splits = plan_splits(reader.meta(), target);
        assert_same(&read_splits(&reader, &splits), &table);
    }
}
