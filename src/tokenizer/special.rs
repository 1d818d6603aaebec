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
    /// For each pattern its token, and which blanks belong to it.
    tokens: Vec<(TokenId, Swallows)>,
}

/// Blanks beside a special token that are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swallows {
    Nothing,
    Before,
    After,
}

/// Which blanks the special tokens of a model swallow. Files do not say it, so that the names of
/// the few models that were trained so have to.
fn swallowing(m: &Metadata) -> Result<impl Fn(&str) -> Swallows> {
    let name = m.str("general.name")?.unwrap_or_default().to_lowercase();
    let pre = m.str("tokenizer.ggml.pre")?.unwrap_or_default();
    let arch = m.str("general.architecture")?.unwrap_or_default();
    let has = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let masks =
        has(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"]) || has(arch, &["nomic-bert-moe", "jina-bert-v3"]);
    let is_phi3 = !masks && has(&name, &["phi-3", "phi3"]);
    let is_modern = !masks && !is_phi3 && has(&name, &["modern-bert"]);
    Ok(move |text: &str| match text {
        "<mask>" if masks => Swallows::Before,
        "[MASK]" if is_modern => Swallows::Before,
        "<unk>" | "<s>" | "<|endoftext|>" => Swallows::Nothing,
        _ if is_phi3 => Swallows::After,
        _ => Swallows::Nothing,
    })
}

/// What C's `isspace` holds to be a blank.
pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

impl SpecialFinder {
    /// Collects the special tokens of a vocabulary.
    pub fn new(vocab: &Vocab, m: &Metadata) -> Result<Self> {
        let special = |id: &TokenId| {
            matches!(vocab.kind(*id), TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined)
                && vocab.texts.get(*id).is_some_and(|text| !text.is_empty())
        };
        let all: Vec<TokenId> = (0..vocab.len() as TokenId).filter(special).collect();
        let user: Vec<TokenId> = all.iter().copied().filter(|id| vocab.kind(*id) == TokenKind::UserDefined).collect();
        let swallows = swallowing(m)?;
        Ok(Self {
            all: Finder::new(vocab, m, &all, &swallows)?,
            user_defined: Finder::new(vocab, m, &user, &swallows)?,
        })
    }

    /// Whether blanks beside a special token may be dropped.
    pub fn drops_blanks(&self) -> bool {
        [&self.all, &self.user_defined].iter().any(|f| f.tokens.iter().any(|(_, s)| *s != Swallows::Nothing))
    }

    /// The parts of `text`, in order; where two special tokens start at one place, the longer wins.
    pub fn split<'a>(&self, text: &'a str, parse_control: bool) -> Vec<Fragment<'a>> {
        let finder = if parse_control { &self.all } else { &self.user_defined };
        let mut parts = Vec::new();
        let mut done = 0;
        for found in finder.automaton.find_iter(text) {
            let (token, swallows) = finder.tokens[found.pattern()];
            // Blanks before it may have been swallowed, never the token itself.
            let mut left = text.get(done..found.start()).unwrap_or_default();
            if swallows == Swallows::Before {
                left = left.trim_end_matches(is_blank);
            }
            if !left.is_empty() {
                parts.push(Fragment::Text(left));
            }
            parts.push(Fragment::Token(token));
            done = found.end();
            if swallows == Swallows::After {
                done = text.len() - text[done..].trim_start_matches(is_blank).len();
            }
        }
        if done < text.len() {
            parts.push(Fragment::Text(&text[done..]));
        }
        parts
    }
}

impl Finder {
    fn new(vocab: &Vocab, m: &Metadata, ids: &[TokenId], swallows: &impl Fn(&str) -> Swallows) -> Result<Self> {
        let text = |id: &TokenId| vocab.texts.get(*id).unwrap_or_default();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(text))
            .map_err(|error| m.error("tokenizer.ggml.token_type", format!("too many special tokens: {error}")))?;
        Ok(Self { automaton, tokens: ids.iter().map(|id| (*id, swallows(text(id)))).collect() })
    }
}
