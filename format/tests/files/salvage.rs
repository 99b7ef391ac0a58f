//! Files cut off anywhere: every block that is complete is read.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use deltalite_format::layout::{BlockEntry, BlockHeader};
use deltalite_format::reader::{ReadAt, ScanPlan};
use deltalite_format::salvage::{find_blocks, open_salvaged, read_header};
use deltalite_format::{FileReader, Profile, Result, ScanOptions, SplitSpec};
use proptest::prelude::*;

use crate::tables::{any_options, any_table, assert_same, collect, read, small, small_tables, write};

fn blocks_of(file: &[u8]) -> Vec<BlockEntry> {
    FileReader::open_bytes(file.to_vec()).unwrap().meta().blocks().to_vec()
}

fn salvage(bytes: &[u8]) -> Result<RecordBatch> {
    let source: Arc<dyn ReadAt> = Arc::new(Buffer::from(bytes));
    let meta = Arc::new(open_salvaged(source.clone(), "memory")?);
    collect(FileReader::with_meta(meta, source).scan(ScanOptions::default())?)
}

/// Bytes of a block up to the end of its last page: what a complete block needs.
fn end_of_pages(file: &[u8], block: usize) -> u64 {
    let reader = FileReader::open_bytes(file.to_vec()).unwrap();
    let plan = ScanPlan::new(reader.meta().clone(), ScanOptions::default()).unwrap();
    let pages = plan
        .columns()
        .iter()
        .flat_map(|c| c.streams.iter())
        .flat_map(|s| s[block].pages.iter().chain(&s[block].dictionary));
    let entry = &reader.meta().blocks()[block];
    let at = entry.offset as usize;
    let header: BlockHeader = bytemuck::pod_read_unaligned(&file[at..at + size_of::<BlockHeader>()]);
    let directory = entry.offset + size_of::<BlockHeader>() as u64 + u64::from(header.section_len);
    pages.map(|p| p.offset + u64::from(p.len)).max().unwrap_or(directory)
}

#[test]
fn every_truncation_point_leaves_the_complete_blocks() {
    let (_, table) = small_tables().swap_remove(2);
    let table = table.slice(0, 150);
    let file = write(&table, small(Profile::Default, 60, 32), 0);
    let blocks = blocks_of(&file);
    assert_eq!(blocks.len(), 3);
    let ends: Vec<u64> = (0..blocks.len()).map(|i| end_of_pages(&file, i)).collect();
    for cut in 0..=file.len() {
        let whole = ends.iter().filter(|&&end| end <= cut as u64).count();
        match salvage(&file[..cut]) {
            Ok(found) => {
                let rows: u64 = blocks[..whole].iter().map(|b| u64::from(b.rows)).sum();
                assert_same(&found, &table.slice(0, rows as usize));
            }
            // Only the header may be too short to tell the schema.
            Err(e) => assert!(whole == 0 && cut < 4096, "cut at {cut}: {e}"),
        }
        if cut < file.len() {
            assert!(read(&file[..cut]).is_err(), "a file cut at {cut} opens as if it were whole");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_truncation_leaves_the_complete_blocks(table in any_table(1200, 2), options in any_options(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..8)) {
        let file = write(&table, options, 0);
        let blocks = blocks_of(&file);
        for cut in cuts {
            let cut = cut.index(file.len());
            let whole = (0..blocks.len()).take_while(|&i| end_of_pages(&file, i) <= cut as u64).count();
            match salvage(&file[..cut]) {
                Ok(found) => {
                    let rows: u64 = blocks[..whole].iter().map(|b| u64::from(b.rows)).sum();
                    assert_same(&found, &table.slice(0, rows as usize));
                }
                Err(e) => prop_assert!(whole == 0, "cut at {cut}: {e}"),
            }
        }
    }

    #[test]
    fn a_lost_block_takes_no_other_with_it(table in any_table(1200, 1), options in any_options(), lost in any::<prop::sample::Index>()) {
        let mut file = write(&table, options, 0);
        let blocks = blocks_of(&file);
        prop_assume!(!blocks.is_empty());
        let lost = lost.index(blocks.len());
        let (start, end) = (blocks[lost].offset as usize, (blocks[lost].offset + blocks[lost].length) as usize);
        file[start..end].fill(0xa5);
        let kept: Vec<RecordBatch> = blocks
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != lost)
            .map(|(_, b)| table.slice(b.first_row as usize, b.rows as usize))
            .collect();
        let expected = crate::tables::concat(&table.schema(), &kept).unwrap();
        assert_same(&salvage(&file).unwrap(), &expected);
    }

    #[test]
    fn blocks_are_found_once_by_any_ranges(table in any_table(1200, 1), options in any_options(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let file = write(&table, options, 0);
        let mut cuts: Vec<u64> = cuts.iter().map(|c| c.index(file.len() + 1) as u64).collect();
        cuts.extend([0, file.len() as u64]);
        cuts.sort_unstable();
        let source = Buffer::from(file.as_slice());
        let header = read_header(&source).unwrap();
        let found: Vec<u64> = cuts
            .windows(2)
            .flat_map(|w| {
                let split = SplitSpec { start: w[0], end: w[1], ..SplitSpec::whole("memory") };
                find_blocks(&source, &header, &split).unwrap()
            })
            .map(|b| b.entry.offset)
            .collect();
        let expected: Vec<u64> = blocks_of(&file).iter().map(|b| b.offset).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn the_last_4_kib_or_the_footer_may_be_lost() {
    for (name, table) in small_tables() {
        let mut file = write(&table, small(Profile::Default, 100, 64), 0);
        let footer = blocks_of(&file).last().map_or(4096, |b| (b.offset + b.length) as usize);
        assert_same(&salvage(&file[..footer]).unwrap(), &table);
        let n = file.len();
        if n - 4096 >= footer {
            assert_same(&salvage(&file[..n - 4096]).unwrap(), &table);
        }
        file[footer..].fill(0);
        assert_same(&salvage(&file).unwrap(), &table);
        assert!(read(&file).is_err(), "{name}");
    }
}
