//! Pages of byte strings back to Arrow views.

use std::ops::Range;

use arrow_buffer::Buffer;
use deltalite_alloc::PoolBuffer;

use super::concat::Concat;
use super::dictionary::DictionaryDecoder;
use super::utf8::check_utf8;
use super::view::{INLINE_MAX, rebase, view_bytes, view_of, write_views};
use crate::encoding::DecodeContext;
use crate::encoding::bounds::{check_range, check_rows};
use crate::error::{FormatError, Result};
use crate::mask::Selection;
use crate::page::{EncodingKind, NodeView};
use crate::phys::PhysType;

/// From this share of the rows between the first and the last on, taking rows decodes all of them.
const DENSE_ROWS_SHARE: usize = 8;

/// The values of a page of byte strings.
///
/// Values come as Arrow views: 16 bytes each, with the value inside when it has at most 12 bytes, else pointing into one of the
/// buffers beside. Plain values are pointed to where they lie in the page; others are decoded into buffers of the pool.
#[derive(Debug)]
pub struct BytesDecoder<'a> {
    pub(super) len: usize,
    pub(super) cx: DecodeContext<'a>,
    pub(super) repr: Repr<'a>,
}

/// The encodings, opened.
#[derive(Debug)]
pub(super) enum Repr<'a> {
    Constant { value: &'a [u8], buffer: Buffer },
    Concat(Box<Concat<'a>>),
    Dictionary(Box<DictionaryDecoder<'a>>),
}

impl<'a> BytesDecoder<'a> {
    /// Opens a page's node and checks what decoding relies on.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node contradicts itself.
    pub fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        if node.ptype() != PhysType::Bytes {
            return Err(node.corrupt(format!("values of {:?} where strings are expected", node.ptype())));
        }
        let repr = match node.kind() {
            EncodingKind::Constant => {
                let value = node.bytes(0)?;
                if cx.utf8 {
                    check_utf8(value, &[value.len() as u32])?;
                }
                Repr::Constant { value, buffer: node.arrow(0)? }
            }
            EncodingKind::Dictionary => Repr::Dictionary(Box::new(DictionaryDecoder::open(node, cx)?)),
            _ => Repr::Concat(Box::new(Concat::open(node, cx)?)),
        };
        Ok(Self { len: node.len(), cx, repr })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Decodes rows `start..start + views.len()`. The views' buffer indices are positions in `data`, to which the buffers they need
    /// are appended.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the page contradicts itself or, in a text column, a value is not UTF-8;
    /// [`FormatError::Alloc`] when the pool is exhausted.
    pub fn decode(&self, start: usize, views: &mut [u128], data: &mut Vec<Buffer>) -> Result<()> {
        check_range(self.len, start, views.len())?;
        if views.is_empty() {
            return Ok(());
        }
        match &self.repr {
            Repr::Constant { value, buffer } => {
                views.fill(view_of(value, data.len() as u32, 0));
                if value.len() > INLINE_MAX as usize {
                    data.push(buffer.clone());
                }
                Ok(())
            }
            Repr::Dictionary(d) => d.decode(start, views, data),
            Repr::Concat(c) => {
                let index = data.len() as u32;
                let range = start..start + views.len();
                let write = |rows: super::concat::Rows<'_>, views: &mut [u128]| {
                    let at = rows.first - start;
                    write_views(
                        &mut views[at..at + rows.lengths.len()],
                        rows.lengths,
                        rows.bytes,
                        rows.at,
                        index,
                    );
                };
                if let Some(buffer) = c.plain() {
                    c.scan(range, &mut [], true, self.cx.utf8, |rows| {
                        write(rows, views);
                        Ok(())
                    })?;
                    data.push(buffer.clone());
                    return Ok(());
                }
                let mut out = self.scratch(c.capacity(&range))?;
                let mut used = 0;
                c.scan(range, out.as_mut_slice(), true, self.cx.utf8, |rows| {
                    used = rows.end;
                    write(rows, views);
                    Ok(())
                })?;
                out.truncate(used);
                data.push(out.into_arrow());
                Ok(())
            }
        }
    }

    /// Decodes the selected ones of `rows`, one after another, where they have codes; false, and nothing is decoded, where all rows have to be
    /// decoded for some.
    ///
    /// # Errors
    /// As [`BytesDecoder::decode`].
    pub(crate) fn decode_selected(
        &self,
        rows: &Range<usize>,
        selection: Selection<'_>,
        views: &mut [u128],
        data: &mut Vec<Buffer>,
    ) -> Result<bool> {
        match &self.repr {
            Repr::Constant { .. } if views.len() <= self.len => self.decode(0, views, data).map(|()| true),
            Repr::Dictionary(d) => d.decode_selected(rows, selection, views, data),
            Repr::Constant { .. } | Repr::Concat(_) => Ok(false),
        }
    }

    /// Asks for the memory that taking a row will read.
    pub(crate) fn prefetch(&self, row: usize) {
        match &self.repr {
            Repr::Constant { .. } => {}
            Repr::Concat(c) => c.prefetch(row),
            Repr::Dictionary(d) => d.codes.prefetch(row),
        }
    }

    /// Decodes single rows, ascending. Values that no row asks for are not decoded, except those of the same 128 rows (or the same
    /// zstd frame).
    ///
    /// # Errors
    /// As [`BytesDecoder::decode`].
    pub fn take(&self, rows: &[u32], views: &mut [u128], data: &mut Vec<Buffer>) -> Result<()> {
        check_rows(self.len, rows, views.len())?;
        let (Some(&first), Some(&last)) = (rows.iter().min(), rows.iter().max()) else { return Ok(()) };
        let (first, last) = (first as usize, last as usize);
        match &self.repr {
            Repr::Constant { .. } => self.decode(0, &mut views[..1], data).map(|()| {
                let view = views[0];
                views.fill(view);
            }),
            Repr::Dictionary(d) => d.take(rows, views, data),
            Repr::Concat(_) if rows.len() > 1 && rows.len() * DENSE_ROWS_SHARE > last - first => {
                let mut all = self.scratch((last - first + 1) * size_of::<u128>())?;
                let all = all.typed_mut::<u128>();
                self.decode(first, all, data)?;
                views.iter_mut().zip(rows).for_each(|(view, &row)| *view = all[row as usize - first]);
                Ok(())
            }
            Repr::Concat(c) => self.take_sparse(c, rows, views, data),
        }
    }

    fn take_sparse(
        &self,
        c: &Concat<'a>,
        rows: &[u32],
        views: &mut [u128],
        data: &mut Vec<Buffer>,
    ) -> Result<()> {
        let index = data.len() as u32;
        let granule = c.granule_rows();
        let mut scratch = self.scratch(c.chunk_capacity())?;
        let mut taken = Vec::new();
        let mut done = 0;
        while let Some(&row) = rows.get(done) {
            // Rows of one granule are decoded once; rows that don't ascend only cost decoding it again.
            let base = row as usize - row as usize % granule;
            let together =
                rows[done..].iter().take_while(|&&r| (r as usize) >= base && (r as usize) < base + granule);
            let hits: &[u32] = &rows[done..done + together.count()];
            let end = hits.iter().max().map_or(base, |&r| r as usize) + 1;
            let outs = &mut views[done..done + hits.len()];
            // Text is checked value by value below: the others of the granule are nobody's concern.
            c.scan(base..end, scratch.as_mut_slice(), false, false, |part| {
                let mut at = part.at;
                let mut next = 0;
                for (&row, view) in hits.iter().zip(outs.iter_mut()) {
                    let row = row as usize - base;
                    if row < next {
                        (at, next) = (part.at, 0);
                    }
                    at += part.lengths[next..row].iter().map(|&n| n as usize).sum::<usize>();
                    next = row;
                    let value = &part.bytes[at..at + part.lengths[row] as usize];
                    if self.cx.utf8 {
                        check_utf8(value, &[value.len() as u32])?;
                    }
                    if c.plain().is_some() {
                        *view = view_of(value, index, at as u32);
                    } else {
                        *view = view_of(value, index, taken.len() as u32);
                        if value.len() > INLINE_MAX as usize {
                            taken.extend_from_slice(value);
                        }
                    }
                }
                Ok(())
            })?;
            done += hits.len();
        }
        match c.plain() {
            Some(buffer) => data.push(buffer.clone()),
            None if taken.is_empty() => {}
            None if taken.len() > i32::MAX as usize => {
                return Err(FormatError::invalid(
                    "taking rows",
                    format!("{} bytes of strings; take fewer", taken.len()),
                ));
            }
            None => data.push(Buffer::from_vec(taken)),
        }
        Ok(())
    }

    /// A buffer for decoding into.
    pub(super) fn scratch(&self, bytes: usize) -> Result<PoolBuffer> {
        Ok(self.cx.pool.take(bytes)?)
    }
}

/// All values of a node, as views whose buffer indices are positions in the buffers beside.
pub(crate) fn decode_all(decoder: &BytesDecoder<'_>) -> Result<(Vec<u128>, Vec<Buffer>)> {
    let mut views = vec![0; decoder.len()];
    let mut data = Vec::new();
    decoder.decode(0, &mut views, &mut data)?;
    Ok((views, data))
}

/// Appends `from` to `data`, unless it was what was appended last, and makes the views point there.
pub(super) fn append(views: &mut [u128], from: &[Buffer], data: &mut Vec<Buffer>) {
    if from.is_empty() {
        return;
    }
    let same = |(a, b): (&Buffer, &Buffer)| a.as_ptr() == b.as_ptr() && a.len() == b.len();
    let by = match data.len().checked_sub(from.len()) {
        // The pieces of a window have one dictionary.
        Some(last) if data[last..].iter().zip(from).all(same) => last,
        _ => {
            data.extend_from_slice(from);
            data.len() - from.len()
        }
    };
    if by > 0 {
        for view in views {
            *view = rebase(*view, by as u32);
        }
    }
}

/// The value of each view.
pub(super) fn value<'d>(view: &'d u128, data: &'d [Buffer]) -> &'d [u8] {
    view_bytes(view, data)
}
