//! Decides which sequences run and how many tokens of each one step computes. Imports no tensors.

use std::collections::VecDeque;
use std::time::Duration;

use super::pace::Pace;
use super::plan::{BlockCopy, Chunk, StepPlan};
use super::sequence::{Sequence, SequenceId};
use crate::kv_cache::BlockPool;
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
    /// The computed tokens that each slot ran last.
    histories: Vec<Vec<TokenId>>,
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
            histories: vec![Vec::new(); n_slots],
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
        for slot in prompts {
            let Some(sequence) = &self.slots[slot] else { continue };
            let n = sequence.n_pending().min(budget);
            if n > 0 && self.plan_chunk(slot, n, &mut plan) {
                budget -= n;
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

    /// Appends a drawn token to the sequence in `slot`.
    pub fn append(&mut self, slot: usize, token: u32) {
        self.slots[slot].as_mut().expect("only running sequences are sampled").tokens.push(token);
    }

    /// Takes the sequence out of `slot`; its blocks stay cached while there is room.
    pub fn finish(&mut self, slot: usize) -> Option<Sequence> {
        let mut sequence = self.slots[slot].take()?;
        self.order.retain(|other| *other != slot);
        self.histories[slot] = sequence.tokens[..sequence.n_computed].to_vec();
        sequence.release(&mut self.pool);
        Some(sequence)
    }

    /// The computed tokens that `slot` ran last.
    #[must_use]
    pub fn history(&self, slot: usize) -> &[TokenId] {
        &self.histories[slot]
    }

    /// Says that `slot` ran `tokens` last.
    pub fn set_history(&mut self, slot: usize, tokens: Vec<TokenId>) {
        self.histories[slot] = tokens;
    }

    /// Drops the cached blocks of what `slot` ran last, unless other slots ran the same. Returns how
    /// many tokens these were.
    pub fn erase(&mut self, slot: usize) -> usize {
        let tokens = std::mem::take(&mut self.histories[slot]);
        self.pool.erase(&tokens, self.histories.iter().map(Vec::as_slice));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequence(request: u64, choice: usize, prompt: std::ops::Range<u32>) -> Sequence {
        Sequence::new(SequenceId { request, choice }, prompt.collect())
    }

    fn scheduler(n_slots: usize, n_batch: usize, n_blocks: usize) -> Scheduler {
        Scheduler::new(n_slots, n_batch, BlockPool::new(n_blocks, true))
    }

    /// One step with a made-up token for each sequence that is sampled.
    fn step(scheduler: &mut Scheduler) -> StepPlan {
        let plan = scheduler.schedule();
        scheduler.commit(&plan, Duration::ZERO);
        for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
            scheduler.append(chunk.slot, 7);
        }
        plan
    }

    fn sizes(plan: &StepPlan) -> Vec<usize> {
        plan.chunks.iter().map(|chunk| chunk.n_tokens).collect()
    }

    #[test]
    fn a_prompt_is_computed_in_chunks_and_then_decodes() {
        let mut s = scheduler(1, 32, 16);
        s.submit(sequence(1, 0, 0..70));
        assert_eq!((0..5).map(|_| sizes(&step(&mut s))).collect::<Vec<_>>(), [[32], [32], [6], [1], [1]]);
        assert_eq!(s.sequence(0).map(Sequence::n_generated), Some(3));
    }

    #[test]
    fn a_slot_tells_what_it_took_from_the_cache_and_what_it_computed() {
        let mut s = scheduler(1, 32, 16);
        s.submit(sequence(1, 0, 0..70));
        let counts = |s: &Scheduler| s.sequence(0).map(|x| (x.n_taken(), x.n_cached, x.n_processed()));
        let steps: Vec<_> = (0..4)
            .map(|_| {
                step(&mut s);
                counts(&s)
            })
            .collect();
        assert_eq!(steps, [(32, 0, 32), (64, 0, 64), (71, 0, 70), (72, 0, 70)].map(Some));
        s.finish(0);
        s.submit(sequence(2, 0, 0..70));
        step(&mut s);
        assert_eq!(counts(&s), Some((71, 69, 1)), "all but the last token came from the cache");
    }

    #[test]
    fn a_new_request_joins_a_running_batch() {
        let mut s = scheduler(2, 512, 64);
        s.submit(sequence(1, 0, 0..10));
        step(&mut s);
        s.submit(sequence(2, 0, 1000..1300));
        assert_eq!(sizes(&step(&mut s)), [1, Pace::default().chunk()], "the stream keeps its pace");
    }

    #[test]
    fn choices_wait_for_the_shared_prompt_and_reuse_it() {
        let mut s = scheduler(3, 64, 64);
        (0..3).for_each(|choice| s.submit(sequence(1, choice, 0..100)));
        assert_eq!(sizes(&step(&mut s)), [64]);
        assert_eq!(sizes(&step(&mut s)), [36]);
        let plan = step(&mut s);
        assert_eq!(sizes(&plan), [1, 1, 1], "both take 99 tokens from the first");
        assert_eq!(plan.copies.len(), 2);
    }

    #[test]
    fn out_of_blocks_the_youngest_is_preempted_and_comes_back() {
        let mut s = scheduler(2, 512, 4);
        s.submit(sequence(1, 0, 0..33));
        s.submit(sequence(2, 0, 1000..1031));
        step(&mut s);
        while s.n_waiting() == 0 {
            step(&mut s);
        }
        assert_eq!(s.sequence(0).map(|x| x.id.request), Some(1), "the elder goes on");
        let before = s.sequence(0).map_or(0, Sequence::n_generated);
        step(&mut s);
        assert_eq!(s.sequence(0).map_or(0, Sequence::n_generated), before + 1);
        s.abort(1);
        let plan = step(&mut s);
        assert_eq!(plan.admitted, [(0, SequenceId { request: 2, choice: 0 })]);
        assert_eq!(s.sequence(0).map(|x| x.n_cached), Some(0), "what it reuses of itself is not a cached prompt");
    }

    #[test]
    fn a_shift_computes_what_is_left_behind_the_kept_blocks() {
        let mut s = scheduler(1, 64, 8);
        s.submit(sequence(1, 0, 0..90));
        (0..10).for_each(|_| drop(step(&mut s)));
        let before = s.sequence(0).map(|x| (x.tokens.clone(), x.n_generated())).expect("it runs");
        s.shift(0, 40, 30);
        let shifted = s.sequence(0).expect("it goes on");
        assert_eq!(shifted.tokens, [&before.0[..40], &before.0[70..]].concat());
        assert_eq!((shifted.n_computed, shifted.n_generated()), (32, before.1), "one whole block was kept");
        assert!(!shifted.is_decoding());
        let pending = shifted.n_pending();
        assert_eq!(sizes(&step(&mut s)), [pending]);
        assert_eq!(sizes(&step(&mut s)), [1]);
        assert_eq!(s.sequence(0).map(|x| (x.n_generated(), x.n_processed())), Some((before.1 + 2, 90)));
        s.abort(1);
        assert_eq!(s.pool().in_use(), 0);
    }

    #[test]
    fn a_slot_remembers_what_it_ran_last_until_that_is_erased() {
        let mut s = scheduler(2, 64, 16);
        s.submit(sequence(1, 0, 0..40));
        step(&mut s);
        step(&mut s);
        s.finish(0);
        assert_eq!(s.history(0).len(), 41, "the last token drawn is not computed");
        assert_eq!(s.erase(0), 41);
        assert_eq!((s.erase(0), s.history(1).len()), (0, 0));
        s.submit(sequence(2, 0, 0..40));
        step(&mut s);
        assert_eq!(s.sequence(0).map(|x| x.n_cached), Some(0));
    }

    #[test]
    fn an_abort_frees_everything_at_once() {
        let mut s = scheduler(1, 16, 8);
        (0..2).for_each(|choice| s.submit(sequence(1, choice, 0..40)));
        step(&mut s);
        assert_eq!(s.abort(1).len(), 2);
        assert!(s.is_idle());
        assert_eq!(s.pool().in_use(), 0);
    }

    proptest! {
        #[test]
        fn every_request_ends_and_every_block_comes_back(
            requests in prop::collection::vec((1usize..80, 1usize..60, 0usize..12, any::<bool>()), 1..14),
            n_slots in 1usize..5, n_batch in 1usize..70,
        ) {
            // Five blocks are one sequence's longest context here.
            let mut s = scheduler(n_slots, n_batch, 5);
            let mut goals = std::collections::HashMap::new();
            let mut pending = requests.into_iter().enumerate();
            for _ in 0..20_000 {
                if let Some((id, (len, goal, overlap, abort))) = pending.next() {
                    let start = (overlap * 3) as u32;
                    s.submit(sequence(id as u64, 0, start..start + len as u32));
                    goals.insert(id as u64, goal);
                    if abort { s.abort(id as u64 / 2); }
                } else if s.is_idle() {
                    break;
                }
                let plan = step(&mut s);
                prop_assert!(sizes(&plan).iter().sum::<usize>() <= n_batch.max(1) + n_slots);
                for slot in 0..n_slots {
                    if s.sequence(slot).is_some_and(|x| x.n_generated() >= goals[&x.id.request]) {
                        s.finish(slot);
                    }
                }
            }
            prop_assert!(s.is_idle());
            prop_assert_eq!(s.pool().in_use(), 0);
        }
    }
}
