//! Embeddings: of tokens, decoded row by row from the file, and of positions.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use super::adapters::{AdaptedRows, Scaling};
use super::buffer::visit_rows;
use super::context::{Compute, floats_mut};
use crate::gguf::{GgufFile, TensorInfo, dequantize_row};
use crate::kernels::Tiles;

/// A table `[n_vocab, width]` that stays in the mapped file, and what each adapter adds to its rows.
#[derive(Debug)]
pub struct Embedding {
    table: Table,
    /// Factor of all vectors.
    scale: f32,
    updates: Vec<Option<EmbeddingUpdate>>,
}

/// Rows of a tensor of a mapped file.
#[derive(Debug)]
struct Table {
    file: GgufFile,
    tensor: TensorInfo,
}

/// What one adapter adds to the vectors of tokens: B times the token's row of A.
#[derive(Debug)]
pub struct EmbeddingUpdate {
    a: Table,
    b: Tiles,
    scaling: Scaling,
}

impl Table {
    fn new(file: &GgufFile, tensor: &TensorInfo) -> Self {
        Self { file: file.clone(), tensor: tensor.clone() }
    }

    /// Decodes the row of `token` into `out`.
    fn read(&self, token: u32, out: &mut [f32]) {
        let Self { file, tensor } = self;
        let row_bytes = tensor.dims[0] / tensor.ty.block_size() * tensor.ty.block_bytes();
        dequantize_row(tensor.ty, &file.data(tensor)[token as usize * row_bytes..][..row_bytes], out);
    }
}

impl EmbeddingUpdate {
    /// `a` is `[n_vocab, rank]` in `file`, `b` `[width, rank]`.
    #[must_use]
    pub fn new(file: &GgufFile, a: &TensorInfo, b: Tiles, scaling: Scaling) -> Self {
        Self { a: Table::new(file, a), b, scaling }
    }
}

impl Embedding {
    /// The table in `tensor` of `file`.
    #[must_use]
    pub fn new(file: &GgufFile, tensor: &TensorInfo) -> Self {
        Self { table: Table::new(file, tensor), scale: 1.0, updates: Vec::new() }
    }

    /// The same with all vectors, updates included, times `scale`.
    #[must_use]
    pub fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// The same with what each adapter adds, by its number.
    #[must_use]
    pub fn with_updates(self, updates: Vec<Option<EmbeddingUpdate>>) -> Self {
        Self { updates, ..self }
    }

    /// Writes the rows of `tokens`, which must be in the vocabulary, to `x` `[tokens, width]`.
    pub fn write(&self, tokens: &[u32], x: &Tensor, compute: &Compute) -> Result<()> {
        x.inplace_op1(&EmbeddingOp { embedding: self, tokens, compute })
    }

    /// Adds what the adapters of `adapted` change in the rows of `tokens` to `x` `[tokens, width]`.
    pub fn adapt(&self, tokens: &[u32], x: &Tensor, adapted: &[AdaptedRows], compute: &Compute) -> Result<()> {
        let has_update = |id: usize| self.updates.get(id).is_some_and(Option::is_some);
        if !adapted.iter().flat_map(|rows| rows.adapters.iter()).any(|(id, _)| has_update(id)) {
            return Ok(());
        }
        x.inplace_op1(&AdaptOp { embedding: self, tokens, adapted, compute })
    }
}

struct EmbeddingOp<'a> {
    embedding: &'a Embedding,
    tokens: &'a [u32],
    compute: &'a Compute,
}

impl InplaceOp1 for EmbeddingOp<'_> {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Embedding { table, scale, .. } = self.embedding;
        let width = table.tensor.dims[0];
        self.compute.pool.run_chunks(floats_mut(x, layout)?, width * 8, &|piece, rows| {
            for (token, row) in self.tokens[piece * 8..].iter().zip(rows.chunks_exact_mut(width)) {
                table.read(*token, row);
                if *scale != 1.0 {
                    row.iter_mut().for_each(|x| *x *= scale);
                }
            }
        });
        Ok(())
    }
}

struct AdaptOp<'a> {
    embedding: &'a Embedding,
    tokens: &'a [u32],
    adapted: &'a [AdaptedRows],
    compute: &'a Compute,
}

impl InplaceOp1 for AdaptOp<'_> {
    fn name(&self) -> &'static str {
        "adapters"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Self { embedding, tokens, adapted, compute } = self;
        let width = embedding.table.tensor.dims[0];
        let x = floats_mut(x, layout)?;
        let work = || {
            for AdaptedRows { rows, adapters } in *adapted {
                let (x, tokens) = (&mut x[rows.start * width..rows.end * width], &tokens[rows.clone()]);
                compute.pool.run_chunks(x, width, &|row, x| {
                    for (id, scale) in adapters.iter() {
                        let Some(update) = embedding.updates.get(id).and_then(Option::as_ref) else { continue };
                        let mut inner = vec![0.0; update.scaling.rank];
                        update.a.read(tokens[row], &mut inner);
                        let factor = update.scaling.factor(scale) * embedding.scale;
                        compute.simd.run(
                            #[inline(always)]
                            || update.b.add_to(&inner, factor, x),
                        );
                    }
                });
            }
        };
        compute.profile.time("adapters", work);
        Ok(())
    }
}

/// Learned vectors of absolute positions, `[positions, width]`.
#[derive(Debug)]
pub struct Positions {
    pub table: Vec<f32>,
    pub width: usize,
}

impl Positions {
    /// Adds to each row of `x` `[rows, width]` the vector of its position, which must be in the table.
    pub fn add(&self, positions: impl Iterator<Item = usize>, x: &Tensor) -> Result<()> {
        let mut positions = positions;
        visit_rows(x, |_, row| {
            let at = positions.next().expect("a step has a position for each row") * self.width;
            row.iter_mut().zip(&self.table[at..at + self.width]).for_each(|(x, p)| *x += p);
        })
    }
}
