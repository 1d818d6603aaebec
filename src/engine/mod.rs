//! The engine: one thread that owns the model and all sequences.
//!
//! Each step schedules, runs, samples and publishes. There is no prefill or decode phase: every
//! sequence has known tokens (prompt and answer so far) and computed tokens, and each step lets
//! the computed count catch up, a chunk at a time.
//!
//! Reading order: [`sequence`] and [`plan`] are plain data, [`scheduler`] decides what a step
//! computes, [`runner`] turns that into tensors, `draw` gives each row of logits to [`generation`], which
//! turns tokens into text (with [`stop`]), [`embedding`] computes vectors instead, [`output`] is what is published (through `output_queue`), `command` is
//! what goes in and out, `step` is the loop, `alone` runs sequences beside it, [`handle`] is what other
//! threads hold, `layout` sizes it, `origin` says which texts may share what is cached,
//! `slot_file` saves and restores what a slot holds, [`stats`] is
//! counted for monitoring, [`bench`] measures the model without all of that.

mod alone;
pub mod bench;
mod command;
mod draw;
pub mod embedding;
#[cfg(test)]
mod faults;
pub mod generation;
pub mod handle;
mod layout;
pub mod origin;
pub mod output;
mod output_queue;
mod pace;
pub mod plan;
pub mod runner;
pub mod scheduler;
pub mod sequence;
mod slot_file;
pub mod stats;
mod step;
pub mod stop;
mod wake;

pub use bench::{BenchRun, BenchTest, Phase};
pub use command::{Request, SlotState};
pub use embedding::EmbeddingRequest;
pub use handle::Engine;
pub use output::{Event, Finish, Output, Progress, StopType, Timings, TokenReport};
pub use slot_file::SlotFile;
pub use stats::{Histogram, Stats};
