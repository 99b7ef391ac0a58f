//! Values one after another, with their lengths beside them.
//!
//! ```text
//! node BytesPlain   buffer 0: bytes          1: u32 starts of every 128th row in it, and the end
//! node Fsst         buffer 0: symbol table   1: codes    2: u32 starts of every 128th row in them, and the end
//!                          3: u32 starts of every 1,024th row in the decoded bytes, and the end
//!                   p0: number of symbols
//! node Zstd         buffer 0: frames         1: u32 starts of each frame, and the end
//!                          2: u32 starts of each frame's rows in the decoded bytes, and the end
//!                   p0: rows of a frame, a multiple of 1,024
//! child 0 of each   lengths of the decoded values, U32
//! ```
//!
//! A *granule* is the rows that must be decoded for one of them: 128, or a frame. A *chunk* is the rows that a scan decodes in one go:
//! 1,024, so that they stay in the nearest cache, or a frame.

use std::ops::Range;

use arrow_buffer::Buffer;

use super::fsst::{self, SymbolTable};
use super::input::Flat;
use super::utf8::check_utf8;
use super::zstd;
use crate::encoding::int::{IntDecoder, encode_ints};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::Result;
use crate::kernels::prefetch::prefetch;
use crate::limits::{CASCADE_DEPTH_MAX, PAGE_BYTES_MAX, UNIT_ROWS_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::PhysType;

/// Rows of a granule, unless it is a frame.
pub(super) const GRANULE_ROWS: usize = 128;
/// Rows of a piece, unless a granule has more: some kilobytes, decoded.
const PIECE_ROWS: usize = 2 * GRANULE_ROWS;
/// Most decoded bytes a zstd frame has for each of its own: what bounds the memory a small page can ask for.
pub(super) const ZSTD_EXPANSION_MAX: usize = 256;

/// How the bytes are coded.
#[derive(Debug)]
enum Code {
    Plain(Buffer),
    Fsst(Box<SymbolTable>),
    Zstd,
}

/// Opened values.
#[derive(Debug)]
pub(super) struct Concat<'a> {
    lengths: IntDecoder<'a>,
    len: usize,
    code: Code,
    bytes: &'a [u8],
    /// Where granules start in `bytes`, and the end.
    starts: &'a [u32],
    granule_rows: usize,
    chunk_rows: usize,
    /// Where every `decoded_rows`-th row starts in the decoded bytes, and the end.
    decoded_starts: &'a [u32],
    decoded_rows: usize,
}

/// Rows of a chunk, decoded: those asked for, without the others of their granules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'d> {
    /// The first, in the page.
    pub(super) first: usize,
    /// Their lengths.
    pub(super) lengths: &'d [u32],
    /// The bytes they lie in, and others: the place they were decoded into, or the page's.
    pub(super) bytes: &'d [u8],
    /// Where the first starts in `bytes`.
    pub(super) at: usize,
    /// Where what was decoded so far ends in `bytes`.
    pub(super) end: usize,
}

impl Rows<'_> {
    /// The bytes of the rows alone, one after another.
    pub(super) fn own_bytes(&self) -> &[u8] {
        let n = self.lengths.iter().map(|&n| n as usize).sum::<usize>();
        &self.bytes[self.at..self.at + n]
    }
}

impl<'a> Concat<'a> {
    /// Opens a node of one of the three kinds.
    pub(super) fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let len = node.len();
        let lengths = node.child(0)?;
        if lengths.ptype() != PhysType::U32 || lengths.len() != len {
            return Err(node.corrupt(format!("{} lengths for {len} values", lengths.len())));
        }
        let lengths = IntDecoder::open(lengths, cx)?;
        let (code, coded, decoded, granule_rows, chunk_rows) = match node.kind() {
            EncodingKind::BytesPlain => (Code::Plain(node.arrow(0)?), 0, 1, GRANULE_ROWS, VECTOR_ROWS),
            EncodingKind::Fsst => {
                (Code::Fsst(Box::new(SymbolTable::open(&node, node.p0())?)), 1, 3, GRANULE_ROWS, VECTOR_ROWS)
            }
            EncodingKind::Zstd => {
                let rows = usize::try_from(node.p0())
                    .ok()
                    .filter(|&n| n > 0 && n <= UNIT_ROWS_MAX && n.is_multiple_of(VECTOR_ROWS));
                let rows = rows.ok_or_else(|| node.corrupt(format!("frames of {} rows", node.p0())))?;
                (Code::Zstd, 0, 2, rows, rows)
            }
            other => return Err(node.corrupt(format!("{} is no encoding of strings", other.name()))),
        };
        let decoded_rows = if matches!(code, Code::Plain(_)) { granule_rows } else { chunk_rows };
        let opened = Self {
            lengths,
            len,
            bytes: node.bytes(coded)?,
            starts: node.typed(coded + 1)?,
            granule_rows,
            chunk_rows,
            decoded_starts: node.typed(decoded)?,
            decoded_rows,
            code,
        };
        opened.check(&node)?;
        Ok(opened)
    }

    fn check(&self, node: &NodeView<'_>) -> Result<()> {
        let valid = |starts: &[u32], rows: usize| {
            starts.len() == self.len.div_ceil(rows) + 1 && starts[0] == 0 && starts.is_sorted()
        };
        if !valid(self.starts, self.granule_rows)
            || self.starts.last().is_none_or(|&end| end as usize != self.bytes.len())
        {
            return Err(node.corrupt(format!(
                "the starts of rows in {} bytes don't ascend to their end",
                self.bytes.len()
            )));
        }
        if !valid(self.decoded_starts, self.decoded_rows) {
            return Err(node.corrupt("the starts of rows in the decoded bytes don't ascend".to_owned()));
        }
        let expansion_max = match self.code {
            Code::Plain(_) => 1,
            Code::Fsst(_) => fsst::EXPANSION_MAX,
            Code::Zstd => ZSTD_EXPANSION_MAX,
        };
        let total = self.decoded_starts.last().map_or(0, |&end| end as usize);
        if total > PAGE_BYTES_MAX.min(self.bytes.len().saturating_mul(expansion_max)) {
            return Err(node.corrupt(format!("{} bytes can't stand for {total}", self.bytes.len())));
        }
        Ok(())
    }

    /// Asks for the memory of a row's length and of the codes of its granule.
    pub(super) fn prefetch(&self, row: usize) {
        self.lengths.prefetch(row);
        if let Some(&start) = self.starts.get(row / self.granule_rows) {
            self.bytes.get(start as usize..).map(prefetch);
        }
    }

    /// The lengths of the values.
    pub(super) fn lengths(&self) -> &IntDecoder<'a> {
        &self.lengths
    }

    /// Rows that are decoded together when one of them is asked for.
    pub(super) fn granule_rows(&self) -> usize {
        self.granule_rows
    }

    /// The page's own bytes, when the values lie in them as they are.
    pub(super) fn plain(&self) -> Option<&Buffer> {
        match &self.code {
            Code::Plain(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// Bytes that decoding rows `range` into one place takes at most, with room to decode fast. Nothing when values are plain.
    pub(super) fn capacity(&self, range: &Range<usize>) -> usize {
        if self.plain().is_some() || range.is_empty() {
            return 0;
        }
        let (first, last) = (range.start / self.decoded_rows, range.end.div_ceil(self.decoded_rows));
        (self.decoded_starts[last] - self.decoded_starts[first]) as usize + fsst::SLACK
    }

    /// Bytes that decoding any one chunk takes at most.
    pub(super) fn chunk_capacity(&self) -> usize {
        let step = self.chunk_rows / self.decoded_rows;
        let ends = self.decoded_starts.iter().skip(step).chain(self.decoded_starts.last());
        let most = self.decoded_starts.iter().zip(ends).map(|(&start, &end)| end.saturating_sub(start)).max();
        if self.plain().is_some() { 0 } else { most.unwrap_or(0) as usize + fsst::SLACK }
    }

    /// Decodes rows `range`, piece by piece, and hands each piece's rows to `each`; a piece is some granules of one chunk.
    ///
    /// With `keep`, the bytes of all pieces come to lie one after another in `out`, which has [`Self::capacity`] bytes; else each
    /// piece overwrites the one before, and [`Self::chunk_capacity`] is enough.
    pub(super) fn scan(
        &self,
        range: Range<usize>,
        out: &mut [u8],
        keep: bool,
        utf8: bool,
        mut each: impl FnMut(Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        // Clearing a place for a whole vector costs more than decoding one granule.
        let mut one = [0u32; GRANULE_ROWS];
        let mut small;
        let mut large = Vec::new();
        let lengths: &mut [u32] = if self.granule_rows == GRANULE_ROWS
            && range.start / GRANULE_ROWS == range.end.saturating_sub(1) / GRANULE_ROWS
        {
            &mut one
        } else if self.chunk_rows > VECTOR_ROWS {
            large.resize(self.chunk_rows.min(self.len), 0);
            &mut large
        } else {
            small = [0u32; VECTOR_ROWS];
            &mut small
        };
        let mut at = 0;
        let mut row = range.start;
        while row < range.end {
            let chunk_end = (row / self.chunk_rows + 1) * self.chunk_rows;
            let wanted = row..chunk_end.min(range.end);
            let first = row - row % self.granule_rows;
            let last = wanted.end.next_multiple_of(self.granule_rows).min(self.len);
            let lengths = &mut lengths[..last - first];
            self.lengths.decode(first, lengths)?;
            while row < wanted.end {
                // Granules decoded and handed out while they are in the nearest cache.
                let from = row - row % self.granule_rows;
                let to = (from + self.granule_rows.max(PIECE_ROWS)).min(last);
                let piece = row..to.min(wanted.end);
                let lengths = &lengths[from - first..to - first];
                if !keep {
                    at = 0;
                }
                let (bytes, start, end) = if self.plain().is_some() {
                    let (start, end) = self.granules(from, to);
                    (self.bytes, start, end)
                } else {
                    // Who doesn't keep the bytes needs them only up to the last row asked for.
                    let rows = if keep { to - from } else { piece.end - from };
                    let end = at + self.decode_granules(from, to, lengths, rows, &mut out[at..])?;
                    (&*out, at, end)
                };
                let skipped = sum(&lengths[..piece.start - from]);
                let lengths = &lengths[piece.start - from..piece.end - from];
                let own = sum(lengths);
                if start + skipped + own > end {
                    return Err(crate::FormatError::corrupt(
                        "page",
                        format!("rows {piece:?} of {own} bytes reach past their {}", end - start),
                    ));
                }
                let rows = Rows { first: piece.start, lengths, bytes, at: start + skipped, end };
                if utf8 {
                    check_utf8(rows.own_bytes(), lengths)?;
                }
                each(rows)?;
                at = end;
                row = piece.end;
            }
        }
        Ok(())
    }

    /// Where the granules of rows `first..last` start and end in the coded bytes.
    fn granules(&self, first: usize, last: usize) -> (usize, usize) {
        (
            self.starts[first / self.granule_rows] as usize,
            self.starts[last.div_ceil(self.granule_rows)] as usize,
        )
    }

    /// Decodes granules into the start of `out`, at least as far as their first `rows` rows reach; returns how many bytes that is.
    fn decode_granules(
        &self,
        first: usize,
        last: usize,
        lengths: &[u32],
        rows: usize,
        out: &mut [u8],
    ) -> Result<usize> {
        let (from, to) = self.granules(first, last);
        let expected = sum(lengths);
        if expected > out.len() {
            return Err(crate::FormatError::corrupt(
                "page",
                format!("rows {first}..{last} have {expected} bytes, more than the page says"),
            ));
        }
        // All of it: then codes that stand for more than the lengths say are noticed.
        let enough = if rows < last - first { sum(&lengths[..rows]) } else { usize::MAX };
        match &self.code {
            Code::Plain(_) => Ok(0),
            Code::Zstd => zstd::decompress(&self.bytes[from..to], &mut out[..expected]).map(|()| expected),
            Code::Fsst(table) => match table.decode(&self.bytes[from..to], out, enough) {
                Some(n) if n == expected || rows < last - first && (enough..=expected).contains(&n) => Ok(n),
                n => Err(crate::FormatError::corrupt(
                    "page",
                    format!("rows {first}..{last} decode to {n:?} bytes, their lengths say {expected}"),
                )),
            },
        }
    }
}

fn sum(lengths: &[u32]) -> usize {
    lengths.iter().map(|&n| n as usize).sum()
}

fn node(out: &mut PageBuilder, kind: EncodingKind, flat: &Flat, p0: u64) {
    out.node(NodeSpec { children: 1, p0, ..NodeSpec::new(kind, PhysType::Bytes, flat.lengths.len()) });
}

fn encode_lengths(flat: &Flat, o: EncodeOptions, out: &mut PageBuilder) -> Result<()> {
    encode_ints(&flat.lengths, PhysType::U32, CASCADE_DEPTH_MAX - 1, o, out)
}

/// Writes values as they are.
pub(super) fn encode_plain(flat: &Flat, o: EncodeOptions, out: &mut PageBuilder) -> Result<()> {
    node(out, EncodingKind::BytesPlain, flat, 0);
    out.buffer(&flat.bytes);
    out.buffer(&flat.starts(GRANULE_ROWS));
    encode_lengths(flat, o, out)
}

/// Writes values in FSST codes.
pub(super) fn encode_fsst(
    flat: &Flat,
    compressor: &::fsst::Compressor,
    o: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let (codes, starts) = fsst::encode(compressor, &flat.bytes, &flat.starts(GRANULE_ROWS));
    node(out, EncodingKind::Fsst, flat, compressor.n_symbols() as u64);
    out.buffer(&fsst::table_bytes(compressor));
    out.buffer(&codes);
    out.buffer(&starts);
    out.buffer(&flat.starts(VECTOR_ROWS));
    encode_lengths(flat, o, out)
}

/// Writes values in zstd frames of `frame_rows` rows. Returns whether it did: a page that shrinks more than readers accept is left to
/// other encodings.
pub(super) fn encode_zstd(
    flat: &Flat,
    frame_rows: usize,
    level: i32,
    o: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<bool> {
    let decoded_starts = flat.starts(frame_rows);
    let (frames, starts) = zstd::compress(&flat.bytes, &decoded_starts, level)?;
    if frames.len().saturating_mul(ZSTD_EXPANSION_MAX) < flat.bytes.len() {
        return Ok(false);
    }
    node(out, EncodingKind::Zstd, flat, frame_rows as u64);
    out.buffer(&frames);
    out.buffer(&starts);
    out.buffer(&decoded_starts);
    encode_lengths(flat, o, out)?;
    Ok(true)
}
