//! Accounting of KV blocks: reference counts, prefix reuse by token, eviction.
//!
//! Blocks that hold computed tokens form a trie: the key of an edge is the chain of full blocks
//! before it, its label the tokens of the block. Texts of another origin (other adapters, another salt) have another
//! root ([`BlockPool::root`]), so that they never meet. A prompt walks the trie block by block; the last,
//! partly matching block is reused by copying its first tokens. Labels are compared token by
//! token, so a reuse is never wrong, whatever a hash would say.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::BLOCK_TOKENS;

/// Index of a physical block in the [`super::KvStore`].
pub type BlockId = u32;

/// Identifies the content of a run of full blocks from the start of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain(u64);

impl Chain {
    /// The empty run of the model as it is.
    pub const ROOT: Self = Self(0);
}

#[derive(Debug, Default)]
struct Block {
    refs: u32,
    /// Computed tokens in this block, at most [`BLOCK_TOKENS`].
    tokens: Vec<u32>,
    parent: Option<Chain>,
    /// The run that ends with this block, once it is full.
    chain: Option<Chain>,
    /// When it was last released; the oldest is evicted first.
    released: u64,
}

/// Roots without blocks that are remembered before they are looked through.
const IDLE_ROOTS: usize = 64;

/// What a prompt can reuse. References on `blocks` and on the source of `copy` are taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Full blocks to share.
    pub blocks: Vec<BlockId>,
    /// A block whose first tokens continue the prompt, to be copied: (block, tokens).
    pub copy: Option<(BlockId, usize)>,
}

impl Prefix {
    /// Tokens covered by blocks and copy together.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.blocks.len() * BLOCK_TOKENS + self.copy.map_or(0, |(_, n)| n)
    }
}

/// All blocks with their owners. Knows no tensors; every operation is a few map look-ups.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    capacity: usize,
    free: Vec<BlockId>,
    children: HashMap<Chain, Vec<BlockId>>,
    /// Unreferenced blocks whose content is still of use, oldest first.
    evictable: BTreeSet<(u64, BlockId)>,
    /// Where the texts of other origins start.
    roots: HashMap<Vec<u64>, Chain>,
    next_chain: u64,
    clock: u64,
    keep_released: bool,
}

impl BlockPool {
    /// A pool of at most `capacity` blocks. Without `keep_released` nothing is reused after its
    /// last owner has gone.
    #[must_use]
    pub fn new(capacity: usize, keep_released: bool) -> Self {
        Self {
            blocks: Vec::new(),
            capacity,
            free: Vec::new(),
            children: HashMap::new(),
            roots: HashMap::new(),
            evictable: BTreeSet::new(),
            next_chain: 1,
            clock: 0,
            keep_released,
        }
    }

    /// Blocks that exist so far; the store must hold as many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether no block was ever allocated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Blocks that `allocate` could hand out now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.capacity - self.blocks.len() + self.free.len() + self.evictable.len()
    }

    /// Blocks that may exist.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Blocks owned by at least one sequence.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.blocks.len() - self.free.len() - self.evictable.len()
    }

    /// The empty run of texts that are computed in the way that `key` says, equal for equal keys; an empty
    /// key is the model as it is.
    pub fn root(&mut self, key: &[u64]) -> Chain {
        if key.is_empty() {
            return Chain::ROOT;
        }
        if let Some(root) = self.roots.get(key) {
            return *root;
        }
        if self.roots.len() >= IDLE_ROOTS {
            // Clients may ask for any number of scales. A root that is still in use and forgotten costs a
            // later text its reuse, no more: numbers are never given twice.
            self.roots.retain(|_, root| self.children.contains_key(root));
        }
        self.next_chain += 1;
        self.roots.insert(key.to_vec(), Chain(self.next_chain));
        Chain(self.next_chain)
    }

    /// The longest cached prefix of `tokens` from `root` on, at most `limit` tokens of it.
    pub fn match_prefix(&mut self, root: Chain, tokens: &[u32], limit: usize) -> Prefix {
        let prefix = self.walk(root, tokens, limit);
        prefix.blocks.iter().chain(prefix.copy.as_ref().map(|(block, _)| block)).for_each(|block| self.acquire(*block));
        prefix
    }

    /// What [`Self::match_prefix`] finds, without references.
    fn walk(&self, root: Chain, tokens: &[u32], limit: usize) -> Prefix {
        let mut prefix = Prefix::default();
        let mut rest = &tokens[..limit.min(tokens.len())];
        let mut chain = root;
        while let Some((block, n)) = self.best_child(chain, rest) {
            if n < BLOCK_TOKENS {
                prefix.copy = Some((block, n));
                break;
            }
            prefix.blocks.push(block);
            rest = &rest[BLOCK_TOKENS..];
            let Some(next) = self.blocks[block as usize].chain else { break };
            chain = next;
        }
        prefix
    }

    /// The child of `chain` that shares most tokens with the start of `rest`.
    fn best_child(&self, chain: Chain, rest: &[u32]) -> Option<(BlockId, usize)> {
        let shared = |id: &BlockId| {
            let tokens = &self.blocks[*id as usize].tokens;
            tokens.iter().zip(rest).take_while(|(a, b)| a == b).count()
        };
        let children = self.children.get(&chain)?;
        let best = children.iter().map(|id| (*id, shared(id))).max_by_key(|(_, n)| *n)?;
        (best.1 > 0).then_some(best)
    }

    /// A block for new tokens, owned once; evicts the oldest unused one if need be.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let id = if let Some(id) = self.free.pop() {
            id
        } else if self.blocks.len() < self.capacity {
            self.blocks.push(Block::default());
            u32::try_from(self.blocks.len() - 1).ok()?
        } else {
            let (_, id) = self.evictable.pop_first()?;
            self.forget(id);
            id
        };
        self.blocks[id as usize] = Block { refs: 1, ..Block::default() };
        Some(id)
    }

    /// Adds an owner to `block`.
    pub fn acquire(&mut self, block: BlockId) {
        let entry = &mut self.blocks[block as usize];
        if entry.refs == 0 {
            self.evictable.remove(&(entry.released, block));
        }
        entry.refs += 1;
    }

    /// Takes an owner away. Blocks of a sequence are released last to first, so that tails are
    /// evicted before the heads that lead to them.
    pub fn release(&mut self, block: BlockId) {
        self.clock += 1;
        let entry = &mut self.blocks[block as usize];
        entry.refs -= 1;
        if entry.refs > 0 {
            return;
        }
        if self.keep_released && !entry.tokens.is_empty() {
            entry.released = self.clock;
            self.evictable.insert((self.clock, block));
        } else {
            self.forget(block);
            self.free.push(block);
        }
    }

    /// Records that `tokens` were computed at the end of `block`, which follows the run `parent`.
    /// Returns the run that ends with the block if it is full now.
    pub fn extend(&mut self, block: BlockId, parent: Chain, tokens: &[u32]) -> Option<Chain> {
        let entry = &mut self.blocks[block as usize];
        debug_assert!(entry.tokens.len() + tokens.len() <= BLOCK_TOKENS);
        if entry.tokens.is_empty() && !tokens.is_empty() {
            entry.parent = Some(parent);
            self.children.entry(parent).or_default().push(block);
        }
        let entry = &mut self.blocks[block as usize];
        entry.tokens.extend_from_slice(tokens);
        if entry.tokens.len() < BLOCK_TOKENS {
            return None;
        }
        let chain = self.chain_of_twin(block, parent).unwrap_or_else(|| {
            self.next_chain += 1;
            Chain(self.next_chain)
        });
        self.blocks[block as usize].chain = Some(chain);
        Some(chain)
    }

    /// The run of another full block with the same content at the same place, so that what
    /// follows either of them is found from both.
    fn chain_of_twin(&self, block: BlockId, parent: Chain) -> Option<Chain> {
        let tokens = &self.blocks[block as usize].tokens;
        let siblings = self.children.get(&parent)?;
        siblings.iter().filter(|id| **id != block).find_map(|id| {
            let other = &self.blocks[*id as usize];
            (other.tokens == *tokens).then_some(other.chain).flatten()
        })
    }

    /// The run that ends with `block`, if it is full.
    #[must_use]
    pub fn chain(&self, block: BlockId) -> Option<Chain> {
        self.blocks[block as usize].chain
    }

    /// Drops what nobody owns of the blocks that hold `tokens` from `root` on, beside those that hold one of
    /// `others`.
    pub fn erase<'a>(&mut self, root: Chain, tokens: &[u32], others: impl Iterator<Item = (Chain, &'a [u32])>) {
        let blocks = |pool: &Self, root: Chain, tokens: &[u32]| {
            let prefix = pool.walk(root, tokens, tokens.len());
            // A block that only begins like the tokens is someone else's.
            let last = prefix.copy.filter(|(id, n)| pool.blocks[*id as usize].tokens.len() == *n);
            prefix.blocks.into_iter().chain(last.map(|(id, _)| id)).collect::<Vec<_>>()
        };
        let kept: HashSet<BlockId> = others.flat_map(|(root, tokens)| blocks(self, root, tokens)).collect();
        loop {
            let mut ids = blocks(self, root, tokens);
            ids.retain(|id| self.blocks[*id as usize].refs == 0 && !kept.contains(id));
            if ids.is_empty() {
                return; // twins of the blocks, if there were any, are gone as well
            }
            for id in ids.into_iter().rev() {
                self.evictable.remove(&(self.blocks[id as usize].released, id));
                self.forget(id);
                self.free.push(id);
            }
        }
    }

    /// Takes back what was recorded of `block`, which keeps its owners: it was not computed after all.
    pub fn take_back(&mut self, block: BlockId) {
        let refs = self.blocks[block as usize].refs;
        self.forget(block);
        self.blocks[block as usize].refs = refs;
    }

    /// Takes `block` out of the trie.
    fn forget(&mut self, block: BlockId) {
        let entry = std::mem::take(&mut self.blocks[block as usize]);
        if let Some(parent) = entry.parent
            && let Some(siblings) = self.children.get_mut(&parent)
        {
            siblings.retain(|id| *id != block);
            if siblings.is_empty() {
                self.children.remove(&parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a whole sequence through the pool: reuse, compute, release. Returns tokens reused.
    fn run(pool: &mut BlockPool, tokens: &[u32]) -> usize {
        run_from(pool, Chain::ROOT, tokens)
    }

    fn run_from(pool: &mut BlockPool, root: Chain, tokens: &[u32]) -> usize {
        let prefix = pool.match_prefix(root, tokens, tokens.len() - 1);
        let reused = prefix.n_tokens();
        let mut blocks = prefix.blocks;
        let mut chain = blocks.last().and_then(|b| pool.chain(*b)).unwrap_or(root);
        let mut at = blocks.len() * BLOCK_TOKENS;
        while at < tokens.len() {
            let block = pool.allocate().expect("the pool is large enough");
            let end = (at + BLOCK_TOKENS).min(tokens.len());
            if let Some(next) = pool.extend(block, chain, &tokens[at..end]) {
                chain = next;
            }
            blocks.push(block);
            at = end;
        }
        if let Some((source, _)) = prefix.copy {
            pool.release(source);
        }
        blocks.into_iter().rev().for_each(|b| pool.release(b));
        reused
    }

    #[test]
    fn reuse_is_by_token() {
        let mut pool = BlockPool::new(64, true);
        let first: Vec<u32> = (0..77).collect();
        let mut third = first.clone();
        third[51] = 999;
        let mut fourth = first.clone();
        fourth[47] = 999;
        assert_eq!(run(&mut pool, &first), 0);
        assert_eq!(run(&mut pool, &first), 76);
        assert_eq!(run(&mut pool, &third), 51);
        assert_eq!(run(&mut pool, &fourth), 47);
    }

    #[test]
    fn what_was_taken_back_is_not_found() {
        let mut pool = BlockPool::new(4, true);
        let block = pool.allocate().expect("it has room");
        pool.extend(block, Chain::ROOT, &[1, 2, 3]);
        pool.take_back(block);
        assert_eq!(pool.match_prefix(Chain::ROOT, &[1, 2, 3, 4], 4).n_tokens(), 0);
        assert_eq!((pool.in_use(), pool.available()), (1, 3));
        pool.release(block);
        assert_eq!((pool.in_use(), pool.available()), (0, 4));
    }

    #[test]
    fn the_oldest_unused_block_is_evicted() {
        let mut pool = BlockPool::new(4, true);
        let a: Vec<u32> = (0..64).collect();
        let b: Vec<u32> = (100..164).collect();
        let c: Vec<u32> = (200..232).collect();
        run(&mut pool, &a);
        run(&mut pool, &b);
        run(&mut pool, &c);
        assert_eq!(run(&mut pool, &b), 63, "b is younger than a");
        assert!(run(&mut pool, &a) <= 32, "the tail of a made room for c");
    }

    #[test]
    fn what_is_erased_is_not_found_and_what_others_hold_stays() {
        let mut pool = BlockPool::new(64, true);
        let first: Vec<u32> = (0..77).collect();
        let mut second = first.clone();
        second[40] = 999;
        run(&mut pool, &first);
        run(&mut pool, &second);
        pool.erase(Chain::ROOT, &first, std::iter::once((Chain::ROOT, &second[..])));
        assert_eq!(run(&mut pool, &second), 76);
        assert_eq!(run(&mut pool, &first), 40, "the first block is the second's as well, and 8 tokens more");
        pool.erase(Chain::ROOT, &first, std::iter::empty());
        pool.erase(Chain::ROOT, &second, std::iter::empty());
        assert_eq!((run(&mut pool, &second), pool.in_use()), (0, 0));
        assert_eq!(pool.available(), 64);
    }

    #[test]
    fn owned_blocks_are_not_erased() {
        let mut pool = BlockPool::new(64, true);
        let tokens: Vec<u32> = (0..64).collect();
        run(&mut pool, &tokens);
        let owned = pool.match_prefix(Chain::ROOT, &tokens, 32);
        pool.erase(Chain::ROOT, &tokens, std::iter::empty());
        assert_eq!(run(&mut pool, &tokens), 32);
        owned.blocks.into_iter().for_each(|block| pool.release(block));
    }

    #[test]
    fn texts_of_different_roots_never_meet() {
        let mut pool = BlockPool::new(64, true);
        let tokens: Vec<u32> = (0..77).collect();
        let keys: [&[u64]; 4] = [&[], &[1], &[2], &[1, 2]];
        for key in keys {
            let root = pool.root(key);
            assert_eq!(run_from(&mut pool, root, &tokens), 0, "{key:?}");
        }
        for key in keys {
            let root = pool.root(key);
            assert_eq!(run_from(&mut pool, root, &tokens), 76, "{key:?}");
        }
        let [first, second] = [&[1][..], &[2]].map(|key| pool.root(key));
        pool.erase(first, &tokens, std::iter::once((second, &tokens[..])));
        assert_eq!(run_from(&mut pool, second, &tokens), 76);
        assert_eq!(run_from(&mut pool, first, &tokens), 0);
        assert_eq!(run(&mut pool, &tokens), 76);
    }

    #[test]
    fn roots_without_blocks_are_forgotten() {
        let mut pool = BlockPool::new(64, true);
        let used = pool.root(&[7]);
        run_from(&mut pool, used, &(0..40).collect::<Vec<u32>>());
        for key in 100..100 + 20 * IDLE_ROOTS as u64 {
            pool.root(&[key]);
        }
        assert!(pool.roots.len() <= IDLE_ROOTS + 1, "{} roots", pool.roots.len());
        assert_eq!(pool.root(&[7]), used);
    }

    #[test]
    fn a_pool_without_memory_reuses_nothing() {
        let mut pool = BlockPool::new(8, false);
        let tokens: Vec<u32> = (0..64).collect();
        run(&mut pool, &tokens);
        assert_eq!(run(&mut pool, &tokens), 0);
    }

    proptest! {
        #[test]
        fn counts_balance_and_reuse_equals_the_longest_common_prefix(
            runs in prop::collection::vec((0u32..3, 1usize..120, 0usize..120), 1..30)
        ) {
            let mut pool = BlockPool::new(1024, true);
            let mut seen: Vec<Vec<u32>> = Vec::new();
            for (variant, len, change) in runs {
                let mut tokens: Vec<u32> = (0..len as u32).collect();
                if change < len { tokens[change] = 1000 + variant; }
                let common = |other: &Vec<u32>| tokens.iter().zip(other).take_while(|(a, b)| a == b).count();
                let best = seen.iter().map(common).max().unwrap_or(0).min(len - 1);
                prop_assert_eq!(run(&mut pool, &tokens), best);
                seen.push(tokens);
                prop_assert_eq!(pool.in_use(), 0);
                prop_assert_eq!(pool.available(), 1024);
            }
        }
    }
}
