//! Splitting text into words before byte-pair merging, as `tokenizer.ggml.pre` names it.
//!
//! A scheme (`schemes`) is a list of stages. A stage cuts the pieces left by the one before it:
//! what one of its rules (`rule`) matches becomes a piece, and so does what lies between two
//! matches. The rules name sets of characters (`charset`) and do not backtrack, so that time is
//! linear in the text.

mod charset;
mod rule;
mod schemes;
#[cfg(test)]
mod tests;

use rule::Rule;
use schemes::{SCHEMES, Scheme};

pub use schemes::Trait;

/// The splitter of one vocabulary.
#[derive(Clone, Copy)]
pub struct PreTokenizer(&'static Scheme);

impl std::fmt::Debug for PreTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_tuple("PreTokenizer").field(&self.0.names[0]).finish()
    }
}

impl PreTokenizer {
    /// The scheme called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        SCHEMES.iter().find(|scheme| scheme.names.contains(&name)).map(Self)
    }

    /// All names, for messages.
    #[must_use]
    pub fn known() -> String {
        SCHEMES.iter().flat_map(|scheme| scheme.names).copied().collect::<Vec<_>>().join(", ")
    }

    /// Whether the scheme has a trait.
    #[must_use]
    pub fn has(&self, wanted: Trait) -> bool {
        self.0.traits.contains(&wanted)
    }

    /// The words of `text`, in order; together they are the text.
    #[must_use]
    pub fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let chars: Vec<char> = text.chars().collect();
        let mut ends = vec![chars.len()];
        for stage in self.0.stages {
            let mut start = 0;
            let mut cut = Vec::with_capacity(ends.len());
            for end in ends {
                split_piece(stage, &chars[start..end], start, &mut cut);
                start = end;
            }
            ends = cut;
        }
        let mut rest = text;
        let mut done = 0;
        let mut words = Vec::with_capacity(ends.len());
        for end in ends {
            let bytes: usize = chars[done..end].iter().map(|c| c.len_utf8()).sum();
            let (word, after) = rest.split_at(bytes);
            words.push(word);
            (rest, done) = (after, end);
        }
        words
    }
}

/// Appends the ends of the parts of `piece`, which starts at `offset`.
fn split_piece(stage: &[Rule], piece: &[char], offset: usize, ends: &mut Vec<usize>) {
    let mut at = 0;
    let mut gap = 0;
    while at < piece.len() {
        let Some(n) = stage.iter().map(|rule| rule.length(piece, at)).find(|n| *n > 0) else {
            at += 1;
            continue;
        };
        if at > gap {
            ends.push(offset + at);
        }
        at += n;
        gap = at;
        ends.push(offset + at);
    }
    if gap < piece.len() {
        ends.push(offset + piece.len());
    }
}
