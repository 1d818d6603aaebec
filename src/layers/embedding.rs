//! Token embeddings, decoded row by row from the file.

use candle_core::{Device, Result, Tensor};

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

    /// The rows of `tokens`, which must be in the vocabulary: `[tokens, width]`.
    pub fn forward(&self, tokens: &[u32]) -> Result<Tensor> {
        let width = self.tensor.dims[0];
        let row_bytes = width / self.tensor.ty.block_size() * self.tensor.ty.block_bytes();
        let data = self.file.data(&self.tensor);
        let mut out = vec![0.0; tokens.len() * width];
        for (token, out) in tokens.iter().zip(out.chunks_exact_mut(width)) {
            dequantize_row(self.tensor.ty, &data[*token as usize * row_bytes..][..row_bytes], out);
        }
        Tensor::from_vec(out, (tokens.len(), width), &Device::Cpu)
    }
}
