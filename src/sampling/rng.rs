//! Random numbers as C++'s standard library draws them: MT19937 (Matsumoto and Nishimura 1998)
//! and libstdc++'s ways of making floats and choices of its words.

const N: usize = 624;
const M: usize = 397;

/// The 32-bit Mersenne Twister.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; N],
    at: usize,
}

impl Mt19937 {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Self { state, at: N }
    }

    /// The next word.
    pub fn next_u32(&mut self) -> u32 {
        if self.at == N {
            self.twist();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let magic = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ magic;
        }
        self.at = 0;
    }

    /// A number in [0, 1), of two words, the low one first.
    pub fn next_f64(&mut self) -> f64 {
        let low = f64::from(self.next_u32());
        let high = f64::from(self.next_u32());
        let value = (low + high * 4_294_967_296.0) / 18_446_744_073_709_551_616.0;
        if value < 1.0 { value } else { 1.0f64.next_down() }
    }

    /// A number in [0, 1), of one word.
    pub fn next_f32(&mut self) -> f32 {
        let value = self.next_u32() as f32 / 4_294_967_296.0;
        if value < 1.0 { value } else { 1.0f32.next_down() }
    }

    /// An index drawn by weight. One weight alone draws no random number.
    pub fn choose(&mut self, weights: impl ExactSizeIterator<Item = f32> + Clone) -> usize {
        let n = weights.len();
        if n < 2 {
            return 0;
        }
        let sum: f64 = weights.clone().map(f64::from).sum();
        let target = self.next_f64();
        let mut running = 0.0;
        for (i, weight) in weights.enumerate().take(n - 1) {
            running += f64::from(weight) / sum;
            if running >= target {
                return i;
            }
        }
        n - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_10000th_word_is_the_standards() {
        // C++ [rand.predef]: the 10000th invocation of a default-seeded mt19937.
        let mut rng = Mt19937::new(5489);
        let word = (0..10_000).map(|_| rng.next_u32()).last();
        assert_eq!(word, Some(4_123_659_995));
    }

    #[test]
    fn choices_follow_their_weights() {
        let mut rng = Mt19937::new(1);
        let weights = [1.0f32, 0.0, 3.0];
        let mut counts = [0u32; 3];
        (0..20_000).for_each(|_| counts[rng.choose(weights.iter().copied())] += 1);
        assert_eq!(counts[1], 0);
        assert!((4_600..5_400).contains(&counts[0]), "{counts:?}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.next_f64()) && (0.0..1.0).contains(&rng.next_f32())));
    }
}
