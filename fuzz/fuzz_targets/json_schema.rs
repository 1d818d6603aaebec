//! Any text as a JSON schema: refused with a place, or its first mask is not empty.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustllm::grammar::{GrammarCompiler, GrammarSpec};

fuzz_target!(|text: &str| {
    let tokens = (0..=255u8).map(|byte| vec![byte]).chain([b"<eos>".to_vec()]).collect();
    let compiler = GrammarCompiler::from_vocab(tokens, &[256], &[256]);
    let spec = GrammarSpec::JsonSchema { schema: text.into(), strict: false };
    let Ok(grammar) = compiler.compile(&spec, "json_schema") else { return };
    let mut matcher = grammar.matcher().expect("a compiled grammar has matchers");
    let mask = matcher.mask().expect("the first mask can be computed");
    assert!((0..257).any(|token| mask.is_allowed(token)), "an accepted schema can be satisfied");
});
