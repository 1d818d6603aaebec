//! One choice of one request, as the scheduler sees it: token counts and blocks.

use std::ops::Range;

use super::origin::Origin;
use crate::kv_cache::{BLOCK_TOKENS, BlockId, BlockPool, Chain};
use crate::tokenizer::TokenId;

/// Names a sequence for its lifetime: the request and its choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceId {
    pub request: u64,
    pub choice: usize,
}

/// Known tokens, how many of them are computed, and the blocks that hold those.
#[derive(Debug)]
pub struct Sequence {
    pub id: SequenceId,
    /// Prompt, then answer.
    pub tokens: Vec<TokenId>,
    pub n_prompt: usize,
    /// Tokens whose keys and values are in the cache.
    pub n_computed: usize,
    /// Prompt tokens that came from the cache when the sequence first ran.
    pub n_cached: usize,
    pub blocks: Vec<BlockId>,
    /// The slot asked for, if any.
    pub wanted_slot: Option<usize>,
    /// Whether the prompt may come from the cache.
    pub reuse: bool,
    /// Whether it ran before and was preempted.
    pub preempted: bool,
    /// Tokens that made room when the context was full.
    pub n_dropped: usize,
    /// What it shares cached keys and values by, and where such texts start.
    pub origin: Origin,
    root: Chain,
    /// The first prompt row whose logits are still wanted for the token behind it; none where no prompt is
    /// scored, or all of it is.
    pub score_from: Option<usize>,
}

impl Sequence {
    /// A sequence that has computed nothing yet.
    #[must_use]
    pub fn new(id: SequenceId, prompt: Vec<TokenId>) -> Self {
        Self {
            id,
            n_prompt: prompt.len(),
            tokens: prompt,
            n_computed: 0,
            n_cached: 0,
            blocks: Vec::new(),
            wanted_slot: None,
            reuse: true,
            preempted: false,
            n_dropped: 0,
            origin: Origin::default(),
            root: Chain::ROOT,
            score_from: None,
        }
    }

    /// The same of another origin, before anything is computed.
    #[must_use]
    pub fn with_origin(self, origin: Origin, pool: &mut BlockPool) -> Self {
        Self { root: pool.root(&origin.key()), origin, ..self }
    }

    /// Tokens that are known but not computed; 1 while decoding.
    #[must_use]
    pub fn n_pending(&self) -> usize {
        self.tokens.len() - self.n_computed
    }

    /// Whether the prompt is computed, so that each step yields a token.
    #[must_use]
    pub fn is_decoding(&self) -> bool {
        self.n_pending() == 1 && self.n_generated() > 0
    }

    /// Tokens generated so far.
    #[must_use]
    pub fn n_generated(&self) -> usize {
        self.tokens.len() + self.n_dropped - self.n_prompt
    }

    /// Whether tokens of the prompt are still to be computed for the first time.
    #[must_use]
    pub fn has_pending_prompt(&self) -> bool {
        self.n_dropped == 0 && self.n_computed < self.n_prompt
    }

    /// Rows of the next `n` known tokens whose logits tell how probable the prompt token behind each was.
    #[must_use]
    pub fn scored_rows(&self, n: usize) -> Range<usize> {
        // Behind the prompt's last row comes the answer.
        let end = (self.n_computed + n).min(self.n_prompt - 1);
        let start = self.score_from.map_or(end, |from| from.max(self.n_computed));
        start.min(end)..end
    }

    /// Tokens taken in: what is computed of the prompt, then prompt and answer.
    #[must_use]
    pub fn n_taken(&self) -> usize {
        if self.n_generated() == 0 { self.n_computed } else { self.tokens.len() }
    }

    /// Prompt tokens computed so far, beside those from the cache.
    #[must_use]
    pub fn n_processed(&self) -> usize {
        if self.n_dropped > 0 {
            return self.n_prompt - self.n_cached;
        }
        // A preempted sequence begins anew and may take less from the cache than at first.
        self.n_computed.min(self.n_prompt).saturating_sub(self.n_cached)
    }

    /// Takes what the cache holds of the known tokens. Returns the copy to make, if the last part
    /// is reused from within a block: (from, to, tokens). The source stays referenced.
    pub fn attach_prefix(&mut self, pool: &mut BlockPool) -> Option<(BlockId, BlockId, usize)> {
        debug_assert!(self.blocks.is_empty() && self.n_computed == 0);
        // The last known token is always computed: its logits are what the next one is drawn from. So are
        // the rows of a prompt that is scored.
        let last = self.tokens.len() - 1;
        let prefix = pool.match_prefix(self.root, &self.tokens, self.score_from.map_or(last, |from| from.min(last)));
        self.blocks = prefix.blocks;
        self.n_computed = self.blocks.len() * BLOCK_TOKENS;
        let (source, n) = prefix.copy?;
        let Some(target) = pool.allocate() else {
            pool.release(source);
            return None;
        };
        self.blocks.push(target);
        let parent = self.chain_before(self.blocks.len() - 1, pool);
        pool.extend(target, parent, &self.tokens[self.n_computed..self.n_computed + n]);
        self.n_computed += n;
        Some((source, target, n))
    }

    /// Makes room for `n` more tokens. False, with what was allocated kept, when the pool is empty.
    pub fn grow(&mut self, n: usize, pool: &mut BlockPool) -> bool {
        let wanted = (self.n_computed + n).div_ceil(BLOCK_TOKENS);
        while self.blocks.len() < wanted {
            let Some(block) = pool.allocate() else { return false };
            self.blocks.push(block);
        }
        true
    }

    /// Records that the next `n` known tokens are computed.
    pub fn commit(&mut self, n: usize, pool: &mut BlockPool) {
        let end = self.n_computed + n;
        self.score_from = self.score_from.map(|from| from.max(end)).filter(|from| *from < self.n_prompt - 1);
        while self.n_computed < end {
            let index = self.n_computed / BLOCK_TOKENS;
            let upto = end.min((index + 1) * BLOCK_TOKENS);
            let parent = self.chain_before(index, pool);
            pool.extend(self.blocks[index], parent, &self.tokens[self.n_computed..upto]);
            self.n_computed = upto;
        }
    }

    /// Drops `n_discard` tokens after the first `n_keep`. Of the blocks, the full ones of the kept part
    /// stay; everything behind them is to be computed again.
    pub fn shift(&mut self, n_keep: usize, n_discard: usize, pool: &mut BlockPool) {
        let n_full = n_keep.min(self.n_computed) / BLOCK_TOKENS;
        self.blocks.drain(n_full..).rev().for_each(|block| pool.release(block));
        self.tokens.drain(n_keep..n_keep + n_discard);
        self.n_computed = n_full * BLOCK_TOKENS;
        self.n_dropped += n_discard;
    }

    /// Gives all blocks back; everything is to be computed again.
    pub fn release(&mut self, pool: &mut BlockPool) {
        self.blocks.drain(..).rev().for_each(|block| pool.release(block));
        self.n_computed = 0;
    }

    fn chain_before(&self, index: usize, pool: &BlockPool) -> Chain {
        match index.checked_sub(1) {
            None => self.root,
            Some(before) => pool.chain(self.blocks[before]).expect("blocks are filled in order"),
        }
    }
}
