//! Asking for the weights that a product reads next, while it computes with the present ones.

use super::activations::{PANEL, Panel};
use super::prefetch;

/// What one pass over some rows asks for.
///
/// A few tiles are gone over by several passes, a panel of rows each, or a tile of them and a panel. Were all that
/// comes next asked for in the first of them, the core's queue of outstanding lines would be full
/// then and empty later, and reading and computing would take turns. So the passes share it: with 8 to
/// 32 rows that made products a fifth to a third faster.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    start: *const u8,
    bytes: usize,
}

/// At most so many passes share what is asked for, as a power of two.
const PASSES_LOG2: u32 = 3;

/// Bytes of a cache line.
const LINE: usize = 64;

impl Ahead {
    /// For passes that ask for nothing.
    #[cfg(any(target_arch = "aarch64", test))]
    pub const NOTHING: Self = Self { start: std::ptr::null(), bytes: 0 };

    /// For the first pass over `panel`, one of those of `m` rows, where `bytes` from `current` on are in
    /// use and as many behind them come next. Whole panels are gone over in `of_whole` passes that ask,
    /// smaller ones in one.
    #[inline(always)]
    pub fn of(current: *const u8, bytes: usize, of_whole: usize, (panel, m): (Panel, usize)) -> Self {
        let passes_before = |row: usize| row / PANEL * of_whole + (row % PANEL).count_ones() as usize;
        let log2 = PASSES_LOG2.min(passes_before(m).ilog2());
        let (pass, part) = (passes_before(panel.row), bytes.div_ceil(1 << log2));
        let is_left = pass >> log2 == 0;
        Self { start: current.wrapping_add(bytes + part * pass), bytes: if is_left { part } else { 0 } }
    }

    /// For the next pass over the same panel.
    #[cfg(any(target_arch = "x86_64", test))]
    #[inline(always)]
    pub fn next(self) -> Self {
        Self { start: self.start.wrapping_add(self.bytes), ..self }
    }

    /// The same, a share at a time for each of `units`.
    #[inline(always)]
    pub fn shared_by(self, units: usize) -> Shares {
        Shares { start: self.start, bytes: self.bytes.div_ceil(units) }
    }
}

/// What each unit of the columns asks for.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    start: *const u8,
    bytes: usize,
}

impl Shares {
    /// Asks for the share of `unit`.
    #[inline(always)]
    pub fn unit(self, unit: usize) {
        self.lines(unit).for_each(prefetch::near);
    }

    #[inline(always)]
    fn lines(self, unit: usize) -> impl Iterator<Item = *const u8> {
        let start = self.start.wrapping_add(unit * self.bytes);
        (0..self.bytes.div_ceil(LINE)).map(move |line| start.wrapping_add(line * LINE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::activations::panels;

    /// The lines that all passes over `m` rows ask for, as places behind what is in use.
    fn asked(m: usize, bytes: usize, of_whole: usize, units: usize) -> Vec<usize> {
        let current = std::ptr::without_provenance::<u8>(1 << 20);
        let mut lines = Vec::new();
        for panel in panels(m) {
            let mut ahead = Ahead::of(current, bytes, of_whole, (panel, m));
            for _ in 0..if panel.width == PANEL { of_whole } else { 1 } {
                let shares = ahead.shared_by(units);
                lines
                    .extend((0..units).flat_map(|unit| shares.lines(unit)).map(|line| line.addr() - (1 << 20) - bytes));
                ahead = ahead.next();
            }
        }
        lines
    }

    #[test]
    fn all_that_comes_next_is_asked_for_and_little_of_it_twice() {
        for of_whole in [1, 2] {
            for m in (1..40).chain([512, 515]) {
                for (bytes, units) in [(18 * 288, 18), (2 * 18 * 544, 18), (64 * 288 * 2, 64), (64, 1), (40 * 7, 7)] {
                    let lines = asked(m, bytes, of_whole, units);
                    let is_covered = |at: usize| lines.iter().any(|line| (*line..*line + LINE).contains(&at));
                    assert!((0..bytes).all(is_covered), "{m} rows, {bytes} bytes, {units} units");
                    let most = bytes.div_ceil(LINE) + (1 << PASSES_LOG2) * units;
                    assert!(lines.len() <= most, "{m} rows, {bytes} bytes: {} lines", lines.len());
                }
            }
        }
        let shares = Ahead::NOTHING.shared_by(3);
        assert_eq!((0..3).flat_map(|unit| shares.lines(unit)).count(), 0);
    }
}
