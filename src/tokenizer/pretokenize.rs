//! Splitting text into words before byte-pair merging, as `tokenizer.ggml.pre` names it.
//!
//! Each scheme is a list of rules. A rule cuts the pieces left by the one before it: what it
//! matches becomes a piece, and so does what lies between two matches. The rules are written by
//! hand, without backtracking, so that time is linear in the text.

use unicode_general_category::{GeneralCategory as G, get_general_category};

use super::unicode::is_punctuation;

/// Length of the match at `at`, in characters; 0 where there is none.
type Rule = fn(chars: &[char], at: usize) -> usize;

/// The splitter of one vocabulary.
#[derive(Debug, Clone)]
pub struct PreTokenizer {
    rules: &'static [Rule],
    whole_words: bool,
    adds_bos: bool,
}

/// (names, rules, whole words are taken as they are, BOS is added by default)
const SCHEMES: &[(&[&str], &[Rule], bool, bool)] = &[
    (&["default"], &[punctuation_and_signs, gpt2, numbers, three_digits], false, false),
    (
        &["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        &[llama3],
        true,
        true,
    ),
    (&["dbrx", "smaug-bpe"], &[llama3], false, false),
    (&["qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"], &[qwen2], false, false),
    (
        &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"],
        &[gpt2],
        false,
        false,
    ),
    (
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"],
        &[number, gpt2],
        false,
        false,
    ),
    (&["falcon"], &[punctuation_and_signs, gpt2, three_digits], false, false),
    (&["deepseek-coder"], &[line_break, spaced_letters, spaced_punctuation, east_asian, number], false, false),
    (
        &["deepseek-llm"],
        &[line_break, spaced_alphabetic, spaced_marks, trailing_space, east_asian, numbers],
        false,
        false,
    ),
];

impl PreTokenizer {
    /// The scheme called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        SCHEMES.iter().find(|scheme| scheme.0.contains(&name)).map(|(_, rules, whole_words, adds_bos)| Self {
            rules,
            whole_words: *whole_words,
            adds_bos: *adds_bos,
        })
    }

    /// All names, for messages.
    #[must_use]
    pub fn known() -> String {
        SCHEMES.iter().flat_map(|scheme| scheme.0).copied().collect::<Vec<_>>().join(", ")
    }

    /// Whether a word that is a token is not merged.
    #[must_use]
    pub fn keeps_whole_words(&self) -> bool {
        self.whole_words
    }

    /// Whether BOS is added where the file does not say.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// The words of `text`, in order; together they are the text.
    #[must_use]
    pub fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let chars: Vec<char> = text.chars().collect();
        let mut ends = vec![chars.len()];
        for rule in self.rules {
            let mut start = 0;
            let mut cut = Vec::with_capacity(ends.len());
            for end in ends {
                split_piece(*rule, &chars[start..end], start, &mut cut);
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
        words.retain(|word| !word.is_empty());
        words
    }
}

/// Appends the ends of the parts of `piece`, which starts at `offset`.
fn split_piece(rule: Rule, piece: &[char], offset: usize, ends: &mut Vec<usize>) {
    let mut at = 0;
    let mut gap = 0;
    while at < piece.len() {
        let n = rule(piece, at);
        if n == 0 {
            at += 1;
            continue;
        }
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

fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    use G::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    matches!(
        get_general_category(c),
        LowercaseLetter | UppercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter
    )
}

fn is_number(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    matches!(get_general_category(c), G::DecimalNumber | G::LetterNumber | G::OtherNumber)
}

/// Neither space, letter nor number.
fn is_other(c: char) -> bool {
    !c.is_whitespace() && !is_letter(c) && !is_number(c)
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Characters from `at` for which `is` holds.
fn run(chars: &[char], at: usize, is: impl Fn(char) -> bool) -> usize {
    chars.get(at..).unwrap_or_default().iter().take_while(|c| is(**c)).count()
}

/// An optional character, then one or more of `is`.
fn optional_then(chars: &[char], at: usize, before: impl Fn(char) -> bool, is: impl Fn(char) -> bool) -> usize {
    let skip = usize::from(chars.get(at).is_some_and(|c| before(*c)));
    match run(chars, at + skip, &is) {
        0 if skip == 1 => run(chars, at, is),
        0 => 0,
        n => skip + n,
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`
fn contraction(chars: &[char], at: usize, any_case: bool) -> usize {
    if chars.get(at) != Some(&'\'') {
        return 0;
    }
    let letter = |i: usize| chars.get(at + i).map(|c| if any_case { c.to_ascii_lowercase() } else { *c });
    match (letter(1), letter(2)) {
        (Some('s' | 't' | 'm' | 'd'), _) => 2,
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}

/// `\s+(?!\S)|\s+`: the last space before a word is left to the word.
fn spaces(chars: &[char], at: usize) -> usize {
    match run(chars, at, char::is_whitespace) {
        n if n > 1 && at + n < chars.len() => n - 1,
        n => n,
    }
}

/// GPT-2: `'s|…| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(chars: &[char], at: usize) -> usize {
    let space = |c: char| c == ' ';
    first([
        &|| contraction(chars, at, false),
        &|| optional_then(chars, at, space, is_letter),
        &|| optional_then(chars, at, space, is_number),
        &|| optional_then(chars, at, space, is_other),
        &|| spaces(chars, at),
    ])
}

/// Llama 3, with numbers in groups of up to three digits.
fn llama3(chars: &[char], at: usize) -> usize {
    llama3_like(chars, at, 3)
}

/// Qwen 2: as Llama 3 with single digits.
fn qwen2(chars: &[char], at: usize) -> usize {
    llama3_like(chars, at, 1)
}

/// `(?i:'s|…)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn llama3_like(chars: &[char], at: usize, digits: usize) -> usize {
    first([
        &|| contraction(chars, at, true),
        &|| optional_then(chars, at, |c| !is_newline(c) && !is_letter(c) && !is_number(c), is_letter),
        &|| run(chars, at, is_number).min(digits),
        &|| match optional_then(chars, at, |c| c == ' ', is_other) {
            0 => 0,
            n => n + run(chars, at + n, is_newline),
        },
        &|| {
            let blank = &chars[at..at + run(chars, at, char::is_whitespace)];
            blank.iter().rposition(|c| is_newline(*c)).map_or(0, |last| last + 1)
        },
        &|| spaces(chars, at),
    ])
}

fn first<const N: usize>(alternatives: [&dyn Fn() -> usize; N]) -> usize {
    alternatives.iter().map(|rule| rule()).find(|n| *n > 0).unwrap_or(0)
}

fn number(chars: &[char], at: usize) -> usize {
    usize::from(is_number(chars[at]))
}

fn numbers(chars: &[char], at: usize) -> usize {
    run(chars, at, is_number)
}

fn three_digits(chars: &[char], at: usize) -> usize {
    if run(chars, at, |c| c.is_ascii_digit()) >= 3 { 3 } else { 0 }
}

/// ``[\p{P}\$\+<=>\^~\|`]+``
fn punctuation_and_signs(chars: &[char], at: usize) -> usize {
    run(chars, at, |c| is_punctuation(c) || "$+<=>^~|`".contains(c))
}

fn line_break(chars: &[char], at: usize) -> usize {
    usize::from(is_newline(chars[at]))
}

fn spaced_letters(chars: &[char], at: usize) -> usize {
    optional_then(chars, at, char::is_whitespace, is_letter)
}

fn spaced_punctuation(chars: &[char], at: usize) -> usize {
    optional_then(chars, at, char::is_whitespace, is_punctuation)
}

/// `\s?` and letters of alphabetic scripts; ideographs and syllables have a rule of their own.
fn spaced_alphabetic(chars: &[char], at: usize) -> usize {
    let cased =
        |c: char| matches!(get_general_category(c), G::LowercaseLetter | G::UppercaseLetter | G::TitlecaseLetter);
    optional_then(chars, at, char::is_whitespace, cased)
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
fn spaced_marks(chars: &[char], at: usize) -> usize {
    let mark = |c: char| matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。');
    optional_then(chars, at, char::is_whitespace, mark)
}

fn trailing_space(chars: &[char], at: usize) -> usize {
    let n = run(chars, at, char::is_whitespace);
    if at + n == chars.len() { n } else { 0 }
}

/// `[一-龥ࠀ-一가-퟿]+`
fn east_asian(chars: &[char], at: usize) -> usize {
    run(chars, at, |c| matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}'))
}
