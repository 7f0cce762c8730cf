//! Fuzzes [`tightrope_fuzz::folders::matlab`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::matlab(data);
});
