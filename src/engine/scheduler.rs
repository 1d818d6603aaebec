//! Decides which sequences run and how many tokens of each one step computes. Imports no tensors.

use std::collections::VecDeque;
use std::time::Duration;

use super::origin::Origin;
use super::pace::Pace;
use super::plan::{BlockCopy, Chunk, SCORE_ROWS, StepPlan};
use super::sequence::{Sequence, SequenceId};
use crate::kv_cache::{BlockPool, Chain};
use crate::tokenizer::TokenId;

/// Waiting and running sequences with their blocks.
#[derive(Debug)]
pub struct Scheduler {
    waiting: VecDeque<Sequence>,
    slots: Vec<Option<Sequence>>,
    /// Occupied slots, oldest first.
    order: Vec<usize>,
    pool: BlockPool,
    n_batch: usize,
    pace: Pace,
    n_preempted: u64,
    /// What each slot ran last.
    histories: Vec<History>,
}

/// What a slot ran last: the computed tokens and their origin.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub tokens: Vec<TokenId>,
    pub origin: Origin,
}

impl Scheduler {
    /// A scheduler over `n_slots` slots that computes at most `n_batch` tokens a step.
    #[must_use]
    pub fn new(n_slots: usize, n_batch: usize, pool: BlockPool) -> Self {
        Self {
            waiting: VecDeque::new(),
            slots: (0..n_slots).map(|_| None).collect(),
            order: Vec::new(),
            pool,
            n_batch,
            pace: Pace::default(),
            n_preempted: 0,
            histories: vec![History::default(); n_slots],
        }
    }

    /// Puts a sequence at the end of the queue.
    pub fn submit(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.order.is_empty()
    }

    /// Sequences in the queue.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sequences that had to give their blocks up, each time counted.
    #[must_use]
    pub fn n_preempted(&self) -> u64 {
        self.n_preempted
    }

    /// The sequence in `slot`.
    #[must_use]
    pub fn sequence(&self, slot: usize) -> Option<&Sequence> {
        self.slots[slot].as_ref()
    }

    /// The pool, for work outside the slots.
    pub fn pool_mut(&mut self) -> &mut BlockPool {
        &mut self.pool
    }

    /// The pool's counts.
    #[must_use]
    pub fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// Plans one step: admits, then gives every running sequence its chunk. Decoding ones come
    /// first; prompts share what is left of the batch.
    pub fn schedule(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        self.admit(&mut plan);
        let streaming = self.order.iter().any(|slot| self.running(*slot).is_decoding());
        let mut budget = if streaming { self.n_batch.min(self.pace.chunk()) } else { self.n_batch };
        let (decoding, prompts): (Vec<usize>, Vec<usize>) =
            self.order.iter().copied().partition(|slot| self.running(*slot).is_decoding());
        for slot in decoding {
            self.plan_chunk(slot, 1, &mut plan);
        }
        let mut rows = SCORE_ROWS;
        for slot in prompts {
            let Some(sequence) = &self.slots[slot] else { continue };
            let is_scored = sequence.score_from.is_some();
            let n = sequence.n_pending().min(budget).min(if is_scored { rows } else { usize::MAX });
            if n > 0 && self.plan_chunk(slot, n, &mut plan) {
                budget -= n;
                rows -= if is_scored { n } else { 0 };
            }
        }
        plan
    }

    /// Records that the plan was computed, in `time`.
    pub fn commit(&mut self, plan: &StepPlan, time: Duration) {
        self.pace.note(plan.chunks.iter().map(|chunk| chunk.n_tokens).filter(|n| *n > 1).sum(), time);
        for chunk in &plan.chunks {
            if let Some(sequence) = &mut self.slots[chunk.slot] {
                sequence.commit(chunk.n_tokens, &mut self.pool);
            }
        }
    }

    /// Takes back the copies of a step that failed, which may not have been made. Returns the slots that go on
    /// from them.
    pub fn take_back_copies(&mut self, plan: &StepPlan) -> Vec<usize> {
        plan.copies.iter().for_each(|copy| self.pool.take_back(copy.to));
        let has_copy = |slot: &usize| plan.copies.iter().any(|copy| self.running(*slot).blocks.contains(&copy.to));
        self.order.iter().copied().filter(has_copy).collect()
    }

    /// Appends a drawn token to the sequence in `slot`.
    pub fn append(&mut self, slot: usize, token: u32) {
        self.slots[slot].as_mut().expect("only running sequences are sampled").tokens.push(token);
    }

    /// Takes the sequence out of `slot`; its blocks stay cached while there is room.
    pub fn finish(&mut self, slot: usize) -> Option<Sequence> {
        let mut sequence = self.slots[slot].take()?;
        self.order.retain(|other| *other != slot);
        let tokens = sequence.tokens[..sequence.n_computed].to_vec();
        self.histories[slot] = History { tokens, origin: sequence.origin.clone() };
        sequence.release(&mut self.pool);
        Some(sequence)
    }

    /// What `slot` ran last.
    #[must_use]
    pub fn history(&self, slot: usize) -> &History {
        &self.histories[slot]
    }

    /// Says what `slot` ran last.
    pub fn set_history(&mut self, slot: usize, history: History) {
        self.histories[slot] = history;
    }

    /// Drops the cached blocks of what `slot` ran last, unless other slots ran the same. Returns how
    /// many tokens these were.
    pub fn erase(&mut self, slot: usize) -> usize {
        let History { tokens, origin } = std::mem::take(&mut self.histories[slot]);
        let roots: Vec<Chain> = self.histories.iter().map(|other| self.pool.root(&other.origin.key())).collect();
        let others = roots.into_iter().zip(self.histories.iter().map(|other| other.tokens.as_slice()));
        let root = self.pool.root(&origin.key());
        self.pool.erase(root, &tokens, others);
        tokens.len()
    }

    /// Drops `n_discard` tokens after the first `n_keep` of the sequence in `slot`. What follows gets
    /// new positions and is computed again; the kept part comes from the cache.
    pub fn shift(&mut self, slot: usize, n_keep: usize, n_discard: usize) {
        let sequence = self.slots[slot].as_mut().expect("only running sequences are shifted");
        sequence.shift(n_keep, n_discard, &mut self.pool);
    }

    /// Takes all sequences of `request` out, waiting or running. Returns their names.
    pub fn abort(&mut self, request: u64) -> Vec<SequenceId> {
        let running: Vec<usize> =
            self.order.iter().copied().filter(|slot| self.running(*slot).id.request == request).collect();
        let mut ended: Vec<SequenceId> =
            running.into_iter().filter_map(|slot| self.finish(slot)).map(|sequence| sequence.id).collect();
        self.waiting.retain(|sequence| {
            let gone = sequence.id.request == request;
            if gone {
                ended.push(sequence.id);
            }
            !gone
        });
        ended
    }

    /// All sequences, waiting and running.
    pub fn ids(&self) -> impl Iterator<Item = SequenceId> {
        let running = self.slots.iter().flatten();
        running.chain(&self.waiting).map(|sequence| sequence.id)
    }

    fn running(&self, slot: usize) -> &Sequence {
        self.slots[slot].as_ref().expect("order lists occupied slots")
    }

    /// Moves waiting sequences into free slots, in order of arrival.
    fn admit(&mut self, plan: &mut StepPlan) {
        while let Some((at, slot)) = self.next_admissible() {
            // A sequence that will not fit beside the running ones waits for them, rather than
            // being admitted and preempted in turns.
            let needed = self.waiting[at].tokens.len().div_ceil(crate::kv_cache::BLOCK_TOKENS) + 1;
            if needed > self.pool.available() && !self.order.is_empty() {
                break;
            }
            let mut sequence = self.waiting.remove(at).expect("the index was just found");
            if sequence.reuse || sequence.preempted {
                let copy = sequence.attach_prefix(&mut self.pool);
                plan.copies.extend(copy.map(|(from, to, n_tokens)| BlockCopy { from, to, n_tokens }));
            }
            if !sequence.preempted {
                sequence.n_cached = sequence.n_computed;
            }
            plan.admitted.push((slot, sequence.id));
            self.slots[slot] = Some(sequence);
            self.order.push(slot);
        }
        // The copies run in order and before anything else, so their sources may go now.
        for copy in &plan.copies {
            self.pool.release(copy.from);
        }
    }

    /// The first waiting sequence that may start, and its slot. Later choices of a request wait
    /// until the first has computed the prompt that they share.
    fn next_admissible(&self) -> Option<(usize, usize)> {
        let free = |slot: usize| self.slots.get(slot).is_some_and(Option::is_none);
        let any_free = (0..self.slots.len()).find(|slot| free(*slot))?;
        self.waiting.iter().enumerate().find_map(|(at, sequence)| {
            let slot = match sequence.wanted_slot {
                Some(wanted) if !free(wanted) => return None,
                Some(wanted) => wanted,
                None => any_free,
            };
            (!self.waits_for_leader(sequence)).then_some((at, slot))
        })
    }

    fn waits_for_leader(&self, sequence: &Sequence) -> bool {
        let is_leader = |other: &Sequence| other.id.request == sequence.id.request && other.id.choice == 0;
        sequence.id.choice > 0
            && (self.waiting.iter().any(is_leader)
                || self.slots.iter().flatten().any(|other| is_leader(other) && other.has_pending_prompt()))
    }

    /// Gives the sequence in `slot` a chunk of `n` tokens, preempting younger sequences for room.
    /// False if it was itself preempted.
    fn plan_chunk(&mut self, slot: usize, n: usize, plan: &mut StepPlan) -> bool {
        loop {
            // A victim of an earlier chunk in this very step.
            let Some(sequence) = self.slots[slot].as_mut() else { return false };
            if sequence.grow(n, &mut self.pool) {
                let samples = n == sequence.n_pending();
                plan.chunks.push(Chunk { slot, n_tokens: n, samples });
                return true;
            }
            let youngest = *self.order.last().expect("this sequence is in the order");
            self.preempt(youngest, plan);
            if youngest == slot {
                return false;
            }
        }
    }

    /// Sends the sequence in `slot` back to the head of the queue, to be computed again.
    fn preempt(&mut self, slot: usize, plan: &mut StepPlan) {
        let mut sequence = self.finish(slot).expect("only running sequences are preempted");
        sequence.preempted = true;
        self.n_preempted += 1;
        plan.chunks.retain(|chunk| chunk.slot != slot);
        self.waiting.push_front(sequence);
    }
}

#[cfg(test)]
mod tests;
