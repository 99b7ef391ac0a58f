//! Values on their way in.

use arrow_array::Array;
use arrow_buffer::NullBuffer;

use crate::error::{FormatError, Result};
use crate::limits::PAGE_BYTES_MAX;
use crate::native::{BytesRef, Native};

/// The values of a page to be, borrowed from an Arrow array of strings or binaries in any layout.
#[derive(Debug, Clone, Copy)]
pub struct BytesInput<'a> {
    values: BytesRef<'a>,
    nulls: Option<&'a NullBuffer>,
}

impl<'a> BytesInput<'a> {
    /// The values of an array. Null slots count as empty, whatever the array holds there.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the array is of another type.
    pub fn new(array: &'a dyn Array) -> Result<Self> {
        match Native::of(array) {
            Some(Native::Bytes(values)) if values.len() == array.len() => {
                Ok(Self { values, nulls: array.nulls().filter(|n| n.null_count() > 0) })
            }
            _ => Err(FormatError::invalid(
                "writing a column of strings",
                format!("an array of {} is neither a string nor a binary array", array.data_type()),
            )),
        }
    }

    /// Values without nulls, from wherever they lie.
    pub(crate) fn from_ref(values: BytesRef<'a>) -> Self {
        Self { values, nulls: None }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in slot `i`.
    #[inline(always)]
    pub fn get(&self, i: usize) -> &'a [u8] {
        match self.nulls {
            Some(nulls) if nulls.is_null(i) => &[],
            _ => self.values.get(i),
        }
    }

    /// Whether all values are one.
    pub(super) fn constant(&self) -> Option<&'a [u8]> {
        let n = self.len();
        if n == 0 {
            return Some(&[]);
        }
        let first = self.get(0);
        // The middle and the end first: most columns that aren't constant show it there.
        let differs = |i: usize| self.get(i) != first;
        (!differs(n - 1) && !differs(n / 2) && !(1..n).any(differs)).then_some(first)
    }

    /// Lays the values one after another.
    pub(super) fn flatten(&self) -> Result<Flat> {
        let n = self.len();
        let mut lengths = Vec::with_capacity(n);
        let mut total = 0;
        for i in 0..n {
            let len = self.get(i).len();
            total += len;
            // Longer ones are refused below.
            lengths.push(len as u32);
        }
        if total > PAGE_BYTES_MAX {
            return Err(FormatError::invalid(
                "writing a page of strings",
                format!("{n} values of {total} bytes exceed {PAGE_BYTES_MAX}; write shorter values"),
            ));
        }
        let mut bytes = Vec::with_capacity(total);
        match self.values {
            BytesRef::Small { offsets, data } if self.nulls.is_none() => {
                bytes.extend_from_slice(&data[offsets[0] as usize..offsets[n] as usize]);
            }
            BytesRef::Large { offsets, data } if self.nulls.is_none() => {
                bytes.extend_from_slice(&data[offsets[0] as usize..offsets[n] as usize]);
            }
            _ => (0..n).for_each(|i| bytes.extend_from_slice(self.get(i))),
        }
        Ok(Flat { lengths, bytes })
    }
}

/// Values one after another.
#[derive(Debug)]
pub(super) struct Flat {
    pub(super) lengths: Vec<u32>,
    pub(super) bytes: Vec<u8>,
}

impl Flat {
    /// Where every `step`-th value starts, in bytes, and where the last ends.
    pub(super) fn starts(&self, step: usize) -> Vec<u32> {
        let mut starts = Vec::with_capacity(self.lengths.len() / step + 2);
        let mut at = 0;
        starts.push(0);
        for rows in self.lengths.chunks(step) {
            at += rows.iter().sum::<u32>();
            starts.push(at);
        }
        starts
    }
}
