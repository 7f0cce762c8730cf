//! Fuzzes [`tightrope_fuzz::weights`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::weights(data);
});
