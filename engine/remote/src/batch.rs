//! Record batches as they travel: their buffers, from where they lie to where they stay.
//!
//! The metadata of a message lists the arrays of the batch depth first (a column, then its children) with their lengths, counts
//! of nulls and numbers of buffers, and the lengths of all buffers. The payload is the buffers in that order, each padded to a
//! multiple of 64 bytes; a validity bitmap comes first where there are nulls. This is Arrow's own layout without its
//! flatbuffers: the sender gives the socket the memory that a scan decoded into, and the receiver makes arrays of the memory
//! that the socket filled. Received arrays are checked as Arrow checks foreign data, text included.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{ArrowNativeType, Buffer};
use arrow_data::transform::MutableArrayData;
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{DataType, SchemaRef};
use bytes::{Bytes, BytesMut};
use deltalite_alloc::SharedBuffer;
use deltalite_net::frame::padded;
use deltalite_net::{ErrorKind, Result, RpcError};
use rkyv::{Archive, Deserialize, Serialize};

/// Buffers below this length are copied together: handing the kernel many small pieces costs more.
const COPIED_BELOW: usize = 4 << 10;
/// A view array whose values fill less than one part in so many of its buffers is copied together.
const VIEWS_SPARSE: usize = 2;
/// Deepest nesting of columns.
const DEPTH_MAX: usize = 64;

/// Most values of an array, children included: what 32-bit offsets reach.
const LEN_MAX: u64 = i32::MAX as u64;

#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
struct Meta {
    rows: u64,
    position: u64,
    nodes: Vec<Node>,
    lengths: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Archive, Serialize, Deserialize)]
struct Node {
    len: u64,
    nulls: u64,
    buffers: u32,
}

/// Owns an Arrow buffer as `Bytes` do.
struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

#[derive(Default)]
struct Encoder {
    nodes: Vec<Node>,
    lengths: Vec<u64>,
    pieces: Vec<Bytes>,
    tail: BytesMut,
}

impl Encoder {
    fn buffer(&mut self, buffer: Buffer) {
        let len = buffer.len();
        self.lengths.push(len as u64);
        if len < COPIED_BELOW {
            self.tail.extend_from_slice(&buffer);
        } else {
            self.flush();
            self.pieces.push(Bytes::from_owner(Owner(buffer)));
        }
        self.tail.resize(self.tail.len() + padded(len) - len, 0);
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
    }

    fn array(&mut self, data: &ArrayData) {
        if let Some(copied) = gathered(data) {
            return self.plain(&copied);
        }
        self.plain(data);
    }

    /// An array whose offsets, if it has any, begin at 0.
    fn plain(&mut self, data: &ArrayData) {
        let (offset, len) = (data.offset(), data.len());
        let node = self.nodes.len();
        self.nodes.push(Node { len: len as u64, nulls: data.null_count() as u64, buffers: 0 });
        let before = self.lengths.len();
        if let Some(nulls) = data.nulls().filter(|nulls| nulls.null_count() > 0) {
            self.buffer(nulls.inner().sliced());
        } else {
            // None are null, whatever the array thought.
            self.nodes[node].nulls = 0;
        }
        let buffers = data.buffers();
        match data.data_type() {
            DataType::Boolean => {
                let bits = arrow_buffer::BooleanBuffer::new(buffers[0].clone(), offset, len);
                self.buffer(bits.sliced());
            }
            DataType::Utf8 | DataType::Binary | DataType::List(_) | DataType::Map(_, _) => {
                self.offsets::<i32>(data);
            }
            DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_) => self.offsets::<i64>(data),
            DataType::Utf8View | DataType::BinaryView => {
                self.buffer(buffers[0].slice_with_length(offset * 16, len * 16));
                buffers[1..].iter().for_each(|buffer| self.buffer(buffer.clone()));
            }
            other => match other.primitive_width().or(match other {
                DataType::FixedSizeBinary(width) => Some(*width as usize),
                DataType::Dictionary(key, _) => key.primitive_width(),
                _ => None,
            }) {
                Some(width) => self.buffer(buffers[0].slice_with_length(offset * width, len * width)),
                None => buffers.iter().for_each(|buffer| self.buffer(buffer.clone())),
            },
        }
        self.nodes[node].buffers = (self.lengths.len() - before) as u32;
        match data.data_type() {
            DataType::List(_) | DataType::Map(_, _) => {
                let end = last_offset::<i32>(data);
                self.array(&data.child_data()[0].slice(0, end));
            }
            DataType::LargeList(_) => {
                let end = last_offset::<i64>(data);
                self.array(&data.child_data()[0].slice(0, end));
            }
            DataType::FixedSizeList(_, size) => {
                let size = *size as usize;
                self.array(&data.child_data()[0].slice(offset * size, len * size));
            }
            DataType::Struct(_) => {
                data.child_data().iter().for_each(|child| self.array(&child.slice(offset, len)));
            }
            _ => data.child_data().iter().for_each(|child| self.array(child)),
        }
    }

    fn offsets<O: ArrowNativeType>(&mut self, data: &ArrayData) {
        if data.is_empty() {
            // Arrow lets an empty array go without offsets.
            self.buffer(Buffer::from_vec(vec![O::default()]));
        } else {
            self.buffer(data.buffers()[0].slice_with_length(0, (data.len() + 1) * size_of::<O>()));
        }
        if data.buffers().len() > 1 {
            self.buffer(data.buffers()[1].slice_with_length(0, last_offset::<O>(data)));
        }
    }
}

fn last_offset<O: ArrowNativeType>(data: &ArrayData) -> usize {
    if data.is_empty() { 0 } else { data.buffer::<O>(0)[data.len()].as_usize() }
}

/// A copy, where the array can't be sent from where it lies, or would bring much along that nobody asked for.
fn gathered(data: &ArrayData) -> Option<ArrayData> {
    let begins = |first: usize| data.offset() != 0 || first != 0;
    let needed = match data.data_type() {
        _ if data.is_empty() => false,
        DataType::Utf8 | DataType::Binary | DataType::List(_) | DataType::Map(_, _) => {
            begins(data.buffer::<i32>(0)[0].as_usize())
        }
        DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_) => {
            begins(data.buffer::<i64>(0)[0].as_usize())
        }
        DataType::Union(_, _)
        | DataType::RunEndEncoded(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => data.offset() != 0,
        DataType::Utf8View => {
            let array = arrow_array::StringViewArray::from(data.clone());
            return is_sparse(data, array.views()).then(|| array.gc().into_data());
        }
        DataType::BinaryView => {
            let array = arrow_array::BinaryViewArray::from(data.clone());
            return is_sparse(data, array.views()).then(|| array.gc().into_data());
        }
        _ => false,
    };
    if !needed {
        return None;
    }
    let mut copy = MutableArrayData::new(vec![data], false, data.len());
    // A part of an array never overflows what the whole fits into.
    copy.try_extend(0, 0, data.len()).ok()?;
    Some(copy.freeze())
}

fn is_sparse(data: &ArrayData, views: &[u128]) -> bool {
    let kept: usize = data.buffers()[1..].iter().map(Buffer::len).sum();
    // The lowest 32 bits of a view are its length; up to 12 bytes lie in the view itself.
    let used: usize = views.iter().map(|view| *view as u32 as usize).filter(|len| *len > 12).sum();
    kept > COPIED_BELOW && used * VIEWS_SPARSE < kept
}

/// A batch as metadata and payload of a message. `position` is the file's row after its last: where to go on.
///
/// # Errors
/// Where memory is short.
pub fn encode(batch: &RecordBatch, position: u64) -> Result<(Vec<u8>, Vec<Bytes>)> {
    let mut encoder = Encoder::default();
    for column in batch.columns() {
        encoder.array(&column.to_data());
    }
    encoder.flush();
    let Encoder { nodes, lengths, pieces, .. } = encoder;
    let meta = Meta { rows: batch.num_rows() as u64, position, nodes, lengths };
    Ok((crate::protocol::encode(&meta)?, pieces))
}

struct Decoder<'a> {
    nodes: std::slice::Iter<'a, Node>,
    lengths: std::slice::Iter<'a, u64>,
    payload: Buffer,
    at: usize,
}

fn broken(what: impl std::fmt::Display) -> RpcError {
    RpcError::new(ErrorKind::Protocol, format!("a batch that can't be read: {what}"))
}

impl Decoder<'_> {
    fn buffer(&mut self) -> Result<Buffer> {
        let len = *self.lengths.next().ok_or_else(|| broken("buffers are missing"))? as usize;
        let end = self.at.checked_add(len).filter(|end| *end <= self.payload.len());
        let end = end.ok_or_else(|| broken("a buffer lies beyond the message"))?;
        let buffer = self.payload.slice_with_length(self.at, len);
        self.at = padded(end).min(self.payload.len());
        Ok(buffer)
    }

    fn array(&mut self, data_type: &DataType, depth: usize) -> Result<ArrayData> {
        if depth > DEPTH_MAX {
            return Err(broken("it is nested too deeply"));
        }
        let node = *self.nodes.next().ok_or_else(|| broken("columns are missing"))?;
        if node.len > LEN_MAX {
            return Err(broken(format!("an array of {} values", node.len)));
        }
        let mut left = node.buffers;
        let mut builder = ArrayDataBuilder::new(data_type.clone()).len(node.len as usize);
        if node.nulls > 0 && !matches!(data_type, DataType::Null) {
            left = left.checked_sub(1).ok_or_else(|| broken("a validity bitmap is missing"))?;
            let bits = self.buffer()?;
            if bits.len() < (node.len as usize).div_ceil(8) {
                return Err(broken("a validity bitmap is too short"));
            }
            builder = builder.null_bit_buffer(Some(bits)).null_count(node.nulls as usize);
        }
        let layout = arrow_data::layout(data_type);
        for i in 0..left as usize {
            let buffer = self.buffer()?;
            if let Some(arrow_data::BufferSpec::FixedWidth { byte_width, .. }) = layout.buffers.get(i)
                && !buffer.len().is_multiple_of(*byte_width)
            {
                return Err(broken(format!("{} bytes, where values have {byte_width} each", buffer.len())));
            }
            builder = builder.add_buffer(buffer);
        }
        for child in children(data_type) {
            builder = builder.add_child_data(self.array(child, depth + 1)?);
        }
        // This checks lengths, offsets, views and text.
        builder.build().map_err(broken)
    }
}

/// The types of a type's children, in the order of their arrays.
pub(crate) fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Dictionary(_, values) => vec![values],
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        _ => Vec::new(),
    }
}

/// A batch from a message, and the position after it.
///
/// # Errors
/// Where it is no batch of these columns.
pub fn decode(meta: &[u8], payload: Option<SharedBuffer>, schema: &SchemaRef) -> Result<(RecordBatch, u64)> {
    let meta: Meta = crate::protocol::decode(meta)?;
    let rows = usize::try_from(meta.rows).map_err(broken)?;
    let mut decoder = Decoder {
        nodes: meta.nodes.iter(),
        lengths: meta.lengths.iter(),
        payload: payload.map_or_else(|| Buffer::from(Vec::<u8>::new()), SharedBuffer::into_arrow),
        at: 0,
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(make_array(decoder.array(field.data_type(), 0)?));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(broken)?;
    Ok((batch, meta.position))
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::types::Int8Type;
    use arrow_array::{
        BooleanArray, Decimal128Array, DictionaryArray, FixedSizeListArray, Int64Array, NullArray,
        StringArray, StringViewArray, StructArray,
    };
    use arrow_schema::{Field, Schema};
    use deltalite_alloc::BufferPool;

    use super::*;

    fn columns(rows: usize) -> RecordBatch {
        let text = |i: usize| match i % 4 {
            0 => None,
            1 => Some("short".to_owned()),
            _ => Some(format!("a longer text, number {i}, beyond what a view holds")),
        };
        let mut lists = ListBuilder::new(Int32Builder::new());
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for i in 0..rows {
            (0..i % 5).for_each(|j| lists.values().append_option((j != 2).then_some(j as i32)));
            lists.append(i % 7 != 3);
            (0..i % 3).for_each(|j| {
                maps.keys().append_value(format!("key {j}"));
                maps.values().append_value(j as i32);
            });
            maps.append(true).unwrap();
        }
        let ints = (0..rows).map(|i| (i % 3 != 0).then_some(i as i64)).collect::<Int64Array>();
        let flags = (0..rows).map(|i| (i % 5 != 0).then_some(i % 2 == 0)).collect::<BooleanArray>();
        let inner = (0..rows).map(text).collect::<StringArray>();
        let pairs: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2 * rows as i64));
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(ints.clone()),
            Arc::new(flags.clone()),
            Arc::new(inner.clone()),
            Arc::new((0..rows).map(text).collect::<StringViewArray>()),
            Arc::new((0..rows).map(|i| Some(i as i128)).collect::<Decimal128Array>()),
            Arc::new(lists.finish()),
            Arc::new(maps.finish()),
            Arc::new((0..rows).map(|i| ["a", "b"][i % 2]).collect::<DictionaryArray<Int8Type>>()),
            Arc::new(FixedSizeListArray::new(item, 2, pairs, None)),
            Arc::new(StructArray::from(vec![
                (Arc::new(Field::new("x", DataType::Int64, true)), Arc::new(ints) as ArrayRef),
                (Arc::new(Field::new("y", DataType::Boolean, true)), Arc::new(flags) as ArrayRef),
                (Arc::new(Field::new("z", DataType::Utf8, true)), Arc::new(inner) as ArrayRef),
            ])),
            Arc::new(NullArray::new(rows)),
        ];
        let fields: Vec<Field> = arrays
            .iter()
            .enumerate()
            .map(|(i, a)| Field::new(format!("c{i}"), a.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }

    fn travel(batch: &RecordBatch) -> (RecordBatch, usize) {
        let (meta, payload) = encode(batch, 77).unwrap();
        let bytes = payload.concat();
        let mut landed = BufferPool::global().take(bytes.len().max(1)).unwrap();
        landed.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        landed.truncate(bytes.len());
        let (there, position) = decode(&meta, Some(landed.freeze()), &batch.schema()).unwrap();
        assert_eq!(position, 77);
        (there, bytes.len())
    }

    #[test]
    fn every_type_travels_whole_and_in_slices() {
        let batch = columns(1000);
        assert_eq!(travel(&batch).0, batch);
        for (from, len) in [(0, 0), (0, 1), (1, 999), (3, 500), (8, 64), (999, 1), (0, 333)] {
            let part = batch.slice(from, len);
            assert_eq!(travel(&part).0, part, "{from}, {len}");
        }
        let none = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(5)),
        )
        .unwrap();
        assert_eq!(travel(&none).0.num_rows(), 5);
    }

    #[test]
    fn slices_bring_only_what_they_have() {
        let batch = columns(10_000);
        let (_, whole) = travel(&batch);
        let (_, part) = travel(&batch.slice(5000, 100));
        assert!(part * 40 < whole, "{part} of {whole} bytes for a hundredth of the rows");
    }

    #[test]
    fn no_change_of_a_message_goes_unnoticed_or_panics() {
        let batch = columns(60);
        let (meta, payload) = encode(&batch, 1).unwrap();
        let payload = payload.concat();
        let read = |meta: &[u8], payload: &[u8]| {
            let mut landed = BufferPool::global().take(payload.len().max(1)).unwrap();
            landed.as_mut_slice()[..payload.len()].copy_from_slice(payload);
            landed.truncate(payload.len());
            decode(meta, Some(landed.freeze()), &batch.schema())
        };
        let mut refused = 0;
        for at in 0..meta.len() {
            for bit in [0, 4, 7] {
                let mut changed = meta.clone();
                changed[at] ^= 1 << bit;
                // What is still a batch can be used without harm.
                match read(&changed, &payload) {
                    Err(_) => refused += 1,
                    Ok((batch, _)) => drop(format!("{batch:?}")),
                }
            }
        }
        assert!(refused > meta.len(), "{refused} of {}", 3 * meta.len());
        for cut in [0, 1, 64, payload.len() / 2, payload.len() - 64] {
            assert!(read(&meta, &payload[..cut]).is_err(), "{cut}");
        }
        for at in (0..payload.len()).step_by(7) {
            let mut changed = payload.clone();
            changed[at] ^= 0x80;
            if let Ok((batch, _)) = read(&meta, &changed) {
                drop(format!("{batch:?}"));
            }
        }
    }
}
