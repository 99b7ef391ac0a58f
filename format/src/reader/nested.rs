//! Puts a nested column of a unit together from its streams.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray, NullArray,
    OffsetSizeTrait, StructArray,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields};

use super::stream::OpenStream;
use crate::error::{FormatError, Result};
use crate::schema::shape::Shape;

/// The array of `rows` rows that `shape` and its streams describe.
pub(crate) fn assemble(shape: &Shape, streams: &[OpenStream], rows: usize) -> Result<ArrayRef> {
    let stream = |i: usize| {
        streams.get(i).ok_or_else(|| FormatError::corrupt("column", format!("stream {i} is missing")))
    };
    match shape {
        Shape::Null => Ok(Arc::new(NullArray::new(rows))),
        Shape::Leaf { stream: i, data_type } => {
            expect_rows(stream(*i)?.rows(), rows)?;
            stream(*i)?.array(data_type)
        }
        Shape::Struct { validity, children } => {
            expect_rows(stream(*validity)?.rows(), rows)?;
            let nulls = to_nulls(stream(*validity)?.bits()?);
            let (mut fields, mut arrays) = (Vec::new(), Vec::new());
            for (field, child) in children {
                let array = assemble(child, streams, rows)?;
                fields.push(read_field(field, array.data_type()));
                arrays.push(array);
            }
            Ok(Arc::new(StructArray::try_new_with_length(Fields::from(fields), arrays, nulls, rows)?))
        }
        Shape::List { lengths, data_type, child } => {
            expect_rows(stream(*lengths)?.rows(), rows)?;
            let lengths = stream(*lengths)?.array(&DataType::UInt32)?;
            let lengths = lengths.as_primitive::<UInt32Type>();
            // A null list has no elements, whatever stands in for its length.
            let counted: Vec<u32> = lengths.iter().map(Option::unwrap_or_default).collect();
            let total = counted.iter().map(|n| u64::from(*n)).sum::<u64>();
            let have = child_rows(child, streams)?;
            if have.is_some_and(|n| n as u64 != total) {
                return Err(FormatError::corrupt(
                    "list column",
                    format!("lengths add up to {total}, its child has {have:?} rows"),
                ));
            }
            let total = usize::try_from(total)
                .map_err(|_| FormatError::corrupt("list column", format!("{total} child rows in a unit")))?;
            let values = assemble(child, streams, total)?;
            list_array(data_type, &counted, lengths.nulls().cloned(), values)
        }
        Shape::FixedList { validity, size, data_type, child } => {
            expect_rows(stream(*validity)?.rows(), rows)?;
            let nulls = to_nulls(stream(*validity)?.bits()?);
            let total = rows
                .checked_mul(*size)
                .ok_or_else(|| FormatError::corrupt("list column", "its size overflows"))?;
            if let Some(have) = child_rows(child, streams)? {
                expect_rows(have, total)?;
            }
            let values = assemble(child, streams, total)?;
            let DataType::FixedSizeList(field, n) = data_type else {
                return Err(FormatError::corrupt(
                    "list column",
                    format!("{data_type} is not a fixed-size list"),
                ));
            };
            Ok(Arc::new(FixedSizeListArray::try_new_with_length(
                read_field(field, values.data_type()),
                *n,
                values,
                nulls,
                rows,
            )?))
        }
    }
}

fn expect_rows(found: usize, expected: usize) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(FormatError::corrupt(
            "nested column",
            format!("a stream has {found} rows in the unit, expected {expected}"),
        ))
    }
}

fn to_nulls(bits: BooleanBuffer) -> Option<NullBuffer> {
    Some(NullBuffer::new(bits)).filter(|n| n.null_count() > 0)
}

/// Rows that the first stream below a shape has; `None` where no stream says.
fn child_rows(shape: &Shape, streams: &[OpenStream]) -> Result<Option<usize>> {
    let i = match shape {
        Shape::Null => return Ok(None),
        Shape::Leaf { stream, .. } => *stream,
        Shape::Struct { validity, .. } | Shape::FixedList { validity, .. } => *validity,
        Shape::List { lengths, .. } => *lengths,
    };
    streams
        .get(i)
        .map(|s| Some(s.rows()))
        .ok_or_else(|| FormatError::corrupt("column", format!("stream {i} is missing")))
}

/// The field with the type its values come out as (strings as views).
pub(crate) fn read_field(field: &FieldRef, data_type: &DataType) -> FieldRef {
    if field.data_type() == data_type {
        field.clone()
    } else {
        Arc::new(
            Field::new(field.name(), data_type.clone(), field.is_nullable())
                .with_metadata(field.metadata().clone()),
        )
    }
}

fn list_array(
    data_type: &DataType,
    lengths: &[u32],
    nulls: Option<NullBuffer>,
    values: ArrayRef,
) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::List(f) => {
            let field = read_field(f, values.data_type());
            Arc::new(GenericListArray::<i32>::try_new(field, offsets(lengths)?, values, nulls)?)
        }
        DataType::LargeList(f) => {
            let field = read_field(f, values.data_type());
            Arc::new(GenericListArray::<i64>::try_new(field, offsets(lengths)?, values, nulls)?)
        }
        DataType::ListView(f) => {
            let field = read_field(f, values.data_type());
            let (offsets, sizes) = views(lengths)?;
            Arc::new(GenericListViewArray::<i32>::try_new(field, offsets, sizes, values, nulls)?)
        }
        DataType::LargeListView(f) => {
            let field = read_field(f, values.data_type());
            let (offsets, sizes) = views(lengths)?;
            Arc::new(GenericListViewArray::<i64>::try_new(field, offsets, sizes, values, nulls)?)
        }
        DataType::Map(f, sorted) => {
            let field = read_field(f, values.data_type());
            Arc::new(MapArray::try_new(field, offsets(lengths)?, values.as_struct().clone(), nulls, *sorted)?)
        }
        other => return Err(FormatError::corrupt("list column", format!("{other} is not a list"))),
    })
}

fn offsets<O: OffsetSizeTrait>(lengths: &[u32]) -> Result<OffsetBuffer<O>> {
    let mut out = Vec::with_capacity(lengths.len() + 1);
    let mut at = 0usize;
    out.push(O::zero());
    for &n in lengths {
        at += n as usize;
        out.push(O::from_usize(at).ok_or_else(|| {
            FormatError::invalid(
                "reading a list",
                "a unit has more child rows than its offsets can count; read it as a large list".to_owned(),
            )
        })?);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(out)))
}

fn views<O: OffsetSizeTrait>(lengths: &[u32]) -> Result<(ScalarBuffer<O>, ScalarBuffer<O>)> {
    let offsets = offsets::<O>(lengths)?;
    let sizes: Vec<O> = offsets.windows(2).map(|w| w[1] - w[0]).collect();
    Ok((ScalarBuffer::from(offsets[..lengths.len()].to_vec()), ScalarBuffer::from(sizes)))
}
