//! Few distinct values, and which of them each row has.
//!
//! ```text
//! flags    bit 0: the values are shared by the chunk's pages
//! child 0  codes, unsigned of at most 32 bits, as many as values
//! child 1  the distinct values, ascending                        (flag 1 clear)
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

use super::decode::IntDecoder;
use super::encode::encode_ints;
use super::scratch::Scratch;
use super::test::IntTest;
use super::{OutInt, bits_of, canonical, extend};
use crate::encoding::dictionary::{ChunkDictionary, FLAG_SHARED, encode_codes};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::{FormatError, Result};
use crate::kernels::Level;
use crate::kernels::compress::Selected;
use crate::kernels::gather::gather;
use crate::limits::{PAGE_VALUES_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};

/// A dictionary node.
#[derive(Debug)]
pub(super) struct Dictionary<'a> {
    node: NodeView<'a>,
    bits: u32,
    signed: bool,
    codes: Box<IntDecoder<'a>>,
    values: Values<'a>,
    /// The values, canonical; decoded when first asked for.
    table: OnceLock<Vec<u64>>,
}

#[derive(Debug)]
enum Values<'a> {
    Shared(&'a [u64]),
    Here(Box<IntDecoder<'a>>),
}

impl<'a> Dictionary<'a> {
    /// Asks for the memory of a row's code.
    pub(super) fn prefetch(&self, row: usize) {
        self.codes.prefetch(row);
    }

    pub(super) fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let codes = IntDecoder::open(node.child(0)?, cx)?;
        if codes.len() != node.len() || codes.ptype().is_signed_int() || codes.ptype() == PhysType::U64 {
            return Err(node.corrupt(format!(
                "{} codes of {:?} for {} values",
                codes.len(),
                codes.ptype(),
                node.len()
            )));
        }
        let values = if node.flags() & FLAG_SHARED == 0 {
            let values = IntDecoder::open(node.child(1)?, cx)?;
            if values.ptype() != node.ptype() {
                return Err(node.corrupt(format!("values of {:?}", values.ptype())));
            }
            Values::Here(Box::new(values))
        } else {
            match cx.dictionary {
                Some(ChunkDictionary::Ints(values)) => Values::Shared(values),
                _ => return Err(node.corrupt("the chunk has no dictionary of integers".to_owned())),
            }
        };
        Ok(Self {
            node,
            bits: bits_of(node.ptype()),
            signed: node.ptype().is_signed_int(),
            codes: Box::new(codes),
            values,
            table: OnceLock::new(),
        })
    }

    #[cold]
    fn bad_code(&self) -> FormatError {
        self.node.corrupt("a code lies outside the dictionary".to_owned())
    }

    fn table(&self, scratch: &mut Scratch) -> Result<&[u64]> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let table = match &self.values {
            // As stored lanes are canonical unless a sign has to be extended.
            Values::Shared(values) if !self.signed || self.bits == 64 => return Ok(values),
            Values::Shared(values) => values.iter().map(|v| extend(*v, self.bits, true)).collect(),
            Values::Here(values) => {
                let mut table = vec![0; values.len()];
                values.decode_range(0, &mut table, scratch)?;
                table
            }
        };
        Ok(self.table.get_or_init(|| table))
    }

    /// Decodes rows from `start` on. The rows exist.
    pub(super) fn decode_range<O: OutInt>(
        &self,
        start: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let table = self.table(scratch)?;
        match self.codes.ptype() {
            PhysType::U8 => self.gather::<u8, O>(table, start, out, scratch),
            PhysType::U16 => self.gather::<u16, O>(table, start, out, scratch),
            _ => self.gather::<u32, O>(table, start, out, scratch),
        }
    }

    fn gather<C: Lane + OutInt, O: OutInt>(
        &self,
        table: &[u64],
        start: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let level = Level::current();
        let mut codes = scratch.take();
        let lanes: &mut [C] = &mut bytemuck::cast_slice_mut(&mut codes[..])[..VECTOR_ROWS];
        let mut row = start;
        let mut rest = out;
        let mut done = Ok(());
        while !rest.is_empty() && done.is_ok() {
            let n = (VECTOR_ROWS - row % VECTOR_ROWS).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            done = self.codes.decode_range(row, &mut lanes[..n], scratch);
            if done.is_ok() && !gather(level, &lanes[..n], table, self.signed, now) {
                done = Err(self.bad_code());
            }
            row += n;
            rest = later;
        }
        scratch.give(codes);
        done
    }

    /// The codes.
    pub(super) fn codes(&self) -> &IntDecoder<'a> {
        &self.codes
    }

    /// Decodes the rows of vector `v` that are selected, as many as `out` has.
    pub(super) fn decode_vector_selected<O: OutInt>(
        &self,
        v: usize,
        selected: &Selected,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let table = self.table(scratch)?;
        match self.codes.ptype() {
            PhysType::U8 => self.gather_selected::<u8, O>(table, v, selected, out, scratch),
            PhysType::U16 => self.gather_selected::<u16, O>(table, v, selected, out, scratch),
            _ => self.gather_selected::<u32, O>(table, v, selected, out, scratch),
        }
    }

    fn gather_selected<C: Lane + OutInt, O: OutInt>(
        &self,
        table: &[u64],
        v: usize,
        selected: &Selected,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut codes = scratch.take();
        let lanes: &mut [C] = &mut bytemuck::cast_slice_mut(&mut codes[..])[..out.len()];
        let mut done = self.codes.decode_vector_selected(v, selected, lanes, scratch);
        if done.is_ok() && !gather(Level::current(), lanes, table, self.signed, out) {
            done = Err(self.bad_code());
        }
        scratch.give(codes);
        done
    }

    /// Takes canonical values. The rows exist.
    pub(super) fn take(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
        self.codes.take_canonical(rows, out, scratch)?;
        if let (Values::Here(values), None) = (&self.values, self.table.get())
            && values.len() > rows.len() * 2
        {
            // Fewer rows than values: take those too.
            let codes: Vec<u32> = out.iter().map(|c| *c as u32).collect();
            if codes.iter().any(|c| *c as usize >= values.len()) {
                return Err(self.bad_code());
            }
            return values.take_canonical(&codes, out, scratch);
        }
        let (bits, signed) = (self.bits, self.signed);
        let table = match &self.values {
            Values::Shared(values) => values,
            Values::Here(_) => self.table(scratch)?,
        };
        for o in out {
            *o = extend(*table.get(*o as usize).ok_or_else(|| self.bad_code())?, bits, signed);
        }
        Ok(())
    }

    /// Writes the bits of `test` for rows from `start` on, whole words.
    pub(super) fn filter(
        &self,
        test: &IntTest,
        start: usize,
        out: &mut [u64],
        len: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        // Once for each distinct value, then only codes count.
        let hits: Vec<bool> = self.table(scratch)?.iter().map(|v| test.matches(*v)).collect();
        let runs: Vec<&[bool]> = hits.chunk_by(|a, b| a == b).collect();
        if runs.len() <= 3 {
            let mut at = 0;
            let mut ranges = Vec::new();
            for run in runs {
                if run[0] {
                    ranges.push((at, run.len() as u64 - 1));
                }
                at += run.len() as u64;
            }
            return self.codes.filter_test(&IntTest::of_ranges(ranges), start, out, len);
        }
        let mut codes = scratch.take();
        let mut done = Ok(());
        for (i, out) in out.chunks_mut(VECTOR_ROWS / 64).enumerate() {
            let from = i * VECTOR_ROWS;
            let codes = &mut codes[..(len - from).min(VECTOR_ROWS)];
            done = self.codes.decode_range(start + from, codes, scratch);
            if done.is_err() {
                break;
            }
            for (word, codes) in out.iter_mut().zip(codes.chunks(64)) {
                *word = codes.iter().enumerate().fold(0, |word, (i, code)| {
                    word | u64::from(hits.get(*code as usize).copied().unwrap_or(false)) << i
                });
            }
        }
        scratch.give(codes);
        done
    }
}

/// Hashes integers by one multiplication.
#[derive(Debug, Default)]
pub(super) struct MultiplyHasher(u64);

impl Hasher for MultiplyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u64(&mut self, v: u64) {
        // The high half of the product mixes all bits; the table uses the low ones and the top seven.
        let product = u128::from(self.0 ^ v) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

type Codes = HashMap<u64, u32, BuildHasherDefault<MultiplyHasher>>;

/// Distinct values, numbered as they appear.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    codes: Codes,
    values: Vec<u64>,
}

impl Distinct {
    /// Appends the codes of canonical values, unless there would be more than `most` distinct ones; whether it did.
    fn number<T: Lane>(&mut self, values: &[T], signed: bool, most: usize, out: &mut Vec<u32>) -> bool {
        let mut last = None;
        for v in values {
            if let Some((value, code)) = last
                && value == *v
            {
                out.push(code);
                continue;
            }
            let canonical = canonical(*v, signed);
            let next = self.values.len() as u32;
            let code = *self.codes.entry(canonical).or_insert(next);
            if code == next {
                if self.values.len() == most {
                    self.codes.remove(&canonical);
                    return false;
                }
                self.values.push(canonical);
            }
            out.push(code);
            last = Some((*v, code));
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The values in order of appearance, canonical; forgets them.
    pub(super) fn drain(&mut self) -> Vec<u64> {
        self.codes.clear();
        std::mem::take(&mut self.values)
    }
}

/// Distinct values of a page's dictionary, at most, as a part of its values.
const DISTINCT_PART: usize = 3;

/// Writes values with a dictionary in the page, unless too many are distinct; whether it did.
pub(super) fn encode<T: Lane>(
    values: &[T],
    ptype: PhysType,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<bool> {
    let signed = ptype.is_signed_int();
    let mut distinct = Distinct::default();
    let mut codes = Vec::with_capacity(values.len());
    if !distinct.number(values, signed, values.len() / DISTINCT_PART, &mut codes) {
        return Ok(false);
    }
    // Ascending, so that a range of values is a range of codes.
    let flip = if signed { 1u64 << 63 } else { 0 };
    let mut order: Vec<u32> = (0..distinct.values.len() as u32).collect();
    order.sort_unstable_by_key(|i| distinct.values[*i as usize] ^ flip);
    let mut rank = vec![0u32; order.len()];
    for (new, old) in (0u32..).zip(&order) {
        rank[*old as usize] = new;
    }
    for code in &mut codes {
        *code = rank[*code as usize];
    }
    let sorted: Vec<T> = order.iter().map(|i| T::from_u64(distinct.values[*i as usize])).collect();
    out.node(NodeSpec { children: 2, ..NodeSpec::new(EncodingKind::Dictionary, ptype, values.len()) });
    encode_codes(&codes, sorted.len(), depth.saturating_sub(1), options, out)?;
    encode_ints(&sorted, ptype, depth.saturating_sub(1), options, out)?;
    Ok(true)
}

/// Writes values with the chunk's dictionary, unless it would grow beyond a page; whether it did.
pub(super) fn encode_shared<T: Lane>(
    values: &[T],
    ptype: PhysType,
    distinct: &mut Distinct,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<bool> {
    let mut codes = Vec::with_capacity(values.len());
    if !distinct.number(values, ptype.is_signed_int(), PAGE_VALUES_MAX, &mut codes) {
        return Ok(false);
    }
    out.node(NodeSpec {
        children: 1,
        flags: FLAG_SHARED,
        ..NodeSpec::new(EncodingKind::Dictionary, ptype, values.len())
    });
    encode_codes(&codes, PAGE_VALUES_MAX, 1, options, out)?;
    Ok(true)
}
