//! LoRA adapters (Hu et al. 2021) on layers: which rows of a step run with which, and what that adds.
//!
//! The weights stay as they are, packed and shared by all rows. Each [`Linear`] holds the low-rank
//! updates that adapters have for it, and rows that run with an adapter get its update added after the
//! product that all rows get. So one step serves any mix, and a row's bits depend on its own adapters
//! alone.

use std::ops::Range;

use super::Linear;
use crate::config::Adapters;
use crate::kernels::{LowRank, PartUpdates, RowUpdates};

/// Rows of a step that run with adapters.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptedRows {
    pub rows: Range<usize>,
    pub adapters: Adapters,
}

/// What one adapter adds to a matrix.
#[derive(Debug)]
pub struct Update {
    pub low_rank: LowRank,
    pub scaling: Scaling,
}

/// How the file's alpha enters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// 0 where the file gives none: the scale is taken as it is.
    pub alpha: f32,
    pub rank: usize,
}

impl Scaling {
    /// The factor of an update that a request weighs by `scale`, computed as llama.cpp does.
    #[must_use]
    pub fn factor(self, scale: f32) -> f32 {
        if self.alpha == 0.0 { scale } else { scale * self.alpha / self.rank as f32 }
    }
}

/// What the adapters of `adapted` add to linear layers whose outputs lie side by side; nothing where none
/// of them has an update for any.
pub(super) fn row_updates<'a>(parts: &'a [Linear], adapted: &[AdaptedRows]) -> Vec<RowUpdates<'a>> {
    let of_rows = |AdaptedRows { rows, adapters }: &AdaptedRows| {
        let mut column = 0;
        let mut updates = Vec::new();
        for part in parts {
            let terms: Vec<(&LowRank, f32)> = adapters
                .iter()
                .filter_map(|(id, scale)| {
                    let update = part.updates.get(id)?.as_ref()?;
                    Some((&update.low_rank, update.scaling.factor(scale)))
                })
                .collect();
            if !terms.is_empty() {
                updates.push(PartUpdates { column, terms });
            }
            column += part.matrix.n;
        }
        (!updates.is_empty()).then(|| RowUpdates { rows: rows.clone(), parts: updates })
    };
    adapted.iter().filter_map(of_rows).collect()
}
