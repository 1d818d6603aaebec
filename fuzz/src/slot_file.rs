//! Any change of a slot's file, with its hash made right again or not: refused with an error, or taken; and the
//! engine takes the unchanged file and answers as before.
use std::path::PathBuf;
use std::sync::LazyLock;

use rustllm::config::{EngineConfig, SamplingParams};
use rustllm::engine::{Engine, Event, Request};

const HASH_BYTES: usize = 8;

struct Saved {
    engine: Engine,
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    answer: Vec<u32>,
}

impl Saved {
    fn new() -> Self {
        let model = crate::model::EMBEDDED.into();
        let config = EngineConfig { model, n_ctx: 256, n_parallel: Some(2), n_threads: 1, ..EngineConfig::default() };
        let engine = Engine::load(&config, &mut |_| true).expect("the embedded model loads");
        let answer = answer(&engine);
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("saved");
        engine.save_slot(0, &path).expect("the slot is saved");
        let bytes = std::fs::read(path).expect("the file is there");
        Self { engine, folder, bytes, answer }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("changed");
        std::fs::write(&path, bytes).expect("the scratch file is written");
        path
    }
}

// One engine for all inputs: what one of them leaves behind, the next would show.
static SAVED: LazyLock<Saved> = LazyLock::new(Saved::new);

/// A greedy answer in slot 0.
fn answer(engine: &Engine) -> Vec<u32> {
    let params = SamplingParams { n_predict: 4, temperature: 0.0, id_slot: 0, ..SamplingParams::default() };
    let prompt = (0..70).map(|i| 3 + i * 7 % 500).collect();
    let request = Request { prompt, params, grammar: None, watch: None, whole: false };
    engine.submit(request).expect("it is accepted");
    let mut tokens = Vec::new();
    loop {
        for output in engine.drain() {
            match output.event {
                Event::Tokens(reports) => tokens.extend(reports.iter().map(|report| report.token)),
                Event::Done(_) => return tokens,
                Event::Error(error) => panic!("{error}"),
                _ => {}
            }
        }
        std::thread::yield_now();
    }
}

/// The hash that ends a file: FNV-1a of all before it.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let saved = &*SAVED;
    let Some((&[keeps_hash, cut], changes)) = data.split_first_chunk::<2>() else { return };
    let mut bytes = saved.bytes.clone();
    // Changes of the header count more than those of keys and values, so offsets are small.
    for change in changes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    if cut > 200 {
        bytes.truncate(bytes.len() * usize::from(cut - 200) / 60);
    }
    if keeps_hash % 4 > 0 && bytes.len() > HASH_BYTES {
        let end = bytes.len() - HASH_BYTES;
        let right = hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&right);
    }
    match saved.engine.restore_slot(1, &saved.write(&bytes), "") {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(found) => assert!(found.n_tokens <= 256),
    }
    saved.engine.erase_slot(1).expect("the slot is erased");
    saved.engine.restore_slot(0, &saved.write(&saved.bytes), "").expect("the file as it was is taken");
    if changes.first().is_some_and(|byte| byte % 16 == 0) {
        assert_eq!(answer(&saved.engine), saved.answer, "and the answer is as before");
    }
}
