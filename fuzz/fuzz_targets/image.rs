//! Fuzzes [`tightrope_fuzz::folders::image`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::image(data);
});
