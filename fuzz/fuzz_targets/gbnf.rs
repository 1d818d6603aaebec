//! Any text as a grammar: refused with a place, or it can be walked along its own masks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustllm::grammar::{GrammarCompiler, GrammarSpec};

fn bytes_compiler() -> GrammarCompiler {
    // One token a byte, and one that ends the text.
    let tokens = (0..=255u8).map(|byte| vec![byte]).chain([b"<eos>".to_vec()]).collect();
    GrammarCompiler::from_vocab(tokens, &[256], &[256])
}

fuzz_target!(|text: &str| {
    let Ok(grammar) = bytes_compiler().compile(&GrammarSpec::Gbnf(text.into()), "grammar") else { return };
    let Ok(mut matcher) = grammar.matcher() else { return };
    for step in 0..16u32 {
        let Ok(mask) = matcher.mask() else { return };
        let allowed: Vec<u32> = (0..257).filter(|token| mask.is_allowed(*token)).collect();
        let Some(token) = allowed.get(step as usize % allowed.len().max(1)).copied() else { return };
        assert!(matcher.allows(token), "the mask and the single check agree");
        if token == 256 {
            assert!(matcher.is_accepting(), "the end is allowed only where the grammar may end");
            return;
        }
        matcher.accept(token).expect("an allowed token is accepted");
    }
});
