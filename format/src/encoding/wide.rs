//! Integers of 128 and 256 bits: decimals of more than 18 digits.
//!
//! | kind | buffers | parameters |
//! |---|---|---|
//! | plain | the values, little-endian | |
//! | constant | one value, or none when the node is empty | |

use std::fmt::Debug;

use arrow_buffer::{Buffer, i256};
use bytemuck::cast_slice;

use super::bounds::{check_mask, check_range, check_rows, fill_words, mask_of};
use super::{DecodeContext, EncodeOptions, Profile};
use crate::error::{FormatError, Result};
use crate::limits::PAGE_VALUES_MAX;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::PhysType;
use crate::predicate::leaf::IntPred;

/// `i128` or [`i256`], as bytes.
trait Wide: Copy + Eq + Debug {
    const PTYPE: PhysType;
    const BYTES: usize;
    /// The value of `BYTES` little-endian bytes.
    fn read(bytes: &[u8]) -> Self;
    fn write(self, out: &mut Vec<u8>);
}

impl Wide for i128 {
    const PTYPE: PhysType = PhysType::I128;
    const BYTES: usize = 16;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(0, |b| Self::from_le_bytes(*b))
    }
    #[inline(always)]
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl Wide for i256 {
    const PTYPE: PhysType = PhysType::I256;
    const BYTES: usize = 32;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(Self::ZERO, |b| Self::from_le_bytes(*b))
    }
    #[inline(always)]
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

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

    fn encode<W: Wide>(&mut self, values: &[W], out: &mut PageBuilder) -> Result<()> {
        if self.ptype != W::PTYPE || values.len() > PAGE_VALUES_MAX {
            return Err(FormatError::invalid(
                "writing wide integers",
                format!("{} values of {:?} to a page of {:?}", values.len(), W::PTYPE, self.ptype),
            ));
        }
        let constant = values.first().is_none_or(|first| values.iter().all(|v| v == first));
        let (kind, stored) = if constant && self.options.profile != Profile::Plain {
            (EncodingKind::Constant, &values[..values.len().min(1)])
        } else {
            (EncodingKind::Plain, values)
        };
        let mut bytes = Vec::with_capacity(stored.len() * W::BYTES);
        for value in stored {
            value.write(&mut bytes);
        }
        out.node(NodeSpec::new(kind, W::PTYPE, values.len()));
        out.buffer(&bytes);
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

/// A node of wide integers, checked.
#[derive(Debug)]
pub struct WideDecoder<'a> {
    node: NodeView<'a>,
    form: Form<'a>,
}

#[derive(Debug)]
enum Form<'a> {
    /// Exactly the node's values, as bytes.
    Plain(&'a [u8]),
    /// The value's bytes; empty when the node is.
    Constant(&'a [u8]),
}

impl<'a> WideDecoder<'a> {
    /// Opens a node of [`PhysType::I128`] or [`PhysType::I256`].
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not one of wide integers or contradicts itself.
    pub fn open(node: NodeView<'a>, _cx: DecodeContext<'a>) -> Result<Self> {
        let width = match node.ptype() {
            PhysType::I128 => 16,
            PhysType::I256 => 32,
            other => return Err(node.corrupt(format!("wide integers expected, found {other:?}"))),
        };
        let exactly = |n: usize| {
            let bytes = node.bytes(0)?;
            if bytes.len() == n * width {
                return Ok(bytes);
            }
            Err(node.corrupt(format!("{} bytes for {n} values of {width}", bytes.len())))
        };
        let form = match node.kind() {
            EncodingKind::Plain => Form::Plain(exactly(node.len())?),
            EncodingKind::Constant => Form::Constant(exactly(node.len().min(1))?),
            other => return Err(node.corrupt(format!("wide integers are never {}", other.name()))),
        };
        Ok(Self { node, form })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }

    /// Decodes rows `start..start + out.len()` of a node of [`PhysType::I128`].
    ///
    /// # Errors
    /// When the node has another type, or the range lies outside it.
    pub fn decode_i128(&self, start: usize, out: &mut [i128]) -> Result<()> {
        self.decode(start, out)
    }

    /// Decodes rows `start..start + out.len()` of a node of [`PhysType::I256`].
    ///
    /// # Errors
    /// When the node has another type, or the range lies outside it.
    pub fn decode_i256(&self, start: usize, out: &mut [i256]) -> Result<()> {
        self.decode(start, out)
    }

    /// Decodes single rows, ascending, of a node of [`PhysType::I128`].
    ///
    /// # Errors
    /// When the node has another type, a row lies outside it, or `out` is not of the rows' number.
    pub fn take_i128(&self, rows: &[u32], out: &mut [i128]) -> Result<()> {
        self.take(rows, out)
    }

    /// Decodes single rows, ascending, of a node of [`PhysType::I256`].
    ///
    /// # Errors
    /// When the node has another type, a row lies outside it, or `out` is not of the rows' number.
    pub fn take_i256(&self, rows: &[u32], out: &mut [i256]) -> Result<()> {
        self.take(rows, out)
    }

    fn check_type<W: Wide>(&self) -> Result<()> {
        if self.node.ptype() == W::PTYPE {
            return Ok(());
        }
        Err(FormatError::invalid(
            "reading wide integers",
            format!("a page of {:?} read as {:?}", self.node.ptype(), W::PTYPE),
        ))
    }

    fn decode<W: Wide>(&self, start: usize, out: &mut [W]) -> Result<()> {
        self.check_type::<W>()?;
        check_range(self.len(), start, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                let values = bytes[start * W::BYTES..].chunks_exact(W::BYTES);
                out.iter_mut().zip(values).for_each(|(o, b)| *o = W::read(b));
            }
            Form::Constant(bytes) => out.fill(W::read(bytes)),
        }
        Ok(())
    }

    fn take<W: Wide>(&self, rows: &[u32], out: &mut [W]) -> Result<()> {
        self.check_type::<W>()?;
        check_rows(self.len(), rows, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                out.iter_mut().zip(rows).for_each(|(o, &r)| *o = W::read(&bytes[r as usize * W::BYTES..]));
            }
            Form::Constant(bytes) => out.fill(W::read(bytes)),
        }
        Ok(())
    }

    /// Tests rows `start..start + len` of a node of [`PhysType::I128`] into whole mask words; bits past `len` are zero.
    ///
    /// # Errors
    /// When the node has another type, the range lies outside it, or `out` is too short.
    pub fn filter(&self, pred: &IntPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        self.check_type::<i128>()?;
        check_mask(self.len(), start, len, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                test_values(&cast_slice::<u8, i128>(bytes)[start..start + len], pred, out);
            }
            Form::Constant(bytes) => fill_words(out, len, pred.matches(i128::read(bytes))),
        }
        Ok(())
    }

    /// The page's own bytes, where the values lie in it as they are.
    pub fn plain_buffer(&self) -> Option<Buffer> {
        match self.form {
            Form::Plain(_) => self.node.arrow(0).ok(),
            Form::Constant(_) => None,
        }
    }
}

fn test_values(values: &[i128], pred: &IntPred, out: &mut [u64]) {
    match pred {
        IntPred::Range { lo, hi, negated } => {
            mask_of(values, out, |v| (i128::from_le(v) >= *lo && i128::from_le(v) <= *hi) != *negated);
        }
        IntPred::Set { .. } => mask_of(values, out, |v| pred.matches(i128::from_le(v))),
    }
}

#[cfg(test)]
mod tests {
    use deltalite_alloc::BufferPool;
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::fuzz::{aligned, any_tree, damaged};
    use crate::page::PageView;

    fn cx() -> DecodeContext<'static> {
        DecodeContext { dictionary: None, pool: BufferPool::global(), utf8: false }
    }

    fn page<W: Wide>(values: &[W], profile: Profile) -> Buffer {
        let mut out = PageBuilder::new();
        WideEncoder::new(W::PTYPE, EncodeOptions { profile }).encode(values, &mut out).unwrap();
        aligned(&out.finish(values.len()).unwrap())
    }

    fn check_page<W: Wide + Default>(values: &[W], page: &Buffer) -> EncodingKind {
        let n = values.len();
        let view = PageView::parse(page).unwrap();
        let decoder = WideDecoder::open(view.root(), cx()).unwrap();
        for (start, len) in [(0, n), (n / 3, n / 2), (1030.min(n), n - n.min(1030)), (n, 0)] {
            let mut part = vec![W::default(); len];
            decoder.decode(start, &mut part).unwrap();
            assert_eq!(part, values[start..start + len]);
        }
        for step in [1, 3, 500, 1024] {
            let rows: Vec<u32> = (n as u32 / 5..n as u32).step_by(step).collect();
            let mut some = vec![W::default(); rows.len()];
            decoder.take(&rows, &mut some).unwrap();
            assert!(rows.iter().zip(&some).all(|(&r, v)| values[r as usize] == *v));
        }
        assert!(decoder.decode(1, &mut vec![W::default(); n]).is_err());
        assert!(decoder.take(&[n as u32], &mut [W::default()]).is_err());
        view.root().kind()
    }

    fn check_filter(values: &[i128], page: &Buffer) {
        let view = PageView::parse(page).unwrap();
        let decoder = WideDecoder::open(view.root(), cx()).unwrap();
        let mut set: Vec<i128> = values.iter().take(5).copied().collect();
        set.sort_unstable();
        set.dedup();
        let (lo, hi) = (*set.first().unwrap_or(&0), *set.last().unwrap_or(&3));
        let preds = [
            IntPred::Range { lo, hi, negated: false },
            IntPred::Range { lo: i128::MIN, hi: lo / 2 + hi / 2, negated: true },
            IntPred::Range { lo: 1, hi: 0, negated: true },
            IntPred::Set { values: set.clone(), negated: false },
            IntPred::Set { values: set, negated: true },
        ];
        for pred in &preds {
            for start in (0..=values.len()).step_by(1024) {
                let len = values.len() - start;
                let mut mask = vec![u64::MAX; len.div_ceil(64)];
                decoder.filter(pred, start, &mut mask, len).unwrap();
                for i in 0..mask.len() * 64 {
                    let expected = i < len && pred.matches(values[start + i]);
                    assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, expected);
                }
            }
        }
    }

    fn check128(values: &[i128]) -> EncodingKind {
        let plain = page(values, Profile::Plain);
        assert_eq!(check_page(values, &plain), EncodingKind::Plain);
        check_filter(values, &plain);
        for profile in [Profile::Compact, Profile::Default] {
            check_filter(values, &page(values, profile));
            check_page(values, &page(values, profile));
        }
        let wide: Vec<i256> = values.iter().map(|&v| i256::from_i128(v)).collect();
        assert_eq!(check_page(&wide, &page(&wide, Profile::Plain)), EncodingKind::Plain);
        check_page(&wide, &page(&wide, Profile::Compact));
        check_page(&wide, &page(&wide, Profile::Default))
    }

    #[test]
    fn constants_take_one_value() {
        assert_eq!(check128(&vec![i128::MIN; 5000]), EncodingKind::Constant);
        assert_eq!(check128(&[]), EncodingKind::Constant);
        check128(&[i128::MIN, i128::MAX, 0, -1, 1]);
    }

    fn values() -> impl Strategy<Value = Vec<i128>> {
        (0u32..128, 0usize..2500, any::<i128>(), 1usize..200, any::<u64>()).prop_map(
            |(shift, n, base, distinct, seed)| {
                let mut state = u128::from(seed) | 1;
                let pool: Vec<i128> = (0..n)
                    .map(|_| {
                        state =
                            state.wrapping_mul(0xDA94_2042_E4DD_58B5_1234_5678_9ABC_DEF1).wrapping_add(77);
                        ((state.rotate_left(31) >> shift) as i128).wrapping_add(base >> shift)
                    })
                    .collect();
                if shift % 2 == 0 { pool } else { (0..n).map(|i| pool[i * i % distinct.min(n)]).collect() }
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(values in values()) {
            check128(&values);
        }

        #[test]
        fn round_trip_256(values in values(), shift in 0u8..128) {
            let wide: Vec<i256> =
                values.iter().map(|&v| (i256::from_i128(v) << shift).wrapping_add(i256::from_i128(v))).collect();
            for profile in [Profile::Plain, Profile::Compact, Profile::Default] {
                check_page(&wide, &page(&wide, profile));
            }
        }

        #[test]
        fn hostile_pages_never_panic(
            tree in any_tree(&[PhysType::I128, PhysType::I256]),
            values in values(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            for page in [tree, damaged(&page(&values, Profile::Default), &damage)] {
                let Ok(view) = PageView::parse(&page) else { continue };
                let Ok(decoder) = WideDecoder::open(view.root(), cx()) else { continue };
                let n = decoder.len();
                let rows: Vec<u32> = (0..n as u32).step_by(7).collect();
                let _ = decoder.decode_i128(n / 3, &mut vec![0; n - n / 3]);
                let _ = decoder.decode_i256(n / 3, &mut vec![i256::ZERO; n - n / 3]);
                let _ = decoder.take_i128(&rows, &mut vec![0; rows.len()]);
                let _ = decoder.take_i256(&rows, &mut vec![i256::ZERO; rows.len()]);
                let pred = IntPred::Range { lo: -5, hi: 1 << 40, negated: false };
                let _ = decoder.filter(&pred, 0, &mut vec![0; n.div_ceil(64)], n);
            }
        }
    }
}
