//! What is read next, so that threads ask for it while they wait for each other.

use super::prefetch;

/// Bytes that a thread asks for at most: part of a core's second-level cache.
const MOST: usize = 256 << 10;

/// Lines that are asked for between two looks at what the thread waits for.
const LINES_AT_ONCE: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Memory that a job reads which is shared out evenly, as addresses and lengths: hints, never followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upcoming {
    parts: [Bytes; 3],
    side_by_side: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bytes {
    start: usize,
    len: usize,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr().addr(), len: bytes.len() }
    }

    /// At most `most` bytes from `at` on.
    fn from(self, at: usize, most: usize) -> Self {
        Self { start: self.start + at, len: (self.len - at).min(most) }
    }
}

impl Upcoming {
    /// Parts that are read one after the other; those behind the third are left out.
    #[must_use]
    pub fn in_turn<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut upcoming = Self::default();
        upcoming.parts.iter_mut().zip(parts).for_each(|(part, bytes)| *part = Bytes::of(bytes));
        upcoming
    }

    /// Two parts of which each thread reads its share at the same time.
    #[must_use]
    pub fn side_by_side(parts: [&[u8]; 2]) -> Self {
        let [first, second] = parts.map(Bytes::of);
        Self { parts: [first, second, Bytes::default()], side_by_side: true }
    }

    /// What thread `index` of `n` reads first, as far as its cache has room.
    pub(super) fn share(&self, index: usize, n: usize) -> Asks {
        if self.side_by_side {
            let share = |part: Bytes| part.from(part.len / n * index, (part.len / n).min(MOST / 2));
            return Asks([share(self.parts[0]), share(self.parts[1])]);
        }
        let total: usize = self.parts.iter().map(|part| part.len).sum();
        let mut before = total / n * index;
        let holder = self.parts.iter().find(|part| {
            let holds = before < part.len;
            before -= if holds { 0 } else { part.len };
            holds
        });
        let share = holder.map_or(Bytes::default(), |part| part.from(before, (total / n).min(MOST)));
        Asks([share, Bytes::default()])
    }
}

/// What a thread still has to ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asks([Bytes; 2]);

impl Asks {
    /// Asks for a few lines and takes them away. False where nothing was left.
    #[inline]
    pub(super) fn ask(&mut self) -> bool {
        if self.0[0].len == 0 {
            self.0.swap(0, 1);
        }
        let [now, _] = &mut self.0;
        if now.len == 0 {
            return false;
        }
        for line in 0..LINES_AT_ONCE {
            prefetch::second_level(std::ptr::without_provenance(now.start + line * LINE));
        }
        *now = now.from((LINES_AT_ONCE * LINE).min(now.len), usize::MAX);
        self.0.swap(0, 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(asks: Asks, start: usize) -> Vec<(usize, usize)> {
        asks.0.into_iter().filter(|bytes| bytes.len > 0).map(|bytes| (bytes.start - start, bytes.len)).collect()
    }

    #[test]
    fn each_thread_asks_for_the_start_of_its_share() {
        let memory = vec![0u8; 6000];
        let start = memory.as_ptr().addr();
        let (a, rest) = memory.split_at(1000);
        let (b, c) = rest.split_at(2000);
        let upcoming = Upcoming::in_turn([a, b, c]);
        let shares = |n: usize| (0..n).map(|index| bytes(upcoming.share(index, n), start)).collect::<Vec<_>>();
        assert_eq!(shares(1), [[(0, 1000)]]);
        assert_eq!(shares(2), [[(0, 1000)], [(3000, 3000)]]);
        assert_eq!(shares(3), [[(0, 1000)], [(2000, 1000)], [(4000, 2000)]]);
        let upcoming = Upcoming::side_by_side([b, c]);
        assert_eq!(bytes(upcoming.share(1, 2), start), [(2000, 1000), (4500, 1500)]);
        assert_eq!(Upcoming::default().share(1, 2), Asks::default());
    }

    #[test]
    fn all_of_a_share_is_asked_for_and_nothing_for_ever() {
        let memory = vec![0u8; 5000];
        let mut asks = Upcoming::side_by_side([&memory, &memory[..70]]).share(0, 1);
        let turns = std::iter::from_fn(|| asks.ask().then_some(())).count();
        assert_eq!(turns, 5000usize.div_ceil(LINES_AT_ONCE * LINE) + 1);
        assert!(!asks.ask());
    }
}
