//! Byte strings of one length: fixed-size binaries and whatever else Arrow stores as a few bytes without being a number.
//!
//! ```text
//! node Plain        buffer 0: the values
//! node Constant     buffer 0: the value
//! node Dictionary   flags 1 (the values are the chunk's dictionary)    child 0: codes, U8 or U16
//! node Zstd         buffer 0: frames   1: u32 starts of each frame, and the end   p0: rows of a frame, a multiple of 1,024
//! width of each     bytes of a value
//! ```

use arrow_buffer::Buffer;

use super::bounds::{check_mask, check_range, check_rows, fill_words};
use super::bytes::{DictionaryBuilder, compress, decompress};
use super::dictionary::{ChunkDictionary, Codes, FLAG_SHARED, encode_codes};
use super::{DecodeContext, EncodeOptions, Profile};
use crate::error::{FormatError, Result};
use crate::limits::{CASCADE_DEPTH_MAX, PAGE_BYTES_MAX, PAGE_VALUES_MAX, UNIT_ROWS_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::PhysType;
use crate::predicate::leaf::BytesPred;

/// Most decoded bytes for each stored one.
const EXPANSION_MAX: usize = 256;
/// Of the values of a page, the share that may be distinct for the chunk's dictionary to be used.
const DISTINCT_SHARE_MAX: f64 = 0.5;
/// Most bytes of distinct values in a chunk's dictionary.
const DICTIONARY_BYTES_MAX: usize = 1 << 20;

/// The encoder of a stream of byte strings of one length.
#[derive(Debug)]
pub struct FixedEncoder {
    width: usize,
    options: EncodeOptions,
    dictionary: DictionaryBuilder,
    dictionary_used: bool,
}

impl FixedEncoder {
    /// An encoder for values of `width` bytes.
    pub fn new(width: u32, options: EncodeOptions) -> Self {
        Self {
            width: width as usize,
            options,
            dictionary: DictionaryBuilder::default(),
            dictionary_used: false,
        }
    }

    /// Writes a page of `len` values, which lie one after another in `values`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when there are too many bytes for a page, or another number than `len` values have.
    pub fn encode(&mut self, values: &[u8], len: usize, out: &mut PageBuilder) -> Result<()> {
        if values.len() != len * self.width || values.len() > PAGE_BYTES_MAX {
            return Err(FormatError::invalid(
                "writing a page of fixed-size values",
                format!(
                    "{len} values of {} bytes in {}; a page has at most {PAGE_BYTES_MAX}",
                    self.width,
                    values.len()
                ),
            ));
        }
        let o = self.options;
        if o.profile == Profile::Plain || len == 0 || self.width == 0 {
            self.node(EncodingKind::Plain, len, 0, 0, 0, out);
            out.buffer(values);
            return Ok(());
        }
        let first = &values[..self.width];
        if values.chunks_exact(self.width).all(|v| v == first) {
            self.node(EncodingKind::Constant, len, 0, 0, 0, out);
            out.buffer(first);
            return Ok(());
        }
        if let Some(codes) = self.codes(values, len) {
            self.dictionary_used = true;
            self.node(EncodingKind::Dictionary, len, FLAG_SHARED, 1, 0, out);
            return encode_codes(&codes, self.dictionary.len(), CASCADE_DEPTH_MAX - 1, o, out);
        }
        self.encode_bytes(values, len, out)
    }

    /// Ends a chunk: the page of its shared dictionary, if a page refers to it.
    ///
    /// # Errors
    /// As [`FixedEncoder::encode`].
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let dictionary = std::mem::take(&mut self.dictionary);
        if !std::mem::take(&mut self.dictionary_used) {
            return Ok(None);
        }
        let mut page = PageBuilder::new();
        self.encode_bytes(dictionary.bytes(), dictionary.len(), &mut page)?;
        page.finish(dictionary.len()).map(Some)
    }

    fn node(&self, kind: EncodingKind, len: usize, flags: u8, children: u8, p0: u64, out: &mut PageBuilder) {
        out.node(NodeSpec {
            flags,
            children,
            p0,
            width: self.width as u32,
            ..NodeSpec::new(kind, PhysType::Fixed, len)
        });
    }

    /// Codes into the chunk's dictionary, if enough values repeat.
    fn codes(&mut self, values: &[u8], len: usize) -> Option<Vec<u32>> {
        let limit = self.dictionary.len() + (len as f64 * DISTINCT_SHARE_MAX) as usize;
        let mut codes = Vec::with_capacity(len);
        for value in values.chunks_exact(self.width) {
            codes.push(self.dictionary.code(value, limit.clamp(1, PAGE_VALUES_MAX))?);
            if self.dictionary.value_bytes() > DICTIONARY_BYTES_MAX {
                return None;
            }
        }
        Some(codes)
    }

    fn encode_bytes(&self, values: &[u8], len: usize, out: &mut PageBuilder) -> Result<()> {
        /// What zstd must leave of the bytes to be worth its time to decode.
        const SHARE_DEFAULT: f64 = 0.5;
        const SHARE_COMPACT: f64 = 0.97;
        let (rows, level, share) = match self.options.profile {
            Profile::Compact => (UNIT_ROWS_MAX, 9, SHARE_COMPACT),
            _ => (8 * VECTOR_ROWS, 1, SHARE_DEFAULT),
        };
        let ends = (0..=len.div_ceil(rows)).map(|i| (i * rows).min(len) * self.width);
        let (frames, starts) = compress(values, &ends.map(|end| end as u32).collect::<Vec<_>>(), level)?;
        let small = (frames.len() as f64) < values.len() as f64 * share;
        if small && frames.len() * EXPANSION_MAX >= values.len() {
            self.node(EncodingKind::Zstd, len, 0, 0, rows as u64, out);
            out.buffer(&frames);
            out.buffer(&starts);
        } else {
            self.node(EncodingKind::Plain, len, 0, 0, 0, out);
            out.buffer(values);
        }
        Ok(())
    }
}

/// The values of a page of byte strings of one length.
#[derive(Debug)]
pub struct FixedDecoder<'a> {
    len: usize,
    width: usize,
    repr: Repr<'a>,
}

#[derive(Debug)]
enum Repr<'a> {
    Plain(Buffer),
    Constant(&'a [u8]),
    Dictionary { codes: Box<Codes<'a>>, values: &'a [u8] },
    Zstd { frames: &'a [u8], starts: &'a [u32], rows: usize },
}

impl<'a> FixedDecoder<'a> {
    /// Opens a page's node, whose values must have `width` bytes, and checks what decoding relies on.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node contradicts itself.
    pub fn open(node: NodeView<'a>, width: u32, cx: DecodeContext<'a>) -> Result<Self> {
        if node.ptype() != PhysType::Fixed || node.width() != width {
            let found = (node.ptype(), node.width());
            return Err(node.corrupt(format!("{found:?} where values of {width} bytes are expected")));
        }
        let (len, width) = (node.len(), width as usize);
        let expect = |bytes: usize, expected: usize| {
            if bytes == expected {
                Ok(())
            } else {
                Err(node.corrupt(format!("{bytes} bytes, expected {expected}")))
            }
        };
        let repr = match node.kind() {
            EncodingKind::Plain => {
                let buffer = node.arrow(0)?;
                expect(buffer.len(), len * width)?;
                Repr::Plain(buffer)
            }
            EncodingKind::Constant => {
                let value = node.bytes(0)?;
                expect(value.len(), width)?;
                Repr::Constant(value)
            }
            EncodingKind::Dictionary => match cx.dictionary {
                Some(ChunkDictionary::Fixed { width: found, bytes, len })
                    if *found == width && node.flags() == FLAG_SHARED =>
                {
                    Repr::Dictionary {
                        codes: Box::new(Codes::open(node, *len, cx)?),
                        values: bytes.as_slice(),
                    }
                }
                _ => {
                    return Err(
                        node.corrupt(format!("the chunk has no dictionary of values of {width} bytes"))
                    );
                }
            },
            EncodingKind::Zstd => {
                let (frames, starts) = (node.bytes(0)?, node.typed::<u32>(1)?);
                let rows = usize::try_from(node.p0()).unwrap_or(0);
                let valid = rows > 0 && rows <= UNIT_ROWS_MAX && rows.is_multiple_of(VECTOR_ROWS);
                if !valid || starts.len() != len.div_ceil(rows) + 1 || starts[0] != 0 || !starts.is_sorted() {
                    return Err(node.corrupt(format!("{} starts of frames of {rows} rows", starts.len())));
                }
                expect(starts[starts.len() - 1] as usize, frames.len())?;
                if len * width > frames.len().saturating_mul(EXPANSION_MAX) {
                    return Err(node.corrupt(format!(
                        "{} bytes can't stand for {}",
                        frames.len(),
                        len * width
                    )));
                }
                Repr::Zstd { frames, starts, rows }
            }
            other => {
                return Err(node.corrupt(format!("{} is no encoding of fixed-size values", other.name())));
            }
        };
        Ok(Self { len, width, repr })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all values of a page that is to be decoded whole.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when they are many times those that are stored, as a dictionary's never are.
    pub(super) fn byte_len(&self) -> Result<usize> {
        if matches!(self.repr, Repr::Constant(_)) && self.len > EXPANSION_MAX {
            return Err(FormatError::corrupt("dictionary", format!("{} times the same value", self.len)));
        }
        Ok(self.len * self.width)
    }

    /// The page's own bytes, when the values lie in them as they are.
    pub fn plain_buffer(&self) -> Option<Buffer> {
        match &self.repr {
            Repr::Plain(buffer) => Some(buffer.clone()),
            _ => None,
        }
    }

    /// Decodes rows from `start` on, as many as `out` has room for; its length must be a multiple of the width.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the page contradicts itself.
    pub fn decode(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let width = self.width;
        if width == 0 || out.is_empty() {
            return Ok(());
        }
        if !out.len().is_multiple_of(width) {
            return Err(FormatError::invalid(
                "reading values",
                format!("{} bytes for values of {width}", out.len()),
            ));
        }
        let n = out.len() / width;
        check_range(self.len, start, n)?;
        match &self.repr {
            Repr::Plain(buffer) => out.copy_from_slice(&buffer[start * width..(start + n) * width]),
            Repr::Constant(value) => out.chunks_exact_mut(width).for_each(|v| v.copy_from_slice(value)),
            Repr::Dictionary { codes, values } => codes.for_each(start, n, |i, code| {
                out[i * width..(i + 1) * width].copy_from_slice(&values[code * width..(code + 1) * width]);
            })?,
            Repr::Zstd { frames, starts, rows } => {
                let mut scratch = Vec::new();
                let mut row = start;
                while row < start + n {
                    let frame = row / rows;
                    let (first, last) = (frame * rows, ((frame + 1) * rows).min(self.len));
                    let end = last.min(start + n);
                    let bytes = &frames[starts[frame] as usize..starts[frame + 1] as usize];
                    let part = &mut out[(row - start) * width..(end - start) * width];
                    if (row, end) == (first, last) {
                        decompress(bytes, part)?;
                    } else {
                        scratch.resize((last - first) * width, 0);
                        decompress(bytes, &mut scratch)?;
                        part.copy_from_slice(&scratch[(row - first) * width..(end - first) * width]);
                    }
                    row = end;
                }
            }
        }
        Ok(())
    }

    /// Decodes single rows, ascending, into `out`, which has room for as many.
    ///
    /// # Errors
    /// As [`FixedDecoder::decode`].
    pub fn take(&self, rows: &[u32], out: &mut [u8]) -> Result<()> {
        let width = self.width;
        check_rows(self.len, rows, out.len().checked_div(width).unwrap_or(rows.len()))?;
        if width == 0 || rows.is_empty() {
            return Ok(());
        }
        match &self.repr {
            Repr::Zstd { starts, frames, rows: frame_rows } => {
                let mut scratch = Vec::new();
                let mut open = usize::MAX;
                for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
                    let row = row as usize;
                    let frame = row / frame_rows;
                    let first = frame * frame_rows;
                    if frame != open {
                        scratch.resize(((first + frame_rows).min(self.len) - first) * width, 0);
                        decompress(
                            &frames[starts[frame] as usize..starts[frame + 1] as usize],
                            &mut scratch,
                        )?;
                        open = frame;
                    }
                    out.copy_from_slice(&scratch[(row - first) * width..][..width]);
                }
                Ok(())
            }
            Repr::Dictionary { codes, values } => {
                let mut found = vec![0; rows.len()];
                codes.take(rows, &mut found)?;
                for (out, &code) in out.chunks_exact_mut(width).zip(&found) {
                    out.copy_from_slice(&values[code as usize * width..][..width]);
                }
                Ok(())
            }
            _ => out
                .chunks_exact_mut(width)
                .zip(rows)
                .try_for_each(|(out, &row)| self.decode(row as usize, out)),
        }
    }

    /// Writes for each of `len` rows from `start` on, a multiple of 1,024, whether the test is true of its value. Bits past the last row are zero.
    ///
    /// # Errors
    /// As [`FixedDecoder::decode`].
    pub fn filter(&self, pred: &BytesPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        check_mask(self.len, start, len, out.len())?;
        let matcher = pred.matcher();
        let width = self.width;
        match &self.repr {
            _ if width == 0 => fill_words(out, len, matcher.matches(&[])),
            Repr::Constant(value) => fill_words(out, len, matcher.matches(value)),
            Repr::Dictionary { codes, values } => {
                codes.filter(|code| matcher.matches(&values[code * width..][..width]), start, out, len)?;
            }
            Repr::Plain(buffer) => test_all(&buffer[start * width..][..len * width], width, &matcher, out),
            Repr::Zstd { .. } => {
                let mut scratch = vec![0; len * width];
                self.decode(start, &mut scratch)?;
                test_all(&scratch, width, &matcher, out);
            }
        }
        Ok(())
    }
}

fn test_all(
    values: &[u8],
    width: usize,
    matcher: &crate::predicate::leaf::BytesMatcher<'_>,
    out: &mut [u64],
) {
    for (word, values) in out.iter_mut().zip(values.chunks(64 * width)) {
        *word = values
            .chunks_exact(width)
            .enumerate()
            .fold(0, |bits, (i, value)| bits | u64::from(matcher.matches(value)) << i);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::fuzz::{aligned, any_tree};
    use crate::page::PageView;

    fn page(values: &[Vec<u8>], width: u32, profile: Profile) -> (Buffer, Option<Buffer>) {
        let mut encoder = FixedEncoder::new(width, EncodeOptions { profile });
        let mut out = PageBuilder::new();
        encoder.encode(&values.concat(), values.len(), &mut out).unwrap();
        let dictionary = encoder.finish_chunk().unwrap().map(|d| aligned(&d));
        (aligned(&out.finish(values.len()).unwrap()), dictionary)
    }

    fn open<R>(
        page: &Buffer,
        dictionary: Option<&Buffer>,
        width: u32,
        f: impl FnOnce(&FixedDecoder<'_>) -> Result<R>,
    ) -> Result<R> {
        let pool = deltalite_alloc::BufferPool::global();
        let dictionary =
            dictionary.map(|d| ChunkDictionary::open(d, PhysType::Fixed, false, pool)).transpose()?;
        let cx = DecodeContext { dictionary: dictionary.as_ref(), pool, utf8: false };
        f(&FixedDecoder::open(PageView::parse(page)?.root(), width, cx)?)
    }

    fn values() -> impl Strategy<Value = (u32, Vec<Vec<u8>>)> {
        (0u32..40, 1usize..30, prop::bool::ANY).prop_flat_map(|(width, distinct, few)| {
            let value = prop::collection::vec(any::<u8>(), width as usize);
            let values = prop::collection::vec(value, distinct..distinct + 1).prop_flat_map(move |pool| {
                let pick = prop::sample::select(pool);
                prop::collection::vec(pick, if few { 0..2500 } else { 0..30 })
            });
            (Just(width), values)
        })
    }

    proptest! {
        #[test]
        fn values_come_back((width, values) in values(), a: prop::sample::Index, b: prop::sample::Index) {
            let w = width as usize;
            let (a, b) = (a.index(values.len() + 1), b.index(values.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let rows: Vec<u32> = (start as u32..end as u32).step_by(7).collect();
            let lo = values.first().cloned().unwrap_or_default();
            let pred = BytesPred::Range { lo: std::ops::Bound::Included(lo), hi: std::ops::Bound::Unbounded, negated: false };
            for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
                let (page, dictionary) = page(&values, width, profile);
                open(&page, dictionary.as_ref(), width, |d| {
                    let mut out = vec![0; (end - start) * w];
                    d.decode(start, &mut out)?;
                    assert_eq!(out, values[start..end].concat());
                    let mut out = vec![0; rows.len() * w];
                    d.take(&rows, &mut out)?;
                    assert_eq!(out, rows.iter().flat_map(|&r| values[r as usize].clone()).collect::<Vec<_>>());
                    let start = start / VECTOR_ROWS * VECTOR_ROWS;
                    let mut words = vec![u64::MAX; (end - start).div_ceil(64)];
                    d.filter(&pred, start, &mut words, end - start)?;
                    for (i, value) in values[start..end].iter().enumerate() {
                        assert_eq!(words[i / 64] >> (i % 64) & 1 != 0, pred.matches(value));
                    }
                    Ok(())
                }).unwrap();
            }
        }

        #[test]
        fn nothing_panics(page in any_tree(&[PhysType::Fixed, PhysType::U8, PhysType::U16, PhysType::U32]), width in 0u32..70) {
            let all = |d: &FixedDecoder<'_>| {
                let mut out = vec![0; d.len() * width as usize];
                d.decode(0, &mut out)?;
                d.take(&(0..d.len() as u32).step_by(500).collect::<Vec<_>>(), &mut vec![0; d.len().div_ceil(500) * width as usize])
            };
            let _ = open(&page, None, width, all);
            // As a dictionary of a sound page, too.
            let (sound, _) = self::page(&(0..200u8).map(|i| vec![i % 5; width as usize]).collect::<Vec<_>>(), width, Profile::Default);
            let _ = open(&sound, Some(&page), width, all);
        }
    }
}
