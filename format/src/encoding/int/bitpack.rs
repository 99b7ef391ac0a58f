//! Frame of reference and FastLanes bit-packing: `value = reference + offset * factor`.
//!
//! ```text
//! width    bits of an offset, when all vectors share it        (flag 1 clear)
//! p0       reference (canonical bits), when all vectors share it
//! p1       factor, 1 ..= 2^32 - 1; 0 means 1
//! flags    bit 0      every vector has its own record
//!          bit 1      some vectors have patches
//!          bits 2–3   lanes of patches: 8 << n bits
//! buffer 0 packed vectors, 128 * width bytes each, the last filled up with zeros
//! buffer 1 (flag 1)   a VectorRecord a vector
//! buffer 2 (flag 2)   u16 positions of patches in their vectors, ascending within a vector
//! buffer 3 (flag 2)   the offsets at these positions, as lanes
//! ```
//!
//! A page without outliers has none of the records, and so no cost a vector but the unpacking. With records, one row still
//! touches one vector: its record says where its words and its patches are.

use bytemuck::{Pod, Zeroable};

use super::scratch::Scratch;
use super::test::{IntTest, fill, invert, or_ranges};
use super::{OutInt, bit_width, bits_of, canonical};
use crate::error::Result;
use crate::kernels::bitpack::{lane_bits, pack, packed_words, unpack, unpack_one, word_of};
use crate::kernels::compress::{Selected, compress};
use crate::kernels::gather::pick;
use crate::kernels::prefetch::prefetch_at;
use crate::kernels::widen::{ExactDivisor, divide_exact, narrow, widen, widen_scaled};
use crate::kernels::{Level, compare, extent};
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};

/// Rows of one vector, for each byte of its lanes, from which unpacking all of it is cheaper than unpacking them one by one.
const TAKE_UNPACKED: usize = 4;

const FLAG_RECORDS: u8 = 1;
const FLAG_PATCHES: u8 = 2;
const FLAGS_MAX: u8 = 0b1111;

/// Words of one vector and one bit of width.
const WORDS_PER_BIT: usize = packed_words(1);

/// Where a vector lies and how it is packed.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct VectorRecord {
    /// Reference, canonical bits.
    reference: u64,
    /// Index of the vector's first patch; the next vector's first ends them.
    patches: u32,
    /// Start of the packed words, in units of 128 bytes.
    at: u16,
    /// Bits of an offset.
    width: u8,
    /// Zero.
    reserved: u8,
}

/// Offsets of patches, in lanes as narrow as they allow.
#[derive(Debug, Clone, Copy)]
enum PatchLanes<'a> {
    B8(&'a [u8]),
    B16(&'a [u16]),
    B32(&'a [u32]),
    B64(&'a [u64]),
}

impl PatchLanes<'_> {
    fn len(&self) -> usize {
        match self {
            Self::B8(v) => v.len(),
            Self::B16(v) => v.len(),
            Self::B32(v) => v.len(),
            Self::B64(v) => v.len(),
        }
    }

    #[inline(always)]
    fn get(&self, i: usize) -> u64 {
        match self {
            Self::B8(v) => u64::from(v[i]),
            Self::B16(v) => u64::from(v[i]),
            Self::B32(v) => u64::from(v[i]),
            Self::B64(v) => v[i],
        }
    }
}

#[derive(Debug)]
struct Records<'a> {
    each: &'a [VectorRecord],
    positions: &'a [u16],
    patches: PatchLanes<'a>,
}

/// A bit-packed node.
#[derive(Debug)]
pub(super) struct BitPack<'a> {
    node: NodeView<'a>,
    signed: bool,
    bits: u32,
    factor: u32,
    width: usize,
    reference: u64,
    packed: &'a [u64],
    records: Option<Records<'a>>,
}

/// One vector of a node, checked.
struct VectorView<'a> {
    reference: u64,
    width: usize,
    packed: &'a [u64],
    /// First patch and number of patches.
    patches: (usize, usize),
}

impl<'a> BitPack<'a> {
    pub(super) fn open(node: NodeView<'a>) -> Result<Self> {
        let bits = bits_of(node.ptype());
        let vectors = node.len().div_ceil(VECTOR_ROWS);
        let packed: &[u64] = node.typed(0)?;
        let factor = node.p1().max(1);
        let flags = node.flags();
        if factor > u64::from(u32::MAX) || flags > FLAGS_MAX {
            return Err(node.corrupt(format!("factor {factor} or flags {flags:#x} are out of range")));
        }
        let width = node.width() as usize;
        let records = if flags & FLAG_RECORDS == 0 {
            if width > bits as usize || packed.len() != vectors * packed_words(width) {
                return Err(node.corrupt(format!(
                    "{} packed words for {vectors} vectors of width {width}",
                    packed.len()
                )));
            }
            None
        } else {
            let records: &[VectorRecord] = node.typed(1)?;
            if records.len() != vectors {
                return Err(node.corrupt(format!("{} records for {vectors} vectors", records.len())));
            }
            let (positions, patches): (&[u16], _) = if flags & FLAG_PATCHES == 0 {
                (&[], PatchLanes::B8(&[]))
            } else {
                let lanes = match flags >> 2 & 3 {
                    0 => PatchLanes::B8(node.typed(3)?),
                    1 => PatchLanes::B16(node.typed(3)?),
                    2 => PatchLanes::B32(node.typed(3)?),
                    _ => PatchLanes::B64(node.typed(3)?),
                };
                (node.typed(2)?, lanes)
            };
            if positions.len() != patches.len() {
                return Err(node.corrupt(format!(
                    "{} positions of patches, {} values",
                    positions.len(),
                    patches.len()
                )));
            }
            Some(Records { each: records, positions, patches })
        };
        Ok(Self {
            node,
            signed: node.ptype().is_signed_int(),
            bits,
            factor: factor as u32,
            width,
            reference: node.p0(),
            packed,
            records,
        })
    }

    /// Where vector `v` lies. `v` is below the number of vectors.
    #[inline]
    fn view(&self, v: usize) -> Result<VectorView<'a>> {
        match &self.records {
            None => {
                let words = packed_words(self.width);
                Ok(VectorView {
                    reference: self.reference,
                    width: self.width,
                    packed: &self.packed[v * words..(v + 1) * words],
                    patches: (0, 0),
                })
            }
            Some(r) => {
                let record = r.each[v];
                let first = record.patches as usize;
                let end = r.each.get(v + 1).map_or(r.positions.len(), |n| n.patches as usize);
                let width = record.width as usize;
                let at = record.at as usize * WORDS_PER_BIT;
                let packed = self.packed.get(at..at + packed_words(width));
                match packed {
                    Some(packed)
                        if width <= self.bits as usize
                            && first <= end
                            && end <= r.positions.len()
                            && end - first <= VECTOR_ROWS =>
                    {
                        Ok(VectorView {
                            reference: record.reference,
                            width,
                            packed,
                            patches: (first, end - first),
                        })
                    }
                    _ => Err(self.node.corrupt(format!(
                        "vector {v} of width {width} at {at} with patches {first}..{end} is outside the page"
                    ))),
                }
            }
        }
    }

    /// The patches of a vector: position and offset.
    #[inline]
    fn patches(&self, view: &VectorView<'a>) -> impl Iterator<Item = (usize, u64)> + use<'_, 'a> {
        let (first, count) = view.patches;
        let (positions, lanes) = match &self.records {
            Some(r) if count > 0 => (&r.positions[first..first + count], r.patches),
            _ => (&[][..], PatchLanes::B8(&[])),
        };
        positions.iter().enumerate().map(move |(i, p)| (*p as usize, lanes.get(first + i)))
    }

    #[inline(always)]
    fn value(&self, reference: u64, offset: u64) -> u64 {
        reference.wrapping_add(offset.wrapping_mul(u64::from(self.factor)))
    }

    #[cold]
    fn bad_position(&self, v: usize, position: usize) -> crate::FormatError {
        self.node.corrupt(format!("a patch of vector {v} is at {position}, past its last value"))
    }

    /// Decodes all of vector `v` into `out`, which has the vector's length.
    pub(super) fn decode_vector<O: OutInt>(
        &self,
        v: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let level = Level::current();
        let view = self.view(v)?;
        match lane_bits(view.width) {
            _ if view.width == 0 => out.fill(O::from_canonical(view.reference, self.signed)),
            8 => self.unpack::<u8, O>(level, &view, out, scratch),
            16 => self.unpack::<u16, O>(level, &view, out, scratch),
            32 => self.unpack::<u32, O>(level, &view, out, scratch),
            _ => self.unpack::<u64, O>(level, &view, out, scratch),
        }
        for (position, offset) in self.patches(&view) {
            let value = O::from_canonical(self.value(view.reference, offset), self.signed);
            *out.get_mut(position).ok_or_else(|| self.bad_position(v, position))? = value;
        }
        Ok(())
    }

    #[inline]
    fn unpack<L: Lane, O: OutInt>(
        &self,
        level: Level,
        view: &VectorView<'a>,
        out: &mut [O],
        scratch: &mut Scratch,
    ) {
        let lanes = scratch.lanes::<L>();
        unpack(level, view.width, view.packed, lanes);
        if self.factor == 1 {
            widen(level, &lanes[..], view.reference, self.signed, out);
        } else {
            widen_scaled(level, &lanes[..], view.reference, self.factor, self.signed, out);
        }
    }

    /// Decodes the rows of vector `v` that are selected, as many as `out` has; false where patches make it easier to decode all of them.
    pub(super) fn decode_selected<O: OutInt>(
        &self,
        v: usize,
        selected: &Selected,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<bool> {
        let view = self.view(v)?;
        if view.patches.1 > 0 {
            return Ok(false);
        }
        match lane_bits(view.width) {
            _ if view.width == 0 => out.fill(O::from_canonical(view.reference, self.signed)),
            8 => self.unpack_selected::<u8, O>(&view, selected, out, scratch),
            16 => self.unpack_selected::<u16, O>(&view, selected, out, scratch),
            32 => self.unpack_selected::<u32, O>(&view, selected, out, scratch),
            _ => self.unpack_selected::<u64, O>(&view, selected, out, scratch),
        }
        Ok(true)
    }

    /// Unpacks the whole vector, moves what is selected together while it is narrow, and widens that.
    fn unpack_selected<L: Lane, O: OutInt>(
        &self,
        view: &VectorView<'a>,
        selected: &Selected,
        out: &mut [O],
        scratch: &mut Scratch,
    ) {
        let level = Level::current();
        let lanes = scratch.lanes::<L>();
        unpack(level, view.width, view.packed, lanes);
        compress(level, lanes, selected);
        if self.factor == 1 {
            widen(level, &lanes[..], view.reference, self.signed, out);
        } else {
            widen_scaled(level, &lanes[..], view.reference, self.factor, self.signed, out);
        }
    }

    /// Asks for the memory of a row's value.
    pub(super) fn prefetch(&self, row: usize) {
        if let Ok(view) = self.view(row / VECTOR_ROWS)
            && view.width > 0
        {
            prefetch_at(view.packed, word_of(view.width, row % VECTOR_ROWS));
        }
    }

    /// The canonical values at `rows` of the node, in any order.
    pub(super) fn take(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
        let level = Level::current();
        let mut out = out;
        for group in rows.chunk_by(|a, b| *a as usize / VECTOR_ROWS == *b as usize / VECTOR_ROWS) {
            let (now, later) = out.split_at_mut(group.len());
            out = later;
            let view = self.view(group[0] as usize / VECTOR_ROWS)?;
            let lane = lane_bits(view.width);
            if view.width == 0 {
                now.fill(view.reference);
            } else if group.len() < TAKE_UNPACKED * lane / 8 {
                for (row, out) in group.iter().zip(&mut *now) {
                    let offset = unpack_one(view.width, view.packed, *row as usize % VECTOR_ROWS);
                    *out = self.value(view.reference, offset);
                }
            } else {
                match lane {
                    8 => self.pick::<u8>(level, &view, group, now, scratch),
                    16 => self.pick::<u16>(level, &view, group, now, scratch),
                    32 => self.pick::<u32>(level, &view, group, now, scratch),
                    _ => self.pick::<u64>(level, &view, group, now, scratch),
                }
            }
            let (first, count) = view.patches;
            if let Some(records) = &self.records
                && count > 0
            {
                let positions = &records.positions[first..first + count];
                for (row, out) in group.iter().zip(now) {
                    if let Ok(i) = positions.binary_search(&((*row as usize % VECTOR_ROWS) as u16)) {
                        *out = self.value(view.reference, records.patches.get(first + i));
                    }
                }
            }
        }
        Ok(())
    }

    /// Unpacks the whole vector, but widens only the values at `rows`.
    fn pick<L: Lane>(
        &self,
        level: Level,
        view: &VectorView<'a>,
        rows: &[u32],
        out: &mut [u64],
        scratch: &mut Scratch,
    ) {
        let lanes = scratch.lanes::<L>();
        unpack(level, view.width, view.packed, lanes);
        pick(level, lanes, rows, view.reference, self.factor, out);
    }

    /// Writes the bits of `test` for the `rows` values of vector `v`.
    pub(super) fn filter_vector(
        &self,
        v: usize,
        rows: usize,
        test: &IntTest,
        out: &mut [u64],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let level = Level::current();
        let view = self.view(v)?;
        let offset_max = if view.width == 0 { 0 } else { u64::MAX >> (64 - view.width) };
        // Where the largest offset does not fit 64 bits once multiplied, products wrap and ranges of offsets mean nothing.
        let wraps = offset_max.checked_mul(u64::from(self.factor)).is_none();
        if wraps || test.is_large_set() {
            let mut values = scratch.take();
            let done = self.decode_vector(v, &mut values[..rows], scratch);
            if done.is_ok() {
                test.bits(level, &values[..rows], out);
            }
            scratch.give(values);
            return done;
        }
        let pieces = self.offset_ranges(test, view.reference, offset_max);
        match pieces.as_slice() {
            [] => fill(out, rows, false),
            [(0, to)] if *to == offset_max => fill(out, rows, true),
            pieces => match lane_bits(view.width) {
                8 => compare_lanes::<u8>(level, &view, pieces, rows, out, scratch),
                16 => compare_lanes::<u16>(level, &view, pieces, rows, out, scratch),
                32 => compare_lanes::<u32>(level, &view, pieces, rows, out, scratch),
                _ => compare_lanes::<u64>(level, &view, pieces, rows, out, scratch),
            },
        }
        if test.negated {
            invert(out, rows);
        }
        for (position, offset) in self.patches(&view) {
            if position >= rows {
                return Err(self.bad_position(v, position));
            }
            let bit = 1 << (position % 64);
            if test.matches(self.value(view.reference, offset)) {
                out[position / 64] |= bit;
            } else {
                out[position / 64] &= !bit;
            }
        }
        Ok(())
    }

    /// The offsets, as inclusive ranges in `0..=offset_max`, whose values lie in the test's ranges.
    fn offset_ranges(&self, test: &IntTest, reference: u64, offset_max: u64) -> Vec<(u64, u64)> {
        let factor = u64::from(self.factor);
        let product_max = offset_max * factor;
        let mut pieces = Vec::with_capacity(2);
        let mut push = |from: u64, to: u64| {
            let (from, to) = (from.div_ceil(factor), to.min(product_max) / factor);
            if from <= to {
                pieces.push((from, to));
            }
        };
        for &(from, span) in test.ranges() {
            // `reference + product` lies in the range when `product` lies in `from .. from + span`, modulo 2^64.
            let from = from.wrapping_sub(reference);
            if let Some(to) = from.checked_add(span) {
                push(from, to);
            } else {
                push(0, from.wrapping_add(span));
                push(from, u64::MAX);
            }
        }
        pieces
    }
}

fn compare_lanes<L: Lane>(
    level: Level,
    view: &VectorView<'_>,
    pieces: &[(u64, u64)],
    rows: usize,
    out: &mut [u64],
    scratch: &mut Scratch,
) {
    let lanes = scratch.lanes::<L>();
    unpack(level, view.width, view.packed, lanes);
    let lanes = &lanes[..rows];
    let ranges = pieces.iter().map(|(from, to)| (L::from_u64(*from), L::from_u64(to - from)));
    or_ranges(ranges, out, |from, span, out| compare::range_bits(level, lanes, from, span, out));
}

/// How a page of a stream is best packed; found on a sample, kept for the pages that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    /// A common divisor of all differences between values.
    pub(super) factor: u32,
    /// Whether outliers are worth looking for.
    pub(super) patches: bool,
}

impl Packing {
    pub(super) const SIMPLE: Self = Self { factor: 1, patches: false };
}

/// Bytes that each patch costs besides its lane.
const PATCH_POSITION_BYTES: usize = 2;

struct Planned {
    reference: u64,
    width: usize,
    largest: u64,
}

/// Packs a page. `min` and `max` are the extremes of `values`.
pub(super) fn encode<T: Lane>(
    values: &[T],
    ptype: PhysType,
    (min, max): (T, T),
    packing: Packing,
    out: &mut PageBuilder,
) {
    let level = Level::current();
    let signed = ptype.is_signed_int();
    let page_min = canonical(min, signed);
    let page_range = canonical(max, signed).wrapping_sub(page_min);

    // A factor holds for the page or not at all: quotients then take the values' place, unsigned, from zero.
    if packing.factor > 1 {
        let divisor = ExactDivisor::new(u64::from(packing.factor));
        let mut quotients = vec![T::from_u64(0); values.len()];
        if divide_exact(level, values, page_min, divisor, &mut quotients) {
            return encode_offsets(
                &Offsets { values: &quotients, base: page_min, factor: packing.factor, signed: false, ptype },
                0,
                page_range / u64::from(packing.factor),
                packing.patches,
                out,
            );
        }
    }
    encode_offsets(
        &Offsets { values, base: 0, factor: 1, signed, ptype },
        page_min,
        page_range,
        packing.patches,
        out,
    );
}

/// Values to pack: `base + values[i] * factor` in canonical bits.
struct Offsets<'v, T> {
    values: &'v [T],
    base: u64,
    factor: u32,
    signed: bool,
    ptype: PhysType,
}

fn encode_offsets<T: Lane>(
    input: &Offsets<'_, T>,
    page_min: u64,
    page_range: u64,
    patches: bool,
    out: &mut PageBuilder,
) {
    let level = Level::current();
    let vectors = input.values.len().div_ceil(VECTOR_ROWS);
    let page_width = bit_width(page_range);
    let uniform_bytes = vectors * packed_words(page_width) * 8;

    let mut plan: Vec<Planned> = Vec::with_capacity(vectors);
    let mut patch_bytes = 1;
    if vectors > 1 || patches {
        for vector in input.values.chunks(VECTOR_ROWS) {
            let (lo, hi) = extent::extent(level, vector, input.signed);
            let reference = canonical(lo, input.signed);
            let range = canonical(hi, input.signed).wrapping_sub(reference);
            plan.push(Planned { reference, width: bit_width(range), largest: range });
        }
        if patches {
            patch_bytes = choose_patches(input, &mut plan);
        }
    }
    let patched_bytes: usize = plan
        .iter()
        .zip(input.values.chunks(VECTOR_ROWS))
        .map(|(p, vector)| {
            let outliers =
                if bit_width(p.largest) > p.width { count_outliers(vector, p.reference, p.width) } else { 0 };
            packed_words(p.width) * 8
                + size_of::<VectorRecord>()
                + outliers * (PATCH_POSITION_BYTES + patch_bytes)
        })
        .sum();

    let spec = NodeSpec {
        p0: input.base.wrapping_add(page_min.wrapping_mul(u64::from(input.factor))),
        p1: u64::from(input.factor),
        width: page_width as u32,
        ..NodeSpec::new(EncodingKind::BitPack, input.ptype, input.values.len())
    };
    let mut packed = Vec::new();
    // Records must pay for themselves: a uniform page unpacks without looking at them.
    if plan.is_empty() || patched_bytes * 33 >= uniform_bytes * 32 {
        packed.reserve_exact(uniform_bytes / 8);
        for vector in input.values.chunks(VECTOR_ROWS) {
            pack_vector(level, vector, page_min, page_width, &mut packed);
        }
        out.node(spec);
        out.buffer(&packed);
        return;
    }

    let mut records = Vec::with_capacity(vectors);
    let (mut positions, mut offsets): (Vec<u16>, Vec<u64>) = (Vec::new(), Vec::new());
    for (p, vector) in plan.iter().zip(input.values.chunks(VECTOR_ROWS)) {
        records.push(VectorRecord {
            reference: input.base.wrapping_add(p.reference.wrapping_mul(u64::from(input.factor))),
            patches: positions.len() as u32,
            at: (packed.len() / WORDS_PER_BIT) as u16,
            width: p.width as u8,
            reserved: 0,
        });
        if bit_width(p.largest) > p.width {
            for (i, v) in vector.iter().enumerate() {
                let offset = T::from_u64(v.to_u64().wrapping_sub(p.reference)).to_u64();
                if bit_width(offset) > p.width {
                    positions.push(i as u16);
                    offsets.push(offset);
                }
            }
        }
        pack_vector(level, vector, p.reference, p.width, &mut packed);
    }
    let lane = patch_bytes.trailing_zeros() as u8;
    let patch_flags = if positions.is_empty() { 0 } else { FLAG_PATCHES | lane << 2 };
    out.node(NodeSpec { width: 0, p0: 0, flags: FLAG_RECORDS | patch_flags, ..spec });
    out.buffer(&packed);
    out.buffer(&records);
    if !positions.is_empty() {
        out.buffer(&positions);
        match lane {
            0 => out.buffer(&offsets.iter().map(|v| *v as u8).collect::<Vec<_>>()),
            1 => out.buffer(&offsets.iter().map(|v| *v as u16).collect::<Vec<_>>()),
            2 => out.buffer(&offsets.iter().map(|v| *v as u32).collect::<Vec<_>>()),
            _ => out.buffer(&offsets),
        }
    }
}

fn count_outliers<T: Lane>(vector: &[T], reference: u64, width: usize) -> usize {
    let limit = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
    vector.iter().filter(|v| T::from_u64(v.to_u64().wrapping_sub(reference)).to_u64() > limit).count()
}

/// Narrows each vector's width where outliers are cheaper as patches; the bytes of a patch's lane.
fn choose_patches<T: Lane>(input: &Offsets<'_, T>, plan: &mut [Planned]) -> usize {
    // Patches share one lane; the largest offset of the page bounds it.
    let largest = plan.iter().map(|p| p.largest).max().unwrap_or(0);
    let lane = match bit_width(largest) {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    };
    for (p, vector) in plan.iter_mut().zip(input.values.chunks(VECTOR_ROWS)) {
        let mut widths = [0u32; 65];
        for v in vector {
            widths[bit_width(T::from_u64(v.to_u64().wrapping_sub(p.reference)).to_u64())] += 1;
        }
        p.width = best_width(&widths, p.width, PATCH_POSITION_BYTES + lane).0;
    }
    lane
}

/// The width that makes a vector smallest, and its bytes, given how many offsets take how many bits.
pub(super) fn best_width(widths: &[u32; 65], widest: usize, patch_bytes: usize) -> (usize, usize) {
    let mut best = (widest, packed_words(widest) * 8);
    let mut outliers = 0;
    for width in (0..widest).rev() {
        outliers += widths[width + 1] as usize;
        // A patch is also slower than a packed value: it must save more than it takes.
        let bytes = packed_words(width) * 8 + outliers * patch_bytes;
        if bytes + outliers / 2 < best.1 {
            best = (width, bytes);
        }
    }
    best
}

fn pack_vector<T: Lane>(level: Level, vector: &[T], reference: u64, width: usize, packed: &mut Vec<u64>) {
    if width == 0 {
        return;
    }
    let at = packed.len();
    packed.resize(at + packed_words(width), 0);
    let words = &mut packed[at..];
    match lane_bits(width) {
        8 => pack_lanes::<T, u8>(level, vector, reference, width, words),
        16 => pack_lanes::<T, u16>(level, vector, reference, width, words),
        32 => pack_lanes::<T, u32>(level, vector, reference, width, words),
        _ => pack_lanes::<T, u64>(level, vector, reference, width, words),
    }
}

fn pack_lanes<T: Lane, L: Lane>(level: Level, vector: &[T], reference: u64, width: usize, words: &mut [u64]) {
    let mut lanes = [L::from_u64(0); VECTOR_ROWS];
    narrow(level, vector, reference, &mut lanes[..vector.len()]);
    pack(level, width, &lanes, words);
}
