//! A slot's cache as a file: what saving writes and restoring checks.
//!
//! All numbers are little-endian: a header, the adapters that the text was computed with (the fingerprint
//! and the scale of each), the tokens, the blocks that hold their keys and values
//! (the last one filled up with zeros) and an FNV-1a hash of all bytes before it. A file is only
//! taken by the model, the adapters and the cache types that wrote it. Bytes go between file and cache in pieces,
//! so that neither memory nor the time of one step depends on how long the text is.

mod header;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::handle::Engine;
use super::origin::Origin;
use super::scheduler::History;
use crate::config::{Adapters, LoraScale};
use crate::error::{Error, Result};
use crate::kv_cache::{BLOCK_TOKENS, BlockId};
pub(super) use header::fingerprint;
use header::{ADAPTER_BYTES, HASH_BYTES, HEADER_BYTES, Hash, Header, code};

/// Bytes that go between the cache and a file at once.
const PIECE_BYTES: usize = 4 << 20;

/// What saving or restoring did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotFile {
    pub n_tokens: usize,
    /// Bytes of the file.
    pub n_bytes: u64,
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
        let (history, blocks) = self.on_cache(Some(slot), move |scheduler, _| {
            let mut history = scheduler.history(slot).clone();
            let pool = scheduler.pool_mut();
            let root = pool.root(&history.origin.key());
            let prefix = pool.match_prefix(root, &history.tokens, history.tokens.len());
            history.tokens.truncate(prefix.n_tokens());
            let blocks: Vec<BlockId> = prefix.blocks.into_iter().chain(prefix.copy.map(|(block, _)| block)).collect();
            (history, blocks)
        })?;
        let pins = Pins { engine: self, blocks };
        let temporary = Temporary::beside(path);
        let written = self.write(&temporary.0, &history, &pins.blocks);
        let written = written.and_then(|n_bytes| {
            fs::rename(&temporary.0, path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
            Ok(n_bytes)
        })?;
        Ok(SlotFile { n_tokens: history.tokens.len(), n_bytes: written })
    }

    fn write(&self, path: &Path, history: &History, blocks: &[BlockId]) -> Result<u64> {
        let History { tokens, origin } = history;
        let adapters = &origin.adapters;
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
        let (n_tokens, n_adapters) = (tokens.len() as u32, adapters.iter().count() as u32);
        put(&Header { n_tokens, n_adapters, ..self.own_header() }.to_bytes()).map_err(fails)?;
        for (id, scale) in adapters.iter() {
            put(&self.adapter_fingerprints()[id].to_le_bytes()).map_err(fails)?;
            put(&scale.to_le_bytes()).map_err(fails)?;
        }
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
    /// and are computed with the same adapters and salted with `salt` find it. Waits until the slot is free. A file that is not whole,
    /// of another model, of adapters that are not loaded or of other cache types, or that has keys or values which
    /// are no numbers, is refused and changes nothing.
    pub fn restore_slot(&self, slot: usize, path: &Path, salt: &str) -> Result<SlotFile> {
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
        let mut adapters = vec![0; ADAPTER_BYTES * header.n_adapters as usize];
        take(&mut adapters).map_err(fails)?;
        let adapters = self.saved_adapters(&adapters).map_err(refuse)?;
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
            let is_finite = self.on_cache(None, move |_, store| {
                let is_finite = store.is_finite(&bytes);
                for (block, part) in piece.iter().zip(bytes.chunks_exact(block_bytes)).filter(|_| is_finite) {
                    store.load_block(*block, part);
                }
                is_finite
            })?;
            if !is_finite {
                return Err(refuse("it has keys or values that are no numbers".into()));
            }
        }
        let mut promised = [0; HASH_BYTES];
        let found = hash.0;
        input.read_exact(&mut promised).map_err(fails)?;
        if u64::from_le_bytes(promised) != found {
            return Err(refuse("it is damaged: its checksum differs".into()));
        }
        self.enter(slot, History { tokens, origin: Origin { adapters, salt: self.salt(salt) } }, &pins)?;
        Ok(SlotFile { n_tokens, n_bytes })
    }

    /// The adapters that a file names by their fingerprints, or what is wrong with them.
    fn saved_adapters(&self, bytes: &[u8]) -> Result<Adapters, String> {
        let own = self.adapter_fingerprints();
        let mut scales: Vec<LoraScale> = Vec::new();
        for entry in bytes.as_chunks::<ADAPTER_BYTES>().0 {
            let fingerprint = u64::from_le_bytes(std::array::from_fn(|i| entry[i]));
            let scale = f32::from_le_bytes(std::array::from_fn(|i| entry[8 + i]));
            // A file that was loaded twice has two numbers.
            let is_free = |id: usize| scales.iter().all(|other| other.id != id as i64);
            let mut ids = (0..own.len()).filter(|id| own[*id] == fingerprint && is_free(*id));
            let Some(id) = ids.next() else {
                return Err("it was computed with an adapter that is not loaded (--lora)".into());
            };
            scales.push(LoraScale { id: id as i64, scale });
        }
        Adapters::new(&scales, own.len()).map_err(|error| error.to_string())
    }

    /// Makes the filled blocks of `pins` findable as the text of `history`, and this the one that `slot` ran
    /// last.
    fn enter(&self, slot: usize, history: History, pins: &Pins<'_>) -> Result<()> {
        let blocks = pins.blocks.clone();
        self.on_cache(Some(slot), move |scheduler, _| {
            let pool = scheduler.pool_mut();
            let root = pool.root(&history.origin.key());
            let mut chain = root;
            for (block, part) in blocks.into_iter().zip(history.tokens.chunks(BLOCK_TOKENS)) {
                // Only the last block may be partial, behind which nothing follows.
                chain = pool.extend(block, chain, part).unwrap_or(root);
            }
            scheduler.set_history(slot, history);
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
        Header {
            model: self.fingerprint(),
            types: types.map(code),
            block_bytes: block_bytes as u64,
            n_tokens: 0,
            n_adapters: 0,
        }
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
