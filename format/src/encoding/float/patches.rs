//! Values that an encoding could not represent, and their rows.

use crate::error::Result;
use crate::page::NodeView;

/// Rows, ascending, and the bits that belong there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patches<'a> {
    rows: &'a [u16],
    /// Little-endian, `width` bytes each.
    values: &'a [u8],
    width: usize,
}

impl<'a> Patches<'a> {
    pub(super) const NONE: Self = Self { rows: &[], values: &[], width: 8 };

    /// Opens the patches in buffers `first` (rows) and `first + 1` (values of `width` bytes) of a node.
    pub(super) fn open(node: &NodeView<'a>, first: usize, width: usize) -> Result<Self> {
        let (rows, values) = (node.typed::<u16>(first)?, node.bytes(first + 1)?);
        let ascending = rows.windows(2).all(|w| w[0] < w[1]);
        if rows.len() * width != values.len()
            || !ascending
            || rows.last().is_some_and(|r| *r as usize >= node.len())
        {
            return Err(node.corrupt(format!(
                "{} bytes of patches in {} rows, out of order or outside it",
                values.len(),
                rows.len()
            )));
        }
        Ok(Self { rows, values, width })
    }

    fn value(&self, i: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..self.width].copy_from_slice(&self.values[i * self.width..(i + 1) * self.width]);
        u64::from_le_bytes(bytes)
    }

    /// Patches of rows `start..start + n`, by position in that range.
    pub(super) fn in_range(&self, start: usize, n: usize) -> impl Iterator<Item = (usize, u64)> {
        let from = self.rows.partition_point(|r| (*r as usize) < start);
        let to = self.rows.partition_point(|r| (*r as usize) < start + n);
        (from..to).map(move |i| (self.rows[i] as usize - start, self.value(i)))
    }

    /// Patches among `rows`, by position in them.
    pub(super) fn among(&self, rows: &[u32]) -> impl Iterator<Item = (usize, u64)> {
        let rows = if self.rows.is_empty() { &[] } else { rows };
        rows.iter().enumerate().filter_map(|(i, row)| {
            let at = self.rows.binary_search(&u16::try_from(*row).ok()?).ok()?;
            Some((i, self.value(at)))
        })
    }
}
