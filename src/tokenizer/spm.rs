//! SentencePiece's byte-pair mode: neighbours are merged by the score of what they form.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::TokenId;
use super::vocab::Vocab;

/// Stands for a space in the vocabulary.
pub const SPACE: &str = "\u{2581}";

/// Ids of the 256 byte tokens, where the vocabulary has them.
#[derive(Debug)]
pub struct Spm {
    bytes: Vec<Option<TokenId>>,
}

/// A part of the text; merged parts keep the left one's place and are linked past the right one.
struct Symbol {
    start: usize,
    /// 0 once it has been merged into its left neighbour.
    len: usize,
    prev: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

/// A possible merge, with the length it had when it was found so that stale ones are noticed.
struct Bigram {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Bigram {
    /// The best score first, then the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Bigram {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bigram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bigram {}

impl Spm {
    /// Finds the byte tokens `<0x00>` to `<0xFF>`.
    #[must_use]
    pub fn new(vocab: &Vocab) -> Self {
        Self { bytes: (0..=255u8).map(|byte| vocab.texts.id(&format!("<0x{byte:02X}>"))).collect() }
    }

    /// Appends the ids of `text`, whose spaces are already [`SPACE`]. O(n log n).
    pub fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<TokenId>) {
        let mut symbols = split(text);
        let mut heap = BinaryHeap::new();
        for right in 1..symbols.len() {
            push(vocab, text, &symbols, right - 1, right, &mut heap);
        }
        while let Some(best) = heap.pop() {
            let (left, right) = (&symbols[best.left], &symbols[best.right]);
            if left.len == 0 || right.len == 0 || left.len + right.len != best.len {
                continue;
            }
            let next = right.next;
            symbols[best.left].len = best.len;
            symbols[best.left].next = next;
            symbols[best.right].len = 0;
            if next != NONE {
                symbols[next].prev = best.left;
                push(vocab, text, &symbols, best.left, next, &mut heap);
            }
            let prev = symbols[best.left].prev;
            if prev != NONE {
                push(vocab, text, &symbols, prev, best.left, &mut heap);
            }
        }
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            self.emit(vocab, &text[symbol.start..symbol.start + symbol.len], out);
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

fn split(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(i, (start, c))| Symbol { start, len: c.len_utf8(), prev: i.wrapping_sub(1), next: i + 1 })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    symbols
}

fn push(vocab: &Vocab, text: &str, symbols: &[Symbol], left: usize, right: usize, heap: &mut BinaryHeap<Bigram>) {
    let len = symbols[left].len + symbols[right].len;
    let start = symbols[left].start;
    if let Some(id) = vocab.texts.id(&text[start..start + len]) {
        heap.push(Bigram { score: vocab.scores[id as usize], left, right, len });
    }
}
