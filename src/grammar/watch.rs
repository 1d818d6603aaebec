//! What an answer's text is watched for while it grows: thoughts, and the place from which on a
//! grammar counts.
//!
//! A [`Watch`] says what to look for and is shared by the choices of a request; a [`Scan`] is one
//! sequence's position. Text arrives in pieces of any size, and only what could still become a
//! marker is kept.

use std::sync::Arc;

use crate::error::{Error, Result};

/// White space between two words of a marker, in bytes at most.
const MAX_SPACE: usize = 64;
/// Caps on one watch.
const MAX_MARKERS: usize = 64;
const MAX_MARKER_BYTES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// What to look for in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    pub thought: Option<Thought>,
    pub start: GrammarStart,
}

/// From where on the request's grammar counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GrammarStart {
    /// From the first token.
    #[default]
    AtOnce,
    /// From the end of the thought.
    AfterThought,
    /// From behind the first of these outside of thoughts, if what follows fits the grammar.
    AtMarker(Vec<Marker>),
}

/// How a thought is told from the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thought {
    pub open: String,
    pub close: String,
    /// Whether the prompt ends inside of one.
    pub begun: bool,
    /// Tokens that thoughts may take before they are closed.
    pub budget: Option<usize>,
    /// What is written before they are closed so.
    pub message: String,
}

/// A text that starts the grammar: words with white space between them or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub words: Vec<String>,
    /// Whether it counts at the start of the answer only, but for white space and thoughts.
    pub at_start: bool,
}

impl Watch {
    /// Refuses what cannot be looked for.
    pub fn validate(&self) -> Result<()> {
        let markers: &[Marker] = if let GrammarStart::AtMarker(markers) = &self.start { markers } else { &[] };
        if markers.len() > MAX_MARKERS {
            return Err(Error::invalid("markers", format!("{} of them; allowed: up to {MAX_MARKERS}", markers.len())));
        }
        let message = self.thought.as_ref().map_or(0, |thought| thought.message.len());
        if message > MAX_MESSAGE_BYTES {
            let message = format!("a text of {message} bytes; allowed: up to {MAX_MESSAGE_BYTES}");
            return Err(Error::invalid("budget_message", message));
        }
        let words = markers.iter().flat_map(|marker| &marker.words);
        let words = words.chain(self.thought.iter().flat_map(|thought| [&thought.open, &thought.close]));
        let bad = |word: &&String| word.is_empty() || word.len() > MAX_MARKER_BYTES;
        match words.into_iter().find(bad) {
            Some(word) => {
                let message = format!("a text of {} bytes; allowed: 1 to {MAX_MARKER_BYTES}", word.len());
                Err(Error::invalid("markers", message))
            }
            None if markers.iter().any(|marker| marker.words.is_empty()) => {
                Err(Error::invalid("markers", "one has no words; at least one is needed"))
            }
            None if self.start == GrammarStart::AfterThought && self.thought.is_none() => {
                Err(Error::invalid("start", "after_thought needs a thought"))
            }
            None => Ok(()),
        }
    }
}

/// One sequence's position in a [`Watch`].
#[derive(Debug)]
pub struct Scan {
    watch: Arc<Watch>,
    /// Text that may hold the beginning of something.
    text: Vec<u8>,
    inside: bool,
    /// Whether nothing but white space came since the start of the answer or the last thought.
    fresh: bool,
    /// Whether the grammar is still to start.
    waiting: bool,
    /// Tokens of thoughts so far.
    thought_tokens: usize,
    /// Whether the thought that is being written is to be closed, whatever its budget.
    ending: bool,
}

/// How far a marker matches.
enum Match {
    No,
    /// The text ends before the marker does.
    Open,
    /// Up to this byte.
    Full(usize),
}

impl Scan {
    /// The start of an answer.
    #[must_use]
    pub fn new(watch: &Arc<Watch>) -> Self {
        Self {
            inside: watch.thought.as_ref().is_some_and(|thought| thought.begun),
            fresh: true,
            waiting: watch.start != GrammarStart::AtOnce,
            thought_tokens: 0,
            ending: false,
            text: Vec::new(),
            watch: Arc::clone(watch),
        }
    }

    /// Whether the grammar does not count yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The text that closes the thought, if it has used up its tokens or was asked to end.
    #[must_use]
    pub fn overdue(&self) -> Option<String> {
        let thought = self.watch.thought.as_ref().filter(|_| self.inside)?;
        let is_spent = thought.budget.is_some_and(|budget| self.thought_tokens >= budget);
        (is_spent || self.ending).then(|| format!("{}{}", thought.message, thought.close))
    }

    /// Asks the thought that is being written to end. False where there is none.
    pub fn end_thought(&mut self) -> bool {
        self.ending = self.inside;
        self.inside
    }

    /// Takes the text of one token. Where the grammar starts inside of it, the bytes behind that
    /// place; `fits` says whether the grammar takes such bytes, and looking goes on if it does not.
    pub fn push(&mut self, piece: &[u8], mut fits: impl FnMut(&[u8]) -> Result<bool>) -> Result<()> {
        self.text.extend_from_slice(piece);
        self.thought_tokens += usize::from(self.inside);
        while self.step(&mut fits)? {}
        Ok(())
    }

    /// One decision; false where more text is needed.
    fn step(&mut self, fits: &mut impl FnMut(&[u8]) -> Result<bool>) -> Result<bool> {
        let watch = Arc::clone(&self.watch);
        if self.inside {
            let close = watch.thought.as_ref().map_or("", |thought| &thought.close);
            let Some(at) = find(&self.text, close.as_bytes()) else {
                let keep = close.len().saturating_sub(1).min(self.text.len());
                self.text.drain(..self.text.len() - keep);
                return Ok(false);
            };
            self.text.drain(..at + close.len());
            self.inside = false;
            self.ending = false;
            self.fresh = true;
            if self.waiting && watch.start == GrammarStart::AfterThought {
                // The rest of the token that closed the thought is white space, if anything; where
                // the grammar does not take it, the answer begins behind it.
                if !fits(&self.text)? {
                    fits(self.text.trim_ascii_start())?;
                }
                self.waiting = false;
            }
            return Ok(true);
        }
        self.look(&watch, fits)
    }

    /// Looks for the first place where something begins.
    fn look(&mut self, watch: &Watch, fits: &mut impl FnMut(&[u8]) -> Result<bool>) -> Result<bool> {
        for at in 0..self.text.len() {
            let rest = &self.text[at..];
            // A thought comes first; later on its marker is a word like any other.
            let thought = watch.thought.as_ref().filter(|_| self.fresh);
            let open = thought.map_or(Match::No, |thought| words_at(rest, [thought.open.as_str()]));
            if let Match::Full(end) = open {
                self.text.drain(..at + end);
                self.inside = true;
                return Ok(true);
            }
            let mut undecided = matches!(open, Match::Open);
            let markers = if let (true, GrammarStart::AtMarker(markers)) = (self.waiting, &watch.start) {
                markers.as_slice()
            } else {
                &[]
            };
            for marker in markers.iter().filter(|marker| self.fresh || !marker.at_start) {
                match words_at(rest, marker.words.iter().map(String::as_str)) {
                    Match::No => {}
                    Match::Open => undecided = true,
                    Match::Full(end) => {
                        if fits(&rest[end..])? {
                            self.waiting = false;
                            self.text.drain(..at + end);
                            return Ok(true);
                        }
                    }
                }
            }
            if undecided {
                self.text.drain(..at);
                return Ok(false);
            }
            self.fresh &= self.text[at].is_ascii_whitespace();
        }
        self.text.clear();
        Ok(false)
    }
}

/// Whether `text` starts with all of `words`.
fn words_at<'a>(text: &[u8], words: impl IntoIterator<Item = &'a str>) -> Match {
    let mut at = 0;
    for (index, word) in words.into_iter().enumerate() {
        let space = text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if index > 0 && space <= MAX_SPACE {
            at += space;
        }
        let rest = &text[at..];
        if rest.len() < word.len() && word.as_bytes().starts_with(rest) {
            return Match::Open;
        }
        if !rest.starts_with(word.as_bytes()) {
            return Match::No;
        }
        at += word.len();
    }
    Match::Full(at)
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len().max(1)).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(words: &[&str], at_start: bool) -> Marker {
        Marker { words: words.iter().map(ToString::to_string).collect(), at_start }
    }

    fn thought_of_words() -> Thought {
        let (open, close) = ("<think>".into(), "</think>".into());
        Thought { open, close, begun: false, budget: None, message: String::new() }
    }

    fn watch(thought: Option<bool>, markers: Vec<Marker>) -> Arc<Watch> {
        let thought = thought.map(|begun| Thought { begun, budget: Some(3), ..thought_of_words() });
        Arc::new(Watch { thought, start: GrammarStart::AtMarker(markers) })
    }

    /// What the grammar is given first, for `text` in pieces of `size` bytes; later pieces are
    /// what the sampler would hand to the grammar itself.
    fn started(watch: &Arc<Watch>, text: &str, size: usize) -> Option<String> {
        let mut scan = Scan::new(watch);
        let mut taken: Option<Vec<u8>> = None;
        for piece in text.as_bytes().chunks(size) {
            match &mut taken {
                Some(taken) => taken.extend_from_slice(piece),
                None => scan
                    .push(piece, |rest| {
                        let fits = !rest.starts_with(b"!");
                        if fits {
                            taken = Some(rest.to_vec());
                        }
                        Ok(fits)
                    })
                    .unwrap(),
            }
        }
        taken.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_marker_is_found_however_the_text_is_cut() {
        let calls = watch(Some(false), vec![marker(&["<call>"], false), marker(&["{", "\"name\""], true)]);
        let open = watch(Some(true), vec![marker(&["<call>"], false)]);
        let cases = [
            (&calls, "text <call>rest", Some("rest")),
            (&calls, "<cal <<call>", Some("")),
            (&calls, "<think>a <call>b</think>c<call>d", Some("d")),
            (&calls, "<think>a <call>b", None),
            (&calls, "about <think> <call>b", Some("b")),
            (&calls, " \n{ \n\"name\": 1", Some(": 1")),
            (&calls, "x {\"name\"", None),
            (&calls, "<think>x</think>\n{\"name\"!", Some("!")),
            (&open, "a <call>b</think>c<call>d", Some("d")),
            (&calls, "no marker <", None),
        ];
        for (watch, text, expected) in cases {
            for size in 1..=text.len() {
                let found = started(watch, text, size);
                if expected == Some("!") {
                    // Whether the text behind a marker is seen with it depends on the cut.
                    assert!(found.is_none() || found.as_deref() == expected, "{text:?} in pieces of {size}");
                } else {
                    assert_eq!(found.as_deref(), expected, "{text:?} in pieces of {size}");
                }
            }
        }
    }

    #[test]
    fn looking_goes_on_where_the_grammar_refuses() {
        let calls = watch(None, vec![marker(&["<call>"], false)]);
        assert_eq!(started(&calls, "<call>! and <call>x", 64).as_deref(), Some("x"));
    }

    #[test]
    fn a_thought_is_overdue_after_its_budget() {
        let mut scan = Scan::new(&watch(Some(false), Vec::new()));
        let push = |scan: &mut Scan, text: &str| scan.push(text.as_bytes(), |_| Ok(true)).unwrap();
        for piece in ["<th", "ink>", "a", "b"] {
            push(&mut scan, piece);
            assert_eq!(scan.overdue(), None, "after {piece}");
        }
        push(&mut scan, "c");
        assert_eq!(scan.overdue().as_deref(), Some("</think>"));
        push(&mut scan, "</think>");
        assert_eq!(scan.overdue(), None);
    }

    #[test]
    fn a_thought_ends_when_it_is_asked_to() {
        let thought = Thought { open: "<think>".into(), close: "</think>".into(), ..Thought::default() };
        let mut scan = Scan::new(&Arc::new(Watch { thought: Some(thought), start: GrammarStart::AtOnce }));
        let push = |scan: &mut Scan, text: &str| scan.push(text.as_bytes(), |_| Ok(true)).unwrap();
        assert!(!scan.end_thought(), "none has begun");
        push(&mut scan, "<think>a");
        assert_eq!(scan.overdue(), None);
        assert!(scan.end_thought());
        assert_eq!(scan.overdue().as_deref(), Some("</think>"));
        push(&mut scan, "</think>\n<think>");
        assert_eq!(scan.overdue(), None, "the next one may go on");
        push(&mut scan, "</think> text");
        assert!(!scan.end_thought());
    }

    #[test]
    fn a_message_comes_before_the_end_of_an_overdue_thought() {
        let thought = Thought { begun: true, budget: Some(0), message: "Enough.".into(), ..thought_of_words() };
        let mut watch = Watch { thought: Some(thought), start: GrammarStart::AtOnce };
        assert_eq!(Scan::new(&Arc::new(watch.clone())).overdue().as_deref(), Some("Enough.</think>"));
        watch.thought.as_mut().expect("it was given").message = "x".repeat(MAX_MESSAGE_BYTES + 1);
        assert!(watch.validate().expect_err("it is too long").to_string().starts_with("budget_message: a text of"));
    }

    #[test]
    fn bad_watches_are_refused() {
        let bad = [
            Watch { thought: None, start: GrammarStart::AfterThought },
            Watch { thought: None, start: GrammarStart::AtMarker(vec![marker(&[], false)]) },
            Watch { thought: None, start: GrammarStart::AtMarker(vec![marker(&["a", ""], false)]) },
            Watch { thought: None, start: GrammarStart::AtMarker(vec![marker(&["a"], false); 65]) },
        ];
        assert!(bad.iter().all(|watch| watch.validate().is_err()));
        assert!(watch(Some(true), vec![marker(&["a", "b"], true)]).validate().is_ok());
    }
}
