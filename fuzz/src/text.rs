//! Inputs as texts.

/// The text that an input begins with.
pub fn text_of(data: &[u8]) -> &str {
    let end = std::str::from_utf8(data).map_or_else(|error| error.valid_up_to(), str::len);
    std::str::from_utf8(&data[..end]).expect("it is valid up to there")
}
