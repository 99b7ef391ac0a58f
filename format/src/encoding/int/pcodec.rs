//! Numbers compressed by pcodec, for the compact profile.
//!
//! ```text
//! width     values of a frame, a multiple of 1,024; the last frame may have fewer
//! buffer 0  pcodec's header and chunk metadata, in its wrapped format
//! buffer 1  u32 a frame and one more: where frames start in buffer 2
//! buffer 2  the frames: pcodec's pages
//! ```
//!
//! A frame is decoded as a whole, the frames before it aren't needed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, PagingSpec};

use crate::error::{FormatError, Result};
use crate::limits::{PAGE_VALUES_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::PhysType;

/// Values of a frame.
const FRAME_VALUES: usize = 4 * VECTOR_ROWS;
/// pcodec's effort; higher ones are hardly smaller.
const EFFORT: usize = 8;

/// Values compressed, not yet in a page.
pub(crate) struct Compressed {
    meta: Vec<u8>,
    starts: Vec<u32>,
    frames: Vec<u8>,
    len: usize,
}

impl Compressed {
    /// Compresses at least one value.
    ///
    /// # Errors
    /// When pcodec refuses.
    pub(crate) fn new<N: Number>(values: &[N]) -> Result<Self> {
        let refused = |e: pco::errors::PcoError| FormatError::invalid("compressing numbers", e.to_string());
        let lengths: Vec<usize> = values.chunks(FRAME_VALUES).map(<[N]>::len).collect();
        let config = ChunkConfig::default()
            .with_compression_level(EFFORT)
            .with_enable_8_bit(true)
            .with_paging_spec(PagingSpec::Exact(lengths.clone()));
        let file = FileCompressor::default();
        let mut meta = Vec::new();
        file.write_header(&mut meta).map_err(refused)?;
        let mut chunk = file.chunk_compressor(values, &config).map_err(refused)?;
        chunk.write_meta(&mut meta).map_err(refused)?;
        let (mut starts, mut frames) = (vec![0], Vec::new());
        for i in 0..lengths.len() {
            chunk.write_page(i, &mut frames).map_err(refused)?;
            starts.push(frames.len() as u32);
        }
        Ok(Self { meta, starts, frames, len: values.len() })
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.meta.len() + self.starts.len() * 4 + self.frames.len()
    }

    /// Writes it as a node.
    pub(crate) fn write(&self, ptype: PhysType, out: &mut PageBuilder) {
        out.node(NodeSpec {
            width: FRAME_VALUES as u32,
            ..NodeSpec::new(EncodingKind::Pco, ptype, self.len)
        });
        out.buffer(&self.meta);
        out.buffer(&self.starts);
        out.buffer(&self.frames);
    }
}

/// A pcodec node.
#[derive(Debug)]
pub(crate) struct Pcodec<'a> {
    node: NodeView<'a>,
    frame: usize,
    meta: &'a [u8],
    starts: &'a [u32],
    frames: &'a [u8],
}

impl<'a> Pcodec<'a> {
    /// Opens a node.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when frames lie outside the node's buffers.
    pub(crate) fn open(node: NodeView<'a>) -> Result<Self> {
        let frame = node.width() as usize;
        let (meta, starts, frames) = (node.bytes(0)?, node.typed::<u32>(1)?, node.bytes(2)?);
        let ascend = starts.windows(2).all(|w| w[0] <= w[1]);
        if frame == 0
            || !frame.is_multiple_of(VECTOR_ROWS)
            || frame > PAGE_VALUES_MAX
            || starts.len() != node.len().div_ceil(frame) + 1
            || !ascend
            || starts.last().is_none_or(|end| *end as usize > frames.len())
        {
            return Err(node.corrupt(format!("{} starts of frames of {frame} values", starts.len())));
        }
        Ok(Self { node, frame, meta, starts, frames })
    }

    /// Values of a frame.
    pub(crate) fn frame_values(&self) -> usize {
        self.frame
    }

    /// Decodes rows `start .. start + out.len()`, which exist. `N` has the node's type.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when pcodec can't read a frame.
    pub(crate) fn decode<N: Number + bytemuck::Pod>(&self, start: usize, out: &mut [N]) -> Result<()> {
        // pcodec returns errors for most of what can be wrong; what it asserts must not take the process down.
        match catch_unwind(AssertUnwindSafe(|| self.decode_frames(start, out))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(self.node.corrupt(e.to_string())),
            Err(_) => Err(self.node.corrupt("pcodec gave up on a frame".to_owned())),
        }
    }

    fn decode_frames<N: Number + bytemuck::Pod>(
        &self,
        start: usize,
        out: &mut [N],
    ) -> pco::errors::PcoResult<()> {
        let (file, rest) = FileDecompressor::new(self.meta)?;
        let (mut chunk, _) = file.chunk_decompressor::<N, _>(rest)?;
        let mut partial = Vec::new();
        let mut rest = out;
        let mut row = start;
        while !rest.is_empty() {
            let index = row / self.frame;
            let first = index * self.frame;
            let rows = (self.node.len() - first).min(self.frame);
            let bytes = &self.frames[self.starts[index] as usize..self.starts[index + 1] as usize];
            let mut page = chunk.page_decompressor(bytes, rows)?;
            let skip = row - first;
            let n = (rows - skip).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            if n == rows {
                page.read(now)?;
            } else {
                partial.resize(rows, N::zeroed());
                page.read(&mut partial)?;
                now.copy_from_slice(&partial[skip..skip + n]);
            }
            row += n;
            rest = later;
        }
        Ok(())
    }
}
