//! Chooses a form for a page of wide integers and writes it.

use std::collections::HashMap;

use arrow_buffer::i256;

use super::{WORDS_MAX, Wide};
use crate::encoding::dictionary::encode_codes;
use crate::encoding::int::encode_ints;
use crate::encoding::{EncodeOptions, Profile};
use crate::error::{FormatError, Result};
use crate::limits::{CASCADE_DEPTH_MAX, PAGE_VALUES_MAX};
use crate::page::{EncodingKind, NodeSpec, PageBuilder};
use crate::phys::PhysType;

/// Share of the plain size, in percent, that any form must stay below, because plain values are handed out as they lie.
const PLAIN_PERCENT: usize = 90;
/// Distinct values above which a dictionary is given up.
const DISTINCT_MAX: usize = 1 << 14;
/// Values looked at before a dictionary is tried.
const SAMPLE: usize = 1024;

/// Encodes the pages of one stream of wide integers.
#[derive(Debug)]
pub struct WideEncoder {
    ptype: PhysType,
    options: EncodeOptions,
}

impl WideEncoder {
    /// An encoder for a stream of `ptype`, [`PhysType::I128`] or [`PhysType::I256`].
    pub fn new(ptype: PhysType, options: EncodeOptions) -> Self {
        Self { ptype, options }
    }

    /// Writes a page of 128-bit integers.
    ///
    /// # Errors
    /// When the stream holds another type, or there are more values than a page may have.
    pub fn encode_i128(&mut self, values: &[i128], out: &mut PageBuilder) -> Result<()> {
        self.encode(values, out)
    }

    /// Writes a page of 256-bit integers.
    ///
    /// # Errors
    /// When the stream holds another type, or there are more values than a page may have.
    pub fn encode_i256(&mut self, values: &[i256], out: &mut PageBuilder) -> Result<()> {
        self.encode(values, out)
    }

    pub(super) fn encode<W: Wide>(&mut self, values: &[W], out: &mut PageBuilder) -> Result<()> {
        if self.ptype != W::PTYPE || values.len() > PAGE_VALUES_MAX {
            return Err(FormatError::invalid(
                "writing wide integers",
                format!("{} values of {:?} to a page of {:?}", values.len(), W::PTYPE, self.ptype),
            ));
        }
        if self.options.profile == Profile::Plain {
            write(EncodingKind::Plain, values, values.len(), out);
            return Ok(());
        }
        if values.first().is_none_or(|first| values.iter().all(|v| v == first)) {
            write(EncodingKind::Constant, &values[..values.len().min(1)], values.len(), out);
            return Ok(());
        }
        let mark = out.mark();
        let before = out.data_len();
        let words = words_needed(values);
        self.write_words(values, words, out)?;
        let mut size = out.data_len() - before;
        // Values of one word are integers, which look for a dictionary themselves.
        if words > 1
            && let Some((codes, distinct)) = dictionary(values)
            && dictionary_size::<W>(codes.len(), distinct.len()) < size
        {
            out.rewind(mark);
            self.write_dictionary(&codes, &distinct, out)?;
            size = out.data_len() - before;
        }
        if size * 100 > values.len() * W::BYTES * PLAIN_PERCENT {
            out.rewind(mark);
            write(EncodingKind::Plain, values, values.len(), out);
        }
        Ok(())
    }

    fn write_words<W: Wide>(&self, values: &[W], words: usize, out: &mut PageBuilder) -> Result<()> {
        out.node(NodeSpec {
            children: words as u8,
            ..NodeSpec::new(EncodingKind::Narrow, W::PTYPE, values.len())
        });
        for word in 0..words {
            let ptype = if word + 1 == words { PhysType::I64 } else { PhysType::U64 };
            let column: Vec<u64> = values.iter().map(|v| v.words()[word]).collect();
            encode_ints(&column, ptype, CASCADE_DEPTH_MAX - 1, self.options, out)?;
        }
        Ok(())
    }

    fn write_dictionary<W: Wide>(&self, codes: &[u32], distinct: &[W], out: &mut PageBuilder) -> Result<()> {
        out.node(NodeSpec { children: 2, ..NodeSpec::new(EncodingKind::Dictionary, W::PTYPE, codes.len()) });
        encode_codes(codes, distinct.len(), CASCADE_DEPTH_MAX - 1, self.options, out)?;
        write(EncodingKind::Plain, distinct, distinct.len(), out);
        Ok(())
    }

    /// Ends a chunk. Wide integers share no dictionary, so there is never a page.
    ///
    /// # Errors
    /// None today.
    pub fn finish_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Writes a node of `len` values with `stored` as its only buffer.
fn write<W: Wide>(kind: EncodingKind, stored: &[W], len: usize, out: &mut PageBuilder) {
    let mut bytes = Vec::with_capacity(stored.len() * W::BYTES);
    for value in stored {
        value.write(&mut bytes);
    }
    out.node(NodeSpec::new(kind, W::PTYPE, len));
    out.buffer(&bytes);
}

/// Words that hold every value with its sign.
fn words_needed<W: Wide>(values: &[W]) -> usize {
    // A bit that differs from the sign above it must be kept, and one sign bit more.
    let differing = values.iter().fold([0u64; WORDS_MAX], |mut bits, v| {
        let words = v.words();
        let sign = (words[WORDS_MAX - 1] as i64 >> 63) as u64;
        for (b, w) in bits.iter_mut().zip(words) {
            *b |= w ^ sign;
        }
        bits
    });
    let top = differing.iter().rposition(|b| *b != 0).unwrap_or(0);
    let words = if differing[top] >> 63 == 0 { top + 1 } else { top + 2 };
    words.min(W::BYTES / 8)
}

/// The code of each value and the distinct values, ascending, unless they are too many.
fn dictionary<W: Wide>(values: &[W]) -> Option<(Vec<u32>, Vec<W>)> {
    let stride = (values.len() / SAMPLE).max(1);
    let mut sample: Vec<W> = values.iter().step_by(stride).copied().collect();
    let sampled = sample.len();
    sample.sort_unstable();
    sample.dedup();
    if sample.len() * 4 > sampled * 3 {
        return None;
    }
    let mut first_codes = HashMap::new();
    let mut distinct: Vec<W> = Vec::new();
    let mut codes = Vec::with_capacity(values.len());
    for v in values {
        let code = *first_codes.entry(*v).or_insert_with(|| {
            distinct.push(*v);
            (distinct.len() - 1) as u32
        });
        if distinct.len() > DISTINCT_MAX {
            return None;
        }
        codes.push(code);
    }
    let mut order: Vec<u32> = (0..distinct.len() as u32).collect();
    order.sort_unstable_by_key(|i| distinct[*i as usize]);
    let mut rank = vec![0u32; distinct.len()];
    for (r, i) in order.iter().enumerate() {
        rank[*i as usize] = r as u32;
    }
    for code in &mut codes {
        *code = rank[*code as usize];
    }
    distinct.sort_unstable();
    Some((codes, distinct))
}

fn dictionary_size<W: Wide>(len: usize, distinct: usize) -> usize {
    len * distinct.next_power_of_two().trailing_zeros() as usize / 8 + distinct * W::BYTES
}
