//! Fuzzes [`tightrope_fuzz::folders::idx_images`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::idx_images(data);
});
