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
    use crate::config::LoraScale;

    #[test]
    fn keys_are_equal_for_equal_origins_only() {
        let salts = Salts::default();
        let adapters = Adapters::new(&[LoraScale { id: 0, scale: 0.5 }], 1).expect("it is one of them");
        let make = |salt: &str, adapters: &Adapters| Origin { adapters: adapters.clone(), salt: salts.number(salt) };
        let none = Adapters::default();
        let all = [make("", &none), make("a", &none), make("b", &none), make("", &adapters), make("a", &adapters)];
        assert!(all[0].key().is_empty());
        for (i, one) in all.iter().enumerate() {
            assert_eq!(one.key(), all[i].clone().key());
            assert!(all[..i].iter().all(|other| other.key() != one.key()), "{i}");
        }
        assert_eq!(make("a", &none).key(), all[1].key());
        assert_ne!(Salts::default().number("a"), salts.number("a"), "every engine has its own");
    }
}
