//! llama.cpp's GBNF, parsed into rules.
//!
//! [`parse`] reads the text without recursion, so that no depth of parentheses can exhaust the
//! stack, and refuses anything that could not be served: see the caps below and [`super::check`].
//! The result is a [`Grammar`]: rules whose sequences hold [`Element`]s. Groups become rules of
//! their own, marked `inline`; a repetition keeps its two numbers.

mod terminals;

use std::collections::HashMap;

use super::check;
use super::utf8::CharSet;
use crate::error::{Error, Result};
use crate::tokenizer::TokenId;

/// Bytes of grammar text. The largest grammars in use, converted from JSON schemas, are a tenth.
pub const MAX_TEXT: usize = 1 << 20;
/// Parentheses open at once.
pub const MAX_DEPTH: usize = 200;
/// Rules, groups included.
pub const MAX_RULES: usize = 50_000;
/// Elements of all sequences together, and ranges of all classes together.
pub const MAX_ELEMENTS: usize = 500_000;
/// Highest number in `{m,n}`. llama.cpp's limit is 2000.
pub const MAX_REPEAT: u32 = 10_000;

/// Index of a rule.
pub type RuleId = usize;

/// The smallest thing that a repetition can apply to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Atom {
    /// One character out of a set.
    Chars(CharSet),
    /// One token, or any but it.
    Token { id: TokenId, negated: bool },
    /// Whatever a rule matches.
    Rule(RuleId),
}

/// One step of a sequence: an atom, `min` to `max` times (`None`: without end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub atom: Atom,
    pub min: u32,
    pub max: Option<u32>,
}

impl Element {
    fn once(atom: Atom) -> Self {
        Self { atom, min: 1, max: Some(1) }
    }
}

/// A named rule or a group. Groups carry the name of the rule they stand in.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    pub name: String,
    pub inline: bool,
    /// Alternatives, each a sequence. A rule without any is not defined.
    pub alternatives: Vec<Vec<Element>>,
    /// Offset of the first mention, for errors.
    pub offset: usize,
}

/// A parsed and checked grammar.
#[derive(Debug, Clone)]
pub struct Grammar {
    pub rules: Vec<Rule>,
    pub root: RuleId,
    /// Whether each rule matches the empty text.
    pub nullable: Vec<bool>,
    /// A number for each rule, smaller than those of all rules that can begin with it.
    pub order: Vec<u32>,
}

/// What the parser must know of the vocabulary to read `<token>` and `<[id]>`.
pub trait TokenNames {
    /// The single token whose text is `text`, brackets included.
    fn token_named(&self, text: &str) -> Option<TokenId>;
    /// Tokens in the vocabulary.
    fn vocab_size(&self) -> usize;
}

/// Parses and checks `text`. `param` names the request's field in errors.
pub fn parse(text: &str, param: &str, names: &dyn TokenNames) -> Result<Grammar> {
    if text.len() > MAX_TEXT {
        let message = format!("the grammar has {} bytes; allowed: {MAX_TEXT}", text.len());
        // A character has at most four bytes.
        let offset = (0..4).map(|back| MAX_TEXT - back).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let fault = Fault { offset, message };
        return Err(Error::invalid(param, fault.describe(text)));
    }
    let mut parser = Parser { text, at: 0, names, rules: Vec::new(), ids: HashMap::new(), n_elements: 0 };
    let fault = |text, fault: Fault| Error::invalid(param, fault.describe(text));
    parser.rules().map_err(|e| fault(text, e))?;
    let (rules, ids) = (parser.rules, parser.ids);
    check::check(rules, &ids).map_err(|e| fault(text, e))
}

/// What is wrong and where, as an offset into the text.
#[derive(Debug)]
pub struct Fault {
    pub offset: usize,
    pub message: String,
}

impl Fault {
    /// The message with its line and column in `text`.
    pub fn describe(&self, text: &str) -> String {
        let (line, column) = position(text, self.offset);
        format!("line {line}, column {column}: {}", self.message)
    }
}

/// Line and column (in characters) of an offset, both counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

type Parsed<T> = std::result::Result<T, Fault>;

/// An open rule or group: what has been read of it so far.
struct Frame {
    rule: RuleId,
    /// Where its `(` stands; none for a rule.
    paren: Option<usize>,
    alternatives: Vec<Vec<Element>>,
    sequence: Vec<Element>,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a dyn TokenNames,
    rules: Vec<Rule>,
    ids: HashMap<String, RuleId>,
    n_elements: usize,
}

impl<'a> Parser<'a> {
    /// All rules of the text.
    fn rules(&mut self) -> Parsed<()> {
        self.space(true);
        while self.at < self.text.len() {
            self.rule()?;
        }
        Ok(())
    }

    /// `name ::= alternatives` and the line's end.
    fn rule(&mut self) -> Parsed<()> {
        let start = self.at;
        let name = self.take_while(is_name_char);
        if name.is_empty() {
            return Err(self.expected("a rule name"));
        }
        let id = self.rule_id(name, start)?;
        self.space(false);
        if !self.eat("::=") {
            return Err(self.expected(&format!("\"::=\" after the rule name {name:?}")));
        }
        self.space(true);
        self.alternatives(id)?;
        if self.at < self.text.len() && !self.eat("\r\n") && !self.eat("\n") && !self.eat("\r") {
            return Err(self.expected("an element, '|', or a new line"));
        }
        self.space(true);
        Ok(())
    }

    /// The alternatives of `rule` and of the groups within. Open groups wait on a list, not on
    /// the call stack.
    fn alternatives(&mut self, rule: RuleId) -> Parsed<()> {
        let mut frame = Frame { rule, paren: None, alternatives: vec![], sequence: vec![] };
        let mut open: Vec<Frame> = Vec::new();
        loop {
            let nested = frame.paren.is_some();
            match self.peek() {
                Some('|') => {
                    self.at += 1;
                    self.space(true);
                    self.count(1)?;
                    frame.alternatives.push(std::mem::take(&mut frame.sequence));
                }
                Some('(') => {
                    if open.len() >= MAX_DEPTH {
                        return Err(self.fault(format!("parentheses are nested too deep; allowed: {MAX_DEPTH} levels")));
                    }
                    let paren = self.at;
                    self.at += 1;
                    self.space(true);
                    let group = self.new_group(rule, paren)?;
                    let inner = Frame { rule: group, paren: Some(paren), alternatives: vec![], sequence: vec![] };
                    open.push(std::mem::replace(&mut frame, inner));
                }
                Some(')') if nested => {
                    self.at += 1;
                    let group = self.close(frame);
                    // A group's frame was pushed by the arm above, so its outer one is there.
                    let Some(outer) = open.pop() else {
                        return Err(self.expected("a new line"));
                    };
                    frame = outer;
                    self.push(&mut frame, Atom::Rule(group))?;
                    self.space(frame.paren.is_some());
                }
                Some('*' | '+' | '?' | '{') => self.repetition(&mut frame, rule)?,
                Some('"' | '[' | '<' | '!' | '.') => {
                    let atom = self.terminal(rule)?;
                    self.push(&mut frame, atom)?;
                    self.space(nested);
                }
                Some(c) if is_name_char(c) => {
                    let start = self.at;
                    let name = self.take_while(is_name_char);
                    let id = self.rule_id(name, start)?;
                    self.push(&mut frame, Atom::Rule(id))?;
                    self.space(nested);
                }
                _ => break,
            }
        }
        if let Some(paren) = frame.paren {
            let (line, column) = position(self.text, paren);
            return Err(
                self.expected(&format!("an element, '|', or ')' to close the '(' of line {line}, column {column}"))
            );
        }
        self.close(frame);
        Ok(())
    }

    /// Stores what a frame has read. As in llama.cpp, the last definition of a rule counts.
    fn close(&mut self, mut frame: Frame) -> RuleId {
        frame.alternatives.push(frame.sequence);
        self.rules[frame.rule].alternatives = frame.alternatives;
        frame.rule
    }

    fn push(&mut self, frame: &mut Frame, atom: Atom) -> Parsed<()> {
        self.count(1)?;
        frame.sequence.push(Element::once(atom));
        Ok(())
    }

    /// `*`, `+`, `?` or `{m,n}` behind the latest element.
    fn repetition(&mut self, frame: &mut Frame, rule: RuleId) -> Parsed<()> {
        let start = self.at;
        let Some(last) = frame.sequence.pop() else {
            return Err(self.fault(format!("nothing stands before {} to be repeated", self.found())));
        };
        let nested = frame.paren.is_some();
        let (min, max) = self.counts(nested)?;
        self.space(nested);
        let atom = if (last.min, last.max) == (1, Some(1)) {
            last.atom
        } else {
            // Called, not built in place: a hundred thousand stars in a row are no recursion.
            let group = self.new_group(rule, start)?;
            self.rules[group].inline = false;
            self.rules[group].alternatives = vec![vec![last]];
            Atom::Rule(group)
        };
        self.count(1)?;
        frame.sequence.push(Element { atom, min, max });
        Ok(())
    }

    /// The numbers of a repetition, which stands at the current place.
    fn counts(&mut self, nested: bool) -> Parsed<(u32, Option<u32>)> {
        let start = self.at;
        for (text, counts) in [("*", (0, None)), ("+", (1, None)), ("?", (0, Some(1)))] {
            if self.eat(text) {
                return Ok(counts);
            }
        }
        self.at += 1;
        self.space(nested);
        let min = self.number()?;
        self.space(nested);
        let mut max = Some(min);
        if self.eat(",") {
            self.space(nested);
            max = if self.peek() == Some('}') { None } else { Some(self.number()?) };
            self.space(nested);
        }
        if !self.eat("}") {
            return Err(self.expected("',' or '}'"));
        }
        if max.is_some_and(|max| max < min) {
            let message = format!("the repetition {:?} ends below its start", &self.text[start..self.at]);
            return Err(Fault { offset: start, message });
        }
        Ok((min, max))
    }

    fn number(&mut self) -> Parsed<u32> {
        let start = self.at;
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.expected("a number (write {0,n} for at most n)"));
        }
        match digits.parse::<u32>() {
            Ok(n) if n <= MAX_REPEAT => Ok(n),
            _ => {
                let shown: String = digits.chars().take(24).collect();
                Err(Fault {
                    offset: start,
                    message: format!("{shown} repetitions are too many; allowed: {MAX_REPEAT}"),
                })
            }
        }
    }

    fn rule_id(&mut self, name: &str, offset: usize) -> Parsed<RuleId> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let id = self.new_rule(Rule { name: name.to_owned(), offset, ..Rule::default() })?;
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// A group within `rule`.
    fn new_group(&mut self, rule: RuleId, offset: usize) -> Parsed<RuleId> {
        let name = self.rules[rule].name.clone();
        self.new_rule(Rule { name, inline: true, alternatives: vec![], offset })
    }

    fn new_rule(&mut self, rule: Rule) -> Parsed<RuleId> {
        if self.rules.len() >= MAX_RULES {
            return Err(self.fault(format!("too many rules and groups; allowed: {MAX_RULES}")));
        }
        self.rules.push(rule);
        Ok(self.rules.len() - 1)
    }

    /// Counts elements against the cap.
    fn count(&mut self, n: usize) -> Parsed<()> {
        self.n_elements += n;
        if self.n_elements > MAX_ELEMENTS {
            return Err(self.fault(format!("too many elements; allowed: {MAX_ELEMENTS}")));
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.text[self.at..].starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// The longest run of characters that `keep` accepts; borrows the text, not the parser.
    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        let rest = &self.text[start..];
        self.at += rest.find(|c| !keep(c)).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    /// Skips blanks and comments, and line breaks where they mean nothing.
    fn space(&mut self, newlines: bool) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t') || (newlines && matches!(c, '\r' | '\n')));
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|c| !matches!(c, '\r' | '\n'));
        }
    }

    fn fault(&self, message: String) -> Fault {
        Fault { offset: self.at, message }
    }

    fn expected(&self, what: &str) -> Fault {
        self.fault(format!("expected {what}, found {}", self.found()))
    }

    /// What stands at the current place, for a message.
    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the grammar".into(),
            Some('\n' | '\r') => "the end of the line".into(),
            Some(c) => format!("{c:?}"),
        }
    }
}

/// Letters, digits, `-` and `_` make rule names.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
