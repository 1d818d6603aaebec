//! A slow, obvious matcher of GBNF: what tests and fuzz targets hold the automaton against.

use std::collections::BTreeSet;

use super::{GrammarCompiler, gbnf};

/// Steps after which a question is given up: the obvious way can take exponential time.
const FUEL: usize = 20_000;

/// Rules within rules, after which a question is given up.
const DEPTH: usize = 100;

/// Whether the whole of `text` matches the GBNF text `source`. Nothing where `source` is refused or names tokens,
/// or where the answer would take too long.
#[must_use]
pub fn accepts(compiler: &GrammarCompiler, source: &str, text: &str) -> Option<bool> {
    let grammar = gbnf::parse(source, "grammar", compiler.inner.vocabulary.as_ref()).ok()?;
    let text: Vec<u32> = text.chars().map(u32::from).collect();
    let ends = Question { grammar: &grammar, text: &text, fuel: FUEL }.ends(grammar.root, 0, 0)?;
    Some(ends.contains(&text.len()))
}

struct Question<'a> {
    grammar: &'a gbnf::Grammar,
    text: &'a [u32],
    fuel: usize,
}

impl Question<'_> {
    /// All places where `rule` can end when it starts at `at`.
    fn ends(&mut self, rule: usize, at: usize, depth: usize) -> Option<BTreeSet<usize>> {
        let grammar = self.grammar;
        let mut all = BTreeSet::new();
        for sequence in &grammar.rules[rule].alternatives {
            let mut here = BTreeSet::from([at]);
            for element in sequence {
                here = self.repeated(element, here, depth)?;
            }
            all.extend(here);
        }
        Some(all)
    }

    fn repeated(&mut self, element: &gbnf::Element, from: BTreeSet<usize>, depth: usize) -> Option<BTreeSet<usize>> {
        let mut all = if element.min == 0 { from.clone() } else { BTreeSet::new() };
        let mut current = from;
        // More turns than characters add nothing: a turn that reads nothing changes nothing.
        let most = element.max.unwrap_or(u32::MAX).min(element.min + self.text.len() as u32 + 1);
        for turn in 1..=most {
            let mut next = BTreeSet::new();
            for at in current {
                next.extend(self.once(&element.atom, at, depth)?);
            }
            current = next;
            if turn >= element.min {
                all.extend(&current);
            }
            if current.is_empty() {
                break;
            }
        }
        Some(all)
    }

    fn once(&mut self, atom: &gbnf::Atom, at: usize, depth: usize) -> Option<BTreeSet<usize>> {
        self.fuel = self.fuel.checked_sub(1)?;
        match atom {
            gbnf::Atom::Chars(set) => {
                let read = self.text.get(at).is_some_and(|c| set.contains(*c));
                Some(read.then_some(at + 1).into_iter().collect())
            }
            gbnf::Atom::Token { .. } => None,
            gbnf::Atom::Rule(rule) if depth < DEPTH => self.ends(*rule, at, depth + 1),
            gbnf::Atom::Rule(_) => None,
        }
    }
}
