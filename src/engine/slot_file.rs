//! A slot's cache as a file: what saving writes and restoring checks.
//!
//! All numbers are little-endian: a header, the tokens, the blocks that hold their keys and values
//! (the last one filled up with zeros) and an FNV-1a hash of all bytes before it. A file is only
//! taken by the model and the cache types that wrote it. Bytes go between file and cache in pieces,
//! so that neither memory nor the time of one step depends on how long the text is.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::handle::Engine;
use crate::config::CacheType;
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::kv_cache::{BLOCK_TOKENS, BlockId, Chain};

const MAGIC: [u8; 8] = *b"RUSTLLMS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40;
const HASH_BYTES: usize = 8;

/// Bytes that go between the cache and a file at once.
const PIECE_BYTES: usize = 4 << 20;

/// Bytes of each tensor that tell models of one shape apart.
const SAMPLE_BYTES: usize = 4096;

/// What saving or restoring did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotFile {
    pub n_tokens: usize,
    /// Bytes of the file.
    pub n_bytes: u64,
}

/// What a file is valid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    model: u64,
    types: [u8; 2],
    /// Bytes of one block over all layers.
    block_bytes: u64,
    n_tokens: u32,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..14].copy_from_slice(&self.types);
        out[16..24].copy_from_slice(&self.model.to_le_bytes());
        out[24..32].copy_from_slice(&self.block_bytes.to_le_bytes());
        out[32..36].copy_from_slice(&self.n_tokens.to_le_bytes());
        out
    }

    /// The header in `bytes`, or what is wrong with it; `own` is what this engine writes.
    fn read(bytes: &[u8; HEADER_BYTES], own: Self) -> Result<Self, String> {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if bytes[..8] != MAGIC {
            return Err("it is not a saved slot".into());
        }
        if word(8) != VERSION {
            return Err(format!("its version is {}; allowed: {VERSION}", word(8)));
        }
        let found = Self { model: long(16), types: [bytes[12], bytes[13]], block_bytes: long(24), n_tokens: word(32) };
        if found.model != own.model {
            return Err("another model wrote it".into());
        }
        if found.types != own.types || found.block_bytes != own.block_bytes {
            return Err("it was saved with other cache types (-ctk, -ctv)".into());
        }
        Ok(found)
    }

    fn n_blocks(self) -> usize {
        (self.n_tokens as usize).div_ceil(BLOCK_TOKENS)
    }

    /// Bytes of the whole file, unless they are beyond counting.
    fn file_bytes(self) -> Option<u64> {
        let blocks = self.block_bytes.checked_mul(self.n_blocks() as u64)?;
        let rest = HEADER_BYTES as u64 + 4 * u64::from(self.n_tokens) + HASH_BYTES as u64;
        blocks.checked_add(rest)
    }
}

/// 64-bit FNV-1a. It is to find damage, not forgery: whoever may write to the directory is trusted.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Tells a model from others: its settings, the shapes of its tensors and the start of their data.
pub(super) fn fingerprint(file: &GgufFile) -> u64 {
    let mut hash = Hash::new();
    let metadata = file.metadata();
    let arch = metadata.str("general.architecture").ok().flatten().unwrap_or_default();
    let mut settings: Vec<String> = metadata
        .iter()
        .filter(|(key, _)| key.strip_prefix(arch).is_some_and(|rest| rest.starts_with('.')))
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

/// A block's code of a cache type.
fn code(ty: CacheType) -> u8 {
    match ty {
        CacheType::F16 => 1,
        CacheType::F32 => 2,
        CacheType::Q8_0 => 3,
    }
}

/// Blocks that are kept for a file, given back when it is done with.
struct Pins<'a> {
    engine: &'a Engine,
    blocks: Vec<BlockId>,
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        // A closed engine has given everything back already.
        let _ = self.engine.on_cache(None, move |scheduler, _| {
            blocks.into_iter().rev().for_each(|block| scheduler.pool_mut().release(block));
        });
    }
}

impl Engine {
    /// Writes what the cache holds of the tokens that `slot` ran last to `path`: whole or not at all.
    /// Waits until the slot is free.
    pub fn save_slot(&self, slot: usize, path: &Path) -> Result<SlotFile> {
        self.check_slot(slot)?;
        let (tokens, blocks) = self.on_cache(Some(slot), move |scheduler, _| {
            let mut tokens = scheduler.history(slot).to_vec();
            let prefix = scheduler.pool_mut().match_prefix(&tokens, tokens.len());
            tokens.truncate(prefix.n_tokens());
            let blocks: Vec<BlockId> = prefix.blocks.into_iter().chain(prefix.copy.map(|(block, _)| block)).collect();
            (tokens, blocks)
        })?;
        let pins = Pins { engine: self, blocks };
        let temporary = Temporary::beside(path);
        let written = self.write(&temporary.0, &tokens, &pins.blocks);
        let written = written.and_then(|n_bytes| {
            fs::rename(&temporary.0, path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
            Ok(n_bytes)
        })?;
        Ok(SlotFile { n_tokens: tokens.len(), n_bytes: written })
    }

    fn write(&self, path: &Path, tokens: &[u32], blocks: &[BlockId]) -> Result<u64> {
        let fails = |source: io::Error| Error::Write { path: path.to_owned(), source };
        let file = File::create(path).map_err(fails)?;
        let mut out = BufWriter::new(file);
        let mut hash = Hash::new();
        let mut n_bytes = 0;
        let mut put = |bytes: &[u8]| {
            hash.take(bytes);
            n_bytes += bytes.len() as u64;
            out.write_all(bytes)
        };
        put(&Header { n_tokens: tokens.len() as u32, ..self.own_header() }.to_bytes()).map_err(fails)?;
        tokens.iter().try_for_each(|token| put(&token.to_le_bytes())).map_err(fails)?;
        let mut left = tokens.len();
        for piece in blocks.chunks(self.piece_blocks()) {
            let parts: Vec<(BlockId, usize)> = piece
                .iter()
                .map(|block| {
                    let n = left.min(BLOCK_TOKENS);
                    left -= n;
                    (*block, n)
                })
                .collect();
            let bytes = self.on_cache(None, move |_, store| {
                let mut bytes = Vec::with_capacity(parts.len() * store.block_bytes());
                parts.iter().for_each(|(block, n)| store.save_block(*block, *n, &mut bytes));
                bytes
            })?;
            put(&bytes).map_err(fails)?;
        }
        let hash = hash.0.to_le_bytes();
        out.write_all(&hash).map_err(fails)?;
        let file = out.into_inner().map_err(|error| fails(error.into_error()))?;
        // After the rename the name must not stand for data that a crash can still lose.
        file.sync_all().map_err(fails)?;
        Ok(n_bytes + HASH_BYTES as u64)
    }

    /// Takes a file of [`Engine::save_slot`] into the cache, where prompts that begin with its tokens
    /// find it. Waits until the slot is free. A file that is not whole, of another model or of other
    /// cache types is refused and changes nothing.
    pub fn restore_slot(&self, slot: usize, path: &Path) -> Result<SlotFile> {
        self.check_slot(slot)?;
        let refuse = |message: String| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Error::invalid("filename", format!("{name}: {message}"))
        };
        let fails = |error: io::Error| refuse(format!("cannot read it: {error}"));
        // Opening a pipe or a device could wait for ever.
        if !fs::symlink_metadata(path).map_err(fails)?.is_file() {
            return Err(refuse("it is not a file".into()));
        }
        let file = File::open(path).map_err(fails)?;
        let n_bytes = file.metadata().map_err(fails)?.len();
        let mut input = BufReader::new(file);
        let mut hash = Hash::new();
        let mut take = |bytes: &mut [u8]| {
            input.read_exact(bytes)?;
            hash.take(bytes);
            Ok::<_, io::Error>(())
        };
        let mut header = [0; HEADER_BYTES];
        take(&mut header).map_err(|_| refuse("it is not a saved slot: it is too short".into()))?;
        let header = Header::read(&header, self.own_header()).map_err(refuse)?;
        let n_tokens = header.n_tokens as usize;
        if n_tokens > self.n_ctx() {
            return Err(refuse(format!("it has {n_tokens} tokens; a slot holds {}", self.n_ctx())));
        }
        match header.file_bytes() {
            Some(expected) if expected == n_bytes => {}
            expected => {
                let expected = expected.map_or("more".into(), |bytes| bytes.to_string());
                return Err(refuse(format!("it has {n_bytes} bytes; its header promises {expected}")));
            }
        }
        let mut tokens = vec![0; 4 * n_tokens];
        take(&mut tokens).map_err(fails)?;
        let tokens: Vec<u32> = tokens.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.info().n_vocab) {
            return Err(refuse(format!("it has the token {token}; the vocabulary ends before")));
        }
        let pins = self.allocate(header.n_blocks())?;
        let block_bytes = header.block_bytes as usize;
        for piece in pins.blocks.chunks(self.piece_blocks()) {
            let mut bytes = vec![0; piece.len() * block_bytes];
            take(&mut bytes).map_err(fails)?;
            let piece = piece.to_vec();
            self.on_cache(None, move |_, store| {
                piece
                    .iter()
                    .zip(bytes.chunks_exact(block_bytes))
                    .for_each(|(block, part)| store.load_block(*block, part));
            })?;
        }
        let mut promised = [0; HASH_BYTES];
        let found = hash.0;
        input.read_exact(&mut promised).map_err(fails)?;
        if u64::from_le_bytes(promised) != found {
            return Err(refuse("it is damaged: its checksum differs".into()));
        }
        self.enter(slot, tokens, &pins)?;
        Ok(SlotFile { n_tokens, n_bytes })
    }

    /// Makes the filled blocks of `pins` findable as `tokens`, and these the ones that `slot` ran last.
    fn enter(&self, slot: usize, tokens: Vec<u32>, pins: &Pins<'_>) -> Result<()> {
        let blocks = pins.blocks.clone();
        self.on_cache(Some(slot), move |scheduler, _| {
            let mut chain = Chain::ROOT;
            for (block, part) in blocks.into_iter().zip(tokens.chunks(BLOCK_TOKENS)) {
                chain = scheduler.pool_mut().extend(block, chain, part).unwrap_or(Chain::ROOT);
            }
            scheduler.set_history(slot, tokens);
        })
    }

    /// `n` blocks for tokens that are not computed here.
    fn allocate(&self, n: usize) -> Result<Pins<'_>> {
        let blocks = self.on_cache(None, move |scheduler, store| {
            let pool = scheduler.pool_mut();
            let free = pool.available();
            if n > free {
                return Err(Error::invalid("filename", format!("it needs {n} cache blocks, {free} are free")));
            }
            let blocks: Vec<BlockId> = (0..n).filter_map(|_| pool.allocate()).collect();
            let reserved = store.reserve(pool.len());
            if reserved.is_err() {
                blocks.iter().for_each(|block| pool.release(*block));
            }
            reserved.map(|()| blocks)
        })??;
        Ok(Pins { engine: self, blocks })
    }

    /// Drops what the cache holds of the tokens that `slot` ran last, beside what other slots ran as
    /// well. Returns how many tokens the slot had. Waits until the slot is free.
    pub fn erase_slot(&self, slot: usize) -> Result<usize> {
        self.check_slot(slot)?;
        self.on_cache(Some(slot), move |scheduler, _| scheduler.erase(slot))
    }

    fn check_slot(&self, slot: usize) -> Result<()> {
        if slot < self.n_slots() {
            return Ok(());
        }
        Err(Error::invalid("id_slot", format!("{slot} is out of range; allowed: 0 to {}", self.n_slots() - 1)))
    }

    fn own_header(&self) -> Header {
        let (types, block_bytes) = self.cache_layout();
        Header { model: self.fingerprint(), types: types.map(code), block_bytes: block_bytes as u64, n_tokens: 0 }
    }

    fn piece_blocks(&self) -> usize {
        (PIECE_BYTES / self.cache_layout().1.max(1)).max(1)
    }
}

/// A file that is gone when its value is, unless it got another name before.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".rustllm-{}-{number}.part", std::process::id());
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left under the name.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Header = Header { model: 7, types: [1, 3], block_bytes: 4096, n_tokens: 0 };

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header { n_tokens: 65, ..OWN };
        assert_eq!(Header::read(&header.to_bytes(), OWN), Ok(header));
        assert_eq!(header.n_blocks(), 3);
        assert_eq!(header.file_bytes(), Some(40 + 4 * 65 + 3 * 4096 + 8));
    }

    #[test]
    fn what_differs_is_named() {
        let says = |header: Header| Header::read(&header.to_bytes(), OWN).expect_err("it differs");
        assert!(says(Header { model: 8, ..OWN }).contains("another model"));
        assert!(says(Header { types: [1, 1], ..OWN }).contains("cache types"));
        assert!(says(Header { block_bytes: 1, ..OWN }).contains("cache types"));
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
