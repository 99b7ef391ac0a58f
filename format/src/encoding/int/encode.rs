//! Encodes integers: for streams, whose choices are kept from page to page, and for the children of other encodings.

use super::bitpack::{self, Packing};
use super::canonical;
use crate::encoding::EncodeOptions;
use crate::error::Result;
use crate::kernels::{Level, extent};
use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::{Lane, PhysType};

/// Encodes the pages of one stream of integers.
#[derive(Debug)]
pub struct IntEncoder {
    ptype: PhysType,
    options: EncodeOptions,
}

impl IntEncoder {
    /// An encoder of values of this type.
    pub fn new(ptype: PhysType, options: EncodeOptions) -> Self {
        Self { ptype, options }
    }

    /// Encodes a whole page. `T` is the unsigned lane of the stream's type.
    ///
    /// # Errors
    /// When the page exceeds the format's limits.
    pub fn encode<T: Lane>(&mut self, values: &[T], out: &mut PageBuilder) -> Result<()> {
        encode_ints(values, self.ptype, crate::limits::CASCADE_DEPTH_MAX, self.options, out)
    }

    /// Ends a chunk: the bytes of its dictionary page when its pages share one. Choices stay for the next chunk.
    ///
    /// # Errors
    /// When the dictionary exceeds the format's limits.
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Encodes values once, without what was learnt from other pages: children such as lengths, codes and run ends. `depth` is the
/// number of levels of nodes that may be used.
///
/// # Errors
/// When the page exceeds the format's limits.
pub fn encode_ints<T: Lane>(
    values: &[T],
    ptype: PhysType,
    _depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let level = Level::current();
    let signed = ptype.is_signed_int();
    let (min, max) = extent::extent(level, values, signed);
    if options.profile == crate::Profile::Plain || values.is_empty() {
        out.node(NodeSpec::new(EncodingKind::Plain, ptype, values.len()));
        out.buffer(values);
        return Ok(());
    }
    if min == max {
        out.node(NodeSpec {
            p0: canonical(min, signed),
            ..NodeSpec::new(EncodingKind::Constant, ptype, values.len())
        });
        return Ok(());
    }
    let width = super::bit_width(canonical(max, signed).wrapping_sub(canonical(min, signed)));
    let packed = values.len().div_ceil(1024) * 128 * width;
    if packed >= size_of_val(values) {
        out.node(NodeSpec::new(EncodingKind::Plain, ptype, values.len()));
        out.buffer(values);
        return Ok(());
    }
    bitpack::encode(values, ptype, (min, max), Packing::SIMPLE, out);
    Ok(())
}
