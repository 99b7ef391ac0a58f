//! One frequent value, and the rows that have another.
//!
//! ```text
//! p0        the frequent value, canonical
//! buffer 0  u16: the other rows, ascending
//! child 0   their values
//! ```

use super::decode::IntDecoder;
use super::encode::encode_ints;
use super::scratch::Scratch;
use super::test::{IntTest, fill};
use super::{OutInt, bits_of, canonical, extend};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::Result;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};

/// A sparse node.
#[derive(Debug)]
pub(super) struct Sparse<'a> {
    common: u64,
    signed: bool,
    rows: &'a [u16],
    values: Box<IntDecoder<'a>>,
}

impl<'a> Sparse<'a> {
    pub(super) fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let rows: &[u16] = node.typed(0)?;
        let values = IntDecoder::open(node.child(0)?, cx)?;
        let ascend = rows.windows(2).all(|w| w[0] < w[1]);
        if !ascend || rows.last().is_some_and(|r| *r as usize >= node.len()) {
            return Err(node.corrupt("rows do not ascend inside the page".to_owned()));
        }
        if values.len() != rows.len() || values.ptype() != node.ptype() {
            return Err(node.corrupt(format!(
                "{} values of {:?} for {} rows",
                values.len(),
                values.ptype(),
                rows.len()
            )));
        }
        let signed = node.ptype().is_signed_int();
        Ok(Self {
            common: extend(node.p0(), bits_of(node.ptype()), signed),
            signed,
            rows,
            values: Box::new(values),
        })
    }

    /// The first of the other rows from `row` on.
    fn from(&self, row: usize) -> usize {
        self.rows.partition_point(|r| (*r as usize) < row)
    }

    /// Decodes rows from `start` on. The rows exist.
    pub(super) fn decode_range<O: OutInt>(
        &self,
        start: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        out.fill(O::from_canonical(self.common, self.signed));
        let (first, last) = (self.from(start), self.from(start + out.len()));
        if first < last {
            let mut values = vec![O::zeroed(); last - first];
            self.values.decode_range(first, &mut values, scratch)?;
            for (row, value) in self.rows[first..last].iter().zip(values) {
                out[*row as usize - start] = value;
            }
        }
        Ok(())
    }

    /// Takes canonical values. The rows exist.
    pub(super) fn take(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
        out.fill(self.common);
        let (mut found, mut slots) = (Vec::new(), Vec::new());
        for (slot, row) in rows.iter().enumerate() {
            if let Ok(i) = self.rows.binary_search(&(*row as u16)) {
                found.push(i as u32);
                slots.push(slot);
            }
        }
        let mut values = vec![0; found.len()];
        self.values.take_canonical(&found, &mut values, scratch)?;
        for (slot, value) in slots.into_iter().zip(values) {
            out[slot] = value;
        }
        Ok(())
    }

    /// Writes the bits of `test` for rows from `start` on, whole words.
    pub(super) fn filter(&self, test: &IntTest, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        let common = test.matches(self.common);
        fill(out, len, common);
        let (first, last) = (self.from(start), self.from(start + len));
        let mut hits = vec![0u64; self.rows.len().div_ceil(64)];
        self.values.filter_test(test, 0, &mut hits, self.rows.len())?;
        for i in first..last {
            if (hits[i / 64] >> (i % 64) & 1 != 0) != common {
                let row = self.rows[i] as usize - start;
                out[row / 64] ^= 1 << (row % 64);
            }
        }
        Ok(())
    }
}

/// The value that most values are, if one makes up more than half, found in a part of them.
fn majority<T: Lane>(values: &[T]) -> Option<T> {
    let step = (values.len() / 1024).max(1) | 1;
    let (mut leader, mut votes) = (*values.first()?, 0usize);
    for v in values.iter().step_by(step) {
        if *v == leader {
            votes += 1;
        } else if votes == 0 {
            (leader, votes) = (*v, 1);
        } else {
            votes -= 1;
        }
    }
    Some(leader)
}

/// Other values, at most, as a part of all.
const OTHERS_PART: usize = 4;

/// Writes values as sparse, unless too many differ from the frequent one; whether it did.
pub(super) fn encode<T: Lane>(
    values: &[T],
    ptype: PhysType,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<bool> {
    let Some(common) = majority(values) else { return Ok(false) };
    let others = values.iter().filter(|v| **v != common).count();
    if others * OTHERS_PART > values.len() {
        return Ok(false);
    }
    let rows: Vec<u16> = (0u32..).zip(values).filter(|(_, v)| **v != common).map(|(i, _)| i as u16).collect();
    let rest: Vec<T> = rows.iter().map(|r| values[*r as usize]).collect();
    out.node(NodeSpec {
        p0: canonical(common, ptype.is_signed_int()),
        children: 1,
        ..NodeSpec::new(EncodingKind::Sparse, ptype, values.len())
    });
    out.buffer(&rows);
    encode_ints(&rest, ptype, depth.saturating_sub(1), options, out)?;
    Ok(true)
}
