//! Byte-level byte-pair encoding (GPT-2): words are split off first, then neighbours are merged
//! by the rank of their pair.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::LazyLock;

use super::TokenId;
use super::pretokenize::PreTokenizer;
use super::vocab::Vocab;
use crate::error::Result;
use crate::gguf::Metadata;

/// Merge ranks over token ids.
#[derive(Debug)]
pub struct Bpe {
    /// (left, right) to (rank, merged).
    merges: HashMap<(TokenId, TokenId), (u32, TokenId)>,
    /// The token of each byte.
    bytes: Vec<Option<TokenId>>,
    pre: PreTokenizer,
    /// A word that is a token as a whole is taken as it is.
    whole_words: bool,
}

/// The character that stands for a byte in the vocabulary: printable Latin-1 as itself, the rest
/// from U+0100 on, in order.
#[must_use]
pub fn byte_to_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + rank).expect("below U+0200 every number is a character")
}

/// The bytes of a token's text; characters that stand for no byte are taken as they are.
#[must_use]
pub fn chars_to_bytes(text: &str) -> Vec<u8> {
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
        let mut merges = HashMap::new();
        for (rank, merge) in m.require(key, m.strings(key))?.iter().enumerate() {
            // A space separates the two; as a first character it belongs to the left one.
            let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
            let Some(cut) = cut else {
                return Err(m.error(key, format!("merge {rank} ({merge:?}) has no second part")));
            };
            let (left, right) = (&merge[..cut], &merge[cut + 1..]);
            let id = |text: &str| vocab.ids.get(text).copied();
            let joined = [left, right].concat();
            let (Some(a), Some(b), Some(ab)) = (id(left), id(right), id(&joined)) else {
                return Err(m.error(key, format!("merge {rank} ({merge:?}) names a text that is not a token")));
            };
            merges.entry((a, b)).or_insert((rank as u32, ab));
        }
        let bytes = (0..=255u8).map(|byte| vocab.ids.get(byte_to_char(byte).encode_utf8(&mut [0; 4]) as &str).copied());
        Ok(Self { merges, bytes: bytes.collect(), whole_words: pre.keeps_whole_words(), pre })
    }

    /// Appends the ids of `text`.
    pub fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<TokenId>) {
        for word in self.pre.split(text) {
            if self.whole_words {
                let spelled: String = word.bytes().map(byte_to_char).collect();
                if let Some(id) = vocab.ids.get(&spelled) {
                    out.push(*id);
                    continue;
                }
            }
            self.encode_word(word, out);
        }
    }

    fn encode_word(&self, word: &str, out: &mut Vec<TokenId>) {
        // Bytes that are not in the vocabulary are dropped, as llama.cpp drops them.
        let mut symbols: Vec<Option<TokenId>> =
            word.bytes().map(|b| self.bytes[usize::from(b)]).filter(Option::is_some).collect();
        let n = symbols.len();
        let mut next: Vec<usize> = (1..=n).collect();
        let mut prev: Vec<usize> = (0..n).map(|i| i.wrapping_sub(1)).collect();
        let mut heap = BinaryHeap::new();
        let push = |heap: &mut BinaryHeap<_>, symbols: &[Option<TokenId>], a: usize, b: usize| {
            let (Some(left), Some(right)) = (symbols[a], symbols[b]) else { return };
            if let Some((rank, merged)) = self.merges.get(&(left, right)) {
                heap.push(Reverse((*rank, a, b, left, right, *merged)));
            }
        };
        (1..n).for_each(|b| push(&mut heap, &symbols, b - 1, b));
        while let Some(Reverse((_, a, b, left, right, merged))) = heap.pop() {
            if symbols[a] != Some(left) || symbols[b] != Some(right) || next[a] != b {
                continue;
            }
            symbols[a] = Some(merged);
            symbols[b] = None;
            next[a] = next[b];
            if next[a] < n {
                prev[next[a]] = a;
                push(&mut heap, &symbols, a, next[a]);
            }
            if prev[a] != usize::MAX {
                push(&mut heap, &symbols, prev[a], a);
            }
        }
        out.extend(symbols.into_iter().flatten());
    }
}
