//! Fuzzes [`tightrope_fuzz::folders::external_model`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::external_model(data);
});
