//! Fuzzes [`tightrope_fuzz::instances`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::instances(data);
});
