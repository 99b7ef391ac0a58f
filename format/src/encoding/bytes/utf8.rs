//! The check that keeps text text.

use crate::error::{FormatError, Result};

/// Checks that each of the values that lie one after another in `bytes` is UTF-8.
///
/// Text that is ASCII, as most is, needs no look at the boundaries. Otherwise the whole must be UTF-8, and no value may start inside
/// a character.
pub(crate) fn check_utf8(bytes: &[u8], lengths: &[u32]) -> Result<()> {
    if bytes.is_ascii() {
        return Ok(());
    }
    let mut at = 0;
    let boundaries = simdutf8::basic::from_utf8(bytes).is_ok()
        && lengths.iter().all(|&len| {
            let starts_inside = len > 0 && bytes.get(at).is_some_and(|&b| (0x80..0xc0).contains(&b));
            at += len as usize;
            !starts_inside
        });
    if boundaries {
        Ok(())
    } else {
        Err(FormatError::corrupt("page", "values of a text column are not UTF-8"))
    }
}
