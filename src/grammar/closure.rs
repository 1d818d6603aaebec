//! Follows everything that reads nothing: calls, choices and returns, until only places that read
//! are left.
//!
//! All calls of one rule at one point of the text share a frame, so that a thousand ambiguous stacks
//! are one graph. Rules that match nothing are stepped over when called, so a frame never returns at
//! the point where it was made, and its callers are complete when it does. A call with nothing left
//! to do behind it reuses its caller's frame, so right recursion stays flat.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::program::{Program, RETURN, State, StateId};
use super::stack::{Caller, FrameId, Frames, ROOT};
use super::utf8::{NodeId, START};

/// Marks frames of this closure, which are numbered by themselves until they are complete.
const FRESH: FrameId = 1 << 31;

/// A place where reading may stand: a state that reads, inside which character, in which call. The
/// state [`RETURN`] in the frame [`ROOT`] says that the text may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub state: StateId,
    pub inside: NodeId,
    pub frame: FrameId,
}

/// The place that says that the text may end. No other sorts before it.
pub const END: Place = Place { state: RETURN, inside: 0, frame: ROOT };

/// A closure being made; its memory is reused for the next one.
#[derive(Clone, Default)]
pub struct Closure {
    /// Where to go on from.
    pub todo: Vec<(StateId, FrameId)>,
    /// Places that read; more may be put in from the start.
    pub places: Vec<Place>,
    seen: Seen<(StateId, FrameId)>,
    fresh: Vec<Fresh>,
    /// Index of each rule's fresh frame, if the frame there is the rule's own.
    called: Vec<u32>,
}

/// A call made in this closure.
#[derive(Clone)]
struct Fresh {
    rule: u32,
    callers: Vec<Caller>,
}

impl Closure {
    /// Forgets the last closure.
    pub fn begin(&mut self) {
        self.todo.clear();
        self.places.clear();
        self.seen.clear();
        self.fresh.clear();
    }

    /// Follows `todo` to its end, or until `max_places` are found or `work` is above `max_work`;
    /// false then. Adds its steps to `work`.
    pub fn follow(&mut self, program: &Program, frames: &Frames, limits: &Limits, work: &mut usize) -> bool {
        while let Some((state, frame)) = self.todo.pop() {
            *work += 1;
            if !self.seen.insert((state, frame)) {
                continue;
            }
            match program.states[state as usize] {
                State::Chars { .. } | State::Token { .. } => self.places.push(Place { state, inside: START, frame }),
                State::Split(a, b) => self.todo.extend([(b, frame), (a, frame)]),
                State::Call { rule, next } => self.call(program, rule, Caller { next, frame }),
                State::Return if frame == ROOT => self.places.push(END),
                // It has matched nothing, and its callers have stepped over it already.
                State::Return if frame >= FRESH => {}
                State::Return => {
                    let callers = frames.callers(frame);
                    *work += callers.len();
                    self.todo.extend(callers.iter().map(|caller| (caller.next, caller.frame)));
                }
            }
            if self.places.len() > limits.places || *work > limits.work {
                return false;
            }
        }
        true
    }

    fn call(&mut self, program: &Program, rule: u32, caller: Caller) {
        let start = program.starts[rule as usize];
        if program.nullable[rule as usize] {
            self.todo.push((caller.next, caller.frame));
        }
        if caller.next == RETURN {
            self.todo.push((start, caller.frame));
            return;
        }
        self.called.resize(program.starts.len(), 0);
        let known = &mut self.called[rule as usize];
        match self.fresh.get_mut(*known as usize) {
            Some(fresh) if fresh.rule == rule => fresh.callers.push(caller),
            _ => {
                *known = self.fresh.len() as u32;
                self.todo.push((start, FRESH | *known));
                self.fresh.push(Fresh { rule, callers: vec![caller] });
            }
        }
    }

    /// The places, sorted, when nothing is left to follow. Fresh frames become frames like all
    /// others: callers first, which the order of rules gives.
    pub fn finish(&mut self, program: &Program, frames: &mut Frames) -> &[Place] {
        if !self.fresh.is_empty() {
            let mut order: Vec<usize> = (0..self.fresh.len()).collect();
            order.sort_unstable_by_key(|i| Reverse(program.order[self.fresh[*i].rule as usize]));
            let mut names = vec![ROOT; self.fresh.len()];
            let rename = |frame: &mut FrameId, names: &[FrameId]| {
                if *frame >= FRESH {
                    *frame = names[(*frame - FRESH) as usize];
                }
            };
            for i in order {
                let mut callers = std::mem::take(&mut self.fresh[i].callers);
                callers.iter_mut().for_each(|caller| rename(&mut caller.frame, &names));
                names[i] = frames.intern(callers);
            }
            self.places.iter_mut().for_each(|place| rename(&mut place.frame, &names));
        }
        self.places.sort_unstable();
        self.places.dedup();
        &self.places
    }
}

/// Bounds on one closure.
#[derive(Clone, Copy)]
pub struct Limits {
    pub places: usize,
    pub work: usize,
}

/// A set that is a plain list while it is small, as it nearly always is.
#[derive(Clone)]
struct Seen<T> {
    list: Vec<T>,
    set: HashSet<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { list: Vec::new(), set: HashSet::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Seen<T> {
    const SMALL: usize = 32;

    fn clear(&mut self) {
        self.list.clear();
        if !self.set.is_empty() {
            self.set = HashSet::new();
        }
    }

    /// Whether `item` is new.
    fn insert(&mut self, item: T) -> bool {
        if !self.set.is_empty() {
            return self.set.insert(item);
        }
        if self.list.contains(&item) {
            return false;
        }
        if self.list.len() == Self::SMALL {
            self.set.extend(self.list.iter().copied());
            return self.set.insert(item);
        }
        self.list.push(item);
        true
    }
}
