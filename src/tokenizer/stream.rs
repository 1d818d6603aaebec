//! Bytes to text, never splitting a character.

/// Collects token bytes and hands out whole characters. An incomplete UTF-8 sequence is held
/// back until it is complete or can no longer become valid (then U+FFFD).
#[derive(Debug, Default, Clone)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// Text that is complete after `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut at = 0;
        while at < self.pending.len() {
            match std::str::from_utf8(&self.pending[at..]) {
                Ok(valid) => {
                    text.push_str(valid);
                    at = self.pending.len();
                }
                Err(error) => {
                    let valid_to = at + error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[at..valid_to]));
                    at = valid_to;
                    // Without a length the end was reached inside a character: wait for more.
                    let Some(broken) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    at += broken;
                }
            }
        }
        self.pending.drain(..at);
        text
    }

    /// What is left, as U+FFFD where it is a broken sequence.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    /// Whether bytes are held back.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cut_of_any_bytes_equals_the_whole(
            parts in prop::collection::vec(
                prop_oneof![prop::collection::vec(any::<u8>(), 0..5), "[aé漢🎉]{0,3}".prop_map(|s: String| s.into_bytes())],
                0..12,
            ),
            cut in 1usize..4,
        ) {
            let whole: Vec<u8> = parts.concat();
            let mut decoder = StreamDecoder::default();
            let mut text: String = whole.chunks(cut).map(|bytes| decoder.push(bytes)).collect();
            text += &decoder.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
            prop_assert!(!decoder.is_pending());
        }
    }
}
