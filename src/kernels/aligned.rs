//! Bytes that begin at a cache line, and at a huge page where they are many.

/// Vector loads of a line that begins at a multiple of this never touch two lines.
const LINE: usize = 64;

/// Pages that the system is asked to use for large runs, so that reading them misses the
/// translation cache less often.
const HUGE_PAGE: usize = 2 << 20;

/// A fixed number of bytes, zero at first.
#[derive(Debug)]
pub struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let align = if len >= HUGE_PAGE { HUGE_PAGE } else { LINE };
        let bytes = vec![0u8; len + align];
        let start = bytes.as_ptr().align_offset(align).min(align);
        let this = Self { bytes, start, len };
        if align == HUGE_PAGE {
            this.ask_for_huge_pages();
        }
        this
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// Only whole huge pages are asked for: a larger page at the end would be paid and not used.
    fn ask_for_huge_pages(&self) {
        // Miri has no such advice.
        #[cfg(all(target_os = "linux", not(miri)))]
        // SAFETY: the range lies inside `bytes`; the advice changes nothing that a program can read.
        unsafe {
            let start = self.bytes.as_ptr().add(self.start).cast_mut();
            // Not being heard costs speed only.
            let _ = libc::madvise(start.cast(), self.len / HUGE_PAGE * HUGE_PAGE, libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_begin_at_a_line_and_have_their_length() {
        for len in [0, 1, 63, 64, 100_000, HUGE_PAGE, 3 * HUGE_PAGE + 5] {
            let mut bytes = AlignedBytes::zeroed(len);
            assert_eq!(bytes.as_slice().len(), len);
            assert_eq!(bytes.as_slice().as_ptr() as usize % LINE, 0);
            bytes.as_mut_slice().fill(7);
            assert!(bytes.as_slice().iter().all(|byte| *byte == 7));
        }
    }
}
