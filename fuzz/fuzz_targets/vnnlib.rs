//! Fuzzes [`tightrope_fuzz::vnnlib`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::vnnlib(data);
});
