//! Encodes the values of one stream, unit by unit, into pages.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{NullBuffer, i256};
use arrow_schema::DataType;

use crate::checksum::crc32c;
use crate::encoding::EncodeOptions;
use crate::encoding::boolean::encode_bools;
use crate::encoding::bytes::{BytesEncoder, BytesInput};
use crate::encoding::fixed::FixedEncoder;
use crate::encoding::float::FloatEncoder;
use crate::encoding::int::IntEncoder;
use crate::encoding::wide::WideEncoder;
use crate::error::{FormatError, Result};
use crate::limits::{PAGE_BYTES_TARGET, PAGE_VALUES_MAX, VECTOR_ROWS};
use crate::meta::v1::PageV1;
use crate::page::PageBuilder;
use crate::phys::{Lane, PhysType};
use crate::schema::shape::StreamSpec;

/// A page ready to be placed in a block; its offset is not known yet.
#[derive(Debug)]
pub(super) struct EncodedPage {
    pub(super) bytes: Vec<u8>,
    pub(super) entry: PageV1,
}

#[derive(Debug)]
enum Family {
    Bool,
    Int(IntEncoder),
    Float(FloatEncoder),
    Wide(WideEncoder),
    Fixed(FixedEncoder),
    Bytes(BytesEncoder),
}

/// The encoder of one stream, living as long as the file's writer.
#[derive(Debug)]
pub(super) struct StreamEncoder {
    spec: StreamSpec,
    family: Family,
    /// Rows a page was last cut to; halved while pages exceed the target, doubled again when they become small.
    page_rows: usize,
}

impl StreamEncoder {
    pub(super) fn new(spec: StreamSpec, options: EncodeOptions) -> Self {
        let family = match spec.ptype {
            PhysType::Bool => Family::Bool,
            PhysType::F32 | PhysType::F64 => Family::Float(FloatEncoder::new(spec.ptype, options)),
            PhysType::I128 | PhysType::I256 => Family::Wide(WideEncoder::new(spec.ptype, options)),
            PhysType::Fixed => Family::Fixed(FixedEncoder::new(spec.width, options)),
            PhysType::Bytes => Family::Bytes(BytesEncoder::new(options)),
            int => Family::Int(IntEncoder::new(int, options)),
        };
        Self { spec, family, page_rows: PAGE_VALUES_MAX }
    }

    /// Encodes a unit's values. Pages of a unit are `rows / 2^k` long, the last one maybe shorter.
    pub(super) fn encode_unit(
        &mut self,
        unit: u32,
        values: &ArrayRef,
        unit_rows: usize,
        pages: &mut Vec<EncodedPage>,
    ) -> Result<()> {
        let whole = if self.spec.flat { unit_rows } else { PAGE_VALUES_MAX };
        let mut rows = self.page_rows.min(whole);
        let mut start = 0;
        let mut largest = 0;
        while start < values.len() || (values.is_empty() && start == 0) {
            let n = rows.min(values.len() - start);
            let page = self.encode_page(unit, &values.slice(start, n))?;
            if page.bytes.len() > PAGE_BYTES_TARGET && rows > VECTOR_ROWS && n > VECTOR_ROWS {
                rows = (rows / 2).max(VECTOR_ROWS);
                continue;
            }
            largest = largest.max(page.bytes.len());
            pages.push(page);
            start += n.max(1);
        }
        self.page_rows = if largest < PAGE_BYTES_TARGET / 4 { (rows * 2).min(PAGE_VALUES_MAX) } else { rows };
        Ok(())
    }

    fn encode_page(&mut self, unit: u32, values: &ArrayRef) -> Result<EncodedPage> {
        let mut page = PageBuilder::new();
        self.encode_values(values, &mut page)?;
        let encoding = page.kinds().first().map_or(0, |k| *k as u8);
        let nulls = values.logical_null_count();
        if nulls > 0
            && let Some(validity) = values.nulls()
        {
            page.start_validity();
            encode_bools(validity.inner(), &mut page)?;
        }
        finish(page, unit, values.len(), nulls, encoding)
    }

    fn encode_values(&mut self, values: &ArrayRef, page: &mut PageBuilder) -> Result<()> {
        let nulls = values.nulls().filter(|n| n.null_count() > 0);
        match &mut self.family {
            Family::Bool => encode_bools(values.as_boolean().values(), page),
            Family::Int(encoder) => match self.spec.ptype {
                PhysType::I8 | PhysType::U8 => encoder.encode(&filled(&lanes::<u8>(values)?, nulls), page),
                PhysType::I16 | PhysType::U16 => encoder.encode(&filled(&lanes::<u16>(values)?, nulls), page),
                PhysType::I32 | PhysType::U32 => encoder.encode(&filled(&lanes::<u32>(values)?, nulls), page),
                _ => encoder.encode(&filled(&lanes::<u64>(values)?, nulls), page),
            },
            Family::Float(encoder) => match values.data_type() {
                DataType::Float32 => encoder.encode_f32(
                    &filled(values.as_primitive::<arrow_array::types::Float32Type>().values(), nulls),
                    page,
                ),
                _ => encoder.encode_f64(
                    &filled(values.as_primitive::<arrow_array::types::Float64Type>().values(), nulls),
                    page,
                ),
            },
            Family::Wide(encoder) => match self.spec.ptype {
                PhysType::I128 => encoder.encode_i128(&filled(&wide128(values)?, nulls), page),
                _ => encoder.encode_i256(
                    &filled(values.as_primitive::<arrow_array::types::Decimal256Type>().values(), nulls),
                    page,
                ),
            },
            Family::Fixed(encoder) => {
                let data = values.to_data();
                let width = self.spec.width as usize;
                let bytes = &data.buffers()[0].as_slice()
                    [data.offset() * width..(data.offset() + data.len()) * width];
                encoder.encode(bytes, values.len(), page)
            }
            Family::Bytes(encoder) => encoder.encode(&BytesInput::new(values.as_ref())?, page),
        }
    }

    /// Ends a block's chunk: the shared dictionary's page, if its pages use one.
    pub(super) fn finish_chunk(&mut self) -> Result<Option<EncodedPage>> {
        let bytes = match &mut self.family {
            Family::Bool => None,
            Family::Int(e) => e.finish_chunk()?,
            Family::Float(e) => e.finish_chunk()?,
            Family::Wide(e) => e.finish_chunk()?,
            Family::Fixed(e) => e.finish_chunk()?,
            Family::Bytes(e) => e.finish_chunk()?,
        };
        Ok(bytes.map(|bytes| {
            let values = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let crc = crc32c(&bytes);
            EncodedPage {
                entry: PageV1 {
                    offset: 0,
                    len: bytes.len() as u32,
                    crc,
                    values,
                    nulls: 0,
                    unit: 0,
                    encoding: 0,
                },
                bytes,
            }
        }))
    }
}

fn finish(page: PageBuilder, unit: u32, values: usize, nulls: usize, encoding: u8) -> Result<EncodedPage> {
    let bytes = page.finish(values)?;
    let crc = crc32c(&bytes);
    let entry = PageV1 {
        offset: 0,
        len: bytes.len() as u32,
        crc,
        values: values as u32,
        nulls: nulls as u32,
        unit,
        encoding,
    };
    Ok(EncodedPage { bytes, entry })
}

/// The values with every null slot holding the value before it: what compresses, and leaks nothing that was overwritten.
fn filled<'a, T: Copy + Default>(values: &'a [T], nulls: Option<&NullBuffer>) -> std::borrow::Cow<'a, [T]> {
    match nulls {
        None => values.into(),
        Some(nulls) => {
            let mut last = nulls.valid_indices().next().map_or_else(T::default, |i| values[i]);
            let filled = values.iter().zip(nulls).map(|(&v, valid)| {
                if valid {
                    last = v;
                }
                last
            });
            filled.collect::<Vec<T>>().into()
        }
    }
}

/// The values of an array stored as integers, as unsigned lanes of the stored width.
fn lanes<T: Lane>(values: &ArrayRef) -> Result<std::borrow::Cow<'_, [T]>> {
    match values.data_type() {
        DataType::Decimal128(..) => {
            let wide = values.as_primitive::<arrow_array::types::Decimal128Type>();
            let narrow: Vec<T> = wide.values().iter().map(|&v| T::from_u64(v as u64)).collect();
            let shift = 128 - T::BITS as u32;
            let fits = |v: i128| (v << shift) >> shift == v;
            check_precision(values, wide.values().iter().all(|&v| fits(v)), |i| fits(wide.value(i)))?;
            Ok(narrow.into())
        }
        DataType::Decimal256(..) => {
            let wide = values.as_primitive::<arrow_array::types::Decimal256Type>();
            let fits = |v: i256| {
                v.to_i128().is_some_and(|v| (v << (128 - T::BITS as u32)) >> (128 - T::BITS as u32) == v)
            };
            check_precision(values, wide.values().iter().all(|&v| fits(v)), |i| fits(wide.value(i)))?;
            Ok(wide.values().iter().map(|v| T::from_u64(v.as_i128() as u64)).collect::<Vec<T>>().into())
        }
        _ => {
            // Every other type is stored as it lies in Arrow: the first buffer holds lanes of this width. Reading the buffer rather
            // than downcasting spares a list of twenty types that differ in name only.
            let data = values.to_data();
            let (offset, len) = (data.offset(), data.len());
            let bytes = data.buffers().first().map_or(&[][..], |b| b.as_slice());
            let width = size_of::<T>();
            let bytes = bytes.get(offset * width..(offset + len) * width).ok_or_else(|| {
                FormatError::invalid(
                    "writing a column",
                    "the array's buffer is shorter than its length".to_owned(),
                )
            })?;
            if bytes.as_ptr().align_offset(align_of::<T>()) != 0 {
                return Ok(bytes
                    .chunks_exact(width)
                    .map(bytemuck::pod_read_unaligned)
                    .collect::<Vec<T>>()
                    .into());
            }
            // SAFETY: the bytes lie in a buffer that `values` keeps alive for the lifetime returned, `T` is plain old data, and
            // both bounds and alignment were checked above.
            let lanes = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), len) };
            Ok(lanes.into())
        }
    }
}

fn wide128(values: &ArrayRef) -> Result<std::borrow::Cow<'_, [i128]>> {
    match values.data_type() {
        DataType::Decimal256(..) => {
            let wide = values.as_primitive::<arrow_array::types::Decimal256Type>();
            let fits = |v: i256| v.to_i128().is_some();
            check_precision(values, wide.values().iter().all(|&v| fits(v)), |i| fits(wide.value(i)))?;
            Ok(wide.values().iter().map(|v| v.as_i128()).collect::<Vec<i128>>().into())
        }
        _ => Ok(values.as_primitive::<arrow_array::types::Decimal128Type>().values().as_ref().into()),
    }
}

/// Arrow does not hold decimals to their precision; storage does, because it is what the width follows from.
fn check_precision(values: &ArrayRef, all_fit: bool, fits: impl Fn(usize) -> bool) -> Result<()> {
    if all_fit {
        return Ok(());
    }
    match (0..values.len()).find(|&i| values.is_valid(i) && !fits(i)) {
        None => Ok(()),
        Some(i) => Err(FormatError::invalid(
            "writing a decimal",
            format!(
                "the value in row {i} of the batch exceeds the precision of {}; widen the column",
                values.data_type()
            ),
        )),
    }
}
