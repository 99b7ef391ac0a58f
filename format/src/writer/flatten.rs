//! Takes a column's array apart into one leaf array a stream, in the order of [`ColumnShape`].

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, OffsetSizeTrait, UInt32Array, UInt64Array};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::error::{FormatError, Result};
use crate::schema::shape::{ColumnShape, Shape};

/// One leaf array a stream; validity streams are `Boolean` arrays without nulls, lengths are `UInt32` with nulls.
pub(super) fn flatten(shape: &ColumnShape, array: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let mut out = Vec::with_capacity(shape.streams.len());
    walk(&shape.root, array, &mut out)?;
    debug_assert_eq!(out.len(), shape.streams.len());
    Ok(out)
}

fn walk(shape: &Shape, array: &ArrayRef, out: &mut Vec<ArrayRef>) -> Result<()> {
    match shape {
        Shape::Null => {}
        Shape::Leaf { .. } => out.push(match array.data_type() {
            DataType::Dictionary(_, value) => arrow_cast::cast(array, value)?,
            _ => array.clone(),
        }),
        Shape::Struct { children, .. } => {
            let array = array.as_struct();
            out.push(validity_bits(array.nulls(), array.len()));
            for ((_, child), values) in children.iter().zip(array.columns()) {
                walk(child, values, out)?;
            }
        }
        Shape::List { child, .. } => {
            let (lengths, values) = lists(array)?;
            out.push(lengths);
            walk(child, &values, out)?;
        }
        Shape::FixedList { child, size, .. } => {
            let array = array.as_fixed_size_list();
            out.push(validity_bits(array.nulls(), array.len()));
            // `values` of a sliced fixed-size list is already sliced to its rows.
            walk(child, &array.values().slice(0, array.len() * size), out)?;
        }
    }
    Ok(())
}

fn validity_bits(nulls: Option<&NullBuffer>, len: usize) -> ArrayRef {
    Arc::new(BooleanArray::new(
        nulls.map_or_else(|| BooleanBuffer::new_set(len), |n| n.inner().clone()),
        None,
    ))
}

/// Lengths of the lists and exactly the child rows they name, in order.
fn lists(array: &ArrayRef) -> Result<(ArrayRef, ArrayRef)> {
    match array.data_type() {
        DataType::List(_) => {
            let a = array.as_list::<i32>();
            from_offsets(a.value_offsets(), a.nulls(), a.values())
        }
        DataType::LargeList(_) => {
            let a = array.as_list::<i64>();
            from_offsets(a.value_offsets(), a.nulls(), a.values())
        }
        DataType::Map(..) => {
            let a = array.as_map();
            let entries: ArrayRef = Arc::new(a.entries().clone());
            from_offsets(a.value_offsets(), a.nulls(), &entries)
        }
        DataType::ListView(_) => {
            let a = array.as_list_view::<i32>();
            from_views(a.value_offsets(), a.value_sizes(), a.nulls(), a.values())
        }
        DataType::LargeListView(_) => {
            let a = array.as_list_view::<i64>();
            from_views(a.value_offsets(), a.value_sizes(), a.nulls(), a.values())
        }
        other => Err(FormatError::invalid("writing a column", format!("{other} is not a list"))),
    }
}

fn length_array(lengths: Vec<u32>, nulls: Option<&NullBuffer>) -> ArrayRef {
    Arc::new(UInt32Array::new(ScalarBuffer::from(lengths), nulls.cloned()))
}

fn to_length<O: OffsetSizeTrait>(n: O) -> Result<u32> {
    u32::try_from(n.as_usize()).map_err(|_| {
        FormatError::invalid(
            "writing a list",
            format!("a list of {} values is longer than 2^32 − 1", n.as_usize()),
        )
    })
}

fn from_offsets<O: OffsetSizeTrait>(
    offsets: &[O],
    nulls: Option<&NullBuffer>,
    values: &ArrayRef,
) -> Result<(ArrayRef, ArrayRef)> {
    let lengths = offsets
        .windows(2)
        .enumerate()
        .map(|(i, w)| if nulls.is_some_and(|n| n.is_null(i)) { Ok(0) } else { to_length(w[1] - w[0]) })
        .collect::<Result<Vec<u32>>>()?;
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    let total: u64 = lengths.iter().map(|&n| u64::from(n)).sum();
    let child = if total == (last - first) as u64 {
        values.slice(first, last - first)
    } else {
        // A null list may cover child rows; they are not part of the data.
        pick(values, offsets.iter().map(|o| o.as_usize()).zip(lengths.iter().copied()))?
    };
    Ok((length_array(lengths, nulls), child))
}

fn from_views<O: OffsetSizeTrait>(
    offsets: &[O],
    sizes: &[O],
    nulls: Option<&NullBuffer>,
    values: &ArrayRef,
) -> Result<(ArrayRef, ArrayRef)> {
    let lengths = sizes
        .iter()
        .enumerate()
        .map(|(i, &n)| if nulls.is_some_and(|v| v.is_null(i)) { Ok(0) } else { to_length(n) })
        .collect::<Result<Vec<u32>>>()?;
    let child = pick(values, offsets.iter().map(|o| o.as_usize()).zip(lengths.iter().copied()))?;
    Ok((length_array(lengths, nulls), child))
}

fn pick(values: &ArrayRef, ranges: impl Iterator<Item = (usize, u32)>) -> Result<ArrayRef> {
    let rows: Vec<u64> =
        ranges.flat_map(|(start, n)| (start as u64)..(start as u64 + u64::from(n))).collect();
    Ok(arrow_select::take::take(values, &UInt64Array::from(rows), None)?)
}
