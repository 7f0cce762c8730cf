//! Fuzzes [`tightrope_fuzz::description`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::description(data);
});
