//! Tests on encoded byte strings.
//!
//! A constant is tested once and a dictionary's values once each; the test then becomes one on codes, which the integers' encodings
//! evaluate without decoding where they can. Other values are decoded chunk by chunk into memory that stays in the nearest cache, and
//! never become views. A test for one value looks at lengths first, and a search for a substring runs over a chunk's bytes at once.

use super::concat::{Concat, Rows};
use super::decode::{BytesDecoder, Repr, value};
use crate::encoding::bounds::{check_mask, fill_words};
use crate::error::Result;
use crate::predicate::leaf::{BytesPred, IntPred};
use crate::predicate::like::LikePattern;

impl BytesDecoder<'_> {
    /// Writes for each of `len` rows from `start` on, a multiple of 1,024, whether the test is true of its value. Bits past the last row
    /// are zero.
    ///
    /// # Errors
    /// As [`BytesDecoder::decode`], except that values a verdict doesn't need may stay unchecked.
    pub fn filter(&self, pred: &BytesPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        check_mask(self.len, start, len, out.len())?;
        match &self.repr {
            Repr::Constant { value, .. } => {
                fill_words(out, len, pred.matches(value));
                Ok(())
            }
            Repr::Dictionary(d) => {
                let matcher = pred.matcher();
                let (views, data) = d.values()?;
                d.codes.filter(|code| matcher.matches(value(&views[code], data)), start, out, len)
            }
            Repr::Concat(c) => self.filter_concat(c, pred, start, out, len),
        }
    }

    fn filter_concat(
        &self,
        c: &Concat<'_>,
        pred: &BytesPred,
        start: usize,
        out: &mut [u64],
        len: usize,
    ) -> Result<()> {
        let matcher = pred.matcher();
        let mut scratch = self.scratch(c.chunk_capacity())?;
        let search = Search::of(pred);
        if let Search::One { value, negated } = search {
            // Values of another length need no decoding.
            let len_wanted = value.len() as i128;
            c.lengths().filter(
                &IntPred::Range { lo: len_wanted, hi: len_wanted, negated: false },
                start,
                out,
                len,
            )?;
            if out[..len.div_ceil(64)].iter().all(|&w| w == 0) {
                fill_words(out, len, negated);
                return Ok(());
            }
        }
        let words = &mut out[..len.div_ceil(64)];
        words.fill(0);
        c.scan(start..start + len, scratch.as_mut_slice(), false, self.cx.utf8, |rows| {
            let first = rows.first - start;
            let mut set = |row: usize| words[(first + row) / 64] |= 1 << ((first + row) % 64);
            match &search {
                Search::Every => {
                    each_value(rows, |row, value| {
                        if matcher.matches(value) {
                            set(row);
                        }
                    });
                }
                Search::One { value: wanted, negated } => each_value(rows, |row, value| {
                    if (value == *wanted) != *negated {
                        set(row);
                    }
                }),
                Search::Containing { finder, needle_len, negated, exact } => {
                    containing(rows, finder, *needle_len, |row, value, found| {
                        if (found && (*exact || matcher.matches(value) != *negated)) != *negated {
                            set(row);
                        }
                    });
                }
            }
            Ok(())
        })
    }
}

/// The cheapest way to find the values that pass.
enum Search<'p> {
    /// Test every value.
    Every,
    /// Compare every value with one.
    One { value: &'p [u8], negated: bool },
    /// Values that pass (or with `negated`: fail) contain a needle; with `exact`, that is all there is to it.
    Containing { finder: Box<memchr::memmem::Finder<'p>>, needle_len: usize, negated: bool, exact: bool },
}

impl<'p> Search<'p> {
    fn of(pred: &'p BytesPred) -> Self {
        match pred {
            BytesPred::Set { values, negated } => match values.as_slice() {
                [value] => Self::One { value, negated: *negated },
                _ => Self::Every,
            },
            BytesPred::Like { pattern, negated } => match pattern {
                LikePattern::Exact(value) => Self::One { value, negated: *negated },
                LikePattern::Contains(needle) if !needle.is_empty() => {
                    Self::containing(needle, *negated, true)
                }
                LikePattern::General(_) if pattern.required().len() > 1 => {
                    Self::containing(pattern.required(), *negated, false)
                }
                _ => Self::Every,
            },
            BytesPred::Range { .. } => Self::Every,
        }
    }

    fn containing(needle: &'p [u8], negated: bool, exact: bool) -> Self {
        let finder = Box::new(memchr::memmem::Finder::new(needle));
        Self::Containing { finder, needle_len: needle.len(), negated, exact }
    }
}

fn each_value(rows: Rows<'_>, mut f: impl FnMut(usize, &[u8])) {
    let mut at = rows.at;
    for (row, &len) in rows.lengths.iter().enumerate() {
        let end = at + len as usize;
        f(row, &rows.bytes[at..end]);
        at = end;
    }
}

/// Calls `f(row, value, found)` for every row, whether the needle lies in its value. The search runs over all values at once, so
/// that what it costs to start is paid for each hit, not for each value; a hit that reaches over a value's end is none.
fn containing(
    rows: Rows<'_>,
    finder: &memchr::memmem::Finder<'_>,
    needle_len: usize,
    mut f: impl FnMut(usize, &[u8], bool),
) {
    let bytes = rows.own_bytes();
    let (mut row, mut start) = (0, 0);
    let mut from = 0;
    while let Some(hit) = finder.find(&bytes[from..]).map(|i| from + i) {
        // The row the hit starts in; all before it have none.
        while start + rows.lengths[row] as usize <= hit {
            let end = start + rows.lengths[row] as usize;
            f(row, &bytes[start..end], false);
            (row, start) = (row + 1, end);
        }
        let end = start + rows.lengths[row] as usize;
        if hit + needle_len <= end {
            f(row, &bytes[start..end], true);
            (row, start, from) = (row + 1, end, end);
        } else {
            from = hit + 1;
        }
    }
    for (row, &len) in rows.lengths.iter().enumerate().skip(row) {
        let end = start + len as usize;
        f(row, &bytes[start..end], false);
        start = end;
    }
}
