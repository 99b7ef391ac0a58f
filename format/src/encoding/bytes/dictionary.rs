//! Distinct values and codes.
//!
//! ```text
//! node Dictionary   flags bit 0: the values are the chunk's shared dictionary
//! child 0           codes: U8, U16 or U32
//! child 1           the values, unless they are shared
//! ```

use std::cell::OnceCell;
use std::ops::Range;

use arrow_buffer::Buffer;

use super::decode::{BytesDecoder, append, decode_all};
use super::input::BytesInput;
use super::view::{INLINE_MAX, inline_view, rebase};
use crate::encoding::DecodeContext;
use crate::encoding::dictionary::{ChunkDictionary, Codes, FLAG_SHARED};
use crate::error::Result;
use crate::limits::PAGE_VALUES_MAX;
use crate::mask::Selection;
use crate::native::BytesRef;
use crate::page::NodeView;

/// Where the values are.
#[derive(Debug)]
pub(super) enum Values<'a> {
    Shared(&'a [u128], &'a [Buffer]),
    /// In the page; decoded whole the first time that so many rows are asked for that it pays.
    Own(Box<BytesDecoder<'a>>, OnceCell<(Vec<u128>, Vec<Buffer>)>),
}

/// An opened dictionary page.
#[derive(Debug)]
pub(super) struct DictionaryDecoder<'a> {
    pub(super) codes: Codes<'a>,
    pub(super) values: Values<'a>,
}

impl<'a> DictionaryDecoder<'a> {
    pub(super) fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let values = if node.flags() & FLAG_SHARED == 0 {
            Values::Own(Box::new(BytesDecoder::open(node.child(1)?, cx)?), OnceCell::new())
        } else {
            match cx.dictionary {
                Some(ChunkDictionary::Bytes { views, data }) => Values::Shared(views, data),
                _ => {
                    return Err(node.corrupt(
                        "its values are in a dictionary of strings, which the chunk does not have".to_owned(),
                    ));
                }
            }
        };
        let distinct = match &values {
            Values::Shared(views, _) => views.len(),
            Values::Own(values, _) => values.len(),
        };
        Ok(Self { codes: Codes::open(node, distinct, cx)?, values })
    }

    /// All values.
    pub(super) fn values(&self) -> Result<(&[u128], &[Buffer])> {
        match &self.values {
            Values::Shared(views, data) => Ok((views, data)),
            Values::Own(decoder, cell) => {
                let (views, data) = if let Some(values) = cell.get() {
                    values
                } else {
                    let values = decode_all(decoder)?;
                    cell.get_or_init(|| values)
                };
                Ok((views, data))
            }
        }
    }

    pub(super) fn decode(&self, start: usize, views: &mut [u128], data: &mut Vec<Buffer>) -> Result<()> {
        let (values, buffers) = self.values()?;
        self.codes.gather(start, values, views)?;
        append(views, buffers, data);
        Ok(())
    }

    pub(super) fn decode_selected(
        &self,
        rows: &Range<usize>,
        selection: Selection<'_>,
        views: &mut [u128],
        data: &mut Vec<Buffer>,
    ) -> Result<bool> {
        let (values, buffers) = self.values()?;
        if !self.codes.gather_selected(rows, selection, values, views)? {
            return Ok(false);
        }
        append(views, buffers, data);
        Ok(true)
    }

    pub(super) fn take(&self, rows: &[u32], views: &mut [u128], data: &mut Vec<Buffer>) -> Result<()> {
        let mut codes = vec![0u32; rows.len()];
        self.codes.take(rows, &mut codes)?;
        match &self.values {
            Values::Own(decoder, cell) if cell.get().is_none() && rows.len() * 4 < decoder.len() => {
                let mut distinct = codes.clone();
                distinct.sort_unstable();
                distinct.dedup();
                let mut found = vec![0; distinct.len()];
                let mut buffers = Vec::new();
                decoder.take(&distinct, &mut found, &mut buffers)?;
                let by = data.len() as u32;
                for (view, code) in views.iter_mut().zip(&codes) {
                    *view = rebase(found[distinct.partition_point(|d| d < code)], by);
                }
                data.extend(buffers);
            }
            _ => {
                let (values, buffers) = self.values()?;
                views.iter_mut().zip(&codes).for_each(|(view, &code)| *view = values[code as usize]);
                append(views, buffers, data);
            }
        }
        Ok(())
    }
}

/// Distinct values under construction, in the order of their first appearance.
///
/// A hash table with linear probing: a slot holds 32 bits of the hash and the code plus one. Values of at most 12 bytes are compared
/// as the views they will become, without a look at their bytes.
#[derive(Debug)]
pub(crate) struct DictionaryBuilder {
    slots: Vec<u64>,
    /// An inline view, or for longer values: the low half of a view, and in the high half where the value starts in `bytes`.
    keys: Vec<u128>,
    bytes: Vec<u8>,
    ends: Vec<i64>,
}

impl Default for DictionaryBuilder {
    fn default() -> Self {
        Self { slots: vec![0; 256], keys: Vec::new(), bytes: Vec::new(), ends: vec![0] }
    }
}

const LONG_HALF: u128 = u64::MAX as u128;

#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

#[inline(always)]
fn hash_key(key: u128) -> u64 {
    mix(key as u64 ^ 0x9e37_79b9_7f4a_7c15, (key >> 64) as u64 ^ 0xe703_7ed1_a0b4_28db)
}

/// A hash of a value of more than 12 bytes.
#[inline]
fn hash_long(value: &[u8]) -> u64 {
    let word = |b: &[u8; 16]| hash_key(u128::from_le_bytes(*b));
    let (words, _) = value.as_chunks::<16>();
    let whole = words.iter().fold(value.len() as u64, |h, b| mix(h ^ 0x8ebc_6af0_9c88_c6e3, word(b) | 1));
    match (value.last_chunk::<16>(), value.first_chunk::<8>(), value.last_chunk::<8>()) {
        (Some(last), ..) => mix(whole ^ 0x5897_89e8_3c76_ca53, word(last) | 1),
        (None, Some(a), Some(b)) => {
            hash_key(u128::from(u64::from_le_bytes(*a)) | u128::from(u64::from_le_bytes(*b)) << 64)
        }
        _ => whole,
    }
}

impl DictionaryBuilder {
    /// Number of distinct values.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of the distinct values.
    pub(crate) fn value_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The distinct values.
    pub(crate) fn values(&self) -> BytesInput<'_> {
        BytesInput::from_ref(BytesRef::Large { offsets: &self.ends, data: &self.bytes })
    }

    /// The distinct values, one after another.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The code of a value, which is added if it is new; `None` when it is, and there are `limit` values already.
    #[inline(always)]
    pub(crate) fn code(&mut self, value: &[u8], limit: usize) -> Option<u32> {
        let short = value.len() <= INLINE_MAX as usize;
        let (key, hash) = if short {
            let key = inline_view(value);
            (key, hash_key(key))
        } else {
            let prefix = value.first_chunk::<4>().map_or(0, |p| u32::from_le_bytes(*p));
            (value.len() as u128 | u128::from(prefix) << 32, hash_long(value))
        };
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return self.insert(value, key, hash, slot, limit);
            }
            if entry >> 32 == hash >> 32 {
                let code = (entry as u32 - 1) as usize;
                let known = self.keys[code];
                let same = if short {
                    known == key
                } else {
                    let at = (known >> 64) as usize;
                    known & LONG_HALF == key && self.bytes.get(at..at + value.len()) == Some(value)
                };
                if same {
                    return Some(code as u32);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, value: &[u8], key: u128, hash: u64, slot: usize, limit: usize) -> Option<u32> {
        let code = self.keys.len();
        if code >= limit.min(PAGE_VALUES_MAX) {
            return None;
        }
        let at = self.bytes.len() as u128;
        self.keys.push(if value.len() <= INLINE_MAX as usize { key } else { key | at << 64 });
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as i64);
        self.slots[slot] = hash >> 32 << 32 | (code as u64 + 1);
        if self.keys.len() * 2 > self.slots.len() {
            self.grow();
        }
        Some(code as u32)
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 4 - 1;
        self.slots = vec![0; mask + 1];
        for code in 0..self.keys.len() {
            let value = &self.bytes[self.ends[code] as usize..self.ends[code + 1] as usize];
            let hash =
                if value.len() <= INLINE_MAX as usize { hash_key(self.keys[code]) } else { hash_long(value) };
            let mut slot = hash as usize & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = hash >> 32 << 32 | (code as u64 + 1);
        }
    }

    /// The code of every value, or `None` when there would be more than `limit` distinct ones or more than `bytes_max` bytes of them;
    /// then the values seen so far stay.
    pub(crate) fn encode(
        &mut self,
        input: &BytesInput<'_>,
        limit: usize,
        bytes_max: usize,
    ) -> Option<Vec<u32>> {
        let mut codes = Vec::with_capacity(input.len());
        for i in 0..input.len() {
            codes.push(self.code(input.get(i), limit)?);
            if self.bytes.len() > bytes_max {
                return None;
            }
        }
        Some(codes)
    }
}
