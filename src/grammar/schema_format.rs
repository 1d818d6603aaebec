//! What a `format` means beyond what llguidance makes of it.
//!
//! llguidance's dates know the 30th of February but not which years have a 29th, and the texts of most of
//! its formats may go on for ever. [`bound`] writes dates and times as patterns of our own and gives the
//! others the length that their standard, or use, gives them.

use serde_json::{Map, Value};

/// A year from 0001 on.
const YEAR: &str = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";
/// A year with a 29th of February.
const LEAP_YEAR: &str = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
/// A month and a day that every year has.
const DAY: &str = "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
/// RFC 3339's time, without leap seconds, of which there are few, and with at most nanoseconds.
const TIME: &str =
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";

/// Characters of a text of each format: RFC 5321 and RFC 1035 for addresses and hosts; for the others,
/// what nobody exceeds.
const LENGTHS: [(&str, u64); 4] = [("duration", 40), ("email", 254), ("hostname", 253), ("uri", 2000)];

/// Makes texts of the format of `schema` valid ones, and such that end.
pub fn bound(schema: &mut Map<String, Value>) {
    let Some(format) = schema.get("format").and_then(Value::as_str) else {
        return;
    };
    if let Some(pattern) = pattern(format) {
        // Both hold; where the schema has a pattern of its own, llguidance's idea of the format stays.
        if !schema.contains_key("pattern") {
            schema.remove("format");
            schema.insert("pattern".into(), pattern.into());
        }
    } else if let Some((_, length)) = LENGTHS.iter().find(|(name, _)| *name == format)
        && !schema.contains_key("maxLength")
        && schema.get("minLength").and_then(Value::as_u64).is_none_or(|least| least <= *length)
    {
        schema.insert("maxLength".into(), (*length).into());
    }
}

fn pattern(format: &str) -> Option<String> {
    let date = format!("(?:{YEAR}-{DAY}|{LEAP_YEAR}-02-29)");
    match format {
        "date" => Some(format!("^{date}$")),
        "time" => Some(format!("^{TIME}$")),
        "date-time" => Some(format!("^{date}[tT]{TIME}$")),
        _ => None,
    }
}
