//! Asks the processor for memory that will be read soon.

/// Bytes of a cache line.
const LINE: usize = 64;
/// Lines asked for: a page's header and the records of its first nodes.
const LINES: usize = 4;

/// Asks for the line of `values[index]`, if there is such a value.
#[inline]
pub fn prefetch_at<T>(values: &[T], index: usize) {
    if let Some(value) = values.get(index) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint that reads nothing; every x86-64 processor has it.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                std::ptr::from_ref(value).cast(),
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = value;
    }
}

/// Asks for the first lines of `bytes`. Does nothing where there is no such instruction.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE).take(LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, LINE, LINES);
}
