//! Arrow IPC of peers that are not to be trusted.
//!
//! arrow-ipc takes the lengths of messages as they are told, for memory too, and panics where a schema or a batch is not as it should be. So
//! lengths are checked first, panics are caught, and types that arrays can't have are refused after.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::ArrayRef;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, DataType, SchemaRef};

use crate::batch::children;

/// Before each message of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Deepest nesting of columns.
const DEPTH_MAX: usize = 64;

/// The schema of a stream.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn schema(bytes: &[u8]) -> Result<SchemaRef, String> {
    check_lengths(bytes)?;
    let schema = caught(|| StreamReader::try_new(Cursor::new(bytes), None).map(|reader| reader.schema()))?;
    schema.fields().iter().try_for_each(|field| check_type(field.data_type(), 0))?;
    Ok(schema)
}

/// The one value of a stream that has one column with one row.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn value(bytes: &[u8]) -> Result<ArrayRef, String> {
    check_lengths(bytes)?;
    let batch = caught(|| StreamReader::try_new(Cursor::new(bytes), None)?.next().transpose())?;
    match batch.as_ref().map(arrow_array::RecordBatch::columns) {
        Some([column]) if column.len() == 1 => {
            check_type(column.data_type(), 0)?;
            Ok(ArrayRef::clone(column))
        }
        _ => Err("it is not one value".to_owned()),
    }
}

/// Whether all messages lie within the bytes.
fn check_lengths(mut bytes: &[u8]) -> Result<(), String> {
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        if head[..4] != CONTINUATION {
            return Err("it is no stream of messages".to_owned());
        }
        let beyond = || "a message lies beyond its end".to_owned();
        let length = i32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length == 0 {
            return Ok(());
        }
        let length = usize::try_from(length).map_err(|_| beyond())?;
        // Copied: what reads it in place asks for memory that is aligned.
        let metadata = rest.get(..length).ok_or_else(beyond)?.to_vec();
        let message = arrow_ipc::root_as_message(&metadata).map_err(|e| e.to_string())?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| beyond())?;
        bytes = rest.get(length..).and_then(|rest| rest.get(body..)).ok_or_else(beyond)?;
    }
    Ok(())
}

fn caught<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, String> {
    // What is read belongs to nobody yet: where it panics, nothing half done is left.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|e| e.to_string()),
        Err(_) => Err("it is not as Arrow writes it".to_owned()),
    }
}

/// Whether arrays can have a type.
fn check_type(data_type: &DataType, depth: usize) -> Result<(), String> {
    let decimal = |precision: u8, scale: i8, most: u8| (1..=most).contains(&precision) && scale <= most as i8;
    let sound = depth <= DEPTH_MAX
        && match data_type {
            DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size) => *size >= 0,
            DataType::Decimal32(precision, scale) => decimal(*precision, *scale, 9),
            DataType::Decimal64(precision, scale) => decimal(*precision, *scale, 18),
            DataType::Decimal128(precision, scale) => decimal(*precision, *scale, 38),
            DataType::Decimal256(precision, scale) => decimal(*precision, *scale, 76),
            DataType::Dictionary(keys, _) => keys.is_dictionary_key_type(),
            DataType::RunEndEncoded(ends, _) => ends.data_type().is_run_ends_type(),
            DataType::Map(entries, _) => {
                matches!(entries.data_type(), DataType::Struct(fields) if fields.len() == 2)
            }
            _ => true,
        };
    if !sound {
        return Err(format!("a type that arrays can't have: {data_type}"));
    }
    children(data_type).into_iter().try_for_each(|child| check_type(child, depth + 1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, Date32Array, RecordBatch};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{Field, Schema};

    use super::*;

    fn stream() -> Vec<u8> {
        let schema = Arc::new(Schema::new(vec![Field::new("", DataType::Date32, true)]));
        let batch =
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Date32Array::from(vec![9]))]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &schema).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        bytes
    }

    #[test]
    fn no_change_of_a_stream_panics_or_asks_for_memory_that_it_does_not_have() {
        let whole = stream();
        assert_eq!(value(&whole).unwrap().as_ref(), &Date32Array::from(vec![9]) as &dyn Array);
        assert_eq!(schema(&whole).unwrap().field(0).data_type(), &DataType::Date32);
        let mut refused = 0;
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                refused += u32::from(super::value(&changed).is_err());
                drop(schema(&changed));
            }
            drop(super::value(&whole[..at]));
        }
        assert!(refused > 200, "{refused}");
    }

    #[test]
    fn lengths_beyond_the_end_are_refused_before_memory_is_taken() {
        let mut long = stream();
        long[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(value(&long).unwrap_err().contains("beyond its end"));
        // The body's length, wherever the message has it.
        let whole = stream();
        let body = 1u64 << 40;
        let large = (0..whole.len() - 8).step_by(8).filter(|&at| {
            let mut changed = whole.clone();
            changed[at..at + 8].copy_from_slice(&body.to_le_bytes());
            value(&changed).is_err_and(|told| told.contains("beyond its end"))
        });
        assert!(large.count() >= 1);
    }

    #[test]
    fn types_that_arrays_cannot_have_are_refused() {
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        for data_type in [
            DataType::FixedSizeBinary(-1),
            DataType::FixedSizeList(item(DataType::Int8), -4),
            DataType::Decimal128(39, 0),
            DataType::Decimal256(0, 0),
            DataType::Dictionary(Box::new(DataType::Utf8), Box::new(DataType::Utf8)),
            DataType::List(item(DataType::FixedSizeBinary(-1))),
            DataType::Map(item(DataType::Int8), false),
        ] {
            assert!(check_type(&data_type, 0).is_err(), "{data_type}");
        }
        let deep = (0..100).fold(DataType::Int8, |inner, _| DataType::List(item(inner)));
        assert!(check_type(&deep, 0).is_err());
    }
}
