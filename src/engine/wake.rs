//! Tells an event loop that outputs are waiting, through a pipe that it can poll.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A level-triggered signal: the read end holds exactly one byte while the signal is set.
#[derive(Debug)]
pub struct Wake {
    set: AtomicBool,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Wake {
    /// An unset signal. Fails when the process is out of file descriptors.
    pub fn new() -> Result<Self> {
        let (reader, writer) =
            std::io::pipe().map_err(|error| Error::Internal(format!("cannot make a wake-up pipe: {error}")))?;
        Ok(Self { set: AtomicBool::new(false), reader, writer })
    }

    /// What to poll for readability.
    pub fn fileno(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Sets the signal. Costs a system call only when it was not set, so a burst costs one.
    pub fn set(&self) {
        if !self.set.swap(true, Ordering::AcqRel) {
            // The pipe holds at most this byte, so the write neither blocks nor fails while the
            // reader lives, and the reader lives as long as this value.
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Unsets the signal. Whatever was published before its `set` is visible afterwards.
    pub fn clear(&self) {
        if self.set.swap(false, Ordering::AcqRel) {
            let _ = (&self.reader).read(&mut [0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use crossbeam_queue::SegQueue;

    use super::*;

    const WRITERS: usize = 2;
    const EACH: usize = 4;

    /// Many threads publish, one takes when it is woken, as the engine and its readers do. Miri runs it in many orders.
    #[test]
    fn nothing_published_is_slept_over() {
        let wake = Arc::new(Wake::new().expect("there are descriptors"));
        let published = Arc::new(SegQueue::new());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (wake, published) = (Arc::clone(&wake), Arc::clone(&published));
                thread::spawn(move || {
                    for number in 0..EACH {
                        published.push((writer, number));
                        wake.set();
                    }
                })
            })
            .collect();
        let mut taken = Vec::new();
        while taken.len() < WRITERS * EACH {
            // Stands for a poll: the byte comes with the flag, and `clear` waits for it.
            while !wake.set.load(Ordering::Acquire) {
                thread::yield_now();
            }
            wake.clear();
            while let Some(output) = published.pop() {
                taken.push(output);
            }
        }
        writers.into_iter().for_each(|writer| writer.join().expect("it publishes"));
        for writer in 0..WRITERS {
            let own: Vec<usize> = taken.iter().filter(|(by, _)| *by == writer).map(|(_, number)| *number).collect();
            assert_eq!(own, (0..EACH).collect::<Vec<_>>());
        }
        // Set once too often at most, and then with its byte.
        wake.clear();
        assert!(!wake.set.load(Ordering::Acquire));
    }

    /// Two threads may take outputs of one engine.
    #[test]
    fn a_byte_is_read_once_by_whoever_clears() {
        let wake = Arc::new(Wake::new().expect("there are descriptors"));
        let rounds = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (wake, rounds) = (Arc::clone(&wake), Arc::clone(&rounds));
                thread::spawn(move || {
                    while rounds.load(Ordering::Acquire) < EACH {
                        wake.clear();
                        thread::yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..EACH {
            wake.set();
            rounds.fetch_add(1, Ordering::AcqRel);
        }
        readers.into_iter().for_each(|reader| reader.join().expect("it does not wait for a byte that is gone"));
        wake.clear();
        wake.set();
        wake.clear();
        assert!(!wake.set.load(Ordering::Acquire));
    }
}
