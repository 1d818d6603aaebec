//! Runs a [`Program`] over bytes: every way to read the text so far, at once.
//!
//! What there is to know of the text so far is a [situation](super::situation). The graph of
//! situations is found step by step: this is Earley's algorithm on a machine, and levels grow at most
//! linearly with the text, never exponentially. An automaton stands at the last of a list of
//! situations, one for each byte since the last accepted token, which a walk over the vocabulary
//! pushes and pops.

use std::sync::Arc;

use toktrie::Recognizer;

use super::closure::Limits;
use super::program::{Program, State, StateId};
use super::situation::{DEAD, SituationId, Situations, UNKNOWN};
use super::stack::{FrameId, ROOT};
use crate::tokenizer::TokenId;

/// Places in one situation. A grammar that needs more is ambiguous beyond use.
pub const MAX_PLACES: usize = 20_000;
/// Steps for one mask or one token, for each millisecond that they may take: about what a core of today does.
pub const WORK_PER_MS: usize = 100_000;
/// Frames and callers needed at once; deep nesting uses one each.
pub const MAX_FRAMES: usize = 500_000;
/// Situations are forgotten above this [size](Situations::size): four megabytes or so.
const MAX_KEPT: usize = 300_000;

/// One sequence's state in a program.
#[derive(Clone)]
pub struct Automaton {
    program: Arc<Program>,
    situations: Situations,
    /// Where reading stands, after where it stood one byte before, and so on. Never empty.
    levels: Vec<SituationId>,
    /// Above this size situations are forgotten; it is never less than the second number.
    max_kept: usize,
    min_kept: usize,
    limits: Limits,
    work: usize,
    overrun: Option<&'static str>,
}

impl Automaton {
    /// A reader at the start of the text, with a bound on the work for one token in milliseconds.
    pub fn new(program: Arc<Program>, max_ms: u32) -> Self {
        let limits = Limits { places: MAX_PLACES, work: max_ms as usize * WORK_PER_MS };
        let mut automaton = Self {
            situations: Situations::new(Arc::clone(&program)),
            levels: Vec::new(),
            max_kept: MAX_KEPT,
            min_kept: MAX_KEPT,
            limits,
            work: 0,
            overrun: None,
            program,
        };
        let start = automaton.program.starts[automaton.program.root];
        let entered = automaton.situations.enter(&[(start, ROOT)], None, &limits, &mut automaton.work);
        automaton.levels = vec![automaton.entered(entered)];
        automaton
    }

    /// Memory that the program takes, roughly; automata share it.
    pub fn program_bytes(&self) -> usize {
        self.program.states.len() * size_of::<State>() + self.program.utf8.bytes() + self.program.starts.len() * 12
    }

    /// Why reading was given up, where it was.
    pub fn overrun(&self) -> Option<&'static str> {
        self.overrun
    }

    /// Starts a new budget of work.
    pub fn begin(&mut self) {
        self.work = 0;
    }

    /// Whether the text may end here.
    pub fn is_accepting(&self) -> bool {
        self.last().is_some_and(|last| self.situations.is_accepting(last))
    }

    /// Whether the text cannot go on.
    pub fn is_exhausted(&self) -> bool {
        self.last().is_none_or(|last| self.situations.is_exhausted(last))
    }

    /// A description of where reading stands: equal ones allow the same tokens. None where it is long.
    pub fn signature(&self) -> Option<Vec<u32>> {
        self.situations.signature(self.last()?)
    }

    /// The tokens that may come next as tokens, not as text: ids, each allowed or the only one not.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenId, bool)> + '_ {
        let places = self.last().map_or(&[][..], |last| self.situations.places(last));
        places.iter().filter_map(|place| match self.program.states[place.state as usize] {
            State::Token { id, negated, .. } => Some((id, negated)),
            _ => None,
        })
    }

    /// Reads one token that stands for `bytes`; false, and no change, where it cannot come.
    pub fn accept(&mut self, token: TokenId, bytes: &[u8]) -> bool {
        self.begin();
        let read = self.read(bytes).then(|| self.last()).flatten();
        // Asked for when the bytes are read, since reading may give situations new numbers.
        let as_token = self.after_token(token);
        let end = match (read, as_token.is_empty()) {
            (Some(read), true) => read,
            (None, true) => DEAD,
            // Both ways end in one situation.
            (read, false) => {
                let entered = self.situations.enter(&as_token, read, &self.limits, &mut self.work);
                self.entered(entered)
            }
        };
        if self.overrun.is_some() || end == DEAD {
            self.levels.truncate(1);
            return false;
        }
        self.levels = vec![end];
        self.forget();
        self.overrun.is_none()
    }

    /// Whether `token`, which stands for `bytes`, may come next.
    pub fn allows(&mut self, token: TokenId, bytes: &[u8]) -> bool {
        self.begin();
        if self.tokens().any(|(id, negated)| (id == token) != negated) {
            return true;
        }
        let read = self.read(bytes);
        self.levels.truncate(1);
        read && self.overrun.is_none()
    }

    /// Whether any text of up to `length` characters of [`PLAIN`](super::utf8::PLAIN)`[class]` can
    /// come next. May say no where it can, never the other way.
    pub fn takes_plain(&mut self, class: usize, length: usize) -> bool {
        let mut at = self.last().unwrap_or(DEAD);
        for _ in 0..length {
            if at == DEAD {
                return false;
            }
            let before = at;
            let stepped = self.situations.step_plain(at, class, &self.limits, &mut self.work);
            at = self.entered(stepped);
            if at == before {
                return true;
            }
        }
        at != DEAD
    }

    /// Pushes all of `bytes`, or as many as can be read; false for no bytes at all.
    fn read(&mut self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && bytes.iter().all(|&byte| self.try_push_byte(byte))
    }

    fn last(&self) -> Option<SituationId> {
        self.levels.last().copied().filter(|last| *last != DEAD)
    }

    /// Where reading goes on after `token` as a token, from the first level.
    fn after_token(&self, token: TokenId) -> Vec<(StateId, FrameId)> {
        let first = self.levels.first().filter(|first| **first != DEAD);
        let places = first.map_or(&[][..], |first| self.situations.places(*first));
        let go_on = places.iter().filter_map(|place| match self.program.states[place.state as usize] {
            State::Token { id, negated, next } if (id == token) != negated => Some((next, place.frame)),
            _ => None,
        });
        go_on.collect()
    }

    /// The situation, or none and the reason where it was too much to find.
    fn entered(&mut self, situation: Option<SituationId>) -> SituationId {
        if situation.is_none() {
            let too_much = self.work > self.limits.work;
            self.overrun = Some(if too_much {
                "too much work for one token (--max-mask-ms)"
            } else {
                "too many ways to read the text so far"
            });
        }
        situation.unwrap_or(DEAD)
    }

    /// Forgets situations that were met on the way where they are many.
    fn forget(&mut self) {
        if self.situations.size() <= self.max_kept {
            return;
        }
        self.situations.keep(&mut self.levels);
        // What is needed may be much by itself; then it is not worth looking again soon.
        self.max_kept = self.min_kept.max(2 * self.situations.size());
        if self.situations.depth() > MAX_FRAMES {
            self.overrun = Some("too deep a nesting");
        }
    }

    /// From now on situations are forgotten at every chance.
    #[cfg(test)]
    pub fn remember_nothing(&mut self) {
        (self.max_kept, self.min_kept) = (0, 0);
    }

    /// Finds out where `byte` leads and goes there.
    #[cold]
    fn find(&mut self, byte: u8) -> bool {
        if self.overrun.is_some() {
            return false;
        }
        self.forget();
        let Some(from) = self.last() else {
            return false;
        };
        let stepped = self.situations.step(from, byte, &self.limits, &mut self.work);
        let to = self.entered(stepped);
        if to != DEAD {
            self.levels.push(to);
        }
        to != DEAD
    }
}

impl Recognizer for Automaton {
    #[inline]
    fn try_push_byte(&mut self, byte: u8) -> bool {
        let Some(from) = self.last() else {
            return false;
        };
        match self.situations.known(from, byte) {
            UNKNOWN => self.find(byte),
            DEAD => false,
            to => {
                self.levels.push(to);
                true
            }
        }
    }

    #[inline]
    fn pop_bytes(&mut self, num: usize) {
        self.levels.truncate(self.levels.len() - num);
    }

    fn collapse(&mut self) {
        self.levels.drain(..self.levels.len() - 1);
    }

    fn trie_finished(&mut self) {
        self.levels.truncate(1);
    }
}
