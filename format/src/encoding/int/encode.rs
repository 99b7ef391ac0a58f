//! Encodes integers: for streams, whose choices are kept from page to page, and for the children of other encodings.

use super::bitpack::{self, Packing};
use super::choose::{Allowed, SHARING_PAGES, Scheme, choose};
use super::dictionary::Distinct;
use super::pcodec::Compressed;
use super::{bit_width, canonical, delta, dictionary, run_end, sparse};
use crate::encoding::{EncodeOptions, Profile};
use crate::error::Result;
use crate::kernels::bitpack::packed_words;
use crate::kernels::{Level, extent};
use crate::limits::{CASCADE_DEPTH_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::{Lane, PhysType};

/// Drift of a page's size, as a part of it, from which the choice is made anew.
const DRIFT_PART: f64 = 0.1;

/// What was chosen for the last page.
#[derive(Debug, Clone)]
struct Choice {
    schemes: Vec<Scheme>,
    bytes_per_value: f64,
}

/// Encodes the pages of one stream of integers.
#[derive(Debug)]
pub struct IntEncoder {
    ptype: PhysType,
    options: EncodeOptions,
    choice: Option<Choice>,
    shared: Distinct,
}

impl IntEncoder {
    /// An encoder of values of this type.
    pub fn new(ptype: PhysType, options: EncodeOptions) -> Self {
        Self { ptype, options, choice: None, shared: Distinct::default() }
    }

    /// Encodes a whole page. `T` is the unsigned lane of the stream's type.
    ///
    /// # Errors
    /// When the page exceeds the format's limits.
    pub fn encode<T: Lane>(&mut self, values: &[T], out: &mut PageBuilder) -> Result<()> {
        let Some(extent) = encode_simple(values, self.ptype, self.options, out) else { return Ok(()) };
        let allowed = Allowed { depth: CASCADE_DEPTH_MAX, shared: true, pcodec: true };
        let before = out.data_len();
        let (schemes, expected) = match self.choice.take() {
            Some(choice) => (choice.schemes, Some(choice.bytes_per_value)),
            None => (choose(values, self.ptype, extent, allowed, self.options), None),
        };
        encode_first(
            values,
            self.ptype,
            extent,
            &schemes,
            &mut self.shared,
            allowed.depth,
            self.options,
            out,
        )?;
        let bytes_per_value = (out.data_len() - before) as f64 / values.len() as f64;
        let drifted = expected.is_some_and(|e| (bytes_per_value - e).abs() > e * DRIFT_PART);
        if !drifted {
            self.choice = Some(Choice { schemes, bytes_per_value: expected.unwrap_or(bytes_per_value) });
        }
        Ok(())
    }

    /// Ends a chunk: the bytes of its dictionary page when its pages share one. Choices stay for the next chunk.
    ///
    /// # Errors
    /// When the dictionary exceeds the format's limits.
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        if self.shared.len() == 0 {
            return Ok(None);
        }
        let values = self.shared.drain();
        let mut out = PageBuilder::new();
        let depth = CASCADE_DEPTH_MAX - 1;
        match self.ptype.width() {
            Some(1) => encode_ints(&lanes::<u8>(&values), self.ptype, depth, self.options, &mut out)?,
            Some(2) => encode_ints(&lanes::<u16>(&values), self.ptype, depth, self.options, &mut out)?,
            Some(4) => encode_ints(&lanes::<u32>(&values), self.ptype, depth, self.options, &mut out)?,
            _ => encode_ints(&values, self.ptype, depth, self.options, &mut out)?,
        }
        out.finish(values.len()).map(Some)
    }
}

fn lanes<T: Lane>(values: &[u64]) -> Vec<T> {
    values.iter().map(|v| T::from_u64(*v)).collect()
}

/// Encodes values once, without what was learnt from other pages: children such as lengths, codes and run ends. `depth` is the
/// number of levels of nodes that may be used.
///
/// # Errors
/// When the page exceeds the format's limits.
pub fn encode_ints<T: Lane>(
    values: &[T],
    ptype: PhysType,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let Some(extent) = encode_simple(values, ptype, options, out) else { return Ok(()) };
    // Children are read a vector at a time, which pcodec's frames are too large for.
    let allowed = Allowed { depth, shared: false, pcodec: false };
    let schemes = choose(values, ptype, extent, allowed, options);
    encode_first(values, ptype, extent, &schemes, &mut Distinct::default(), depth, options, out)
}

/// Encodes what needs no choice: no values, all the same, a sequence, or all as they are. Otherwise the extremes.
fn encode_simple<T: Lane>(
    values: &[T],
    ptype: PhysType,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Option<(T, T)> {
    if options.profile == Profile::Plain || values.is_empty() {
        encode_plain(values, ptype, out);
        return None;
    }
    let signed = ptype.is_signed_int();
    let (min, max) = extent::extent(Level::current(), values, signed);
    if min == max {
        encode_constant(min, values.len(), ptype, out);
        return None;
    }
    let step = values[1].to_u64().wrapping_sub(values[0].to_u64());
    let follows = |w: &[T]| T::from_u64(w[0].to_u64().wrapping_add(step)) == w[1];
    if values.len() > 2 && values.windows(2).all(follows) {
        out.node(NodeSpec {
            p0: canonical(values[0], signed),
            p1: step,
            ..NodeSpec::new(EncodingKind::Sequence, ptype, values.len())
        });
        return None;
    }
    Some((min, max))
}

fn encode_plain<T: Lane>(values: &[T], ptype: PhysType, out: &mut PageBuilder) {
    out.node(NodeSpec::new(EncodingKind::Plain, ptype, values.len()));
    out.buffer(values);
}

fn encode_constant<T: Lane>(value: T, len: usize, ptype: PhysType, out: &mut PageBuilder) {
    let p0 = canonical(value, ptype.is_signed_int());
    out.node(NodeSpec { p0, ..NodeSpec::new(EncodingKind::Constant, ptype, len) });
}

/// Encodes at least one value without children: constant, bit-packed, or plain where packing gains nothing.
pub(super) fn encode_leaf<T: Lane>(values: &[T], ptype: PhysType, packing: Packing, out: &mut PageBuilder) {
    let signed = ptype.is_signed_int();
    let (min, max) = extent::extent(Level::current(), values, signed);
    if min == max {
        encode_constant(min, values.len(), ptype, out);
    } else {
        pack_or_plain(values, ptype, (min, max), packing, out);
    }
}

fn pack_or_plain<T: Lane>(
    values: &[T],
    ptype: PhysType,
    (min, max): (T, T),
    packing: Packing,
    out: &mut PageBuilder,
) {
    let signed = ptype.is_signed_int();
    let width = bit_width(canonical(max, signed).wrapping_sub(canonical(min, signed)));
    let packed = values.len().div_ceil(VECTOR_ROWS) * packed_words(width) * 8;
    if packing == Packing::SIMPLE && values.len() <= VECTOR_ROWS && packed >= size_of_val(values) {
        encode_plain(values, ptype, out);
    } else {
        bitpack::encode(values, ptype, (min, max), packing, out);
    }
}

/// Encodes with the first of the schemes that does not decline.
#[allow(clippy::too_many_arguments, reason = "all of them are what a page is encoded with")]
fn encode_first<T: Lane>(
    values: &[T],
    ptype: PhysType,
    extent: (T, T),
    schemes: &[Scheme],
    shared: &mut Distinct,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    for scheme in schemes {
        match scheme {
            Scheme::Plain => encode_plain(values, ptype, out),
            Scheme::BitPack(packing) => pack_or_plain(values, ptype, extent, *packing, out),
            Scheme::Delta => delta::encode(values, ptype, out),
            Scheme::RunEnd => run_end::encode(values, ptype, depth, options, out)?,
            Scheme::Sparse => {
                if !sparse::encode(values, ptype, depth, options, out)? {
                    continue;
                }
            }
            Scheme::Dictionary => {
                if !dictionary::encode(values, ptype, depth, options, out)? {
                    continue;
                }
            }
            Scheme::SharedDictionary => {
                if !dictionary::encode_shared(values, ptype, shared, options, out)? {
                    continue;
                }
            }
            Scheme::Pcodec => {
                let compressed = compress(values, ptype)?;
                let (mut other, mut distinct) = (PageBuilder::new(), Distinct::default());
                encode_first(
                    values,
                    ptype,
                    extent,
                    &schemes[1..],
                    &mut distinct,
                    depth,
                    options,
                    &mut other,
                )?;
                // Values that would go to the chunk's dictionary are shared by some pages.
                let other_bytes = other.data_len() + distinct.len() * size_of::<T>() / SHARING_PAGES;
                if compressed.bytes() * 33 / 32 >= other_bytes {
                    continue;
                }
                compressed.write(ptype, out);
            }
        }
        return Ok(());
    }
    encode_plain(values, ptype, out);
    Ok(())
}

fn compress<T: Lane>(values: &[T], ptype: PhysType) -> Result<Compressed> {
    match ptype {
        PhysType::I8 => Compressed::new::<i8>(bytemuck::cast_slice(values)),
        PhysType::I16 => Compressed::new::<i16>(bytemuck::cast_slice(values)),
        PhysType::I32 => Compressed::new::<i32>(bytemuck::cast_slice(values)),
        PhysType::I64 => Compressed::new::<i64>(bytemuck::cast_slice(values)),
        PhysType::U8 => Compressed::new::<u8>(bytemuck::cast_slice(values)),
        PhysType::U16 => Compressed::new::<u16>(bytemuck::cast_slice(values)),
        PhysType::U32 => Compressed::new::<u32>(bytemuck::cast_slice(values)),
        _ => Compressed::new::<u64>(bytemuck::cast_slice(values)),
    }
}
