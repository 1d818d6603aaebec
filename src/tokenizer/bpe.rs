//! Byte-pair encoding: words are split off first, then neighbours are merged by the rank of their
//! pair. The parts to begin with are bytes (GPT-2) or, for a few schemes, characters.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;

use super::TokenId;
use super::merge::merge;
use super::pretokenize::{PreTokenizer, Trait};
use super::spm::SPACE;
use super::vocab::Vocab;
use crate::error::Result;
use crate::gguf::Metadata;

/// Merge ranks over token ids.
#[derive(Debug)]
pub struct Bpe {
    /// (left, right) to (rank, merged).
    merges: HashMap<(TokenId, TokenId), (u32, TokenId), FixedState>,
    /// The token of each byte.
    bytes: Vec<Option<TokenId>>,
    pre: PreTokenizer,
}

/// A part of a word: a token to merge, or a character that has none.
#[derive(Clone, Copy)]
enum Part {
    Token(TokenId),
    Unknown(char),
}

/// The character that stands for a byte in the vocabulary: printable Latin-1 as itself, the rest
/// from U+0100 on, in order.
#[must_use]
fn byte_to_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + rank).expect("below U+0200 every number is a character")
}

/// The bytes of a token's text; characters that stand for no byte are taken as they are.
#[must_use]
fn chars_to_bytes(text: &str) -> Vec<u8> {
    static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| (0..=255).map(|b| (byte_to_char(b), b)).collect());
    let mut bytes = Vec::new();
    for c in text.chars() {
        match BYTES.get(&c) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

impl Bpe {
    /// Reads the merges; each must join two tokens to a third.
    pub fn read(m: &Metadata, vocab: &Vocab, pre: PreTokenizer) -> Result<Self> {
        let key = "tokenizer.ggml.merges";
        let mut merges = HashMap::default();
        let lines = match m.strings(key)? {
            None if pre.has(Trait::NeedsNoMerges) => &[],
            lines => m.require(key, Ok(lines))?,
        };
        for (rank, merge) in lines.iter().enumerate() {
            // A space separates the two; as a first character it belongs to the left one.
            let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
            let Some(cut) = cut else {
                return Err(m.error(key, format!("merge {rank} ({merge:?}) has no second part")));
            };
            let (left, right) = (&merge[..cut], &merge[cut + 1..]);
            let id = |text: &str| vocab.texts.id(text);
            let joined = [left, right].concat();
            let (Some(a), Some(b), Some(ab)) = (id(left), id(right), id(&joined)) else {
                return Err(m.error(key, format!("merge {rank} ({merge:?}) names a text that is not a token")));
            };
            merges.entry((a, b)).or_insert((rank as u32, ab));
        }
        let raw = pre.has(Trait::RawText);
        let byte_text = |byte: u8| if raw { format!("<0x{byte:02X}>") } else { byte_to_char(byte).to_string() };
        let bytes = (0..=255u8).map(|byte| vocab.texts.id(&byte_text(byte))).collect();
        Ok(Self { merges, bytes, pre })
    }

    /// Whether text with `byte` may leave no token of it.
    pub fn drops(&self, byte: u8) -> bool {
        self.bytes[usize::from(byte)].is_none()
    }

    /// Whether tokens are text rather than the characters that stand for bytes.
    fn is_raw(&self) -> bool {
        self.pre.has(Trait::RawText)
    }

    /// The bytes that a token's text stands for.
    pub fn spell(&self, text: &str) -> Vec<u8> {
        match self.is_raw() {
            true if self.pre.has(Trait::EscapesSpaces) => text.replace(SPACE, " ").into_bytes(),
            true => text.into(),
            false => chars_to_bytes(text),
        }
    }

    /// Appends the ids of `text`.
    pub fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<TokenId>) {
        let escaped = self.pre.has(Trait::EscapesSpaces).then(|| text.replace(' ', SPACE));
        for word in self.pre.split(escaped.as_deref().unwrap_or(text)) {
            match self.whole_word(vocab, word) {
                Some(id) => out.push(id),
                None => self.encode_word(vocab, word, out),
            }
        }
    }

    /// The token of a word that is not to be merged.
    fn whole_word(&self, vocab: &Vocab, word: &str) -> Option<TokenId> {
        let is_wanted = self.pre.has(Trait::WholeWords)
            || (self.pre.has(Trait::WholeLineBreaks) && word.bytes().all(|byte| byte == b'\n'));
        if !is_wanted {
            return None;
        }
        if self.is_raw() {
            return vocab.texts.id(word);
        }
        vocab.texts.id(&word.bytes().map(byte_to_char).collect::<String>())
    }

    fn parts(&self, vocab: &Vocab, word: &str) -> Vec<Part> {
        if self.is_raw() {
            let id = |c: char| vocab.texts.id(c.encode_utf8(&mut [0; 4]) as &str);
            return word.chars().map(|c| id(c).map_or(Part::Unknown(c), Part::Token)).collect();
        }
        // Bytes that are not in the vocabulary are dropped, as llama.cpp drops them.
        word.bytes().filter_map(|byte| self.bytes[usize::from(byte)]).map(Part::Token).collect()
    }

    fn encode_word(&self, vocab: &Vocab, word: &str, out: &mut Vec<TokenId>) {
        let mut parts = self.parts(vocab, word);
        merge(&mut parts, |left, right| {
            let (Part::Token(left), Part::Token(right)) = (left, right) else { return None };
            self.merges.get(&(left, right)).map(|(rank, merged)| (*rank, Part::Token(*merged)))
        });
        for part in parts {
            match part {
                Part::Token(id) => out.push(id),
                Part::Unknown(c) => {
                    out.extend(c.encode_utf8(&mut [0; 4]).bytes().filter_map(|byte| self.bytes[usize::from(byte)]));
                }
            }
        }
    }
}
