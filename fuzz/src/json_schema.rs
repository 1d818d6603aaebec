//! Any text as a JSON schema: refused with a place, or a walk along its masks never comes to a place where nothing
//! is allowed before the end.
use std::sync::LazyLock;

use rustllm::grammar::{GrammarCompiler, GrammarSpec};

use crate::text::text_of;

const END: u32 = 256;

// One for all inputs, as a server has one for all requests.
static COMPILER: LazyLock<GrammarCompiler> = LazyLock::new(|| {
    let tokens = (0..=255u8).map(|byte| vec![byte]).chain([b"<eos>".to_vec()]).collect();
    GrammarCompiler::from_vocab(tokens, &[END], &[END])
});

/// Checks one input.
pub fn check(data: &[u8]) {
    let text = text_of(data);
    let spec = GrammarSpec::JsonSchema { schema: text.into(), strict: false };
    let Ok(grammar) = COMPILER.compile(&spec, "json_schema") else { return };
    let mut matcher = grammar.matcher().expect("a compiled grammar has matchers");
    for step in 0..24usize {
        // A limit on what a mask may cost ends the walk with an error, as it would end a request.
        let Ok(mask) = matcher.mask() else { return };
        let allowed: Vec<u32> = (0..=END).filter(|token| mask.is_allowed(*token)).collect();
        assert!(!allowed.is_empty(), "an accepted schema can be satisfied from everywhere");
        let token = allowed[(step * 31 + text.len()) % allowed.len()];
        if token == END {
            return;
        }
        matcher.accept(token).expect("an allowed token is accepted");
    }
}
