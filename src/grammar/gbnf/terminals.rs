//! What matches characters and tokens: literals, classes, `.`, `<token>`.

use super::{Atom, Element, Fault, Parsed, Parser};
use crate::grammar::gbnf::RuleId;
use crate::grammar::utf8::{CharSet, MAX_CHAR};
use crate::tokenizer::TokenId;

impl Parser<'_> {
    /// A literal, a class, a token or `.`. A literal of any but one character becomes a group, so
    /// that a repetition behind it repeats all of it.
    pub(super) fn terminal(&mut self, rule: RuleId) -> Parsed<Atom> {
        let start = self.at;
        match self.peek() {
            Some('"') => {
                let mut literal = self.literal()?;
                if literal.len() == 1 {
                    return Ok(literal.remove(0).atom);
                }
                self.count(literal.len())?;
                let group = self.new_group(rule, start)?;
                self.rules[group].alternatives = vec![literal];
                Ok(Atom::Rule(group))
            }
            Some('[') => self.class(),
            Some('.') => {
                self.at += 1;
                Ok(Atom::Chars(CharSet::new(vec![(0, MAX_CHAR)])))
            }
            _ => self.token(),
        }
    }

    fn literal(&mut self) -> Parsed<Vec<Element>> {
        let start = self.at;
        self.at += 1;
        let mut elements = Vec::new();
        while !self.eat("\"") {
            let Some((c, place)) = self.character()? else {
                return Err(Fault { offset: start, message: "this string has no closing '\"'".into() });
            };
            if char::from_u32(c).is_none() {
                return Err(Fault { offset: place, message: format!("U+{c:04X} is a surrogate, not a character") });
            }
            elements.push(Element::once(Atom::Chars(CharSet::new(vec![(c, c)]))));
        }
        Ok(elements)
    }

    fn class(&mut self) -> Parsed<Atom> {
        let start = self.at;
        let unclosed = || Fault { offset: start, message: "this class has no closing ']'".into() };
        self.at += 1;
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let (low, place) = self.character()?.ok_or_else(unclosed)?;
            let mut high = low;
            let rest = &self.text[self.at..];
            if rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                high = self.character()?.ok_or_else(unclosed)?.0;
            }
            if high < low {
                let message = format!("the range {:?} ends below its start", &self.text[place..self.at]);
                return Err(Fault { offset: place, message });
            }
            self.count(1)?;
            ranges.push((low, high));
        }
        if ranges.is_empty() {
            return Err(Fault { offset: start, message: "this class is empty".into() });
        }
        let set = CharSet::new(ranges);
        Ok(Atom::Chars(if negated { set.negated() } else { set }))
    }

    /// One character of a literal or a class, escapes resolved, with its place; none at the end.
    fn character(&mut self) -> Parsed<Option<(u32, usize)>> {
        let place = self.at;
        let Some(c) = self.peek() else {
            return Ok(None);
        };
        self.at += c.len_utf8();
        if c != '\\' {
            return Ok(Some((u32::from(c), place)));
        }
        let Some(escape) = self.peek() else {
            return Ok(None);
        };
        self.at += escape.len_utf8();
        let value = match escape {
            'x' => self.hex(2, place)?,
            'u' => self.hex(4, place)?,
            'U' => self.hex(8, place)?,
            't' => 9,
            'r' => 13,
            'n' => 10,
            '\\' | '"' | '[' | ']' | '-' | '^' => u32::from(escape),
            other => {
                let message = format!(
                    "\\{other} is not an escape; allowed: \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH"
                );
                return Err(Fault { offset: place, message });
            }
        };
        Ok(Some((value, place)))
    }

    fn hex(&mut self, digits: usize, place: usize) -> Parsed<u32> {
        let text = self.text.get(self.at..self.at + digits).filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = text.and_then(|t| u32::from_str_radix(t, 16).ok());
        match value {
            Some(value) if value <= MAX_CHAR => {
                self.at += digits;
                Ok(value)
            }
            Some(value) => {
                Err(Fault { offset: place, message: format!("U+{value:X} is above U+10FFFF, the last character") })
            }
            None => Err(Fault { offset: place, message: format!("this escape needs {digits} hexadecimal digits") }),
        }
    }

    /// `<text>`, `<[id]>`, either with `!` before it.
    fn token(&mut self) -> Parsed<Atom> {
        let negated = self.eat("!");
        let start = self.at;
        if !self.eat("<") {
            return Err(self.expected("'<' after '!'"));
        }
        let Some(length) = self.text[self.at..].find('>') else {
            return Err(Fault { offset: start, message: "this token has no closing '>'".into() });
        };
        let inner = &self.text[self.at..self.at + length];
        self.at += length + 1;
        let whole = &self.text[start..self.at];
        let id = match inner.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            Some(number) => number.parse().ok().filter(|&id: &TokenId| (id as usize) < self.names.vocab_size()),
            None => self.names.token_named(whole),
        };
        let shown: String = whole.chars().take(64).collect();
        let message = format!("{shown:?} is not one token of this model ({} tokens)", self.names.vocab_size());
        id.map(|id| Atom::Token { id, negated }).ok_or(Fault { offset: start, message })
    }
}
