//! Values that lie one after another to Arrow views.
//!
//! ```text
//! bits 0..32    length
//! length ≤ 12:  bits 32..128  the bytes, then zeros
//! else:         bits 32..64   the first four bytes
//!               bits 64..96   which buffer
//!               bits 96..128  offset in the buffer
//! ```

use super::leveled;

/// Longest value that lies in its view.
pub const INLINE_MAX: u32 = 12;
/// Bytes behind a value's start that are read, whatever its length.
const LOADED: usize = 12;

/// What is kept of the first eight and of the next four bytes, by length; 13 stands for values that don't fit.
const KEEP: [(u64, u32); 14] = {
    let mut keep = [(0, 0); 14];
    let mut len = 0;
    while len <= 12 {
        keep[len] = if len < 8 {
            ((1 << (8 * len)) - 1, 0)
        } else {
            (u64::MAX, if len == 12 { u32::MAX } else { (1 << (8 * (len - 8))) - 1 })
        };
        len += 1;
    }
    keep[13] = (u32::MAX as u64, 0);
    keep
};

leveled! {
    /// # Safety
    /// The values, and [`LOADED`] bytes from the start of each, lie in `bytes`.
    fn views_checked<>(lengths: &[u32], bytes: &[u8], at: usize, buffer: u32, out: &mut [u128]) {
        let mut at = at;
        let out: &mut [[u64; 2]] = bytemuck::cast_slice_mut(out);
        for (view, &len) in out.iter_mut().zip(lengths) {
            let (keep, keep_next) = KEEP[len.min(INLINE_MAX + 1) as usize];
            // SAFETY: `views`, the only caller, has checked where the last value ends and what lies behind it.
            let (head, next) = unsafe {
                let start = bytes.as_ptr().add(at);
                (start.cast::<u64>().read_unaligned(), start.add(8).cast::<u32>().read_unaligned())
            };
            let head = u64::from_le(head) & keep;
            let inline = head >> 32 | u64::from(u32::from_le(next) & keep_next) << 32;
            // Nothing is kept inline of a longer value. No branch: lengths are as good as random.
            let longer = u64::from(INLINE_MAX).wrapping_sub(u64::from(len)) as i64 >> 63;
            let pointer = (u64::from(buffer) | (at as u64) << 32) & longer as u64;
            *view = [u64::from(len) | head << 32, inline | pointer];
            at += len as usize;
        }
    }
}

/// Writes the views of values that lie one after another from `at` on in `bytes`, the contents of `buffer`, and returns how many it
/// wrote: all but those too close to the end of `bytes` to be loaded whole.
pub fn views(
    level: super::Level,
    lengths: &[u32],
    bytes: &[u8],
    at: usize,
    buffer: u32,
    out: &mut [u128],
) -> usize {
    let lengths = &lengths[..lengths.len().min(out.len())];
    let mut count = lengths.len();
    let mut end = at + lengths.iter().map(|&n| n as usize).sum::<usize>();
    while count > 0 && end + LOADED > bytes.len() {
        count -= 1;
        end -= lengths[count] as usize;
    }
    if count > 0 {
        views_checked(level, &lengths[..count], bytes, at, buffer, out);
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::Level;

    fn view(bytes: &[u8], at: usize, buffer: u32) -> u128 {
        let mut view = [0u8; 16];
        view[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        if bytes.len() <= 12 {
            view[4..4 + bytes.len()].copy_from_slice(bytes);
        } else {
            view[4..8].copy_from_slice(&bytes[..4]);
            view[8..12].copy_from_slice(&buffer.to_le_bytes());
            view[12..].copy_from_slice(&(at as u32).to_le_bytes());
        }
        u128::from_le_bytes(view)
    }

    proptest! {
        #[test]
        fn views_are_arrows(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..80), before in 0usize..20, after in 0usize..20, buffer: u32) {
            let mut bytes = vec![7; before];
            bytes.extend(values.iter().flatten());
            bytes.extend(vec![9; after]);
            let lengths: Vec<u32> = values.iter().map(|v| v.len() as u32).collect();
            let mut at = before;
            let expected: Vec<u128> = values.iter().map(|v| { at += v.len(); view(v, at - v.len(), buffer) }).collect();
            for level in Level::available() {
                let mut out = vec![0; values.len()];
                let done = views(level, &lengths, &bytes, before, buffer, &mut out);
                prop_assert_eq!(&out[..done], &expected[..done]);
                prop_assert!(done == values.len() || after < 12);
            }
        }
    }
}
