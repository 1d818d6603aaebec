//! A grammar as a small machine: states joined by byte, call and choice steps.
//!
//! Groups are built in place wherever that makes no copies; named rules and counted groups are
//! called, so `(x{100}){100}` costs two hundred states, not ten thousand.

use super::gbnf::{Atom, Element, Grammar, RuleId};
use super::utf8::{ByteClasses, SetId, Utf8Table};
use crate::tokenizer::TokenId;

/// States of one program.
pub const MAX_STATES: usize = 500_000;

/// Index of a state.
pub type StateId = u32;

/// What a state does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Reads one character out of the set, then goes on.
    Chars { set: SetId, next: StateId },
    /// Reads one whole token, then goes on.
    Token { id: TokenId, negated: bool, next: StateId },
    /// Matches a rule, then goes on.
    Call { rule: u32, next: StateId },
    /// Goes on in either way.
    Split(StateId, StateId),
    /// The rule is matched.
    Return,
}

/// A compiled grammar.
pub struct Program {
    pub states: Vec<State>,
    /// Where each rule starts; groups that were built in place keep `NONE`.
    pub starts: Vec<StateId>,
    pub nullable: Vec<bool>,
    /// See [`Grammar::order`].
    pub order: Vec<u32>,
    pub root: RuleId,
    pub utf8: Utf8Table,
    pub classes: ByteClasses,
}

const NONE: StateId = StateId::MAX;
/// The one state that returns.
pub const RETURN: StateId = 0;

impl Program {
    /// Builds the machine. The error is the rule at which it would exceed [`MAX_STATES`].
    pub fn new(grammar: &Grammar) -> Result<Self, RuleId> {
        let mut builder = Builder {
            grammar,
            states: vec![State::Return],
            starts: vec![NONE; grammar.rules.len()],
            queue: vec![grammar.root],
            utf8: Utf8Table::default(),
        };
        builder.starts[grammar.root] = RETURN;
        while let Some(rule) = builder.queue.pop() {
            builder.starts[rule] = builder.alternatives(rule, RETURN).ok_or(rule)?;
        }
        let Builder { states, starts, utf8, .. } = builder;
        let (nullable, order) = (grammar.nullable.clone(), grammar.order.clone());
        Ok(Self { states, starts, nullable, order, root: grammar.root, classes: ByteClasses::new(&utf8), utf8 })
    }
}

struct Builder<'a> {
    grammar: &'a Grammar,
    states: Vec<State>,
    starts: Vec<StateId>,
    /// Called rules that are still to be built.
    queue: Vec<RuleId>,
    utf8: Utf8Table,
}

impl Builder<'_> {
    fn add(&mut self, state: State) -> Option<StateId> {
        if self.states.len() >= MAX_STATES {
            return None;
        }
        self.states.push(state);
        Some(self.states.len() as StateId - 1)
    }

    /// The alternatives of `rule`, each going on to `next`. Recurses into groups, whose depth
    /// the parser caps.
    fn alternatives(&mut self, rule: RuleId, next: StateId) -> Option<StateId> {
        let grammar = self.grammar;
        let mut start = None;
        for sequence in grammar.rules[rule].alternatives.iter().rev() {
            let mut at = next;
            for element in sequence.iter().rev() {
                at = self.element(element, at)?;
            }
            start = Some(match start {
                None => at,
                Some(other) => self.add(State::Split(at, other))?,
            });
        }
        start
    }

    /// `element`, going on to `next`. Built from its end: the optional turns first.
    fn element(&mut self, element: &Element, next: StateId) -> Option<StateId> {
        let Element { atom, min, max } = element;
        let in_place = *min <= 1 && max.is_none_or(|max| max <= 1);
        let atom = &self.step(atom, in_place);
        let mut at = next;
        let mut required = *min;
        match max {
            Some(max) => {
                for _ in *min..*max {
                    let turn = self.turn(atom, at)?;
                    at = self.add(State::Split(turn, next))?;
                }
            }
            None => {
                let again = self.add(State::Split(NONE, next))?;
                let turn = self.turn(atom, again)?;
                self.states[again as usize] = State::Split(turn, next);
                // One required turn is the loop's own first.
                at = if *min == 0 { again } else { turn };
                required = min.saturating_sub(1);
            }
        }
        for _ in 0..required {
            at = self.turn(atom, at)?;
        }
        Some(at)
    }

    /// What one turn of `atom` is, found out once for all turns: a set can be large.
    fn step(&mut self, atom: &Atom, in_place: bool) -> Step {
        match atom {
            Atom::Chars(set) => Step::State(State::Chars { set: self.utf8.add(set), next: NONE }),
            Atom::Token { id, negated } => Step::State(State::Token { id: *id, negated: *negated, next: NONE }),
            Atom::Rule(rule) if self.grammar.rules[*rule].inline && in_place => Step::Group(*rule),
            Atom::Rule(rule) => {
                if self.starts[*rule] == NONE {
                    self.starts[*rule] = RETURN;
                    self.queue.push(*rule);
                }
                Step::State(State::Call { rule: *rule as u32, next: NONE })
            }
        }
    }

    fn turn(&mut self, step: &Step, goal: StateId) -> Option<StateId> {
        match *step {
            Step::Group(rule) => self.alternatives(rule, goal),
            Step::State(mut state) => {
                if let State::Chars { next, .. } | State::Token { next, .. } | State::Call { next, .. } = &mut state {
                    *next = goal;
                }
                self.add(state)
            }
        }
    }
}

/// One turn of an element.
enum Step {
    /// A state, still without the place to go on to.
    State(State),
    /// A group to be built in place.
    Group(RuleId),
}
