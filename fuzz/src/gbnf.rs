//! Any text as a grammar, up to a zero, and any text after it to be matched: refused with a place, or walked along
//! its own masks; and the automaton agrees with the slow, obvious matcher on both texts.
use std::sync::{Arc, LazyLock};

use rustllm::grammar::{CompiledGrammar, GrammarCompiler, GrammarSpec, reference};

use crate::text::text_of;

const END: u32 = 256;

/// Characters of a text that are matched: where a grammar is ambiguous, each takes as long as all before it.
const PROBED: usize = 200;

// One token a byte, and one that ends the text. One compiler for all inputs, as a server has one for all requests.
static COMPILER: LazyLock<GrammarCompiler> = LazyLock::new(|| {
    let tokens = (0..=255u8).map(|byte| vec![byte]).chain([b"<eos>".to_vec()]).collect();
    GrammarCompiler::from_vocab(tokens, &[END], &[END])
});

/// Walks along the masks. The text, if it came to an end.
fn walk(grammar: &Arc<CompiledGrammar>) -> Option<Vec<u8>> {
    let mut matcher = grammar.matcher().ok()?;
    let mut text = Vec::new();
    for step in 0..16u32 {
        let mask = matcher.mask().ok()?;
        let allowed: Vec<u32> = (0..=END).filter(|token| mask.is_allowed(*token)).collect();
        let token = allowed.get(step as usize % allowed.len().max(1)).copied()?;
        assert!(matcher.allows(token), "the mask and the single check agree");
        if token == END {
            assert!(matcher.is_accepting(), "the end is allowed only where the grammar may end");
            return Some(text);
        }
        matcher.accept(token).expect("an allowed token is accepted");
        text.push(token as u8);
    }
    None
}

/// Whether the automaton takes `text` and may end there; nothing where a limit ends it.
fn accepts(grammar: &Arc<CompiledGrammar>, text: &str) -> Option<bool> {
    let mut matcher = grammar.matcher().ok()?;
    for byte in text.bytes() {
        if !matcher.allows(u32::from(byte)) {
            return Some(false);
        }
        matcher.accept(u32::from(byte)).ok()?;
    }
    Some(matcher.is_accepting())
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let data = text_of(data);
    let (source, probe) = data.split_once('\0').unwrap_or((data, ""));
    let Ok(grammar) = COMPILER.compile(&GrammarSpec::Gbnf(source.into()), "grammar") else { return };
    if let Some(text) = walk(&grammar) {
        let text = String::from_utf8(text).expect("grammars match whole characters");
        assert_ne!(reference::accepts(&COMPILER, source, &text), Some(false), "the slow matcher takes {text:?}");
    }
    // As in llama.cpp, no token that starts with a zero byte matches; the slow matcher knows only characters.
    let probe: String = probe.chars().filter(|c| *c != '\0').take(PROBED).collect();
    let probe = probe.as_str();
    if let (Some(fast), Some(slow)) = (accepts(&grammar, probe), reference::accepts(&COMPILER, source, probe)) {
        assert_eq!(fast, slow, "both matchers agree on {probe:?}");
    }
}
