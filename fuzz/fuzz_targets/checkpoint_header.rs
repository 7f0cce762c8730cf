//! Fuzzes [`tightrope_fuzz::runs::checkpoint_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::runs::checkpoint_header(data);
});
