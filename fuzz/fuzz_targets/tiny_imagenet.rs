//! Fuzzes [`tightrope_fuzz::folders::tiny_imagenet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::tiny_imagenet(data);
});
