//! WordPiece (BERT): lower-cased words without accents, each cut into its longest known pieces.

use unicode_general_category::{GeneralCategory as G, get_general_category};
use unicode_normalization::UnicodeNormalization;

use super::TokenId;
use super::spm::SPACE;
use super::unicode::is_punctuation;
use super::vocab::Vocab;

/// Longer words are unknown, as in BERT; it keeps the search for pieces linear in the text.
const MAX_WORD_CHARS: usize = 1024;

/// Appends the ids of `text`. In GGUF, pieces that start a word begin with [`SPACE`].
pub fn encode(vocab: &Vocab, text: &str, out: &mut Vec<TokenId>) {
    for word in words(text) {
        let start = out.len();
        let spelled = format!("{SPACE}{word}");
        if word.chars().count() > MAX_WORD_CHARS || !pieces(vocab, &spelled, out) {
            out.truncate(start);
            out.extend(vocab.special.unk);
        }
    }
}

/// Cuts greedily; false when a part of the word is not in the vocabulary.
fn pieces(vocab: &Vocab, word: &str, out: &mut Vec<TokenId>) -> bool {
    let longest = vocab.longest_text();
    let mut rest = word;
    while !rest.is_empty() {
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= longest);
        let found =
            ends.collect::<Vec<_>>().into_iter().rev().find_map(|end| vocab.texts.id(&rest[..end]).map(|id| (id, end)));
        let Some((id, end)) = found else { return false };
        out.push(id);
        rest = &rest[end..];
    }
    true
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.nfd() {
        let category = get_general_category(c);
        if c.is_whitespace() {
            words.push(String::new());
        } else if c == '\0'
            || c == char::REPLACEMENT_CHARACTER
            || matches!(category, G::Control | G::Format | G::NonspacingMark)
        {
            // Accents are dropped with the other marks, control characters altogether.
        } else if stands_alone(c, category) {
            words.push(c.to_string());
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn stands_alone(c: char, category: G) -> bool {
    let ascii_symbol =
        c.is_ascii() && matches!(category, G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol);
    let ideograph = matches!(c,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2ceaf}'
        | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}');
    is_punctuation(c) || ascii_symbol || ideograph
}
