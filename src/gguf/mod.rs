//! Reading GGUF model files. [`GgufFile::open`] maps a file and checks its header;
//! [`Metadata`] answers typed questions about its keys; tensors are byte slices into the map.

mod metadata;
mod reader;

pub use metadata::{Metadata, Value};
pub use reader::{GgmlType, GgufFile, TensorInfo};
