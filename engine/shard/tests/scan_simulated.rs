//! Scans over a simulated disk: whatever the disk does, the rows are right or there is an error, and no buffer is lost.

#![allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::Buffer;
use deltalite_format::reader::FileMeta;
use deltalite_format::{FileWriter, WriterOptions};
use deltalite_shard::ShardError;
use deltalite_shard::device::{BlockDevice, OpenMode, SimDevice, SimDisk, SimFaults};
use deltalite_shard::executor::{DeviceFactory, IoMode, ShardOptions, ShardSet};
use deltalite_shard::scan::{DataFile, DecodeOn, Scan};

const ROWS: i64 = 20_000;
const PATH: &str = "/sim/rows.dlb";

fn disk() -> (SimDisk, Vec<u8>) {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|i| i * 1_000_003 % 65_521)));
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| format!("row number {i}"))));
    let batch = RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap();
    let options = WriterOptions { block_rows: 4096, ..WriterOptions::default() };
    let mut writer = FileWriter::new(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    let (_, bytes) = writer.finish_into().unwrap();
    let disk = SimDisk::new();
    disk.put(Path::new(PATH), &bytes);
    (disk, bytes)
}

fn run(
    disk: &SimDisk,
    file: &Arc<DataFile>,
    seed: u64,
    faults: fn(u64) -> SimFaults,
) -> Result<Vec<(i64, String)>, ShardError> {
    let disk = disk.clone();
    let factory = DeviceFactory::new(move |place| {
        let device = SimDevice::new(&disk, faults(seed * 31 + u64::from(place.shard)));
        Ok(Rc::new(device) as Rc<dyn BlockDevice>)
    });
    let shards = 1 + (seed % 2) as u32;
    let options =
        ShardOptions { io: IoMode::Custom(factory), ..ShardOptions::with_shards(shards)?.arena(2 << 20) };
    let shards = Arc::new(ShardSet::start(options)?);
    let decode_on = if seed.is_multiple_of(3) { DecodeOn::Caller } else { DecodeOn::Shards };
    let scan = Scan::of(file.clone()).ordered(!seed.is_multiple_of(5)).decode_on(decode_on).start(&shards)?;
    let mut rows = Vec::new();
    let mut failed = None;
    for batch in scan {
        match batch {
            Ok(batch) => {
                let (ids, names) =
                    (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string_view());
                rows.extend((0..batch.num_rows()).map(|i| (ids.value(i), names.value(i).to_owned())));
            }
            Err(error) => failed = Some(error),
        }
    }
    for shard in 0..shards.len() {
        if let Some(cache) = shards.cache_of(shard) {
            cache.clear();
        }
    }
    shards.stats()?;
    rows.sort();
    failed.map_or(Ok(rows), Err)
}

fn expected() -> Vec<(i64, String)> {
    let mut rows: Vec<_> = (0..ROWS).map(|i| (i * 1_000_003 % 65_521, format!("row number {i}"))).collect();
    rows.sort();
    rows
}

#[test]
fn faults_never_yield_wrong_rows() {
    let (disk, bytes) = disk();
    let id = SimDevice::new(&disk, SimFaults::none(0)).open(Path::new(PATH), OpenMode::Read).unwrap().id();
    let meta = Arc::new(FileMeta::open(Arc::new(Buffer::from(bytes)), PATH).unwrap());
    let file = DataFile::from_parts(PATH, id, meta);
    let expected = expected();
    let mut failures = 0;
    for seed in 0..300 {
        match run(&disk, &file, seed, SimFaults::transient) {
            Ok(rows) => assert!(rows == expected, "seed {seed}: wrong rows under transient faults"),
            Err(error) => assert_eq!(error.code(), "DL-0308", "seed {seed}: {error}"),
        }
        match run(&disk, &file, seed, SimFaults::all) {
            Ok(rows) => assert!(rows == expected, "seed {seed}: wrong rows under faults"),
            Err(error) => {
                failures += 1;
                let text = error.to_string();
                assert!(text.contains(PATH) || text.contains("cancelled"), "seed {seed}: {text}");
            }
        }
    }
    assert!(failures > 0, "no fault ever reached a scan: the simulation tests nothing");
}
