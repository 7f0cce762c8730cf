//! Fuzzes [`tightrope_fuzz::folders::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::config(data);
});
