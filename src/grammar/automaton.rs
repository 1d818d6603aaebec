//! Runs a [`Program`] over bytes: every way to read the text so far, at once.
//!
//! A [`Level`] is the set of places where reading may stand after some bytes. A place is a state
//! and a [`Frame`], the call it is in. A frame is shared by all calls of one rule at one level and
//! knows all its callers, so that a thousand ambiguous stacks are one graph: levels grow at most
//! linearly with the text, never exponentially. This is Earley's algorithm on a machine.
//!
//! Rules that match nothing are stepped over when called, so a frame never returns in the level
//! in which it was made, and its callers are complete when it does. A call with nothing left to
//! do behind it reuses its caller's frame, so right recursion stays flat.

use std::collections::HashSet;
use std::sync::Arc;

use toktrie::Recognizer;

use super::program::{Program, RETURN, State, StateId};
use super::utf8::{ByteStep, NodeId, START, SetId, Utf8Table};
use crate::tokenizer::TokenId;

/// Places in one level. A grammar that needs more is ambiguous beyond use.
pub const MAX_PLACES: usize = 20_000;
/// Steps for one mask or one token: about a tenth of a second.
pub const MAX_WORK: usize = 10_000_000;
/// Frames and callers alive at once; deep nesting uses one each.
pub const MAX_FRAMES: usize = 1_000_000;

type FrameId = u32;
/// The frame of the root rule.
const ROOT: FrameId = 0;
const NO_CALLER: u32 = u32::MAX;

/// A place where reading may stand: a state that reads, inside which character, in which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    state: StateId,
    inside: NodeId,
    frame: FrameId,
}

/// Who called a frame: where to go on, in which frame; a linked list.
#[derive(Debug, Clone, Copy)]
struct Caller {
    next: StateId,
    frame: FrameId,
    other: u32,
}

/// The sizes before a level was made, to take it back, and whether the text may end there.
#[derive(Debug, Clone, Copy)]
struct Level {
    places: usize,
    frames: usize,
    callers: usize,
    accepting: bool,
}

/// One sequence's state in a program.
#[derive(Clone)]
pub struct Automaton {
    program: Arc<Program>,
    /// Places of all levels, one after the other.
    places: Vec<Place>,
    /// The latest caller of each frame.
    frames: Vec<u32>,
    callers: Vec<Caller>,
    levels: Vec<Level>,
    work: usize,
    overrun: Option<&'static str>,
    scratch: Scratch,
}

/// Memory reused from level to level.
#[derive(Clone, Default)]
struct Scratch {
    todo: Vec<(StateId, FrameId)>,
    seen: Seen<(StateId, FrameId)>,
    inside: Seen<Place>,
    /// The latest frame of each rule; one of this level if it is not below `level.frames`.
    called: Vec<FrameId>,
    /// The rules of this level's frames.
    owners: Vec<u32>,
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
    #[inline]
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

impl Automaton {
    /// A reader at the start of the text.
    pub fn new(program: Arc<Program>) -> Self {
        let mut automaton = Self {
            places: Vec::new(),
            frames: vec![NO_CALLER],
            callers: Vec::new(),
            levels: Vec::new(),
            work: 0,
            overrun: None,
            scratch: Scratch::default(),
            program,
        };
        automaton.scratch.called = vec![ROOT; automaton.program.starts.len()];
        let start = automaton.program.starts[automaton.program.root];
        let level = automaton.open();
        automaton.scratch.todo.push((start, ROOT));
        automaton.close(level);
        automaton
    }

    /// Memory that the program takes, roughly; automata share it.
    pub fn program_bytes(&self) -> usize {
        self.program.states.len() * size_of::<State>() + self.program.utf8.bytes() + self.program.starts.len() * 8
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
        self.levels.last().is_some_and(|level| level.accepting)
    }

    /// Whether the text cannot go on.
    pub fn is_exhausted(&self) -> bool {
        self.current().is_empty()
    }

    /// The tokens that may come next as tokens, not as text: ids, each allowed or the only one not.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenId, bool)> + '_ {
        self.current().iter().filter_map(|place| match self.program.states[place.state as usize] {
            State::Token { id, negated, .. } => Some((id, negated)),
            _ => None,
        })
    }

    /// Reads one token that stands for `bytes`; false, and no change, where it cannot come.
    pub fn accept(&mut self, token: TokenId, bytes: &[u8]) -> bool {
        self.begin();
        let as_token = self.after_token(token);
        let read = self.read(bytes);
        if self.overrun.is_some() || (!read && as_token.is_empty()) {
            self.pop_bytes(self.levels.len() - 1);
            return false;
        }
        let level = self.open();
        if read {
            // The level of the last byte is copied, so that both ways end in one level.
            let last = self.levels[self.levels.len() - 1];
            let end = level.places;
            self.places.extend_from_within(last.places..end);
            for place in &self.places[end..] {
                self.scratch.inside.insert(*place);
            }
            self.scratch.todo.extend(as_token);
            self.close_with(level, last.accepting);
        } else {
            self.scratch.todo.extend(as_token);
            self.close(level);
        }
        self.collapse_frames();
        self.overrun.is_none()
    }

    /// Whether `token`, which stands for `bytes`, may come next.
    pub fn allows(&mut self, token: TokenId, bytes: &[u8]) -> bool {
        self.begin();
        if self.tokens().any(|(id, negated)| (id == token) != negated) {
            return true;
        }
        let depth = self.levels.len();
        let read = self.read(bytes);
        self.pop_bytes(self.levels.len() - depth);
        read && self.overrun.is_none()
    }

    /// Whether any text of up to `length` characters of [`PLAIN`](super::utf8::PLAIN)`[class]` can
    /// come next. May say no where it can, never the other way.
    pub fn takes_plain(&mut self, class: usize, length: usize) -> bool {
        let depth = self.levels.len();
        let program = Arc::clone(&self.program);
        let taken = (0..length).all(|_| {
            self.push(|_, set, inside| match inside == START && program.utf8.covers(set, class) {
                true => ByteStep::Done,
                false => ByteStep::Dead,
            })
        });
        self.pop_bytes(self.levels.len() - depth);
        taken
    }

    /// Pushes all of `bytes`, or as many as can be read; false for no bytes at all.
    fn read(&mut self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && bytes.iter().all(|&byte| self.try_push_byte(byte))
    }

    /// Adds the level that `step` leads to from the last one; false, and no level, for a dead end.
    #[inline]
    fn push(&mut self, step: impl Fn(&Utf8Table, SetId, NodeId) -> ByteStep) -> bool {
        if self.overrun.is_some() {
            return false;
        }
        let Some(before) = self.levels.last().copied() else {
            return false;
        };
        let level = self.open();
        for i in before.places..level.places {
            let place = self.places[i];
            let State::Chars { set, next } = self.program.states[place.state as usize] else {
                continue;
            };
            self.work += 1;
            match step(&self.program.utf8, set, place.inside) {
                ByteStep::Dead => {}
                ByteStep::Inside(inside) => self.wait(Place { inside, ..place }),
                ByteStep::Done => self.scratch.todo.push((next, place.frame)),
            }
        }
        self.close(level);
        let alive = self.overrun.is_none() && (self.is_accepting() || !self.is_exhausted());
        if !alive {
            self.pop_bytes(1);
        }
        alive
    }

    fn current(&self) -> &[Place] {
        match self.levels.last() {
            Some(level) => &self.places[level.places..],
            None => &[],
        }
    }

    /// Where reading goes on after `token` as a token.
    fn after_token(&self, token: TokenId) -> Vec<(StateId, FrameId)> {
        let program = &self.program;
        let go_on = |place: &Place| match program.states[place.state as usize] {
            State::Token { id, negated, next } if (id == token) != negated => Some((next, place.frame)),
            _ => None,
        };
        self.current().iter().filter_map(go_on).collect()
    }

    fn open(&mut self) -> Level {
        let scratch = &mut self.scratch;
        scratch.todo.clear();
        scratch.seen.clear();
        scratch.inside.clear();
        scratch.owners.clear();
        Level { places: self.places.len(), frames: self.frames.len(), callers: self.callers.len(), accepting: false }
    }

    fn close(&mut self, level: Level) {
        self.close_with(level, false);
    }

    /// Follows everything that reads nothing, from the states to do, and adds the level.
    fn close_with(&mut self, mut level: Level, accepting: bool) {
        level.accepting = accepting;
        while let Some((state, frame)) = self.scratch.todo.pop() {
            self.work += 1;
            if !self.scratch.seen.insert((state, frame)) {
                continue;
            }
            match self.program.states[state as usize] {
                State::Chars { .. } | State::Token { .. } => self.wait(Place { state, inside: START, frame }),
                State::Split(a, b) => self.scratch.todo.extend([(b, frame), (a, frame)]),
                State::Call { rule, next } => self.call(rule, next, frame, &level),
                State::Return => level.accepting |= self.return_from(frame, &level),
            }
        }
        let too_many = "too many ways to read the text so far";
        if self.places.len() - level.places > MAX_PLACES {
            self.overrun = Some(too_many);
        } else if self.work > MAX_WORK {
            self.overrun = Some("too much work for one token");
        } else if self.frames.len() + self.callers.len() > MAX_FRAMES {
            self.overrun = Some("too deep a nesting");
        }
        self.levels.push(level);
    }

    fn wait(&mut self, place: Place) {
        if self.scratch.inside.insert(place) {
            self.places.push(place);
        }
    }

    fn call(&mut self, rule: u32, next: StateId, frame: FrameId, level: &Level) {
        let start = self.program.starts[rule as usize];
        if self.program.nullable[rule as usize] {
            self.scratch.todo.push((next, frame));
        }
        if next == RETURN {
            self.scratch.todo.push((start, frame));
            return;
        }
        // Frames are dropped from the end only, so a number in range that this level made is the
        // rule's own unless another rule took it; the rule is kept beside to tell.
        let known = self.scratch.called[rule as usize];
        let callee = if known as usize >= level.frames
            && self.scratch.owners.get(known as usize - level.frames) == Some(&rule)
        {
            known
        } else {
            self.frames.push(NO_CALLER);
            let callee = self.frames.len() as FrameId - 1;
            self.scratch.called[rule as usize] = callee;
            self.scratch.owners.push(rule);
            self.scratch.todo.push((start, callee));
            callee
        };
        self.callers.push(Caller { next, frame, other: self.frames[callee as usize] });
        self.frames[callee as usize] = self.callers.len() as u32 - 1;
    }

    /// Goes on where `frame` was called; whether that is the end of the text.
    fn return_from(&mut self, frame: FrameId, level: &Level) -> bool {
        if frame == ROOT {
            return true;
        }
        // A frame of this level has matched nothing; its callers have stepped over it already.
        if frame as usize >= level.frames {
            return false;
        }
        let mut caller = self.frames[frame as usize];
        while caller != NO_CALLER {
            let Caller { next, frame, other } = self.callers[caller as usize];
            self.work += 1;
            self.scratch.todo.push((next, frame));
            caller = other;
        }
        false
    }

    /// Forgets all levels but the last, and all frames that it cannot return to. Frames are
    /// numbered anew in the order in which the places meet them, so that equal situations look
    /// equal (see [`Automaton::signature`]).
    fn collapse_frames(&mut self) {
        let Some(last) = self.levels.pop() else {
            return;
        };
        self.places.drain(..last.places);
        let mut renamed = vec![FrameId::MAX; self.frames.len()];
        renamed[ROOT as usize] = ROOT;
        let mut order = vec![ROOT];
        let mut rename = |frame: FrameId, order: &mut Vec<FrameId>| {
            let name = &mut renamed[frame as usize];
            if *name == FrameId::MAX {
                *name = order.len() as FrameId;
                order.push(frame);
            }
            *name
        };
        for place in &mut self.places {
            place.frame = rename(place.frame, &mut order);
        }
        let mut frames = vec![NO_CALLER];
        let mut callers = Vec::new();
        let mut done = 1;
        while done < order.len() {
            let mut caller = self.frames[order[done] as usize];
            let mut chain = Vec::new();
            while caller != NO_CALLER {
                chain.push(self.callers[caller as usize]);
                caller = self.callers[caller as usize].other;
            }
            let mut head = NO_CALLER;
            for Caller { next, frame, .. } in chain.into_iter().rev() {
                let frame = rename(frame, &mut order);
                callers.push(Caller { next, frame, other: head });
                head = callers.len() as u32 - 1;
            }
            frames.push(head);
            done += 1;
        }
        self.frames = frames;
        self.callers = callers;
        self.levels = vec![Level {
            places: 0,
            frames: self.frames.len(),
            callers: self.callers.len(),
            accepting: last.accepting,
        }];
    }

    /// A description of the situation: equal ones allow the same tokens. None where it is long.
    pub fn signature(&self) -> Option<Vec<u32>> {
        const LONGEST: usize = 2048;
        if self.levels.len() != 1 || self.places.len() + self.callers.len() > LONGEST {
            return None;
        }
        let mut signature = vec![u32::from(self.is_accepting()), self.places.len() as u32];
        for place in &self.places {
            signature.extend([place.state, place.inside, place.frame]);
        }
        signature.extend(&self.frames);
        for caller in &self.callers {
            signature.extend([caller.next, caller.frame, caller.other]);
        }
        Some(signature)
    }
}

impl Recognizer for Automaton {
    fn try_push_byte(&mut self, byte: u8) -> bool {
        self.push(|utf8, set, inside| utf8.step(set, inside, byte))
    }

    fn pop_bytes(&mut self, num: usize) {
        for _ in 0..num {
            let Some(level) = self.levels.pop() else {
                return;
            };
            self.places.truncate(level.places);
            self.frames.truncate(level.frames);
            self.callers.truncate(level.callers);
        }
    }

    fn collapse(&mut self) {
        self.collapse_frames();
    }

    fn trie_finished(&mut self) {
        self.pop_bytes(self.levels.len().saturating_sub(1));
    }
}
