//! Where in a schema the part lies that nothing satisfies, or that is too much.
//!
//! llguidance says that there is one and why, but not where. [`narrow`] goes down from the root into
//! parts that an answer cannot do without, as long as one of them is by itself at fault.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// Parts that are tried, and the time for all of them: it is only to make the message better.
const MAX_TRIES: usize = 64;
const MAX_TIME: Duration = Duration::from_millis(200);

/// What is said of a schema that allows nothing.
pub const UNSATISFIABLE: &str = "nothing satisfies this schema";

/// The JSON pointer of the smallest such part that is found, and what is said of it. `fault_of` says what is wrong with
/// a schema, if anything is; `fault` is what is wrong with the root.
pub fn narrow(root: &Value, fault: String, fault_of: impl Fn(Value) -> Option<String>) -> (String, String) {
    let start = Instant::now();
    let mut tries = 0;
    let (mut pointer, mut fault) = (String::new(), fault);
    loop {
        let schema = root.pointer(&pointer).unwrap_or(&Value::Null);
        let failing = needed(schema, &pointer).into_iter().find_map(|part| {
            tries += 1;
            let value = root.pointer(&part).filter(|_| tries <= MAX_TRIES && start.elapsed() < MAX_TIME)?;
            let fault = match value {
                Value::Bool(false) => Some(UNSATISFIABLE.to_owned()),
                Value::Object(_) => fault_of(alone(value, root)),
                _ => None,
            };
            Some((fault?, part))
        });
        match failing {
            Some((found, part)) => (fault, pointer) = (found, part),
            None => return (pointer, fault),
        }
    }
}

/// `part` with the definitions that it may refer to.
fn alone(part: &Value, root: &Value) -> Value {
    let mut part = part.clone();
    if let Value::Object(schema) = &mut part {
        for key in ["$defs", "definitions"] {
            if let (Some(definitions), false) = (root.get(key), schema.contains_key(key)) {
                schema.insert(key.into(), definitions.clone());
            }
        }
    }
    part
}

/// The parts of the schema at `pointer` that must be satisfied for it to be.
fn needed(schema: &Value, pointer: &str) -> Vec<String> {
    let Value::Object(schema) = schema else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
        parts.push(target.to_owned());
    }
    for name in strings(schema, "required") {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        parts.push(format!("{pointer}/properties/{escaped}"));
    }
    if schema.get("minItems").and_then(Value::as_u64).is_some_and(|n| n > 0) {
        parts.push(format!("{pointer}/items"));
        parts.push(format!("{pointer}/prefixItems/0"));
    }
    let all = schema.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
    parts.extend((0..all).map(|i| format!("{pointer}/allOf/{i}")));
    parts
}

fn strings<'a>(schema: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
