//! Reading GGUF model files. [`GgufFile::open`] maps a file and checks its header;
//! [`Metadata`] answers typed questions about its keys; tensors are byte slices into the map.

mod bytes;
mod dequantize;
mod finite;
mod metadata;
mod reader;
mod split;
mod types;

pub use dequantize::dequantize_row;
pub(crate) use dequantize::{k4_scale_min, q3k_scales};
pub use metadata::{LONG_ARRAY, Metadata, Value};
pub use reader::{GgufFile, TensorInfo};
pub use types::GgmlType;
