//! Memory of the KV cache: segments that grow and never move, and views of one layer's keys or
//! values in them.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;

use memmap2::MmapMut;

use super::kv_format::KvFormat;
use super::prefetch;

/// Zeroed memory in segments of one size. Pages are backed when they are first written, so growing
/// costs a system call, not a pass over memory.
pub struct Segments {
    maps: Vec<MmapMut>,
    /// Where each map begins, with the right to write, which a shared reference to it lacks.
    bases: Vec<*mut u8>,
    bytes: usize,
}

// SAFETY: the pointers refer to the maps, which the struct owns; writing through them is unsafe.
unsafe impl Send for Segments {}
// SAFETY: as above.
unsafe impl Sync for Segments {}

impl Segments {
    /// No segments yet; each will have `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { maps: Vec::new(), bases: Vec::new(), bytes }
    }

    /// Bytes of a segment.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a segment.
    pub fn grow(&mut self) -> io::Result<()> {
        let mut map = MmapMut::map_anon(self.bytes.max(1))?;
        // Fewer page faults and address translations; without huge pages all works as well.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::HugePage);
        self.bases.push(map.as_mut_ptr());
        self.maps.push(map);
        Ok(())
    }
}

/// Keys or values of one layer: in each segment, `blocks` blocks of all key-value heads from byte
/// `start` on. The lifetime is that of an exclusive borrow of the segments.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    bases: &'a [*mut u8],
    start: usize,
    blocks: usize,
    n_heads: usize,
    format: KvFormat,
    exclusive: PhantomData<&'a mut Segments>,
}

/// Keys and values of one layer.
pub struct LayerCache<'a> {
    pub keys: Plane<'a>,
    pub values: Plane<'a>,
}

// SAFETY: sharing a view only shares reading; writing needs the unsafe `head_mut`.
unsafe impl Sync for Plane<'_> {}
// SAFETY: as above.
unsafe impl Send for Plane<'_> {}

/// Where the planes of a layer lie in a segment.
#[derive(Debug, Clone, Copy)]
pub struct LayerPlace {
    pub keys: KvFormat,
    pub values: KvFormat,
    /// First byte of the keys; the values follow.
    pub start: usize,
    /// Blocks of a segment.
    pub blocks: usize,
    pub n_heads: usize,
}

impl<'a> LayerCache<'a> {
    /// The layer at `place`, which must end within a segment.
    #[must_use]
    pub fn new(segments: &'a mut Segments, place: &LayerPlace) -> Self {
        let plane = |format: KvFormat, start: usize| Plane {
            bases: &segments.bases,
            start,
            blocks: place.blocks,
            n_heads: place.n_heads,
            format,
            exclusive: PhantomData,
        };
        let keys = plane(place.keys, place.start);
        let values = plane(place.values, place.start + keys.bytes());
        assert!(values.start + values.bytes() <= segments.bytes, "a layer ends within its segment");
        Self { keys, values }
    }
}

impl Plane<'_> {
    /// How a head's block is stored.
    #[must_use]
    pub fn format(&self) -> KvFormat {
        self.format
    }

    /// Key-value heads.
    #[must_use]
    pub fn n_heads(&self) -> usize {
        self.n_heads
    }

    /// Bytes in a segment.
    fn bytes(&self) -> usize {
        self.blocks * self.n_heads * self.format.bytes()
    }

    fn pointer(&self, block: u32, head: usize) -> *mut u8 {
        let (segment, within) = (block as usize / self.blocks, block as usize % self.blocks);
        assert!(head < self.n_heads, "head {head} of {}", self.n_heads);
        let offset = self.start + (within * self.n_heads + head) * self.format.bytes();
        // SAFETY: the plane ends within its segment (`LayerCache::new`), `within` and `head` are
        // inside the plane, and the index of the segment is checked.
        unsafe { self.bases[segment].add(offset) }
    }

    /// One head of one block.
    ///
    /// # Safety
    /// Nobody writes to this head of this block during the lifetime.
    #[must_use]
    pub unsafe fn head(&self, block: u32, head: usize) -> &[u8] {
        // SAFETY: `pointer` is inside the map, which lives as long as the view; the caller vouches
        // for no writers.
        unsafe { std::slice::from_raw_parts(self.pointer(block, head), self.format.bytes()) }
    }

    /// Asks the processor for `range` of the bytes of one head of one block.
    pub fn prefetch(&self, block: u32, head: usize, range: Range<usize>) {
        // The place is worked out for each line again, which keeps a few cycles between them: in a burst, 64 lines
        // fill the core's queue, behind which what is computed meanwhile waits (32 sequences of 200 keys: 15 %).
        for at in range.step_by(64) {
            prefetch::near(self.pointer(block, head).wrapping_add(at));
        }
    }

    /// One head of one block, to write.
    ///
    /// # Safety
    /// Nobody else uses this head of this block during the lifetime.
    #[must_use]
    #[allow(clippy::mut_from_ref)] // The contract above replaces the borrow.
    pub unsafe fn head_mut(&self, block: u32, head: usize) -> &mut [u8] {
        // SAFETY: as in `head`; the caller vouches for no other users.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(block, head), self.format.bytes()) }
    }

    /// Appends the first `n_tokens` tokens of all heads of `block` to `out`, zeros in place of the rest.
    pub fn save(&mut self, block: u32, n_tokens: usize, out: &mut Vec<u8>) {
        for head in 0..self.n_heads {
            let at = out.len();
            out.resize(at + self.format.bytes(), 0);
            // SAFETY: the borrow is exclusive.
            let source = unsafe { self.head(block, head) };
            self.format.copy_prefix(source, &mut out[at..], n_tokens);
        }
    }

    /// Fills `block` with what `save` gave; returns what is left of `bytes`.
    pub fn load<'a>(&mut self, block: u32, mut bytes: &'a [u8]) -> &'a [u8] {
        for head in 0..self.n_heads {
            let (own, rest) = bytes.split_at(self.format.bytes());
            // SAFETY: the borrow is exclusive.
            unsafe { self.head_mut(block, head) }.copy_from_slice(own);
            bytes = rest;
        }
        bytes
    }

    /// Copies the first `n_tokens` tokens of block `from` to block `to`.
    pub fn copy_prefix(&mut self, from: u32, to: u32, n_tokens: usize) {
        for head in 0..if from == to { 0 } else { self.n_heads } {
            // SAFETY: the borrow is exclusive, and the two blocks are different ones.
            let (source, target) = unsafe { (self.head(from, head), self.head_mut(to, head)) };
            self.format.copy_prefix(source, target, n_tokens);
        }
    }
}
