//! Call stacks, all of them at once: a [`Frame`](Frames) is a call, and knows all its callers.
//!
//! Equal frames are one frame, so that equal situations have equal numbers whichever text led to
//! them. A frame's callers are in frames made before it, so numbers grow from the root outwards.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::program::StateId;

/// Index of a frame.
pub type FrameId = u32;
/// The frame of the root rule, which nobody called.
pub const ROOT: FrameId = 0;

/// Who called a frame: where to go on, in which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    pub next: StateId,
    pub frame: FrameId,
}

/// All frames, each stored once.
#[derive(Clone)]
pub struct Frames {
    list: Vec<Arc<[Caller]>>,
    ids: HashMap<Arc<[Caller]>, FrameId, FixedState>,
    n_callers: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { list: vec![Arc::from([])], ids: HashMap::default(), n_callers: 0 }
    }
}

impl Frames {
    /// The frame of these callers, in any order.
    pub fn intern(&mut self, mut callers: Vec<Caller>) -> FrameId {
        callers.sort_unstable();
        callers.dedup();
        if let Some(&id) = self.ids.get(callers.as_slice()) {
            return id;
        }
        let id = self.list.len() as FrameId;
        let callers: Arc<[Caller]> = callers.into();
        self.n_callers += callers.len();
        self.list.push(Arc::clone(&callers));
        self.ids.insert(callers, id);
        id
    }

    /// Who called `frame`.
    pub fn callers(&self, frame: FrameId) -> &[Caller] {
        &self.list[frame as usize]
    }

    /// Frames and callers.
    pub fn size(&self) -> usize {
        self.list.len() + self.n_callers
    }

    /// The frames that `used` and their callers need, and what each frame is called among them.
    pub fn keep(&self, used: impl Iterator<Item = FrameId>) -> (Self, Vec<FrameId>) {
        let mut needed = vec![false; self.list.len()];
        used.for_each(|frame| needed[frame as usize] = true);
        for frame in (0..needed.len()).rev().filter(|frame| *frame != ROOT as usize) {
            if needed[frame] {
                self.list[frame].iter().for_each(|caller| needed[caller.frame as usize] = true);
            }
        }
        let mut kept = Self::default();
        let mut renamed = vec![ROOT; needed.len()];
        for frame in (1..needed.len()).filter(|frame| needed[*frame]) {
            let rename = |caller: &Caller| Caller { frame: renamed[caller.frame as usize], ..*caller };
            renamed[frame] = kept.intern(self.list[frame].iter().map(rename).collect());
        }
        (kept, renamed)
    }
}
