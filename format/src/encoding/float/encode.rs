//! Chooses a form for a page of floats and writes it.

use super::Float;
use crate::encoding::{EncodeOptions, Profile};
use crate::error::{FormatError, Result};
use crate::limits::PAGE_VALUES_MAX;
use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::PhysType;

/// Encodes the pages of one stream of floats.
#[derive(Debug)]
pub struct FloatEncoder {
    ptype: PhysType,
    options: EncodeOptions,
}

impl FloatEncoder {
    /// An encoder for a stream of `ptype`, [`PhysType::F32`] or [`PhysType::F64`].
    pub fn new(ptype: PhysType, options: EncodeOptions) -> Self {
        Self { ptype, options }
    }

    /// Writes a page of singles.
    ///
    /// # Errors
    /// When the stream holds another type, or there are more values than a page may have.
    pub fn encode_f32(&mut self, values: &[f32], out: &mut PageBuilder) -> Result<()> {
        self.encode(values, out)
    }

    /// Writes a page of doubles.
    ///
    /// # Errors
    /// When the stream holds another type, or there are more values than a page may have.
    pub fn encode_f64(&mut self, values: &[f64], out: &mut PageBuilder) -> Result<()> {
        self.encode(values, out)
    }

    fn encode<F: Float>(&mut self, values: &[F], out: &mut PageBuilder) -> Result<()> {
        if self.ptype != F::PTYPE {
            return Err(FormatError::invalid(
                "writing floats",
                format!("values of {:?} to a stream of {:?}", F::PTYPE, self.ptype),
            ));
        }
        if values.len() > PAGE_VALUES_MAX {
            return Err(FormatError::invalid(
                "writing floats",
                format!("{} values exceed a page's {PAGE_VALUES_MAX}", values.len()),
            ));
        }
        if self.options.profile != Profile::Plain && is_constant(values) {
            out.node(NodeSpec::new(EncodingKind::Constant, F::PTYPE, values.len()));
            out.buffer(&values[..values.len().min(1)]);
            return Ok(());
        }
        write_plain(values, out);
        Ok(())
    }

    /// Ends a chunk. Floats share no dictionary, so there is never a page.
    ///
    /// # Errors
    /// None today.
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

fn write_plain<F: Float>(values: &[F], out: &mut PageBuilder) {
    out.node(NodeSpec::new(EncodingKind::Plain, F::PTYPE, values.len()));
    out.buffer(values);
}

/// Whether all values have the same bits.
fn is_constant<F: Float>(values: &[F]) -> bool {
    values.first().is_none_or(|first| values.iter().all(|v| v.bits() == first.bits()))
}
