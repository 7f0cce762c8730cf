//! Fuzzes [`tightrope_fuzz::onnx`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tightrope_fuzz::onnx(data);
});
