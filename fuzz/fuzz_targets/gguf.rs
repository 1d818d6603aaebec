#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rustllm_fuzz::gguf::check(data));
