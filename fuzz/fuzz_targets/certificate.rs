//! Fuzzes [`tightrope_fuzz::certificate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::certificate(data);
});
