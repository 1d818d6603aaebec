//! The parts that schemes are made of, each matched without backtracking: the time for a text is
//! linear in its length, whatever it is.

use super::charset::{Set, digit, line_end, number};

/// What may begin at a place of a piece of text.
#[derive(Clone, Copy)]
pub enum Rule {
    /// `'s|'t|'re|'ve|'m|'ll|'d`
    Contraction,
    /// The same in any case.
    AnyContraction,
    Run(Run),
    Cased(Cased),
    /// `\s*[\r\n]+`
    LineBreaks,
    /// `\s+(?!\S)|\s+`: the last space before a word is left to the word.
    Spaces,
    /// What fits no pattern: the length of the match at a place, 0 for none.
    Own(fn(&[char], usize) -> usize),
}

/// `[lead]?[body]{1,most}[tail]*`, with a contraction at the end on demand.
#[derive(Clone, Copy)]
pub struct Run {
    lead: Option<Set>,
    needs_lead: bool,
    body: Set,
    most: usize,
    tail: Option<Set>,
    most_tail: usize,
    contracts: bool,
}

/// `[lead]?[upper]*[lower]+|[lead]?[upper]+[lower]*`. A letter without case is in both sets.
#[derive(Clone, Copy)]
pub struct Cased {
    pub lead: Set,
    pub upper: Set,
    pub lower: Set,
    pub contracts: bool,
}

/// One or more characters of a set.
pub const fn run(body: Set) -> Run {
    Run { lead: None, needs_lead: false, body, most: usize::MAX, tail: None, most_tail: usize::MAX, contracts: false }
}

impl Run {
    /// With one character of `lead` before it, if there is one.
    pub const fn lead(self, lead: Set) -> Self {
        Self { lead: Some(lead), ..self }
    }

    /// Only after one character of `lead`.
    pub const fn after(self, lead: Set) -> Self {
        Self { lead: Some(lead), needs_lead: true, ..self }
    }

    /// At most `most` characters.
    pub const fn most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// With up to `most_tail` characters of `tail` behind it.
    pub const fn tail(self, tail: Set, most_tail: usize) -> Self {
        Self { tail: Some(tail), most_tail, ..self }
    }

    /// With a contraction of any case behind it, if there is one.
    pub const fn contracts(self) -> Self {
        Self { contracts: true, ..self }
    }

    /// As a rule.
    pub const fn rule(self) -> Rule {
        Rule::Run(self)
    }

    fn length(&self, chars: &[char], at: usize) -> usize {
        let body = |from: usize| count(chars, from, self.most, self.body);
        let leads = self.lead.is_some_and(|lead| chars.get(at).is_some_and(|c| lead(*c)));
        let mut n = match (leads, body(at + usize::from(leads))) {
            (true, 0) if !self.needs_lead => body(at),
            (false, _) if self.needs_lead => 0,
            (_, 0) => 0,
            (_, n) => n + usize::from(leads),
        };
        if n > 0 {
            n += self.tail.map_or(0, |tail| count(chars, at + n, self.most_tail, tail));
            n += if self.contracts { contraction(chars, at + n, true) } else { 0 };
        }
        n
    }
}

impl Cased {
    fn length(&self, chars: &[char], at: usize) -> usize {
        let starts = [at + usize::from(chars.get(at).is_some_and(|c| (self.lead)(*c))), at];
        let starts = &starts[usize::from(starts[0] == at)..];
        let end = starts.iter().find_map(|start| self.lower_end(chars, *start));
        let Some(end) = end.or_else(|| starts.iter().find_map(|start| self.upper_end(chars, *start))) else { return 0 };
        end - at + if self.contracts { contraction(chars, end, true) } else { 0 }
    }

    /// The end of `[upper]*[lower]+`.
    fn lower_end(&self, chars: &[char], start: usize) -> Option<usize> {
        let middle = start + count(chars, start, usize::MAX, self.upper);
        match count(chars, middle, usize::MAX, self.lower) {
            // The upper ones give back down to the last that is a lower one as well.
            0 => chars.get(start..middle)?.iter().rposition(|c| (self.lower)(*c)).map(|last| start + last + 1),
            n => Some(middle + n),
        }
    }

    /// The end of `[upper]+[lower]*`, asked only where no lower one follows.
    fn upper_end(&self, chars: &[char], start: usize) -> Option<usize> {
        match count(chars, start, usize::MAX, self.upper) {
            0 => None,
            n => Some(start + n),
        }
    }
}

impl Rule {
    /// Length of the match at `at`, in characters; 0 where there is none.
    pub fn length(&self, chars: &[char], at: usize) -> usize {
        match self {
            Self::Contraction => contraction(chars, at, false),
            Self::AnyContraction => contraction(chars, at, true),
            Self::Run(run) => run.length(chars, at),
            Self::Cased(cased) => cased.length(chars, at),
            Self::LineBreaks => line_breaks(chars, at),
            Self::Spaces => spaces(chars, at),
            Self::Own(length) => length(chars, at),
        }
    }
}

/// Characters of `set` from `at` on, at most `most`.
fn count(chars: &[char], at: usize, most: usize, set: Set) -> usize {
    chars.get(at..).unwrap_or_default().iter().take(most).take_while(|c| set(**c)).count()
}

/// The character before `at`, in the same piece.
fn before(chars: &[char], at: usize) -> Option<char> {
    chars.get(at.checked_sub(1)?).copied()
}

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

fn line_breaks(chars: &[char], at: usize) -> usize {
    // After another space of the same run there is none: the match there would have taken it. Not
    // to look keeps a long run, cut to many pieces, linear.
    if before(chars, at).is_some_and(|c| c.is_whitespace() && !line_end(c)) {
        return 0;
    }
    let blank = &chars[at..at + count(chars, at, usize::MAX, char::is_whitespace)];
    blank.iter().rposition(|c| line_end(*c)).map_or(0, |last| last + 1)
}

fn spaces(chars: &[char], at: usize) -> usize {
    match count(chars, at, usize::MAX, char::is_whitespace) {
        n if n > 1 && at + n < chars.len() => n - 1,
        n => n,
    }
}

/// `\s+$`
pub fn last_spaces(chars: &[char], at: usize) -> usize {
    if before(chars, at).is_some_and(char::is_whitespace) {
        return 0;
    }
    let n = count(chars, at, usize::MAX, char::is_whitespace);
    if at + n == chars.len() { n } else { 0 }
}

/// `\s{512}(?!\S)|\s{256}(?!\S)|…|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
pub fn halving_spaces(chars: &[char], at: usize) -> usize {
    let n = count(chars, at, 513, char::is_whitespace);
    let free = if at + n < chars.len() { n.saturating_sub(1) } else { n };
    match free {
        0 => n.min(1),
        1..=3 => free.min(2),
        _ => 1 << free.min(512).ilog2(),
    }
}

/// `[0-9][0-9][0-9]`
pub fn three_digits(chars: &[char], at: usize) -> usize {
    if count(chars, at, 3, digit) == 3 { 3 } else { 0 }
}

/// `\P{N}*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))|\P{N}+`: numbers in groups of three from the right,
/// the first together with what stands before it.
pub fn numbers_from_the_right(chars: &[char], at: usize) -> usize {
    if number(chars[at]) && before(chars, at).is_some_and(number) {
        return 3;
    }
    let text = count(chars, at, usize::MAX, |c| !number(c));
    match count(chars, at + text, usize::MAX, number) {
        0 => text,
        n => text + (n - 1) % 3 + 1,
    }
}

/// Up to the next place where the digits that follow are a multiple of three:
/// `(?=(\d{3})+(?!\d))` cuts there without taking anything.
pub fn to_group_of_three(chars: &[char], at: usize) -> usize {
    let follows = |at: usize| chars.get(at).is_some_and(|c| digit(*c));
    let mut place = at;
    if follows(at) && before(chars, at).is_some_and(digit) {
        // Inside a run the cut before this one was already at such a place.
        if follows(at + 3) {
            return 3;
        }
        place += 3;
    }
    while place < chars.len() {
        let n = count(chars, place, usize::MAX, digit);
        let first = if n.is_multiple_of(3) && place == at { 3 } else { n % 3 };
        if first < n {
            // At a run's own start, where its length is a multiple, there is a cut too.
            return place + first - at;
        }
        place += n + count(chars, place + n, usize::MAX, |c| !digit(c));
    }
    chars.len() - at
}

/// `\p{L}\p{M}*(?: ?\p{L}\p{M}*)*` after one of `[^\r\n\p{L}\p{N}]` at most: words with single
/// spaces between them.
pub fn spaced_words(chars: &[char], at: usize) -> usize {
    use super::charset::{before_word, letter, mark};
    let is_letter = |at: usize| chars.get(at).is_some_and(|c| letter(*c));
    let start = at + usize::from(chars.get(at).is_some_and(|c| before_word(*c)));
    let mut end = start;
    while is_letter(end + usize::from(end > start && chars.get(end) == Some(&' '))) {
        end += usize::from(end > start && chars[end] == ' ') + 1;
        end += count(chars, end, usize::MAX, mark);
    }
    if end > start { end - at } else { 0 }
}

/// `<sentinel:[0-9]+>`
pub fn sentinel(chars: &[char], at: usize) -> usize {
    const START: [char; 10] = ['<', 's', 'e', 'n', 't', 'i', 'n', 'e', 'l', ':'];
    if !chars[at..].starts_with(&START) {
        return 0;
    }
    let digits = count(chars, at + START.len(), usize::MAX, digit);
    let n = START.len() + digits;
    if digits > 0 && chars.get(at + n) == Some(&'>') { n + 1 } else { 0 }
}

/// `IMGIMG[A-I]{1,4}Z`
pub fn image_token(chars: &[char], at: usize) -> usize {
    if !chars[at..].starts_with(&['I', 'M', 'G', 'I', 'M', 'G']) {
        return 0;
    }
    let n = 6 + count(chars, at + 6, 4, |c| matches!(c, 'A'..='I'));
    if n > 6 && chars.get(at + n) == Some(&'Z') { n + 1 } else { 0 }
}

/// `[\t\n]|    |  `
pub fn tab_or_indent(chars: &[char], at: usize) -> usize {
    match (chars[at], count(chars, at, 4, |c| c == ' ')) {
        ('\t' | '\n', _) => 1,
        (_, 4) => 4,
        (_, 2..) => 2,
        _ => 0,
    }
}
