//! What each fuzz target does with its input. No input may make it panic, loop, or allocate out of proportion.
//!
//! The fuzz targets run these under libFuzzer (`engine/remote/fuzz/fuzz_targets/`); the tests of the crate run them over the committed corpus
//! and over seeded mutations of it. Each returns what was said of the input, so that the tests know the corpus is still valid.

use std::sync::{Arc, OnceLock};

use arrow_array::{
    Array, ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow_schema::SchemaRef;
use deltalite_alloc::BufferPool;
use deltalite_format::{FileReader, FileWriter, ScanOptions, WriterOptions};
use deltalite_remote::predicate::WirePredicate;
use deltalite_remote::protocol::{self, Health, ListSplits, ReadSplit, Splits, Stat, Target};
use deltalite_remote::{Result, batch};

/// A target: its name (also its corpus folder) and what it does.
pub(crate) type Body = (&'static str, fn(&[u8]) -> Result<()>);

/// All targets.
pub(crate) const TARGETS: [Body; 4] =
    [("request", request), ("answer", answer), ("condition", condition), ("batch", batch)];

/// What a server is asked: `u8` which of them, then the request.
pub(crate) fn request(bytes: &[u8]) -> Result<()> {
    let Some((&which, bytes)) = bytes.split_first() else { return Ok(()) };
    let predicate = match which % 3 {
        0 => {
            let target: Target = protocol::decode(bytes)?;
            assert_eq!(protocol::decode::<Target>(&protocol::encode(&target)?)?, target);
            None
        }
        1 => protocol::decode::<ListSplits>(bytes)?.predicate,
        _ => {
            let read: ReadSplit = protocol::decode(bytes)?;
            read.split.spec("file");
            read.predicate
        }
    };
    predicate.map_or(Ok(()), |predicate| evaluate(&predicate))
}

/// What a server answers: `u8` which of them, then the answer.
pub(crate) fn answer(bytes: &[u8]) -> Result<()> {
    let Some((&which, bytes)) = bytes.split_first() else { return Ok(()) };
    match which % 3 {
        0 => {
            let stat: Stat = protocol::decode(bytes)?;
            let schema = protocol::decode_schema(&stat.schema)?;
            // What came can be told again.
            protocol::encode_schema(&schema)?;
        }
        1 => drop(protocol::decode::<Splits>(bytes)?),
        _ => drop(protocol::decode::<Health>(bytes)?),
    }
    Ok(())
}

/// A condition, as a server evaluates it.
pub(crate) fn condition(bytes: &[u8]) -> Result<()> {
    evaluate(&protocol::decode(bytes)?)
}

fn evaluate(wire: &WirePredicate) -> Result<()> {
    let predicate = wire.decode()?;
    assert_eq!(WirePredicate::encode(&predicate)?.decode()?, predicate, "a condition changes on its way");
    static FILE: OnceLock<FileReader> = OnceLock::new();
    let reader = FILE.get_or_init(file);
    // A condition on columns that are not there, or of other types, is an error; any other has an answer.
    if let Ok(mut scan) = reader.scan(ScanOptions { predicate: Some(predicate), ..ScanOptions::default() }) {
        drop(scan.try_for_each(|batch| batch.map(|_| ())));
    }
    Ok(())
}

/// Columns that conditions of the corpus ask for.
pub(crate) fn table() -> RecordBatch {
    let text = |i: i64| (i % 5 != 0).then(|| format!("text {i}"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Int64Array::from_iter_values(0..40))),
        ("b", Arc::new((0..40).map(text).collect::<StringArray>())),
        ("c", Arc::new((0..40).map(|i| (i % 3 != 0).then_some(i)).collect::<Date32Array>())),
        ("d", Arc::new(Float64Array::from_iter_values((0..40).map(|i| f64::from(i) / 4.0)))),
        ("e", Arc::new((0..40).map(|i| Some(i128::from(i))).collect::<Decimal128Array>())),
        ("f", Arc::new((0..40).map(|i: u8| Some([i, 1])).collect::<BinaryArray>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap_or_else(|e| panic!("{e}"))
}

fn file() -> FileReader {
    let table = table();
    let write = || {
        let mut writer = FileWriter::new(Vec::new(), &table.schema(), WriterOptions::default())?;
        writer.write(&table)?;
        FileReader::open_bytes(writer.finish_into()?.1)
    };
    write().unwrap_or_else(|e| panic!("{e}"))
}

/// Rows: `u16` bytes of the columns, `u16` of the metadata, each; then the payload.
pub(crate) fn batch(bytes: &[u8]) -> Result<()> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Ok(()) };
    let length = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let (columns, rest) = rest.split_at(length(0).min(rest.len()));
    let (meta, payload) = rest.split_at(length(2).min(rest.len()));
    let schema: SchemaRef = protocol::decode_schema(columns)?;
    let Ok(mut landed) = BufferPool::global().take(payload.len().max(1)) else { return Ok(()) };
    landed.as_mut_slice()[..payload.len()].copy_from_slice(payload);
    landed.truncate(payload.len());
    let (batch, position) = batch::decode(meta, Some(landed.freeze()), &schema)?;
    // What was received is sound, and can be sent on.
    for column in batch.columns() {
        if column.len() < 1 << 20 {
            column.to_data().validate_full().unwrap_or_else(|e| panic!("an array that is not sound: {e}"));
        }
    }
    if batch.num_rows() < 1 << 20 && batch.columns().iter().all(|column| column.len() < 1 << 20) {
        batch::encode(&batch, position)?;
    }
    Ok(())
}
