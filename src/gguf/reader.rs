//! The file itself: header, tensor directory, data, over a memory map.

use std::path::Path;

use super::Metadata;
use crate::error::Result;

/// Tensor element types as GGUF numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgmlType { F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K }

#[allow(unused_variables)]
impl GgmlType {
    /// Elements of one quantization block (1 for plain floats).
    #[must_use]
    pub fn block_size(self) -> usize { todo!() }
    /// Bytes of one block.
    #[must_use]
    pub fn block_bytes(self) -> usize { todo!() }
    /// llama.cpp's name: `Q4_K`, `F16` …
    #[must_use]
    pub fn name(self) -> &'static str { todo!() }
}

/// A tensor of the directory. `dims` are GGUF's order: dims[0] runs fastest (the row length).
#[derive(Debug, Clone)]
pub struct TensorInfo { pub name: String, pub dims: Vec<usize>, pub ty: GgmlType, pub offset: usize, pub bytes: usize }

/// An open, checked GGUF file. Cheap to clone (the map is shared).
#[derive(Debug, Clone)]
pub struct GgufFile {}

#[allow(unused_variables)]
impl GgufFile {
    /// Maps and checks `path`: every count, size, offset and type before use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> { todo!() }
    #[must_use]
    pub fn metadata(&self) -> &Metadata { todo!() }
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] { todo!() }
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> { todo!() }
    /// The bytes of a tensor, row after row.
    #[must_use]
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] { todo!() }
    /// Decodes a whole tensor to f32, whatever its type (the exact reference of each format).
    #[must_use]
    pub fn dequantize(&self, tensor: &TensorInfo) -> Vec<f32> { todo!() }
    #[must_use]
    pub fn path(&self) -> &Path { todo!() }
}
