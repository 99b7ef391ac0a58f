//! See [`bodies::client_script`].
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code, reason = "each target runs one body")]
mod bodies;
#[path = "../end.rs"]
#[allow(dead_code, reason = "not every target uses all of it")]
mod end;
#[path = "../reseal.rs"]
#[allow(dead_code, reason = "not every target corrects checksums")]
mod reseal;
#[path = "../script.rs"]
#[allow(dead_code, reason = "not every target runs scripts")]
mod script;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = bodies::client_script(bytes);
});
