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
