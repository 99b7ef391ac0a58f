//! Decodes a leaf column: pages in, one Arrow array out.
//!
//! [`PageDecoder`] is a page opened; [`LeafBuilder`] collects ranges or single rows of pages, whatever blocks they come from.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Decimal128Type, Decimal256Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringViewArray,
    downcast_primitive,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType, IntervalUnit};
use deltalite_alloc::{BufferPool, PoolBuffer};

use crate::encoding::DecodeContext;
use crate::encoding::boolean::BoolDecoder;
use crate::encoding::bytes::BytesDecoder;
use crate::encoding::fixed::FixedDecoder;
use crate::encoding::float::FloatDecoder;
use crate::encoding::int::IntDecoder;
use crate::encoding::wide::WideDecoder;
use crate::error::{FormatError, Result};
use crate::mask::{BitMask, Selection};
use crate::page::PageView;
use crate::phys::PhysType;
use crate::schema::shape::StreamSpec;

/// The values of a page, opened by their family.
#[derive(Debug)]
pub(crate) enum ValueDecoder<'a> {
    Bool(BoolDecoder<'a>),
    Int(IntDecoder<'a>),
    Float(FloatDecoder<'a>),
    Wide(WideDecoder<'a>),
    Fixed(FixedDecoder<'a>),
    Bytes(BytesDecoder<'a>),
}

/// A page, opened.
#[derive(Debug)]
pub(crate) struct PageDecoder<'a> {
    pub(crate) values: ValueDecoder<'a>,
    pub(crate) validity: Option<BoolDecoder<'a>>,
    pub(crate) rows: usize,
}

impl<'a> PageDecoder<'a> {
    pub(crate) fn open(
        page: &'a Buffer,
        spec: &StreamSpec,
        rows: usize,
        cx: DecodeContext<'a>,
    ) -> Result<Self> {
        let view = PageView::parse(page)?;
        let root = view.root();
        if view.values() != rows || root.ptype() != spec.ptype {
            return Err(FormatError::corrupt(
                "page",
                format!(
                    "it has {} values of {:?}, its directory says {rows} of {:?}",
                    view.values(),
                    root.ptype(),
                    spec.ptype
                ),
            ));
        }
        let values = match spec.ptype {
            PhysType::Bool => ValueDecoder::Bool(BoolDecoder::open(root)?),
            PhysType::F32 | PhysType::F64 => ValueDecoder::Float(FloatDecoder::open(root, cx)?),
            PhysType::I128 | PhysType::I256 => ValueDecoder::Wide(WideDecoder::open(root, cx)?),
            PhysType::Fixed => ValueDecoder::Fixed(FixedDecoder::open(root, spec.width, cx)?),
            PhysType::Bytes => ValueDecoder::Bytes(BytesDecoder::open(root, cx)?),
            _ => ValueDecoder::Int(IntDecoder::open(root, cx)?),
        };
        let validity = view.validity().map(BoolDecoder::open).transpose()?;
        Ok(Self { values, validity, rows })
    }

    /// Asks for the memory that taking a row will read.
    pub(crate) fn prefetch(&self, row: usize) {
        match &self.values {
            ValueDecoder::Int(d) => d.prefetch(row),
            ValueDecoder::Wide(d) => d.prefetch(row),
            ValueDecoder::Bytes(d) => d.prefetch(row),
            ValueDecoder::Bool(_) | ValueDecoder::Float(_) | ValueDecoder::Fixed(_) => {}
        }
    }

    /// Whether rows can be handed out in the page's own buffer, as an array of `data_type`.
    pub(crate) fn is_in_place(&self, data_type: &DataType) -> bool {
        plain_range(self, 0, self.rows, arrow_width(data_type), data_type).is_some()
    }

    /// Clears the rows of `mask` that are null in this page; `start` is the mask's first row in the page, a multiple of 64.
    pub(crate) fn mask_nulls(&self, start: usize, mask: &mut BitMask) -> Result<()> {
        if let Some(validity) = &self.validity {
            let mut words = vec![0; mask.words().len()];
            validity.fill_mask(start, mask.len(), &mut words)?;
            mask.words_mut().iter_mut().zip(words).for_each(|(m, v)| *m &= v);
        }
        Ok(())
    }
}

/// Bytes of one value in the Arrow array of a type, for types of fixed width.
pub(crate) fn arrow_width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Dictionary(_, value) => arrow_width(value),
        DataType::Interval(IntervalUnit::DayTime) => 8,
        DataType::Interval(IntervalUnit::MonthDayNano) => 16,
        DataType::FixedSizeBinary(n) => usize::try_from(*n).unwrap_or(0),
        other => other.primitive_width().unwrap_or(16),
    }
}

enum Values {
    Bits(BooleanBufferBuilder),
    /// Fixed-width values, or views.
    Words(PoolBuffer),
    /// A range of a plain page handed out as it lies in memory.
    Shared(Buffer),
    /// Nothing yet.
    None,
}

/// Collects rows of pages into one array of `data_type`'s read form.
pub(crate) struct LeafBuilder<'p> {
    data_type: &'p DataType,
    spec: StreamSpec,
    pool: &'p BufferPool,
    total: usize,
    filled: usize,
    width: usize,
    values: Values,
    data: Vec<Buffer>,
    nulls: Option<BooleanBufferBuilder>,
    bytes_decoded: usize,
    bytes_in_place: usize,
}

impl<'p> LeafBuilder<'p> {
    /// A builder of `total` rows. `data_type` is the type as written; strings come out as views.
    pub(crate) fn new(data_type: &'p DataType, spec: StreamSpec, total: usize, pool: &'p BufferPool) -> Self {
        let width = match spec.ptype {
            PhysType::Bytes => 16,
            PhysType::Bool => 0,
            _ => arrow_width(data_type),
        };
        Self {
            data_type,
            spec,
            pool,
            total,
            filled: 0,
            width,
            values: Values::None,
            data: Vec::new(),
            nulls: None,
            bytes_decoded: 0,
            bytes_in_place: 0,
        }
    }

    /// Bytes of values decoded or copied so far.
    pub(crate) fn bytes_decoded(&self) -> usize {
        self.bytes_decoded
    }

    /// Bytes of values handed out in the buffer they were read into.
    pub(crate) fn bytes_in_place(&self) -> usize {
        self.bytes_in_place
    }

    fn words(&mut self) -> Result<&mut PoolBuffer> {
        if matches!(self.values, Values::None) {
            self.values = Values::Words(self.pool.take(self.total * self.width)?);
        }
        match &mut self.values {
            Values::Words(buffer) => Ok(buffer),
            _ => Err(FormatError::invalid("decoding a column", "its pages do not fit one array".to_owned())),
        }
    }

    fn bits(&mut self) -> Result<&mut BooleanBufferBuilder> {
        if matches!(self.values, Values::None) {
            self.values = Values::Bits(BooleanBufferBuilder::new(self.total));
        }
        match &mut self.values {
            Values::Bits(bits) => Ok(bits),
            _ => Err(FormatError::invalid("decoding a column", "its pages do not fit one array".to_owned())),
        }
    }

    fn append_nulls(&mut self, n: usize, validity: Option<BooleanBuffer>) {
        match (validity, &mut self.nulls) {
            (None, None) => {}
            (None, Some(nulls)) => nulls.append_n(n, true),
            (Some(v), nulls) => {
                let (filled, total) = (self.filled, self.total);
                nulls
                    .get_or_insert_with(|| {
                        let mut builder = BooleanBufferBuilder::new(total);
                        builder.append_n(filled, true);
                        builder
                    })
                    .append_buffer(&v);
            }
        }
    }

    /// Appends rows `start..start + n` of a page.
    pub(crate) fn append_range(&mut self, page: &PageDecoder<'_>, start: usize, n: usize) -> Result<()> {
        self.check(n)?;
        if start + n > page.rows {
            return Err(FormatError::invalid(
                "decoding a column",
                format!("rows {start}..{} of a page of {}", start + n, page.rows),
            ));
        }
        let validity = page.validity.as_ref().map(|v| v.decode(start, n)).transpose()?;
        self.append_nulls(n, validity);
        if n == self.total
            && let Some(buffer) = plain_range(page, start, n, self.width, self.data_type)
        {
            self.bytes_in_place += buffer.len();
            self.values = Values::Shared(buffer);
            self.filled += n;
            return Ok(());
        }
        self.append_values(page, n, &Rows::Range(start))
    }

    /// Appends the selected ones of some rows of a page, of which there must be some; they are also given as `runs`: first row, counted among these
    /// rows, and number. There must be room for all of them.
    pub(crate) fn append_selected(
        &mut self,
        page: &PageDecoder<'_>,
        rows: &Range<usize>,
        selection: Selection<'_>,
        runs: &[(usize, usize)],
    ) -> Result<()> {
        let (at, kept) = (self.filled, runs.iter().map(|(_, n)| n).sum());
        if kept == rows.len() || !self.append_selected_values(page, rows, selection, at..at + kept)? {
            self.append_range(page, rows.start, rows.len())?;
            self.keep(at, runs);
            return Ok(());
        }
        let validity =
            page.validity.as_ref().map(|v| v.decode(rows.start, rows.len())).transpose()?.map(|all| {
                let mut some = BooleanBufferBuilder::new(kept);
                for (from, n) in runs {
                    some.append_buffer(&all.slice(*from, *n));
                }
                some.finish()
            });
        self.append_nulls(kept, validity);
        self.bytes_decoded += kept * self.width;
        self.filled += kept;
        Ok(())
    }

    /// Decodes nothing but the values of selected rows, if the page's encoding can.
    fn append_selected_values(
        &mut self,
        page: &PageDecoder<'_>,
        rows: &Range<usize>,
        selection: Selection<'_>,
        to: Range<usize>,
    ) -> Result<bool> {
        self.check(to.len())?;
        let width = self.width;
        match &page.values {
            ValueDecoder::Bytes(d) => {
                let mut data = std::mem::take(&mut self.data);
                let views = &mut self.words()?.typed_mut::<u128>()[to];
                let done = d.decode_selected(rows, selection, views, &mut data);
                self.data = data;
                done
            }
            ValueDecoder::Wide(d) if width == 16 => {
                d.decode_selected::<i128>(rows, selection, &mut self.words()?.typed_mut()[to])
            }
            ValueDecoder::Wide(d) if width == 8 => {
                d.decode_selected::<u64>(rows, selection, &mut self.words()?.typed_mut()[to])
            }
            ValueDecoder::Int(d) => match width {
                1 => d.decode_selected::<u8>(rows, selection, &mut self.words()?.typed_mut()[to]),
                2 => d.decode_selected::<u16>(rows, selection, &mut self.words()?.typed_mut()[to]),
                4 => d.decode_selected::<u32>(rows, selection, &mut self.words()?.typed_mut()[to]),
                8 => d.decode_selected::<u64>(rows, selection, &mut self.words()?.typed_mut()[to]),
                16 => d.decode_selected::<i128>(rows, selection, &mut self.words()?.typed_mut()[to]),
                _ => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// Appends single rows of a page, ascending.
    pub(crate) fn append_rows(&mut self, page: &PageDecoder<'_>, rows: &[u32]) -> Result<()> {
        self.check(rows.len())?;
        if rows.last().is_some_and(|&r| r as usize >= page.rows) {
            return Err(FormatError::invalid("taking rows", format!("a row beyond a page of {}", page.rows)));
        }
        let validity = page.validity.as_ref().map(|v| v.take(rows)).transpose()?;
        self.append_nulls(rows.len(), validity);
        self.append_values(page, rows.len(), &Rows::Take(rows))
    }

    /// Of the rows from `first` on, keeps runs: first row, counted from there, and number.
    fn keep(&mut self, first: usize, runs: &[(usize, usize)]) {
        let kept: usize = runs.iter().map(|(_, len)| len).sum();
        if first + kept == self.filled {
            return;
        }
        let keep_bits = |bits: &mut BooleanBufferBuilder| {
            let all = BooleanBuffer::new(Buffer::from_slice_ref(bits.as_slice()), 0, bits.len());
            bits.truncate(first);
            for (from, len) in runs {
                bits.append_buffer(&all.slice(first + from, *len));
            }
        };
        if let Some(nulls) = &mut self.nulls {
            keep_bits(nulls);
        }
        match &mut self.values {
            Values::Bits(bits) => keep_bits(bits),
            Values::Words(buffer) => {
                let (width, bytes) = (self.width, buffer.as_mut_slice());
                let mut to = first * width;
                for (from, len) in runs {
                    let from = (first + from) * width;
                    bytes.copy_within(from..from + len * width, to);
                    to += len * width;
                }
            }
            Values::Shared(_) | Values::None => {}
        }
        self.filled = first + kept;
    }

    /// The array of the rows there are, which may be fewer than announced.
    pub(crate) fn finish_early(mut self) -> Result<ArrayRef> {
        self.total = self.filled;
        if let Values::Words(buffer) = &mut self.values {
            buffer.truncate(self.total * self.width);
        }
        self.finish()
    }

    fn check(&self, n: usize) -> Result<()> {
        if self.filled + n > self.total {
            return Err(FormatError::invalid(
                "decoding a column",
                format!("{} rows where {} were announced", self.filled + n, self.total),
            ));
        }
        Ok(())
    }

    fn append_values(&mut self, page: &PageDecoder<'_>, n: usize, rows: &Rows<'_>) -> Result<()> {
        let at = self.filled;
        self.bytes_decoded += n * self.width;
        match &page.values {
            ValueDecoder::Bool(d) => {
                let bits = match rows {
                    Rows::Range(start) => d.decode(*start, n)?,
                    Rows::Take(rows) => d.take(rows)?,
                };
                self.bits()?.append_buffer(&bits);
            }
            ValueDecoder::Bytes(d) => {
                let mut data = std::mem::take(&mut self.data);
                let views = &mut self.words()?.typed_mut::<u128>()[at..at + n];
                match rows {
                    Rows::Range(start) => d.decode(*start, views, &mut data)?,
                    Rows::Take(rows) => d.take(rows, views, &mut data)?,
                }
                self.data = data;
            }
            ValueDecoder::Fixed(d) => {
                let width = self.width;
                let out = &mut self.words()?.as_mut_slice()[at * width..(at + n) * width];
                match rows {
                    Rows::Range(start) => d.decode(*start, out)?,
                    Rows::Take(rows) => d.take(rows, out)?,
                }
            }
            ValueDecoder::Float(d) => match self.width {
                4 => run_float::<f32>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
                _ => run_float::<f64>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
            },
            ValueDecoder::Wide(d) => match (self.spec.ptype, self.width) {
                (PhysType::I128, 16) => {
                    let out = &mut self.words()?.typed_mut::<i128>()[at..at + n];
                    match rows {
                        Rows::Range(start) => d.decode_i128(*start, out)?,
                        Rows::Take(rows) => d.take_i128(rows, out)?,
                    }
                }
                (PhysType::I128, 8) => {
                    let out = &mut self.words()?.typed_mut::<u64>()[at..at + n];
                    match rows {
                        Rows::Range(start) => d.decode_i64(*start, out)?,
                        Rows::Take(rows) => d.take_i64(rows, out)?,
                    }
                }
                (PhysType::I128, _) => {
                    let mut narrow = vec![0i128; n];
                    match rows {
                        Rows::Range(start) => d.decode_i128(*start, &mut narrow)?,
                        Rows::Take(rows) => d.take_i128(rows, &mut narrow)?,
                    }
                    widen_256(&narrow, &mut self.words()?.as_mut_slice()[at * 32..(at + n) * 32]);
                }
                _ => {
                    let mut wide = vec![i256::ZERO; n];
                    match rows {
                        Rows::Range(start) => d.decode_i256(*start, &mut wide)?,
                        Rows::Take(rows) => d.take_i256(rows, &mut wide)?,
                    }
                    let out = &mut self.words()?.as_mut_slice()[at * 32..(at + n) * 32];
                    out.chunks_exact_mut(32)
                        .zip(&wide)
                        .for_each(|(o, v)| o.copy_from_slice(&v.to_le_bytes()));
                }
            },
            ValueDecoder::Int(d) => match self.width {
                1 => run_int::<u8>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
                2 => run_int::<u16>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
                4 => run_int::<u32>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
                8 => run_int::<u64>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
                16 => run_int::<i128>(d, rows, &mut self.words()?.typed_mut()[at..at + n])?,
                _ => {
                    let mut narrow = vec![0i128; n];
                    run_int::<i128>(d, rows, &mut narrow)?;
                    widen_256(&narrow, &mut self.words()?.as_mut_slice()[at * 32..(at + n) * 32]);
                }
            },
        }
        self.filled += n;
        Ok(())
    }

    /// The array.
    pub(crate) fn finish(mut self) -> Result<ArrayRef> {
        if self.filled != self.total {
            return Err(FormatError::invalid(
                "decoding a column",
                format!("{} rows where {} were announced", self.filled, self.total),
            ));
        }
        let nulls = self.nulls.take().map(|mut n| NullBuffer::new(n.finish())).filter(|n| n.null_count() > 0);
        let data_type = match self.data_type {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        if self.spec.ptype == PhysType::Bool {
            let bits = match self.values {
                Values::Bits(mut bits) => bits.finish(),
                _ => BooleanBuffer::new_unset(0),
            };
            return Ok(Arc::new(BooleanArray::new(bits, nulls)));
        }
        let buffer = match self.values {
            Values::Words(buffer) => buffer.into_arrow(),
            Values::Shared(buffer) => buffer,
            _ => Buffer::from(&[0u8; 0]),
        };
        if self.spec.ptype == PhysType::Bytes {
            let views = ScalarBuffer::<u128>::new(buffer, 0, self.total);
            // SAFETY: the decoder wrote `total` views whose buffers and ranges lie in `data`, and for text it checked that each is
            // valid UTF-8 (`DecodeContext::utf8` follows from the same type as this branch).
            return Ok(unsafe {
                if self.spec.utf8 {
                    Arc::new(StringViewArray::new_unchecked(views, self.data, nulls))
                } else {
                    Arc::new(BinaryViewArray::new_unchecked(views, self.data, nulls))
                }
            });
        }
        macro_rules! primitive {
            ($t:ty) => {
                Arc::new(
                    PrimitiveArray::<$t>::new(
                        ScalarBuffer::<<$t as ArrowPrimitiveType>::Native>::new(buffer, 0, self.total),
                        nulls,
                    )
                    .with_data_type(data_type.clone()),
                )
            };
        }
        Ok(match data_type {
            DataType::Decimal128(..) => primitive!(Decimal128Type),
            DataType::Decimal256(..) => primitive!(Decimal256Type),
            DataType::FixedSizeBinary(n) => match FixedSizeBinaryArray::try_new(*n, buffer, nulls) {
                Ok(a) if a.len() == self.total => Arc::new(a),
                Ok(_) | Err(_) => {
                    return Err(FormatError::invalid(
                        "decoding a column",
                        format!("{} values of {n} bytes", self.total),
                    ));
                }
            },
            other => downcast_primitive! {
                other => (primitive),
                _ => return Err(FormatError::invalid("decoding a column", format!("{other} is not a leaf type"))),
            },
        })
    }
}

enum Rows<'a> {
    Range(usize),
    Take(&'a [u32]),
}

fn run_int<O: crate::encoding::int::OutInt>(
    d: &IntDecoder<'_>,
    rows: &Rows<'_>,
    out: &mut [O],
) -> Result<()> {
    match rows {
        Rows::Range(start) => d.decode(*start, out),
        Rows::Take(rows) => d.take(rows, out),
    }
}

fn run_float<F: crate::encoding::float::Float>(
    d: &FloatDecoder<'_>,
    rows: &Rows<'_>,
    out: &mut [F],
) -> Result<()> {
    match rows {
        Rows::Range(start) => d.decode(*start, out),
        Rows::Take(rows) => d.take(rows, out),
    }
}

fn widen_256(narrow: &[i128], out: &mut [u8]) {
    out.chunks_exact_mut(32)
        .zip(narrow)
        .for_each(|(o, &v)| o.copy_from_slice(&i256::from_i128(v).to_le_bytes()));
}

/// The bytes of rows of a plain page, where Arrow's layout is the page's.
fn plain_range(
    page: &PageDecoder<'_>,
    start: usize,
    n: usize,
    width: usize,
    data_type: &DataType,
) -> Option<Buffer> {
    let buffer = match &page.values {
        ValueDecoder::Int(d) if !matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            d.plain_buffer()?
        }
        ValueDecoder::Float(d) => d.plain_buffer()?,
        ValueDecoder::Fixed(d) => d.plain_buffer()?,
        ValueDecoder::Wide(d) if width == 16 => d.plain_buffer()?,
        _ => return None,
    };
    (buffer.len() >= (start + n) * width).then(|| buffer.slice_with_length(start * width, n * width))
}
