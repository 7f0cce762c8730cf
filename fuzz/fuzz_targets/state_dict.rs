//! Fuzzes [`tightrope_fuzz::folders::state_dict`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::folders::state_dict(data);
});
