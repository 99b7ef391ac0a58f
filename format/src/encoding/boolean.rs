//! Booleans: values of a `Bool` stream, and the validity of every other.
//!
//! | kind | buffers | parameters |
//! |---|---|---|
//! | bitmap | bits, LSB first, ⌈len / 8⌉ bytes or more | |
//! | constant | | `p0`: the value, 0 or 1 |
//! | sparse | ascending rows (`u16`) that differ from the others | `p0`: the value of the others |
//! | run-end | last row (`u16`) of every run, ascending; the last is `len - 1` | `p0`: the value of the first run |
//!
//! Rows fit 16 bits because a page has at most 65,536. The writer keeps the bitmap, which scans hand out without touching
//! it, unless another form is at most half its size.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer};

use super::bounds::{check_mask, check_range, check_rows, fill_words, set_range};
use crate::error::{FormatError, Result};
use crate::limits::PAGE_VALUES_MAX;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::PhysType;

/// Writes booleans as one node.
///
/// # Errors
/// When there are more values than a page may have.
pub fn encode_bools(values: &BooleanBuffer, out: &mut PageBuilder) -> Result<()> {
    let len = values.len();
    if len > PAGE_VALUES_MAX {
        return Err(FormatError::invalid(
            "writing booleans",
            format!("{len} values exceed a page's {PAGE_VALUES_MAX}"),
        ));
    }
    let node =
        |kind, value: bool| NodeSpec { p0: u64::from(value), ..NodeSpec::new(kind, PhysType::Bool, len) };
    let set = values.count_set_bits();
    if set == 0 || set == len {
        out.node(node(EncodingKind::Constant, set > 0));
        return Ok(());
    }
    let common = set * 2 > len;
    let sparse_rows = set.min(len - set);
    // Half the bitmap, in 16-bit rows.
    let rows_max = len.div_ceil(8) / 4;
    let runs = count_runs(values);
    if runs <= rows_max && runs <= sparse_rows {
        out.node(node(EncodingKind::RunEnd, values.value(0)));
        out.buffer(&run_ends(values));
    } else if sparse_rows <= rows_max {
        out.node(node(EncodingKind::Sparse, common));
        let rows: Vec<u16> = if common {
            (!values).set_indices().map(|i| i as u16).collect()
        } else {
            values.set_indices().map(|i| i as u16).collect()
        };
        out.buffer(&rows);
    } else {
        out.node(node(EncodingKind::Bitmap, false));
        let mut bytes = values.sliced().as_slice()[..len.div_ceil(8)].to_vec();
        if let Some(last) = bytes.last_mut() {
            *last &= u8::MAX >> ((8 - len % 8) % 8);
        }
        out.buffer(&bytes);
    }
    Ok(())
}

fn count_runs(values: &BooleanBuffer) -> usize {
    let mut runs = 1;
    let mut carry = u64::from(values.value(0));
    let chunks = values.bit_chunks();
    for word in chunks.iter() {
        runs += (word ^ (word << 1 | carry)).count_ones() as usize;
        carry = word >> 63;
    }
    let tail = chunks.remainder_len();
    if tail > 0 {
        let word = chunks.remainder_bits();
        runs += ((word ^ (word << 1 | carry)) & ((1 << tail) - 1)).count_ones() as usize;
    }
    runs
}

/// Last row of every run.
fn run_ends(values: &BooleanBuffer) -> Vec<u16> {
    let mut ends = Vec::new();
    let mut current = values.value(0);
    for (i, value) in values.iter().enumerate() {
        if value != current {
            ends.push((i - 1) as u16);
            current = value;
        }
    }
    ends.push((values.len() - 1) as u16);
    ends
}

/// Reads booleans.
#[derive(Debug, Clone)]
pub struct BoolDecoder<'a> {
    len: usize,
    form: Form<'a>,
}

#[derive(Debug, Clone)]
enum Form<'a> {
    Bitmap(BooleanBuffer),
    Constant(bool),
    Sparse { rows: &'a [u16], common: bool },
    Runs { ends: &'a [u16], first: bool },
}

impl<'a> BoolDecoder<'a> {
    /// Opens a node.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not one of booleans, or its rows are out of order or outside it.
    pub fn open(node: NodeView<'a>) -> Result<Self> {
        let len = node.len();
        if node.ptype() != PhysType::Bool {
            return Err(node.corrupt(format!("booleans expected, found {:?}", node.ptype())));
        }
        let form = match node.kind() {
            EncodingKind::Bitmap => {
                let bits = node.arrow(0)?;
                if bits.len() < len.div_ceil(8) {
                    return Err(node.corrupt(format!("{} bytes are too few for {len} bits", bits.len())));
                }
                Form::Bitmap(BooleanBuffer::new(bits, 0, len))
            }
            EncodingKind::Constant => Form::Constant(flag(&node)?),
            EncodingKind::Sparse => {
                let rows = node.typed::<u16>(0)?;
                if !ascending(rows) || rows.last().is_some_and(|&r| r as usize >= len) {
                    return Err(node.corrupt("its rows are out of order or outside it".to_owned()));
                }
                Form::Sparse { rows, common: flag(&node)? }
            }
            EncodingKind::RunEnd => {
                let ends = node.typed::<u16>(0)?;
                if !ascending(ends) || ends.last().map_or(0, |&r| r as usize + 1) != len {
                    return Err(node.corrupt("its runs are out of order or do not cover it".to_owned()));
                }
                Form::Runs { ends, first: flag(&node)? }
            }
            other => return Err(node.corrupt(format!("booleans are never {}", other.name()))),
        };
        Ok(Self { len, form })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one value all rows have, where the page says so without a bit a row.
    pub fn constant(&self) -> Option<bool> {
        match self.form {
            Form::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Rows `start..start + n`; a bitmap's bits are shared with the page, not copied.
    ///
    /// # Errors
    /// When the range lies outside the node.
    pub fn decode(&self, start: usize, n: usize) -> Result<BooleanBuffer> {
        check_range(self.len, start, n)?;
        Ok(match &self.form {
            Form::Bitmap(bits) => bits.slice(start, n),
            Form::Constant(true) => BooleanBuffer::new_set(n),
            Form::Constant(false) => BooleanBuffer::new_unset(n),
            Form::Sparse { .. } | Form::Runs { .. } => {
                let mut words = vec![0u64; n.div_ceil(64)];
                self.fill_mask(start, n, &mut words)?;
                BooleanBuffer::new(Buffer::from_vec(words), 0, n)
            }
        })
    }

    /// Single rows, ascending.
    ///
    /// # Errors
    /// When a row lies outside the node.
    pub fn take(&self, rows: &[u32]) -> Result<BooleanBuffer> {
        check_rows(self.len, rows, rows.len())?;
        let mut out = BooleanBufferBuilder::new(rows.len());
        match &self.form {
            Form::Bitmap(bits) => rows.iter().for_each(|&r| out.append(bits.value(r as usize))),
            Form::Constant(value) => out.append_n(rows.len(), *value),
            Form::Sparse { rows: odd, common } => {
                for &row in rows {
                    out.append(odd.binary_search(&(row as u16)).is_ok() != *common);
                }
            }
            Form::Runs { ends, first } => rows.iter().for_each(|&r| {
                let run = ends.partition_point(|&end| u32::from(end) < r);
                out.append((run % 2 == 0) == *first);
            }),
        }
        Ok(out.finish())
    }

    /// Writes rows `start..start + n` as whole mask words, LSB first; bits past `n` are zero.
    ///
    /// # Errors
    /// When the range lies outside the node, or `words` is too short.
    pub fn fill_mask(&self, start: usize, n: usize, words: &mut [u64]) -> Result<()> {
        check_mask(self.len, start, n, words.len())?;
        match &self.form {
            Form::Bitmap(bits) => {
                let bits = bits.slice(start, n);
                let chunks = bits.bit_chunks();
                let words = &mut words[..n.div_ceil(64)];
                words.iter_mut().zip(chunks.iter_padded()).for_each(|(w, c)| *w = c);
            }
            Form::Constant(value) => fill_words(words, n, *value),
            Form::Sparse { rows, common } => {
                fill_words(words, n, *common);
                let from = rows.partition_point(|&r| (r as usize) < start);
                for row in rows[from..].iter().map(|&r| r as usize - start).take_while(|&r| r < n) {
                    words[row / 64] ^= 1 << (row % 64);
                }
            }
            Form::Runs { ends, first } => {
                fill_words(words, n, false);
                let from = ends.partition_point(|&end| (end as usize) < start);
                let mut begin = 0;
                for (run, &end) in ends.iter().enumerate().skip(from) {
                    let end = (end as usize + 1 - start).min(n);
                    if (run % 2 == 0) == *first {
                        set_range(words, begin, end);
                    }
                    begin = end;
                    if end == n {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn flag(node: &NodeView<'_>) -> Result<bool> {
    match node.p0() {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(node.corrupt(format!("{other} is not a boolean"))),
    }
}

fn ascending(rows: &[u16]) -> bool {
    rows.windows(2).all(|w| w[0] < w[1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::fuzz::{aligned, any_tree};
    use crate::page::PageView;

    fn page(values: &BooleanBuffer) -> Buffer {
        let mut out = PageBuilder::new();
        encode_bools(values, &mut out).unwrap();
        aligned(&out.finish(values.len()).unwrap())
    }

    fn check(values: &BooleanBuffer, start: usize, n: usize, rows: &[u32]) -> EncodingKind {
        let page = page(values);
        let view = PageView::parse(&page).unwrap();
        let decoder = BoolDecoder::open(view.root()).unwrap();
        assert_eq!(decoder.decode(0, values.len()).unwrap(), *values);
        assert_eq!(decoder.decode(start, n).unwrap(), values.slice(start, n));
        let mut words = vec![u64::MAX; n.div_ceil(64) + 1];
        decoder.fill_mask(start, n, &mut words).unwrap();
        for i in 0..words.len() * 64 - 64 {
            assert_eq!(words[i / 64] >> (i % 64) & 1 == 1, i < n && values.value(start + i), "bit {i}");
        }
        let taken = decoder.take(rows).unwrap();
        assert!(rows.iter().zip(&taken).all(|(&r, v)| v == values.value(r as usize)));
        assert!(decoder.decode(start, values.len() - start + 1).is_err());
        assert!(decoder.take(&[values.len() as u32]).is_err());
        view.root().kind()
    }

    #[test]
    fn each_form_is_chosen_where_it_is_small() {
        let n = 65_536;
        let kind =
            |f: &dyn Fn(usize) -> bool| check(&BooleanBuffer::collect_bool(n, f), 77, 5000, &[0, 5, 65_535]);
        assert_eq!(kind(&|_| true), EncodingKind::Constant);
        assert_eq!(kind(&|_| false), EncodingKind::Constant);
        assert_eq!(kind(&|i| i % 3 == 0), EncodingKind::Bitmap);
        assert_eq!(kind(&|i| i / 1000 % 2 == 0), EncodingKind::RunEnd);
        assert_eq!(kind(&|i| i % 100 == 0), EncodingKind::Sparse);
        assert_eq!(kind(&|i| i % 100 != 0), EncodingKind::Sparse);
    }

    proptest! {
        #[test]
        fn round_trip(runs in prop::collection::vec((any::<bool>(), 1usize..400), 0..60), offset in 0usize..9,
                      a: prop::sample::Index, b: prop::sample::Index, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            let mut builder = BooleanBufferBuilder::new(0);
            builder.append_n(offset, true);
            for (v, n) in runs {
                builder.append_n(n, v);
            }
            let all = builder.finish();
            let values = all.slice(offset, all.len() - offset);
            let len = values.len();
            let (a, b) = (a.index(len + 1), b.index(len + 1));
            let mut rows: Vec<u32> = if len == 0 { vec![] } else { picks.iter().map(|p| p.index(len) as u32).collect() };
            rows.sort_unstable();
            check(&values, a.min(b), a.max(b) - a.min(b), &rows);
        }

        #[test]
        fn hostile_pages_never_panic(tree in any_tree(&[PhysType::Bool])) {
            if let Ok(view) = PageView::parse(&tree)
                && let Ok(decoder) = BoolDecoder::open(view.root())
            {
                let n = decoder.len();
                let _ = decoder.decode(n / 3, n - n / 3);
                let _ = decoder.fill_mask(0, n, &mut vec![0; n.div_ceil(64)]);
                let _ = decoder.take(&(0..n as u32).step_by(7).collect::<Vec<_>>());
            }
        }
    }
}
