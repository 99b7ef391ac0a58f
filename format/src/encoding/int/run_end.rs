//! Runs of equal values.
//!
//! ```text
//! child 0  U32: one past the last row of each run, ascending; the last is the number of values
//! child 1  the runs' values
//! ```

use std::sync::OnceLock;

use super::OutInt;
use super::decode::IntDecoder;
use super::encode::encode_ints;
use super::scratch::Scratch;
use super::test::{IntTest, set_range};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::Result;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};

/// A run-end node.
#[derive(Debug)]
pub(super) struct RunEnd<'a> {
    node: NodeView<'a>,
    coded_ends: Box<IntDecoder<'a>>,
    /// Decoded and checked when first asked for.
    ends: OnceLock<Vec<u32>>,
    values: Box<IntDecoder<'a>>,
}

impl<'a> RunEnd<'a> {
    pub(super) fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let ends = IntDecoder::open(node.child(0)?, cx)?;
        let values = IntDecoder::open(node.child(1)?, cx)?;
        if ends.ptype() != PhysType::U32
            || values.ptype() != node.ptype()
            || ends.len() != values.len()
            || ends.len() > node.len()
        {
            return Err(node.corrupt(format!(
                "{} ends of {:?} and {} values of {:?} for {} values",
                ends.len(),
                ends.ptype(),
                values.len(),
                values.ptype(),
                node.len()
            )));
        }
        Ok(Self { node, coded_ends: Box::new(ends), ends: OnceLock::new(), values: Box::new(values) })
    }

    fn ends(&self, scratch: &mut Scratch) -> Result<&[u32]> {
        if let Some(ends) = self.ends.get() {
            return Ok(ends);
        }
        let mut ends = vec![0u32; self.coded_ends.len()];
        self.coded_ends.decode_range(0, &mut ends, scratch)?;
        let ascend = ends.first() != Some(&0) && ends.windows(2).all(|w| w[0] < w[1]);
        if !ascend || ends.last().map_or(0, |e| *e as usize) != self.node.len() {
            return Err(self.node.corrupt("run ends do not ascend to the number of values".to_owned()));
        }
        Ok(self.ends.get_or_init(|| ends))
    }

    /// Decodes rows from `start` on. The rows exist.
    pub(super) fn decode_range<O: OutInt>(
        &self,
        start: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let end = start + out.len();
        let ends = self.ends(scratch)?;
        let first = ends.partition_point(|e| *e as usize <= start);
        let last = ends.partition_point(|e| (*e as usize) < end);
        let mut values = vec![O::zeroed(); last + 1 - first];
        self.values.decode_range(first, &mut values, scratch)?;
        let mut at = 0;
        for (run_end, value) in ends[first..=last].iter().zip(&values) {
            let to = (*run_end as usize).min(end) - start;
            fill_run(out, at, to, *value);
            at = to;
        }
        Ok(())
    }

    /// Takes canonical values. The rows exist.
    pub(super) fn take(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
        let ends = self.ends(scratch)?;
        let mut run = 0;
        let runs: Vec<u32> = rows
            .iter()
            .map(|row| {
                // Rows mostly ascend: look a few runs ahead before searching.
                let near = (run..(run + 4).min(ends.len()))
                    .find(|r| ends[*r] > *row && (*r == 0 || ends[*r - 1] <= *row));
                run = near.unwrap_or_else(|| ends.partition_point(|e| e <= row));
                run as u32
            })
            .collect();
        self.values.take_canonical(&runs, out, scratch)
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
        let runs = self.values.len();
        let mut hits = vec![0u64; runs.div_ceil(64)];
        self.values.filter_test(test, 0, &mut hits, runs)?;
        let ends = self.ends(scratch)?;
        out.fill(0);
        let mut at = start;
        let mut run = ends.partition_point(|e| *e as usize <= start);
        while at < start + len {
            let to = (ends[run] as usize).min(start + len);
            if hits[run / 64] >> (run % 64) & 1 != 0 {
                set_range(out, at - start, to - start);
            }
            at = to;
            run += 1;
        }
        Ok(())
    }
}

#[inline(always)]
fn fill_run<O: OutInt>(out: &mut [O], from: usize, to: usize, value: O) {
    // Most runs are short: write four values at once where there is room, and overwrite what was too much.
    if to - from <= 4 && from + 4 <= out.len() {
        out[from..from + 4].fill(value);
    } else {
        out[from..to].fill(value);
    }
}

/// Writes values as runs. There is at least one.
pub(super) fn encode<T: Lane>(
    values: &[T],
    ptype: PhysType,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let mut ends: Vec<u32> =
        (1u32..).zip(values.windows(2)).filter(|(_, w)| w[0] != w[1]).map(|(i, _)| i).collect();
    ends.push(values.len() as u32);
    let run_values: Vec<T> = ends.iter().map(|e| values[*e as usize - 1]).collect();
    out.node(NodeSpec { children: 2, ..NodeSpec::new(EncodingKind::RunEnd, ptype, values.len()) });
    encode_ints(&ends, PhysType::U32, depth.saturating_sub(1), options, out)?;
    encode_ints(&run_values, ptype, depth.saturating_sub(1), options, out)
}
