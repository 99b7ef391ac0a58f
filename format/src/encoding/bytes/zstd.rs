//! zstd: each frame a run of rows.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::{FormatError, Result};

thread_local! {
    // A context is 100 KiB and more to set up, and every page needs one.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Decompresses a frame into `out`, which it must fill.
pub(crate) fn decompress(frame: &[u8], out: &mut [u8]) -> Result<()> {
    let expected = out.len();
    let result = DECOMPRESSOR.with_borrow_mut(|slot| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(Decompressor::new()?),
        };
        context.decompress_to_buffer(frame, out)
    });
    match result {
        Ok(n) if n == expected => Ok(()),
        Ok(n) => Err(FormatError::corrupt(
            "page",
            format!("a zstd frame has {n} bytes, its lengths say {expected}"),
        )),
        Err(e) => Err(FormatError::corrupt("page", format!("a zstd frame of {expected} bytes: {e}"))),
    }
}

/// Compresses each of the parts of `bytes` that `starts` bounds into a frame: the frames, and where each starts and the last ends.
pub(crate) fn compress(bytes: &[u8], starts: &[u32], level: i32) -> Result<(Vec<u8>, Vec<u32>)> {
    let failed = |e: std::io::Error| FormatError::invalid("compressing a page with zstd", e.to_string());
    let mut compressor = Compressor::new(level).map_err(failed)?;
    let (mut frames, mut ends) = (Vec::new(), vec![0]);
    for part in starts.windows(2) {
        frames.extend_from_slice(
            &compressor.compress(&bytes[part[0] as usize..part[1] as usize]).map_err(failed)?,
        );
        ends.push(frames.len() as u32);
    }
    Ok((frames, ends))
}
