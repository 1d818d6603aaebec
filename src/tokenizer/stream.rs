//! Bytes to text, never splitting a character.

/// Collects token bytes and hands out whole characters. An incomplete UTF-8 sequence is held
/// back until it is complete or can no longer become valid (then U+FFFD).
#[derive(Debug, Default, Clone)]
pub struct StreamDecoder {}

#[allow(unused_variables)]
impl StreamDecoder {
    /// Text that is complete after `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> String { todo!() }
    /// What is left, broken sequences as U+FFFD.
    pub fn finish(&mut self) -> String { todo!() }
    /// Whether bytes are held back.
    #[must_use]
    pub fn is_pending(&self) -> bool { todo!() }
}
