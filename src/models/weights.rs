//! Tensors of a file with the shapes that a model expects of them.

use std::ops::Range;

use super::Adapter;
use crate::error::Result;
use crate::gguf::{GgufFile, TensorInfo};
use crate::kernels::{Matrix, Pool};
use crate::layers::{LayerNorm, Linear, RmsNorm};

/// Looks tensors up by name, checks them and packs them, with what adapters add to them.
pub struct Weights<'a> {
    pub file: &'a GgufFile,
    pub pool: &'a Pool,
    pub adapters: &'a [Adapter],
}

impl<'a> Weights<'a> {
    /// The tensor `name` of shape `dims` (GGUF's order); absent, other or with
    /// numbers that are not finite is an error that says so.
    pub fn tensor(&self, name: &str, dims: &[usize]) -> Result<&'a TensorInfo> {
        let metadata = self.file.metadata();
        let tensor = self.file.tensor(name).ok_or_else(|| metadata.error(name, "the tensor is missing"))?;
        if tensor.dims != dims {
            let message = format!("its shape is {:?}; the model's settings ask for {dims:?}", tensor.dims);
            return Err(metadata.error(name, message));
        }
        self.file.check_finite(tensor)?;
        Ok(tensor)
    }

    /// A vector of `n` floats.
    pub fn vector(&self, name: &str, n: usize) -> Result<Vec<f32>> {
        Ok(self.file.dequantize(self.tensor(name, &[n])?))
    }

    /// A linear layer `name.weight` from `k` to `n`, with `name.bias` where the file has one.
    pub fn linear(&self, name: &str, k: usize, n: usize) -> Result<Linear> {
        self.linear_rows(name, k, n, 0..n)
    }

    /// Two linear layers from `k` to `n` each, whose rows follow each other in `name.weight`.
    pub fn halves(&self, name: &str, k: usize, n: usize) -> Result<[Linear; 2]> {
        Ok([self.linear_rows(name, k, 2 * n, 0..n)?, self.linear_rows(name, k, 2 * n, n..2 * n)?])
    }

    /// Rows `rows` of a linear layer from `k` to `n`.
    fn linear_rows(&self, name: &str, k: usize, n: usize, rows: Range<usize>) -> Result<Linear> {
        let weight = format!("{name}.weight");
        let tensor = self.tensor(&weight, &[k, n])?;
        let bias = format!("{name}.bias");
        let bias = self.file.tensor(&bias).map(|_| self.vector(&bias, n)).transpose()?;
        let row_bytes = tensor.bytes / n;
        let data = &self.file.data(tensor)[rows.start * row_bytes..rows.end * row_bytes];
        let matrix = Matrix::pack(tensor.ty, rows.len(), k, data, self.pool);
        let updates = self.adapters.iter().map(|adapter| adapter.update(&weight, rows.clone())).collect();
        Ok(Linear { matrix, bias: bias.map(|bias| bias[rows].to_vec()), updates })
    }

    /// A normalization over `n` columns.
    pub fn rms_norm(&self, name: &str, n: usize, eps: f32) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: self.vector(&format!("{name}.weight"), n)?, eps })
    }

    /// A normalization over `n` columns with `name.bias`.
    pub fn layer_norm(&self, name: &str, n: usize, eps: f32) -> Result<LayerNorm> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(LayerNorm { weight: self.vector(&weight, n)?, bias: self.vector(&bias, n)?, eps })
    }
}
