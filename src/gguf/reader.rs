//! The file itself: header, tensor directory, data, over a memory map.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::bytes::Bytes;
use super::dequantize::dequantize_row;
use super::finite::first_not_finite;
use super::{GgmlType, Metadata, Value, split};
use crate::error::{Error, Result};

/// Alignment of tensor data where the file does not give one.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Largest alignment that makes sense: a huge page.
const MAX_ALIGNMENT: u64 = 1 << 21;

/// Dimensions that a tensor may have, as in ggml.
const MAX_DIMS: u32 = 4;

/// Fewest bytes of a directory entry: name length and a byte, dimension count, one dimension,
/// type, offset. Bounds the number of tensors by the size of the file.
const MIN_TENSOR_BYTES: usize = 8 + 1 + 4 + 8 + 4 + 8;

/// Fewest bytes of a key with its value: key length and a byte, type, one byte.
const MIN_KEY_BYTES: usize = 8 + 1 + 4 + 1;

/// A tensor of the directory. `dims` are in GGUF's order: `dims[0]` runs fastest.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    pub name: String,
    pub dims: Vec<usize>,
    pub ty: GgmlType,
    /// The file it is in, of a model in several.
    pub part: usize,
    /// Where the data starts in the file.
    pub offset: usize,
    pub bytes: usize,
}

impl TensorInfo {
    /// Number of elements.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// An open, checked GGUF file, or a model in several. Cheap to clone (the maps are shared).
#[derive(Debug, Clone)]
pub struct GgufFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// The file, or all parts in order.
    maps: Vec<Mmap>,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

impl GgufFile {
    /// Maps and checks `path`: every count, size, offset and type before use. Of a model in several files,
    /// `path` is the first, and the others lie beside it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let (map, Header { metadata, tensors }) = open_file(&path)?;
        let mut inner = Inner { path, maps: vec![map], metadata, tensors, by_name: HashMap::new() };
        let paths = split::paths(&inner.metadata, &inner.path)?;
        for (part, path) in paths.iter().enumerate().skip(1) {
            let (map, Header { metadata, tensors }) = open_file(path)?;
            split::check_part(&metadata, part, paths.len())?;
            inner.maps.push(map);
            inner.tensors.extend(tensors.into_iter().map(|tensor| TensorInfo { part, ..tensor }));
        }
        split::check_tensors(&inner.metadata, inner.tensors.len())?;
        for (index, tensor) in inner.tensors.iter().enumerate() {
            if inner.by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(inner.metadata.error(&tensor.name, "the tensor occurs twice"));
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keys and values.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// The tensor directory, in the file's order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.inner.by_name.get(name).map(|index| &self.inner.tensors[*index])
    }

    /// Lets the vocabulary's texts, scores and merges go, after a tokenizer was made of them. They stay
    /// as long as other clones of the file might want them.
    pub fn forget_vocabulary(&mut self) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.metadata.forget_vocabulary();
        }
    }

    /// Lets the pages of the file go that were read so far; what is read again comes back from the
    /// file. Loading packs the weights, after which the file's own copy would only take memory.
    pub fn release_pages(&self) {
        #[cfg(unix)]
        for map in &self.inner.maps {
            // SAFETY: the map is of a file and never written to, so a dropped page is read again as it was.
            // Not being heard costs memory only.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// The bytes of a tensor of this file, row after row.
    #[must_use]
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        &self.inner.maps[tensor.part][tensor.offset..tensor.offset + tensor.bytes]
    }

    /// Decodes a whole tensor to f32, whatever its type.
    #[must_use]
    pub fn dequantize(&self, tensor: &TensorInfo) -> Vec<f32> {
        let mut out = vec![0.0; tensor.n_elements()];
        dequantize_row(tensor.ty, self.data(tensor), &mut out);
        out
    }

    /// Refuses a tensor with a value (of a block: a scale) that is not finite: one such number makes
    /// every answer of the model meaningless, and nothing after the load would tell.
    pub fn check_finite(&self, tensor: &TensorInfo) -> Result<()> {
        match first_not_finite(tensor.ty, self.data(tensor)) {
            None => Ok(()),
            Some((block, value)) => {
                let element = block * tensor.ty.block_size();
                let message = format!("{value} at element {element} is not allowed; allowed: finite numbers");
                Err(self.metadata().error(&tensor.name, message))
            }
        }
    }

    /// Where the file is, or the first part.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

fn open_file(path: &Path) -> Result<(Mmap, Header)> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(io(std::io::Error::other("it is not a regular file")));
    }
    // SAFETY: the map is only read. That nobody truncates the file while it is served is the
    // contract of every program that maps its model.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    let header = Header::parse(&map, path)?;
    Ok((map, header))
}

struct Header {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
}

impl Header {
    fn parse(data: &[u8], path: &Path) -> Result<Self> {
        let mut bytes = Bytes::new(data, path);
        let magic = bytes.take(4, "magic")?;
        if magic != b"GGUF" {
            return Err(bytes.error("magic", format!("{magic:02x?} is not a GGUF file's start (\"GGUF\")")));
        }
        let version = bytes.u32("version")?;
        if !(2..=3).contains(&version) {
            let hint = if (2..=3).contains(&version.swap_bytes()) { " (a big-endian file?)" } else { "" };
            return Err(bytes.error("version", format!("{version} is not supported; allowed: 2, 3{hint}")));
        }
        let n_tensors = bytes.count(MIN_TENSOR_BYTES, "tensor count")?;
        let n_keys = bytes.count(MIN_KEY_BYTES, "metadata count")?;
        let metadata = Metadata::new(path, parse_values(&mut bytes, n_keys)?);
        let mut tensors = parse_directory(&mut bytes, n_tensors)?;
        place_tensors(&bytes, &metadata, &mut tensors)?;
        Ok(Self { metadata, tensors })
    }
}

fn parse_values(bytes: &mut Bytes<'_>, n: usize) -> Result<HashMap<String, Value>> {
    let mut values = HashMap::new();
    for _ in 0..n {
        let key = bytes.name("metadata key")?;
        let ty = bytes.u32(&key)?;
        let value = bytes.value(ty, &key)?;
        if values.insert(key.clone(), value).is_some() {
            return Err(bytes.error(&key, "the key occurs twice"));
        }
    }
    Ok(values)
}

/// Reads the directory; offsets are still relative to the data section.
fn parse_directory(bytes: &mut Bytes<'_>, n: usize) -> Result<Vec<TensorInfo>> {
    let mut names = std::collections::HashSet::new();
    let mut tensors = Vec::new();
    for _ in 0..n {
        let name = bytes.name("tensor name")?;
        if !names.insert(name.clone()) {
            return Err(bytes.error(&name, "the tensor occurs twice"));
        }
        tensors.push(parse_tensor(bytes, name)?);
    }
    Ok(tensors)
}

fn parse_tensor(bytes: &mut Bytes<'_>, name: String) -> Result<TensorInfo> {
    let n_dims = bytes.u32(&name)?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        return Err(bytes.error(&name, format!("{n_dims} dimensions; allowed: 1 to {MAX_DIMS}")));
    }
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        let dim = bytes.u64(&name)?;
        dims.push(usize::try_from(dim).map_err(|_| bytes.error(&name, format!("dimension {dim} is too large")))?);
    }
    let id = bytes.u32(&name)?;
    let Some(ty) = GgmlType::from_id(id) else {
        return Err(bytes.error(&name, format!("tensor type {id} is not supported; supported: {}", GgmlType::known())));
    };
    let offset = bytes.u64(&name)?;
    let size = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    let size = size
        .filter(|size| *size > 0)
        .ok_or_else(|| bytes.error(&name, format!("the shape {dims:?} is empty or too large")))?;
    if dims[0] % ty.block_size() != 0 {
        let message =
            format!("rows of {} elements do not divide into {} blocks of {}", dims[0], ty.name(), ty.block_size());
        return Err(bytes.error(&name, message));
    }
    let n_bytes = (size / ty.block_size()).checked_mul(ty.block_bytes());
    let n_bytes = n_bytes.ok_or_else(|| bytes.error(&name, format!("the shape {dims:?} is too large")))?;
    let offset = usize::try_from(offset).map_err(|_| bytes.error(&name, format!("offset {offset} is too large")))?;
    Ok(TensorInfo { name, dims, ty, part: 0, offset, bytes: n_bytes })
}

/// Turns offsets into positions in the file: aligned, inside, not overlapping.
fn place_tensors(bytes: &Bytes<'_>, metadata: &Metadata, tensors: &mut [TensorInfo]) -> Result<()> {
    let alignment = metadata.u64("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        let message = format!("{alignment} is not allowed; allowed: a power of two up to {MAX_ALIGNMENT}");
        return Err(metadata.error("general.alignment", message));
    }
    let alignment = alignment as usize;
    let start = bytes.at.next_multiple_of(alignment);
    for tensor in tensors.iter_mut() {
        if tensor.offset % alignment != 0 {
            let message = format!("offset {} is not a multiple of the alignment {alignment}", tensor.offset);
            return Err(metadata.error(&tensor.name, message));
        }
        let end = start.checked_add(tensor.offset).and_then(|at| at.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > bytes.data.len()) {
            let message = format!(
                "its data (offset {}, {} bytes) ends after the file, which has {} bytes",
                tensor.offset,
                tensor.bytes,
                bytes.data.len()
            );
            return Err(metadata.error(&tensor.name, message));
        }
        tensor.offset += start;
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    match order.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset) {
        Some(pair) => Err(metadata.error(&pair[1].name, format!("its data overlaps that of {}", pair[0].name))),
        None => Ok(()),
    }
}
