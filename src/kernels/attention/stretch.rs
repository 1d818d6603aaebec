//! What an item reads in one partition, and asking for it before it is read.

use std::ops::Range;

use super::item::Queries;
use super::plan::Item;
use super::{BLOCK, PARTITION};
use crate::kernels::kv_memory::LayerCache;

/// How many blocks before its use a block is asked for: memory takes longer to answer than one
/// block takes to compute.
const AHEAD: usize = 2;

/// The keys of some blocks of a sequence, then their values.
pub(super) struct Stretch<'a> {
    pub partition: usize,
    /// The sequence's blocks.
    pub ids: &'a [u32],
    pub head_kv: usize,
    /// Those of them that are read.
    pub blocks: Range<usize>,
    /// Behind the last key that is read.
    end: usize,
}

impl<'a> Stretch<'a> {
    /// What `item`, whose queries these are, reads in `partition`.
    pub fn new(item: &Item, queries: &Queries<'a>, partition: usize) -> Self {
        let (blocks, keys) = (queries.blocks(partition), queries.keys(queries.len() - 1));
        Self {
            partition,
            ids: queries.span.blocks,
            head_kv: item.head_kv,
            blocks,
            end: keys.end.min((partition + 1) * PARTITION),
        }
    }

    /// Asks for the keys of the last block, unless they are among the first and asked for anyway.
    pub fn ask_last(&self, cache: &LayerCache<'_>) {
        if self.blocks.len() > AHEAD {
            self.ask(cache, self.blocks.len() - 1);
        }
    }

    /// Asks for what is read at `place`, if that is part of it.
    fn ask(&self, cache: &LayerCache<'_>, place: usize) {
        let n = self.blocks.len();
        let index = self.blocks.start + if place < n { place } else { place - n };
        if place < n {
            let keys = &cache.keys;
            keys.prefetch(self.ids[index], self.head_kv, 0..keys.format().bytes());
        } else if place < 2 * n {
            let values = &cache.values;
            let n_tokens = (self.end - index * BLOCK).min(BLOCK);
            for range in values.format().first_values(n_tokens) {
                values.prefetch(self.ids[index], self.head_kv, range);
            }
        }
    }
}

/// A stretch that is being read and the one behind it.
pub(super) struct Ahead<'a> {
    pub cache: &'a LayerCache<'a>,
    pub now: &'a Stretch<'a>,
    pub then: Option<&'a Stretch<'a>>,
}

impl Ahead<'_> {
    /// Asks for what is read soon after the keys of block `index`.
    #[inline(always)]
    pub fn keys(&self, index: usize) {
        self.ask(index - self.now.blocks.start + AHEAD);
    }

    /// The same after its values.
    #[inline(always)]
    pub fn values(&self, index: usize) {
        self.ask(self.now.blocks.len() + index - self.now.blocks.start + AHEAD);
    }

    fn ask(&self, place: usize) {
        let all = 2 * self.now.blocks.len();
        match self.then {
            _ if place < all => self.now.ask(self.cache, place),
            Some(then) => then.ask(self.cache, place - all),
            None => {}
        }
    }
}
