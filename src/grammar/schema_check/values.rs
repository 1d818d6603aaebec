//! Checks of single keyword values.

use llguidance::derivre::RegexBuilder;
use serde_json::Value;

use super::{Checked, MAX_CHOICES, MAX_PATTERN, MAX_PROPERTIES, PATTERN_FUEL, TYPES, fault};

pub(super) fn check_type(value: &Value, at: &str) -> Checked<()> {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let ok = match value {
        Value::Array(types) => !types.is_empty() && types.len() <= TYPES.len() && types.iter().all(known),
        other => known(other),
    };
    if ok { Ok(()) } else { fault(at, format!("{} is no type; allowed: {}", shown(value), TYPES.join(", "))) }
}

pub(super) fn check_enum(value: &Value, at: &str) -> Checked<()> {
    match value {
        Value::Array(values) if (1..=MAX_CHOICES).contains(&values.len()) => Ok(()),
        Value::Array(values) => fault(at, format!("{} values; allowed: 1 to {MAX_CHOICES}", values.len())),
        other => fault(at, format!("expected an array, not {}", shown(other))),
    }
}

pub(super) fn check_required(value: &Value, at: &str) -> Checked<()> {
    match value {
        Value::Array(names) if names.len() > MAX_PROPERTIES => {
            fault(at, format!("{} names; allowed: {MAX_PROPERTIES}", names.len()))
        }
        Value::Array(names) if names.iter().all(Value::is_string) => Ok(()),
        other => fault(at, format!("expected an array of strings, not {}", shown(other))),
    }
}

pub(super) fn check_count(value: &Value, at: &str, most: u64) -> Checked<()> {
    match value.as_u64() {
        Some(n) if n <= most => Ok(()),
        _ => fault(at, format!("{} is out of range; allowed: integers from 0 to {most}", shown(value))),
    }
}

pub(super) fn check_number(value: &Value, at: &str, or_bool: bool) -> Checked<()> {
    let ok = value.as_f64().is_some_and(f64::is_finite) || (or_bool && value.is_boolean());
    if ok { Ok(()) } else { fault(at, format!("expected a number, not {}", shown(value))) }
}

pub(super) fn check_pattern(pattern: &str, at: &str) -> Checked<()> {
    if pattern.len() > MAX_PATTERN {
        return fault(at, format!("a pattern of {} bytes; allowed: {MAX_PATTERN}", pattern.len()));
    }
    let mut builder = RegexBuilder::new();
    let regex = builder.mk_regex_for_serach(&llguidance::regex_to_lark(pattern, "dw"));
    match regex.and_then(|regex| builder.to_regex_limited(regex, PATTERN_FUEL)) {
        Ok(mut regex) => {
            if regex.always_empty() {
                return fault(at, format!("nothing matches the pattern {}", shown(&pattern.into())));
            }
            Ok(())
        }
        Err(error) => {
            let error = error.to_string();
            let last = error.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            fault(at, format!("the pattern {} cannot be used: {last}", shown(&pattern.into())))
        }
    }
}

/// A JSON pointer one step longer.
pub(super) fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A value for a message, cut to a readable length.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
        other => {
            let text = other.to_string();
            let cut: String = text.chars().take(LONGEST).collect();
            if cut.len() < text.len() { format!("{cut}…") } else { cut }
        }
    }
}
