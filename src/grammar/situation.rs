//! Situations: everything that a grammar must remember of the text so far, and where each byte leads.
//!
//! A situation is the sorted list of places where reading may stand. It is stored once and keeps where
//! each class of bytes leads, so a walk over a vocabulary, which comes back to a few situations a
//! hundred thousand times, computes each step once and looks it up ever after.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::closure::{Closure, END, Limits, Place};
use super::program::{Program, State, StateId};
use super::stack::{FrameId, Frames, ROOT};
use super::utf8::{ByteStep, PLAIN, START};

/// Index of a situation.
pub type SituationId = u32;
/// Where a step leads nowhere, and where it is not known yet.
pub const DEAD: SituationId = u32::MAX - 1;
pub const UNKNOWN: SituationId = u32::MAX;

/// The situations met so far.
#[derive(Clone)]
pub struct Situations {
    program: Arc<Program>,
    list: Vec<Arc<[Place]>>,
    ids: HashMap<Arc<[Place]>, SituationId, FixedState>,
    /// For each situation where each class of bytes leads, then any character of each plain class.
    steps: Vec<SituationId>,
    frames: Frames,
    closure: Closure,
    n_places: usize,
}

impl Situations {
    /// No situation yet.
    pub fn new(program: Arc<Program>) -> Self {
        Self {
            program,
            list: Vec::new(),
            ids: HashMap::default(),
            steps: Vec::new(),
            frames: Frames::default(),
            closure: Closure::default(),
            n_places: 0,
        }
    }

    /// Places, frames, callers and steps kept: a measure of memory, 12 bytes or so each.
    pub fn size(&self) -> usize {
        self.n_places + 2 * self.frames.size() + self.steps.len() / 2
    }

    /// Frames and callers that are kept.
    pub fn depth(&self) -> usize {
        self.frames.size()
    }

    /// The places of a situation.
    pub fn places(&self, situation: SituationId) -> &[Place] {
        &self.list[situation as usize]
    }

    /// Whether the text may end.
    pub fn is_accepting(&self, situation: SituationId) -> bool {
        self.places(situation).first() == Some(&END)
    }

    /// Whether the text cannot go on.
    pub fn is_exhausted(&self, situation: SituationId) -> bool {
        self.places(situation).len() == usize::from(self.is_accepting(situation))
    }

    fn n_steps(&self) -> usize {
        self.program.classes.len() + PLAIN.len()
    }

    /// Where `byte` leads, if that is known.
    #[inline]
    pub fn known(&self, from: SituationId, byte: u8) -> SituationId {
        self.steps[from as usize * self.n_steps() + self.program.classes.of(byte)]
    }

    /// Where `byte` leads. None where finding out takes more than `limits`.
    pub fn step(&mut self, from: SituationId, byte: u8, limits: &Limits, work: &mut usize) -> Option<SituationId> {
        let program = Arc::clone(&self.program);
        self.to(from, self.program.classes.of(byte), limits, work, |set, inside| program.utf8.step(set, inside, byte))
    }

    /// Where any character of `PLAIN[class]` leads; a step that only some of them take counts as none.
    pub fn step_plain(
        &mut self,
        from: SituationId,
        class: usize,
        limits: &Limits,
        work: &mut usize,
    ) -> Option<SituationId> {
        let program = Arc::clone(&self.program);
        self.to(from, program.classes.len() + class, limits, work, |set, inside| {
            match inside == START && program.utf8.covers(set, class) {
                true => ByteStep::Done,
                false => ByteStep::Dead,
            }
        })
    }

    fn to(
        &mut self,
        from: SituationId,
        class: usize,
        limits: &Limits,
        work: &mut usize,
        read: impl Fn(u32, u32) -> ByteStep,
    ) -> Option<SituationId> {
        let at = from as usize * self.n_steps() + class;
        if self.steps[at] == UNKNOWN {
            self.closure.begin();
            let places = Arc::clone(&self.list[from as usize]);
            for place in places.iter() {
                let State::Chars { set, next } = self.program.states[place.state as usize] else {
                    continue;
                };
                *work += 1;
                match read(set, place.inside) {
                    ByteStep::Dead => {}
                    ByteStep::Inside(inside) => self.closure.places.push(Place { inside, ..*place }),
                    ByteStep::Done => self.closure.todo.push((next, place.frame)),
                }
            }
            self.steps[at] = self.close(limits, work)?;
        }
        Some(self.steps[at])
    }

    /// The situation in which all of `todo` and the places of `also` hold.
    pub fn enter(
        &mut self,
        todo: &[(StateId, FrameId)],
        also: Option<SituationId>,
        limits: &Limits,
        work: &mut usize,
    ) -> Option<SituationId> {
        self.closure.begin();
        self.closure.todo.extend(todo);
        if let Some(also) = also {
            self.closure.places.extend_from_slice(&self.list[also as usize]);
        }
        self.close(limits, work)
    }

    fn close(&mut self, limits: &Limits, work: &mut usize) -> Option<SituationId> {
        if !self.closure.follow(&self.program, &self.frames, limits, work) {
            return None;
        }
        let places = self.closure.finish(&self.program, &mut self.frames);
        if places.is_empty() {
            return Some(DEAD);
        }
        let known = self.ids.get(places).copied();
        let places: Arc<[Place]> = match known {
            Some(id) => return Some(id),
            None => places.into(),
        };
        Some(self.add(places))
    }

    fn add(&mut self, places: Arc<[Place]>) -> SituationId {
        if let Some(&id) = self.ids.get(&places) {
            return id;
        }
        let id = self.list.len() as SituationId;
        self.n_places += places.len();
        self.list.push(Arc::clone(&places));
        self.ids.insert(places, id);
        self.steps.resize(self.list.len() * self.n_steps(), UNKNOWN);
        id
    }

    /// Forgets all situations but those of `levels`, which get new numbers.
    pub fn keep(&mut self, levels: &mut [SituationId]) {
        let used = levels.iter().flat_map(|level| self.list[*level as usize].iter().map(|place| place.frame));
        let (frames, renamed) = self.frames.keep(used);
        let mut kept = Self::new(Arc::clone(&self.program));
        kept.frames = frames;
        for level in levels {
            let rename = |place: &Place| Place { frame: renamed[place.frame as usize], ..*place };
            *level = kept.add(self.list[*level as usize].iter().map(rename).collect());
        }
        *self = kept;
    }

    /// A description of a situation that does not hang on what else was met. Equal ones allow the
    /// same tokens. None where it is long.
    pub fn signature(&self, situation: SituationId) -> Option<Vec<u32>> {
        const LONGEST: usize = 4096;
        let places = self.places(situation);
        let mut signature = vec![places.len() as u32];
        // Frames by the order in which they are met.
        let mut names = HashMap::from([(ROOT, 0)]);
        let mut order = vec![ROOT];
        let mut name = |frame: FrameId, order: &mut Vec<FrameId>| {
            *names.entry(frame).or_insert_with(|| {
                order.push(frame);
                order.len() as u32 - 1
            })
        };
        for place in places {
            signature.extend([place.state, place.inside, name(place.frame, &mut order)]);
        }
        let mut done = 1;
        while done < order.len() {
            let callers = self.frames.callers(order[done]);
            if signature.len() + 2 * callers.len() > LONGEST {
                return None;
            }
            signature.push(callers.len() as u32);
            for caller in callers {
                signature.extend([caller.next, name(caller.frame, &mut order)]);
            }
            done += 1;
        }
        (signature.len() <= LONGEST).then_some(signature)
    }
}
