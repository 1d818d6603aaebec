//! Embeddings: of tokens, decoded row by row from the file, and of positions.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use super::buffer::visit_rows;
use super::context::{Compute, floats_mut};
use crate::gguf::{GgufFile, TensorInfo, dequantize_row};

/// A table `[n_vocab, width]` that stays in the mapped file.
#[derive(Debug)]
pub struct Embedding {
    file: GgufFile,
    tensor: TensorInfo,
}

impl Embedding {
    /// The table in `tensor` of `file`.
    #[must_use]
    pub fn new(file: &GgufFile, tensor: &TensorInfo) -> Self {
        Self { file: file.clone(), tensor: tensor.clone() }
    }

    /// Writes the rows of `tokens`, which must be in the vocabulary, to `x` `[tokens, width]`.
    pub fn write(&self, tokens: &[u32], x: &Tensor, compute: &Compute) -> Result<()> {
        x.inplace_op1(&EmbeddingOp { embedding: self, tokens, compute })
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
        let tensor = &self.embedding.tensor;
        let width = tensor.dims[0];
        let row_bytes = width / tensor.ty.block_size() * tensor.ty.block_bytes();
        let data = self.embedding.file.data(tensor);
        self.compute.pool.run_chunks(floats_mut(x, layout)?, width * 8, &|piece, rows| {
            for (token, row) in self.tokens[piece * 8..].iter().zip(rows.chunks_exact_mut(width)) {
                dequantize_row(tensor.ty, &data[*token as usize * row_bytes..][..row_bytes], row);
            }
        });
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
