//! What cached keys and values depend on beside the tokens, and who may share them.

use std::hash::{BuildHasher, RandomState};

use crate::config::Adapters;

/// Texts meet in the cache where these are equal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// What they are computed with.
    pub adapters: Adapters,
    /// Whose they are; 0 for all who name nobody.
    pub salt: u64,
}

impl Origin {
    /// Words that are equal for equal origins, and for no others; none for the model as it is.
    #[must_use]
    pub fn key(&self) -> Vec<u64> {
        if *self == Self::default() {
            return Vec::new();
        }
        std::iter::once(self.salt).chain(self.adapters.key()).collect()
    }
}

/// Makes numbers of salts: other ones in every engine, so that nobody can look for two texts with one number.
#[derive(Debug, Default)]
pub struct Salts(RandomState);

impl Salts {
    /// The number of a salt; 0 for the empty one.
    pub fn number(&self, salt: &str) -> u64 {
        if salt.is_empty() { 0 } else { self.0.hash_one(salt).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EngineConfig, LoraScale, SamplingParams};
    use crate::engine::{Engine, Event, Request};

    #[test]
    fn keys_are_equal_for_equal_origins_only() {
        let salts = Salts::default();
        let adapters = Adapters::new(&[LoraScale { id: 0, scale: 0.5 }], 1).expect("it is one of them");
        let make = |salt: &str, adapters: &Adapters| Origin { adapters: adapters.clone(), salt: salts.number(salt) };
        let none = Adapters::default();
        let pairs = [("", &none), ("a", &none), ("b", &none), ("", &adapters), ("a", &adapters)];
        let keys = || pairs.map(|(salt, adapters)| make(salt, adapters).key());
        let all = keys();
        assert!(all[0].is_empty());
        assert_eq!(all, keys());
        for (i, key) in all.iter().enumerate() {
            assert!(!all[..i].contains(key), "{i}");
        }
        assert_ne!(Salts::default().number("a"), salts.number("a"), "every engine has its own");
    }

    /// Texts of other salts share nothing, of whatever length their common start is; a text's own salt finds it again.
    #[test]
    fn salts_keep_texts_apart() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/python/rustllm/models/stories260K.gguf").into();
        let config = EngineConfig { model, n_parallel: Some(1), ..EngineConfig::default() };
        let engine = Engine::load(&config, &mut |_| true).expect("it loads");
        let cached = |salt: &str| {
            let params = SamplingParams {
                n_predict: 1,
                temperature: 0.0,
                cache_salt: salt.to_owned(),
                ..SamplingParams::default()
            };
            let prompt: Vec<u32> = (0..150).map(|i| 3 + i * 11 % 500).collect();
            let id = engine
                .submit(Request { prompt, params, grammar: None, watch: None, whole: true })
                .expect("it is taken");
            loop {
                for output in engine.drain().into_iter().filter(|output| output.request == id) {
                    match output.event {
                        Event::Done(done) => return done.timings.cache_n,
                        Event::Error(message) => panic!("{message}"),
                        _ => {}
                    }
                }
                std::thread::yield_now();
            }
        };
        for salt in ["", "a", "b"] {
            assert_eq!((cached(salt), cached(salt)), (0, 149), "{salt:?}");
        }
        assert_eq!((cached("a"), cached("")), (149, 149));
    }
}
