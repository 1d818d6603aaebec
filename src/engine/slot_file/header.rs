//! What stands at the start of a saved slot, and what tells models and adapters apart.

use crate::config::{CacheType, MAX_ADAPTERS};
use crate::gguf::GgufFile;
use crate::kv_cache::BLOCK_TOKENS;

const MAGIC: [u8; 8] = *b"RUSTLLMS";
const VERSION: u32 = 1;
pub const HEADER_BYTES: usize = 40;
pub const HASH_BYTES: usize = 8;
/// Of an adapter: its fingerprint and its scale.
pub const ADAPTER_BYTES: usize = 12;

/// Bytes of each tensor that tell models of one shape apart.
const SAMPLE_BYTES: usize = 4096;

/// What a file is valid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub model: u64,
    pub types: [u8; 2],
    /// Bytes of one block over all layers.
    pub block_bytes: u64,
    pub n_tokens: u32,
    pub n_adapters: u32,
}

impl Header {
    /// As the file has it.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..14].copy_from_slice(&self.types);
        out[16..24].copy_from_slice(&self.model.to_le_bytes());
        out[24..32].copy_from_slice(&self.block_bytes.to_le_bytes());
        out[32..36].copy_from_slice(&self.n_tokens.to_le_bytes());
        out[36..40].copy_from_slice(&self.n_adapters.to_le_bytes());
        out
    }

    /// The header in `bytes`, or what is wrong with it; `own` is what this engine writes.
    pub fn read(bytes: &[u8; HEADER_BYTES], own: Self) -> Result<Self, String> {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if bytes[..8] != MAGIC {
            return Err("it is not a saved slot".into());
        }
        if word(8) != VERSION {
            return Err(format!("its version is {}; allowed: {VERSION}", word(8)));
        }
        let found = Self {
            model: long(16),
            types: [bytes[12], bytes[13]],
            block_bytes: long(24),
            n_tokens: word(32),
            n_adapters: word(36),
        };
        if found.model != own.model {
            return Err("another model wrote it".into());
        }
        if found.types != own.types || found.block_bytes != own.block_bytes {
            return Err("it was saved with other cache types (-ctk, -ctv)".into());
        }
        if found.n_adapters as usize > MAX_ADAPTERS {
            return Err(format!("it names {} adapters; allowed: up to {MAX_ADAPTERS}", found.n_adapters));
        }
        Ok(found)
    }

    /// Blocks that hold the tokens.
    pub fn n_blocks(self) -> usize {
        (self.n_tokens as usize).div_ceil(BLOCK_TOKENS)
    }

    /// Bytes of the whole file, unless they are beyond counting.
    pub fn file_bytes(self) -> Option<u64> {
        let blocks = self.block_bytes.checked_mul(self.n_blocks() as u64)?;
        let adapters = ADAPTER_BYTES as u64 * u64::from(self.n_adapters);
        let rest = HEADER_BYTES as u64 + adapters + 4 * u64::from(self.n_tokens) + HASH_BYTES as u64;
        blocks.checked_add(rest)
    }
}

/// 64-bit FNV-1a. It is to find damage, not forgery: whoever may write to the directory is trusted.
pub struct Hash(pub u64);

impl Hash {
    /// The hash of nothing.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes bytes in.
    pub fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Tells a model, or an adapter, from others: its settings, the shapes of its tensors and the start of their data.
pub fn fingerprint(file: &GgufFile) -> u64 {
    let mut hash = Hash::new();
    let metadata = file.metadata();
    let arch = metadata.str("general.architecture").ok().flatten().unwrap_or_default();
    let mut settings: Vec<String> = metadata
        .iter()
        .filter(|(key, _)| [arch, "adapter"].iter().any(|part| is_under(key, part)))
        .map(|(key, value)| format!("{key} {value:?}"))
        .collect();
    settings.sort();
    settings.iter().for_each(|setting| hash.take(setting.as_bytes()));
    for tensor in file.tensors() {
        hash.take(format!("{} {:?} {:?}", tensor.name, tensor.dims, tensor.ty).as_bytes());
        let data = file.data(tensor);
        hash.take(&data[..data.len().min(SAMPLE_BYTES)]);
    }
    hash.0
}

/// Whether `key` is one of those that begin with `part`.
fn is_under(key: &str, part: &str) -> bool {
    key.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'))
}

/// A block's code of a cache type.
pub fn code(ty: CacheType) -> u8 {
    match ty {
        CacheType::F16 => 1,
        CacheType::F32 => 2,
        CacheType::Q8_0 => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Header = Header { model: 7, types: [1, 3], block_bytes: 4096, n_tokens: 0, n_adapters: 0 };

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header { n_tokens: 65, n_adapters: 2, ..OWN };
        assert_eq!(Header::read(&header.to_bytes(), OWN), Ok(header));
        assert_eq!(header.n_blocks(), 3);
        assert_eq!(header.file_bytes(), Some(40 + 2 * 12 + 4 * 65 + 3 * 4096 + 8));
    }

    #[test]
    fn what_differs_is_named() {
        let says = |header: Header| Header::read(&header.to_bytes(), OWN).expect_err("it differs");
        assert!(says(Header { model: 8, ..OWN }).contains("another model"));
        assert!(says(Header { types: [1, 1], ..OWN }).contains("cache types"));
        assert!(says(Header { block_bytes: 1, ..OWN }).contains("cache types"));
        assert!(says(Header { n_adapters: 257, ..OWN }).contains("257 adapters"));
        let mut bytes = OWN.to_bytes();
        bytes[8] = 9;
        assert_eq!(Header::read(&bytes, OWN), Err("its version is 9; allowed: 1".into()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_header_panic(bytes: [u8; HEADER_BYTES], block_bytes: u64) {
            if let Ok(header) = Header::read(&bytes, OWN) {
                let _ = header.file_bytes();
            }
            let _ = Header { block_bytes, n_tokens: u32::MAX, ..OWN }.file_bytes();
        }

        #[test]
        fn the_hash_sees_every_changed_byte(mut bytes in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, by in 1u8..) {
            let hash = |bytes: &[u8]| { let mut hash = Hash::new(); hash.take(bytes); hash.0 };
            let before = hash(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            prop_assert_ne!(hash(&bytes), before);
        }
    }
}
