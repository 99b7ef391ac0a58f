//! Arrow's views: 16 bytes a value.
//!
//! [`views`](crate::kernels::views) has the layout.

use crate::kernels::Level;
use crate::kernels::views;

pub(super) use crate::kernels::views::INLINE_MAX;

/// The view of a value of at most 12 bytes.
#[inline(always)]
pub(super) fn inline_view(value: &[u8]) -> u128 {
    let n = value.len();
    // Two overlapping loads cover each length; the bytes in both are equal.
    let bytes = if let (Some(first), Some(last)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (n - 8))
    } else if let (Some(first), Some(last)) = (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << (8 * (n - 4))
    } else if n > 0 {
        u128::from(value[0])
            | u128::from(value[n / 2]) << (8 * (n / 2))
            | u128::from(value[n - 1]) << (8 * (n - 1))
    } else {
        0
    };
    n as u128 | bytes << 32
}

/// The view of a value: in itself when short, else at `offset` of `buffer`.
#[inline(always)]
pub(super) fn view_of(value: &[u8], buffer: u32, offset: u32) -> u128 {
    match value.first_chunk::<4>() {
        Some(prefix) if value.len() > INLINE_MAX as usize => {
            long_view(value.len() as u32, u32::from_le_bytes(*prefix), buffer, offset)
        }
        _ => inline_view(value),
    }
}

#[inline(always)]
fn long_view(len: u32, prefix: u32, buffer: u32, offset: u32) -> u128 {
    u128::from(u64::from(len) | u64::from(prefix) << 32)
        | u128::from(u64::from(buffer) | u64::from(offset) << 32) << 64
}

/// The view with its buffer's index raised by `by`, if it points to a buffer.
#[inline(always)]
pub(super) fn rebase(view: u128, by: u32) -> u128 {
    view + (u128::from(if view as u32 > INLINE_MAX { by } else { 0 }) << 64)
}

/// The bytes a view stands for; empty when it points nowhere, which checked views don't.
#[inline(always)]
pub(super) fn view_bytes<'a>(view: &'a u128, data: &'a [arrow_buffer::Buffer]) -> &'a [u8] {
    let len = *view as u32 as usize;
    if len <= INLINE_MAX as usize {
        return &bytemuck::bytes_of(view)[4..4 + len];
    }
    let (buffer, offset) = ((*view >> 64) as u32 as usize, (*view >> 96) as usize);
    data.get(buffer).and_then(|b| b.get(offset..offset + len)).unwrap_or_default()
}

/// Writes the views of values that lie one after another from `at` on in `bytes`, the contents of `buffer`.
///
/// The values lie inside `bytes`, as the caller has checked.
pub(super) fn write_views(out: &mut [u128], lengths: &[u32], bytes: &[u8], mut at: usize, buffer: u32) {
    let done = views::views(Level::current(), lengths, bytes, at, buffer, out);
    at += lengths[..done].iter().map(|&n| n as usize).sum::<usize>();
    for (view, &len) in out.iter_mut().zip(lengths).skip(done) {
        let end = at + len as usize;
        *view = view_of(&bytes[at..end], buffer, at as u32);
        at = end;
    }
}
