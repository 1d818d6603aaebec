//! How a step's attention is cut into items. Only speed depends on it.

use std::ops::Range;

use super::{BLOCK, PARTITION, Rows};

/// Queries of an item at most: enough to make widening a block cheap beside its use.
const MANY: usize = 96;

/// Queries of an item at least, where there are too few items for all threads.
const FEW: usize = 24;

/// Blocks that are not worth waking another thread for.
const SMALL: usize = 12;

/// Rows `rows` of a span with the query heads of one key-value head over some partitions.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub span: usize,
    pub head_kv: usize,
    pub rows: Range<usize>,
    pub partitions: Range<usize>,
    /// For one partition of several: the index of the [`Group`] to merge.
    pub group: Option<usize>,
}

/// Items whose partial results belong together.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Where the partial results begin.
    pub start: usize,
    pub partitions: Range<usize>,
}

/// All items of a step.
pub(super) struct Plan {
    pub items: Vec<Item>,
    pub groups: Vec<Group>,
    /// Elements of all partial results.
    pub n_partial: usize,
    /// Whether one thread should do it all.
    pub is_small: bool,
}

impl Plan {
    pub fn new(rows: &Rows<'_>, n_threads: usize) -> Self {
        let s = rows.shape;
        let keys = |span: usize, item_rows: &Range<usize>| {
            let of = |row: usize| rows.spans[span].keys(row, s.window);
            of(item_rows.start).start..of(item_rows.end.saturating_sub(1)).end
        };
        let rows_of = |queries: usize| (queries / s.group()).max(1);
        let count = |queries: usize| {
            let n: usize = rows.spans.iter().map(|span| span.n_rows.div_ceil(rows_of(queries))).sum();
            n * s.n_head_kv
        };
        let mut queries = MANY;
        while queries > FEW && count(queries) < 4 * n_threads {
            queries /= 2;
        }
        let mut plan = Self { items: Vec::new(), groups: Vec::new(), n_partial: 0, is_small: true };
        // The longest first: what is taken last should be short. Single rows go in order, so that a thread gets
        // about those whose outputs it quantizes next.
        let spans = || rows.spans.iter().enumerate();
        let long = spans().rev().filter(|(_, span)| !span.is_single());
        for (index, span) in long.chain(spans().filter(|(_, span)| span.is_single())) {
            let split = span.n_rows <= rows_of(FEW) && partitions(keys(index, &(0..span.n_rows))).len() > 1;
            let step = if split { span.n_rows } else { rows_of(queries) };
            for start in (0..span.n_rows).step_by(step).rev() {
                for head_kv in 0..s.n_head_kv {
                    let rows = start..(start + step).min(span.n_rows);
                    let partitions = partitions(keys(index, &rows));
                    let item = Item { span: index, head_kv, rows, partitions, group: None };
                    plan.add(item, split, partial_len(s.group(), s.dim_v));
                }
            }
        }
        let blocks = |item: &Item| {
            let keys = keys(item.span, &item.rows);
            let blocks = item.partitions.len() * PARTITION / BLOCK;
            blocks.min(keys.end.div_ceil(BLOCK) - keys.start / BLOCK) * (item.rows.len() * s.group()).div_ceil(8)
        };
        plan.is_small = plan.items.iter().map(blocks).sum::<usize>() <= SMALL;
        plan
    }

    fn add(&mut self, item: Item, split: bool, row_len: usize) {
        if !split {
            self.items.push(item);
            return;
        }
        let group = Some(self.groups.len());
        self.groups.push(Group { start: self.n_partial, partitions: item.partitions.clone() });
        self.n_partial += item.partitions.len() * item.rows.len() * row_len;
        let one = |partition| Item { partitions: partition..partition + 1, group, ..item.clone() };
        self.items.extend(item.partitions.clone().map(one));
    }
}

/// The partitions in which `keys` lie.
pub(super) fn partitions(keys: Range<usize>) -> Range<usize> {
    keys.start / PARTITION..keys.end.div_ceil(PARTITION)
}

/// Elements of the partial results of one row: sums, largest score and weight of each query.
pub(super) fn partial_len(group: usize, dim_v: usize) -> usize {
    group * (dim_v.next_multiple_of(16) + 16)
}
