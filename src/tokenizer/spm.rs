//! SentencePiece's byte-pair mode: neighbours are merged by the score of what they form.

use std::collections::HashSet;

use foldhash::fast::FixedState;

use super::TokenId;
use super::merge::merge;
use super::vocab::Vocab;

/// Stands for a space in the vocabulary.
pub const SPACE: &str = "\u{2581}";

/// What merging needs beside the vocabulary.
#[derive(Debug)]
pub struct Spm {
    /// Ids of the 256 byte tokens, where the vocabulary has them.
    bytes: Vec<Option<TokenId>>,
    /// For each token, how many scores are better than its own.
    ranks: Vec<u32>,
    /// Characters that stand side by side in a token. Text is cut between any others, since nothing
    /// merges across: mostly before a space, so that words are merged one by one.
    neighbours: HashSet<(char, char), FixedState>,
}

/// A part of the text.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
}

impl Spm {
    /// Finds the byte tokens `<0x00>` to `<0xFF>`, and prepares the order of merges.
    #[must_use]
    pub fn new(vocab: &Vocab) -> Self {
        let pairs = (0..vocab.len())
            .filter_map(|id| vocab.texts.get(id as TokenId))
            .flat_map(|text| text.chars().zip(text.chars().skip(1)));
        Self {
            bytes: (0..=255u8).map(|byte| vocab.texts.id(&format!("<0x{byte:02X}>"))).collect(),
            ranks: ranks(&vocab.scores),
            neighbours: pairs.collect(),
        }
    }

    /// Whether text with `byte` may leave no token of it.
    pub fn drops(&self, vocab: &Vocab, byte: u8) -> bool {
        self.bytes[usize::from(byte)].or(vocab.special.unk).is_none()
    }

    /// Appends the ids of `text`, whose spaces are already [`SPACE`].
    pub fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<TokenId>) {
        let mut symbols = Vec::new();
        let mut before = None;
        for (start, c) in text.char_indices() {
            if before.is_some_and(|before| !self.neighbours.contains(&(before, c))) {
                self.encode_word(vocab, text, &mut symbols, out);
            }
            symbols.push(Symbol { start: start as u32, len: c.len_utf8() as u32 });
            before = Some(c);
        }
        self.encode_word(vocab, text, &mut symbols, out);
    }

    /// Appends the ids of the part of `text` that `symbols` cover, and clears them.
    fn encode_word(&self, vocab: &Vocab, text: &str, symbols: &mut Vec<Symbol>, out: &mut Vec<TokenId>) {
        let piece = |symbol: Symbol| &text[symbol.start as usize..(symbol.start + symbol.len) as usize];
        merge(symbols, |left, right| {
            let both = Symbol { start: left.start, len: left.len + right.len };
            vocab.texts.id(piece(both)).map(|id| (self.ranks[id as usize], both))
        });
        for symbol in symbols.drain(..) {
            self.emit(vocab, piece(symbol), out);
        }
    }

    /// The token of `piece`, or its bytes where there is none.
    fn emit(&self, vocab: &Vocab, piece: &str, out: &mut Vec<TokenId>) {
        if let Some(id) = vocab.texts.id(piece) {
            return out.push(id);
        }
        for byte in piece.bytes() {
            let single = || std::str::from_utf8(std::slice::from_ref(&byte)).ok().and_then(|c| vocab.texts.id(c));
            out.extend(self.bytes[usize::from(byte)].or_else(single).or(vocab.special.unk));
        }
    }
}

/// For each score, how many different ones are better.
fn ranks(scores: &[f32]) -> Vec<u32> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted.dedup_by(|a, b| a.total_cmp(b).is_eq());
    scores.iter().map(|score| sorted.partition_point(|other| other.total_cmp(score).is_gt()) as u32).collect()
}
