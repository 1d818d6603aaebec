//! How few tokens a text can be, known without turning it into tokens.
//!
//! A byte of the text lies in a token that is no longer than the longest one with this byte, so it
//! takes at least one part in that length of a token. The sum over all bytes is a proven bound, and
//! counting the bytes of ten megabytes takes milliseconds.

/// For each byte, the least share of a token that one of it takes in a text; 0 where it may take none.
#[derive(Debug)]
pub struct Bound([f64; 256]);

impl Bound {
    /// `tokens` are the two spellings of each token (with and without escaped spaces), which its
    /// text may mix; `vanishes` says which bytes may go without being part of a token.
    pub fn new<'a>(tokens: impl Iterator<Item = [&'a [u8]; 2]>, vanishes: impl Fn(u8) -> bool) -> Self {
        let mut longest = [1usize; 256];
        for spellings in tokens {
            let length = spellings[0].len().max(spellings[1].len());
            for byte in spellings.concat() {
                let longest = &mut longest[usize::from(byte)];
                *longest = length.max(*longest);
            }
        }
        let share = |byte: u8| if vanishes(byte) { 0.0 } else { 1.0 / longest[usize::from(byte)] as f64 };
        Self(std::array::from_fn(|byte| share(byte as u8)))
    }

    /// No text has fewer tokens than this.
    pub fn tokens(&self, text: &str) -> usize {
        let mut counts = [0u64; 256];
        text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        let sum: f64 = counts.iter().zip(&self.0).map(|(count, share)| *count as f64 * share).sum();
        // Far more than the error of 256 rounded products, far less than a token.
        (sum - 1e-3).ceil().max(0.0) as usize
    }
}
