//! Accounting of KV blocks: reference counts, prefix reuse, eviction.

/// To be written with the scheduler.
#[derive(Debug)]
pub struct BlockPool {}
