//! Stop strings over a growing text, holding back what might become one.

/// Finds the first stop string in a stream of text.
#[derive(Debug, Default)]
pub struct StopMatcher {
    words: Vec<String>,
    /// Text that could be the start of a stop string.
    held: String,
}

/// What a piece of text led to.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Scan {
    /// Text that is certainly not part of a stop string.
    pub text: String,
    /// The stop string that was completed, by its index.
    pub word: Option<usize>,
}

impl StopMatcher {
    /// A matcher for `words`; empty ones are ignored.
    #[must_use]
    pub fn new(words: &[String]) -> Self {
        Self { words: words.to_vec(), held: String::new() }
    }

    /// Takes the next piece. After a word was found, the rest is dropped.
    pub fn push(&mut self, piece: &str) -> Scan {
        self.held.push_str(piece);
        let found = self.words.iter().enumerate().filter(|(_, word)| !word.is_empty());
        let first = found.filter_map(|(index, word)| self.held.find(word.as_str()).map(|at| (at, index))).min();
        if let Some((at, index)) = first {
            let text = self.held[..at].to_owned();
            self.held.clear();
            return Scan { text, word: Some(index) };
        }
        let keep = self.words.iter().map(|word| partial_suffix(&self.held, word)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Scan { text: std::mem::replace(&mut self.held, rest), word: None }
    }

    /// What was held back and turned out to be text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that is a proper start of `word`.
fn partial_suffix(text: &str, word: &str) -> usize {
    let longest = text.len().min(word.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|n| {
            text.is_char_boundary(text.len() - n) && word.as_bytes().starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(words: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let mut matcher = StopMatcher::new(&words);
        let mut out = String::new();
        for piece in pieces {
            let scan = matcher.push(piece);
            out.push_str(&scan.text);
            if scan.word.is_some() {
                return (out, scan.word);
            }
        }
        out.push_str(&matcher.finish());
        (out, None)
    }

    #[test]
    fn a_word_over_several_pieces_is_found_and_not_shown() {
        assert_eq!(run(&["###"], &["a#", "#", "#b"]), ("a".into(), Some(0)));
        assert_eq!(run(&["###"], &["a#", "#", "b"]), ("a##b".into(), None));
        assert_eq!(run(&["bc", "ab"], &["xabc"]), ("x".into(), Some(1)), "the earliest wins");
        assert_eq!(run(&["é!"], &["caf", "é", "?"]), ("café?".into(), None));
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_the_whole_gives(
            words in prop::collection::vec("[ab]{1,4}", 0..3),
            pieces in prop::collection::vec("[abé]{0,4}", 0..10),
        ) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let refs: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            // The word that ends first stops the text; the earliest start wins among those.
            let end = words.iter().filter_map(|w| whole.find(w).map(|at| at + w.len())).min();
            let (text, word) = run(&words, &refs);
            prop_assert_eq!(word.is_some(), end.is_some());
            prop_assert!(whole.starts_with(&text));
            if word.is_none() { prop_assert_eq!(text, whole); }
        }
    }
}
