//! pcodec: floats by their distribution, smallest and slowest. For the compact profile.
//!
//! Node: buffer 0: header and chunk metadata of pco's wrapped format; buffer 1: pco's pages, each of 8,192 values, the last of
//! what is left; buffer 2: where each ends in buffer 1 (`u32`).

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, PagingSpec};

use super::Float;
use crate::error::{FormatError, Result};
use crate::limits::ZONE_ROWS;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};

/// Values of one of pco's pages: the smallest part that can be decoded alone.
pub(super) const PART_ROWS: usize = ZONE_ROWS;
/// pco's mode for values looked up in a dictionary, which it sizes by a number in the file before it looks whether there are
/// so many bytes.
const MODE_DICTIONARY: u8 = 4;

/// The three buffers of a page, not yet written: its size decides whether they will be.
#[derive(Debug)]
pub(super) struct Compressed {
    pub(super) head: Vec<u8>,
    pub(super) parts: Vec<u8>,
    pub(super) ends: Vec<u32>,
}

impl Compressed {
    /// Compresses values, at least one.
    pub(super) fn of<F: Float + Number>(values: &[F]) -> Result<Self> {
        let failed = |e: pco::errors::PcoError| FormatError::invalid("compressing floats", e.to_string());
        let parts: Vec<usize> = values.chunks(PART_ROWS).map(<[F]>::len).collect();
        let config = ChunkConfig::default().with_paging_spec(PagingSpec::Exact(parts.clone()));
        let compressor = FileCompressor::default();
        let mut chunk = compressor.chunk_compressor(values, &config).map_err(failed)?;
        let mut head = Vec::new();
        compressor.write_header(&mut head).map_err(failed)?;
        chunk.write_meta(&mut head).map_err(failed)?;
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for part in 0..parts.len() {
            chunk.write_page(part, &mut bytes).map_err(failed)?;
            ends.push(bytes.len() as u32);
        }
        Ok(Self { head, parts: bytes, ends })
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.parts.len() + 4 * self.ends.len()
    }

    pub(super) fn write<F: Float>(&self, values: usize, out: &mut PageBuilder) {
        out.node(NodeSpec::new(EncodingKind::Pco, F::PTYPE, values));
        out.buffer(&self.head);
        out.buffer(&self.parts);
        out.buffer(&self.ends);
    }
}

/// A pco node, checked as far as that goes without decoding it.
#[derive(Debug)]
pub(super) struct Pcodec<'a> {
    node: NodeView<'a>,
    head: &'a [u8],
    parts: &'a [u8],
    ends: &'a [u32],
}

impl<'a> Pcodec<'a> {
    pub(super) fn open(node: NodeView<'a>) -> Result<Self> {
        let (head, parts, ends) = (node.bytes(0)?, node.bytes(1)?, node.typed::<u32>(2)?);
        if ends.len() != node.len().div_ceil(PART_ROWS)
            || ends.windows(2).any(|w| w[0] > w[1])
            || ends.last().is_some_and(|e| *e as usize > parts.len())
        {
            return Err(node.corrupt(format!("{} parts, out of order or outside its bytes", ends.len())));
        }
        Ok(Self { node, head, parts, ends })
    }

    /// Calls `f` with every part that has one of `rows`: its first row and its values.
    fn parts<F: Float + Number>(
        &self,
        parts: impl Iterator<Item = usize>,
        mut f: impl FnMut(usize, &[F]),
    ) -> Result<()> {
        let failed = |e: pco::errors::PcoError| self.node.corrupt(e);
        let (decompressor, rest) = FileDecompressor::new(self.head).map_err(failed)?;
        if rest.first().is_none_or(|b| b & 0xF == MODE_DICTIONARY) {
            return Err(self.node.corrupt("its mode is one that writers never choose"));
        }
        let (mut chunk, _) = decompressor.chunk_decompressor::<F, _>(rest).map_err(failed)?;
        let mut values = vec![F::zeroed(); PART_ROWS.min(self.node.len())];
        for part in parts {
            let first = part * PART_ROWS;
            let values = &mut values[..PART_ROWS.min(self.node.len() - first)];
            let begin = if part == 0 { 0 } else { self.ends[part - 1] as usize };
            let bytes = &self.parts[begin..self.ends[part] as usize];
            let mut page = chunk.page_decompressor(bytes, values.len()).map_err(failed)?;
            let done = page.read(values).map_err(failed)?;
            if done.n_processed != values.len() {
                return Err(self.node.corrupt(format!("part {part} ends after {} values", done.n_processed)));
            }
            f(first, values);
        }
        Ok(())
    }

    pub(super) fn decode<F: Float + Number>(&self, start: usize, out: &mut [F::Bits]) -> Result<()> {
        let end = start + out.len();
        self.parts(start / PART_ROWS..end.div_ceil(PART_ROWS), |first, values: &[F]| {
            let (from, to) = (start.max(first), end.min(first + values.len()));
            for row in from..to {
                out[row - start] = values[row - first].bits();
            }
        })
    }

    pub(super) fn take<F: Float + Number>(&self, rows: &[u32], out: &mut [F::Bits]) -> Result<()> {
        let mut done = 0;
        for group in rows.chunk_by(|a, b| *a as usize / PART_ROWS == *b as usize / PART_ROWS) {
            let out = &mut out[done..done + group.len()];
            done += group.len();
            self.parts(std::iter::once(group[0] as usize / PART_ROWS), |first, values: &[F]| {
                for (row, o) in group.iter().zip(&mut *out) {
                    *o = values[*row as usize - first].bits();
                }
            })?;
        }
        Ok(())
    }
}
