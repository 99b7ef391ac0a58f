//! See [`bodies::column`].
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code, reason = "each target runs one body")]
mod bodies;
#[path = "../reseal.rs"]
#[allow(dead_code, reason = "not every target corrects checksums")]
mod reseal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = bodies::column(bytes);
});
