//! Where parts of a JSON text end that no schema bounds: the digits of a number, and nesting.
//!
//! A model that has begun to write zeros, or a list in a list, may never stop. So a number that has as many
//! digits as anyone reads ends there, and nothing opens in what is nested deeper than anyone nests, if
//! the grammar lets it. [`Bounds`] follows the text, [`BoundTokens`] are the tokens that go out of a mask.

use toktrie::TokTrie;

use super::TokenMask;
use crate::tokenizer::TokenId;

/// Digits in a row: as many as the largest 64-bit integer has, and more than a double keeps.
pub const MAX_DIGITS: usize = 20;
/// Digits of an exponent: with them, every number is in the range of a double.
pub const MAX_EXPONENT: usize = 2;
/// Objects and arrays within each other.
pub const MAX_DEPTH: usize = 48;

/// What there is to know of the text so far. In a text that is not all JSON a quote may be something
/// else; then the bounds come later, or not at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Digits at the end of the text.
    digits: usize,
    /// Whether one of them is not a zero.
    counts: bool,
    /// Whether they are an exponent.
    exponent: bool,
    /// Objects and arrays that are open.
    depth: usize,
    /// Whether the text ends in a string, and there behind a backslash.
    quoted: bool,
    escaped: bool,
}

impl Bounds {
    /// Goes on to the end of `bytes`; whether an object or array was opened on the way.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let mut opened = false;
        for &byte in bytes {
            opened |= !self.quoted && matches!(byte, b'{' | b'[');
            self.nest(byte);
            self.count(byte);
        }
        opened
    }

    fn nest(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = self.quoted,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.depth += 1,
            b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn count(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => {
                self.digits += 1;
                self.counts |= byte != b'0';
            }
            b'+' | b'-' if self.exponent && self.digits == 0 => {}
            _ => {
                self.exponent = matches!(byte, b'e' | b'E') && self.digits > 0;
                (self.digits, self.counts) = (0, false);
            }
        }
    }

    fn has_many_digits(&self) -> bool {
        !self.quoted && self.digits >= if self.exponent { MAX_EXPONENT } else { MAX_DIGITS }
    }

    fn is_deep(&self) -> bool {
        self.depth >= MAX_DEPTH
    }

    /// Whether a bound is reached.
    pub fn are_reached(&self) -> bool {
        self.has_many_digits() || self.is_deep()
    }

    /// Whether `token` may be among those that [`narrow`](Self::narrow) takes out.
    pub fn may_forbid(&self, token: TokenId, tokens: &BoundTokens) -> bool {
        self.has_many_digits() && tokens.digits.is_allowed(token)
            || self.is_deep() && tokens.opening(self.quoted).is_allowed(token)
    }

    /// Takes tokens out of `mask` that go beyond a bound, if others are left.
    pub fn narrow(&self, mask: &mut TokenMask, tokens: &BoundTokens) {
        if self.is_deep() {
            take_out(mask, tokens.opening(self.quoted), Some(&tokens.blank));
        }
        // Where letters may follow as well, the digits are a part of a text.
        if self.has_many_digits() && mask.and_is_zero(&tokens.text) {
            let ended = take_out(mask, &tokens.digits, None);
            // Above an excluded zero a number cannot end in zeros, but behind any other digit.
            if !ended && !self.counts {
                take_out(mask, &tokens.zeros, None);
            }
        }
    }
}

/// Takes `tokens` out of `mask`, if others are left that are not among `void`; whether they are.
fn take_out(mask: &mut TokenMask, tokens: &TokenMask, void: Option<&TokenMask>) -> bool {
    let mut rest = mask.clone();
    rest.sub(tokens);
    let mut others = rest.clone();
    void.into_iter().for_each(|void| others.sub(void));
    let some = !others.is_zero();
    if some {
        *mask = rest;
    }
    some
}

/// Tokens by what they do to [`Bounds`].
pub struct BoundTokens {
    /// Those that begin with a digit, and with a zero.
    digits: TokenMask,
    zeros: TokenMask,
    /// Those that cannot follow a digit of a number: letters but for an exponent's, and quotes.
    text: TokenMask,
    /// Those that open something outside of a string, and those that do so behind the end of one.
    opening: [TokenMask; 2],
    /// White space, which only puts off what follows.
    blank: TokenMask,
}

impl BoundTokens {
    /// The tokens of a vocabulary.
    pub fn new(trie: &TokTrie) -> Self {
        let having = |wanted: &dyn Fn(&[u8]) -> bool| {
            let mut mask = trie.alloc_token_set();
            (0..trie.vocab_size() as TokenId).filter(|&t| wanted(trie.token(t))).for_each(|t| mask.allow_token(t));
            mask
        };
        let starting = |wanted: fn(u8) -> bool| having(&|bytes| bytes.first().is_some_and(|byte| wanted(*byte)));
        let opening = |quoted| having(&|bytes| Bounds { quoted, ..Bounds::default() }.push(bytes));
        Self {
            digits: starting(|byte| byte.is_ascii_digit()),
            zeros: starting(|byte| byte == b'0'),
            text: starting(|byte| matches!(byte, b'"' | b'\'' | b'a'..=b'd' | b'f'..=b'z' | b'A'..=b'D' | b'F'..=b'Z')),
            opening: [opening(false), opening(true)],
            blank: having(&|bytes| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_whitespace)),
        }
    }

    fn opening(&self, quoted: bool) -> &TokenMask {
        &self.opening[usize::from(quoted)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_reached_where_numbers_and_nesting_are_long() {
        let (zeros, open) = ("0".repeat(MAX_DIGITS), "[{\"a\":".repeat(MAX_DEPTH / 2));
        let cases = [
            ("", false),
            ("1234567890123456789", false),
            ("12345678901234567890", true),
            ("12345678901234567890.", false),
            ("12345678901234567890,1", false),
            (&format!("[1, -0.{zeros}"), true),
            (&format!("\"{zeros}"), false),
            (&format!("\"a\\\"\": {zeros}"), true),
            ("1e5", false),
            ("1e50", true),
            ("1E-50", true),
            ("1e+5", false),
            ("e50", false),
            ("1e50,50", false),
            (&open, true),
            (&format!("{open}1}}"), false),
            (&format!("\"{}", "[".repeat(100)), false),
            (&"[]".repeat(100), false),
        ];
        for (text, reached) in cases {
            let mut bounds = Bounds::default();
            bounds.push(text.as_bytes());
            assert_eq!(bounds.are_reached(), reached, "{text}");
        }
    }
}
