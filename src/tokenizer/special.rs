//! Cutting special tokens out of a text.

use aho_corasick::{AhoCorasick, MatchKind};

use super::TokenId;
use super::TokenKind;
use super::vocab::Vocab;
use crate::error::Result;
use crate::gguf::Metadata;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Fragment<'a> {
    Token(TokenId),
    Text(&'a str),
}

/// Finds the texts of special tokens: user-defined ones always, control tokens on demand.
#[derive(Debug)]
pub struct SpecialFinder {
    all: Finder,
    user_defined: Finder,
}

#[derive(Debug)]
struct Finder {
    automaton: AhoCorasick,
    /// For each pattern its token, and whether blanks after it belong to it.
    tokens: Vec<(TokenId, bool)>,
}

impl SpecialFinder {
    /// Collects the special tokens of a vocabulary.
    pub fn new(vocab: &Vocab, m: &Metadata) -> Result<Self> {
        let special = |id: &TokenId| {
            matches!(vocab.kind(*id), TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined)
                && !vocab.texts[*id as usize].is_empty()
        };
        let all: Vec<TokenId> = (0..vocab.len() as TokenId).filter(special).collect();
        let user: Vec<TokenId> = all.iter().copied().filter(|id| vocab.kind(*id) == TokenKind::UserDefined).collect();
        // The one model family whose special tokens swallow the blanks after them.
        let name = m.str("general.name")?.unwrap_or_default().to_lowercase();
        let is_phi3 = name.contains("phi-3") || name.contains("phi3");
        let strips =
            |id: TokenId| is_phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&vocab.texts[id as usize].as_str());
        Ok(Self { all: Finder::new(vocab, m, &all, strips)?, user_defined: Finder::new(vocab, m, &user, strips)? })
    }

    /// The parts of `text`, in order; where two special tokens start at one place, the longer wins.
    pub fn split<'a>(&self, text: &'a str, parse_control: bool) -> Vec<Fragment<'a>> {
        let finder = if parse_control { &self.all } else { &self.user_defined };
        let mut parts = Vec::new();
        let mut done = 0;
        for found in finder.automaton.find_iter(text) {
            // Blanks before it may have been swallowed, never the token itself.
            if found.start() > done {
                parts.push(Fragment::Text(&text[done..found.start()]));
            }
            let (token, strips) = finder.tokens[found.pattern()];
            parts.push(Fragment::Token(token));
            done = found.end();
            if strips {
                done = text.len() - text[done..].trim_start().len();
            }
        }
        if done < text.len() {
            parts.push(Fragment::Text(&text[done..]));
        }
        parts
    }
}

impl Finder {
    fn new(vocab: &Vocab, m: &Metadata, ids: &[TokenId], strips: impl Fn(TokenId) -> bool) -> Result<Self> {
        let texts = ids.iter().map(|id| vocab.texts[*id as usize].as_str());
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts)
            .map_err(|error| m.error("tokenizer.ggml.token_type", format!("too many special tokens: {error}")))?;
        Ok(Self { automaton, tokens: ids.iter().map(|id| (*id, strips(*id))).collect() })
    }
}
