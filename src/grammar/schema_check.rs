//! What must hold of a JSON schema before it is compiled, and what of it will not be enforced.
//!
//! [`check`] walks the schema without recursion and names every fault by its JSON pointer. The
//! caps are ours: llguidance accepts `minItems: 1e9` and recurses as deep as references go.

mod values;

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::{Map, Value};

use self::values::{
    check_count, check_enum, check_number, check_pattern, check_required, check_type, gcd, join, shown,
};
use super::{schema_finite, schema_open};

/// Schemas within a schema.
pub const MAX_SCHEMAS: usize = 20_000;
/// Longest path from the root through subschemas and references, each schema counted where it
/// is met first. llguidance recurses along it.
pub const MAX_DEPTH: usize = 256;
/// Properties of one object.
pub const MAX_PROPERTIES: usize = 2_000;
/// Values of one `enum`, and subschemas of one `anyOf`.
pub const MAX_CHOICES: usize = 5_000;
/// `minItems`, `maxItems`, `minProperties` and `maxProperties`.
pub const MAX_ITEMS: u64 = 10_000;
/// `minLength` and `maxLength`.
pub const MAX_LENGTH: u64 = 100_000;
/// Bytes of one `pattern`.
pub const MAX_PATTERN: usize = 2_000;
/// `multipleOf`, in units of its last decimal, and the least common multiple of several.
pub const MAX_MULTIPLE: u64 = 1_000;
/// Decimals of `multipleOf`.
const MAX_DECIMALS: u32 = 6;
/// Different patterns of one schema.
pub const MAX_PATTERNS: usize = 100;
/// Patterns of one `patternProperties`; llguidance compares each with each.
pub const MAX_PATTERN_PROPERTIES: usize = 10;
/// Work for proving a pattern valid, in derivre's unit: a few milliseconds.
const PATTERN_FUEL: u64 = 50_000;

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
const FORMATS: [&str; 11] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"];
/// Keywords of the standard that llguidance passes over.
const UNENFORCED: [&str; 20] = [
    "not",
    "if",
    "then",
    "else",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$recursiveRef",
    "$recursiveAnchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "contentSchema",
    "format",
];

/// What is wrong, and where in the schema.
#[derive(Debug)]
pub struct Fault {
    pointer: String,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the root" } else { &self.pointer };
        write!(f, "schema, at {place}: {}", self.message)
    }
}

type Checked<T> = Result<T, Fault>;

fn fault<T>(pointer: impl Into<String>, message: impl Into<String>) -> Checked<T> {
    Err(Fault { pointer: pointer.into(), message: message.into() })
}

/// One schema within the schema.
pub struct Node<'a> {
    pub value: &'a Value,
    pub pointer: String,
    /// Subschemas and the target of `$ref`: the keyword and the node.
    pub children: Vec<(&'a str, usize)>,
}

/// What [`check`] found out, as JSON pointers in the order of the walk.
#[derive(Debug)]
pub struct Report {
    /// Keywords that are accepted but not enforced.
    pub ignored: Vec<String>,
    /// Objects that name their properties and say nothing of others.
    pub closable: Vec<String>,
    /// Schemas with a format that is enforced.
    pub formats: Vec<String>,
}

/// Refuses schemas that are wrong or too much.
pub fn check(root: &Value) -> Checked<Report> {
    let mut walk = Walk {
        root,
        nodes: Vec::new(),
        ids: HashMap::new(),
        patterns: HashSet::new(),
        common_multiple: 1,
        ignored: Vec::new(),
    };
    walk.run()?;
    if let Some(node) = schema_finite::first_endless(&walk.nodes) {
        return fault(&walk.nodes[node].pointer, "nothing finite satisfies this schema: it only leads back to itself");
    }
    let closable = schema_open::closable(&walk.nodes);
    let has_format = |node: &&Node<'_>| node.value.get("format").is_some();
    let formats = walk.nodes.iter().filter(has_format).map(|node| node.pointer.clone()).collect();
    Ok(Report { ignored: walk.ignored, closable, formats })
}

struct Walk<'a> {
    root: &'a Value,
    nodes: Vec<Node<'a>>,
    ids: HashMap<String, usize>,
    /// Patterns that were checked before.
    patterns: HashSet<&'a str>,
    /// The least common multiple of all `multipleOf`, in units of the smallest decimal.
    common_multiple: u64,
    ignored: Vec<String>,
}

impl<'a> Walk<'a> {
    /// Visits depth-first in the order in which llguidance recurses, so that the length of the
    /// path is the depth of its recursion.
    fn run(&mut self) -> Checked<()> {
        self.node(String::new(), self.root)?;
        self.visit(0)?;
        let mut path: Vec<(usize, usize)> = vec![(0, 0)];
        let mut visited = vec![true];
        while let Some((node, next)) = path.last_mut() {
            let Some(&(_, child)) = self.nodes[*node].children.get(*next) else {
                path.pop();
                continue;
            };
            *next += 1;
            visited.resize(self.nodes.len(), false);
            if std::mem::replace(&mut visited[child], true) {
                continue;
            }
            if path.len() >= MAX_DEPTH {
                return fault(
                    &self.nodes[child].pointer,
                    format!("schemas and references are nested too deep; allowed: {MAX_DEPTH}"),
                );
            }
            self.visit(child)?;
            path.push((child, 0));
        }
        Ok(())
    }

    /// The node of the schema at `pointer`.
    fn node(&mut self, pointer: String, value: &'a Value) -> Checked<usize> {
        if let Some(&id) = self.ids.get(&pointer) {
            return Ok(id);
        }
        if self.nodes.len() >= MAX_SCHEMAS {
            return fault(pointer, format!("too many subschemas; allowed: {MAX_SCHEMAS}"));
        }
        let id = self.nodes.len();
        self.ids.insert(pointer.clone(), id);
        self.nodes.push(Node { value, pointer, children: Vec::new() });
        Ok(id)
    }

    /// Checks the keywords of one schema and finds its children.
    fn visit(&mut self, id: usize) -> Checked<()> {
        let value = self.nodes[id].value;
        let pointer = self.nodes[id].pointer.clone();
        let schema = match value {
            Value::Bool(_) => return Ok(()),
            Value::Object(schema) => schema,
            other => {
                return fault(pointer, format!("a schema is an object or a boolean, not {}", shown(other)));
            }
        };
        let mut children = Vec::new();
        for (keyword, value) in schema {
            let at = join(&pointer, keyword);
            self.keyword(keyword, value, &at, &mut children)?;
        }
        self.count_keywords(schema, &pointer);
        self.nodes[id].children = children;
        Ok(())
    }

    fn keyword(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        at: &str,
        children: &mut Vec<(&'a str, usize)>,
    ) -> Checked<()> {
        match keyword {
            "type" => check_type(value, at),
            "enum" => check_enum(value, at),
            "const" => Ok(()),
            "required" => check_required(value, at),
            "minItems" | "maxItems" | "minProperties" | "maxProperties" => check_count(value, at, MAX_ITEMS),
            "minLength" | "maxLength" => check_count(value, at, MAX_LENGTH),
            "minimum" | "maximum" => check_number(value, at, false),
            "exclusiveMinimum" | "exclusiveMaximum" => check_number(value, at, true),
            "multipleOf" => self.multiple(value, at),
            "pattern" => match value {
                Value::String(pattern) => self.pattern(pattern, at),
                other => fault(at, format!("expected a string, not {}", shown(other))),
            },
            "format" => match value {
                Value::String(format) => {
                    if !FORMATS.contains(&format.as_str()) {
                        self.ignored.push(at.to_owned());
                    }
                    Ok(())
                }
                other => fault(at, format!("expected a string, not {}", shown(other))),
            },
            "items" if value.is_array() => self.list(keyword, value, at, children),
            "items" | "additionalItems" | "additionalProperties" => self.child(keyword, value, at.to_owned(), children),
            "prefixItems" | "anyOf" | "oneOf" | "allOf" => self.list(keyword, value, at, children),
            "properties" | "patternProperties" => self.map(keyword, value, at, children),
            "$ref" => self.reference(value, at, children),
            _ => {
                if UNENFORCED.contains(&keyword) {
                    self.ignored.push(at.to_owned());
                }
                Ok(())
            }
        }
    }

    fn child(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        at: String,
        children: &mut Vec<(&'a str, usize)>,
    ) -> Checked<()> {
        let node = self.node(at, value)?;
        children.push((keyword, node));
        Ok(())
    }

    fn list(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        at: &str,
        children: &mut Vec<(&'a str, usize)>,
    ) -> Checked<()> {
        let Value::Array(items) = value else {
            return fault(at, format!("expected an array of schemas, not {}", shown(value)));
        };
        if items.len() > MAX_CHOICES || (items.is_empty() && keyword.ends_with("Of")) {
            return fault(at, format!("{} schemas; allowed: 1 to {MAX_CHOICES}", items.len()));
        }
        for (i, item) in items.iter().enumerate() {
            self.child(keyword, item, format!("{at}/{i}"), children)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        at: &str,
        children: &mut Vec<(&'a str, usize)>,
    ) -> Checked<()> {
        let Value::Object(map) = value else {
            return fault(at, format!("expected an object of schemas, not {}", shown(value)));
        };
        let most = if keyword == "properties" { MAX_PROPERTIES } else { MAX_PATTERN_PROPERTIES };
        if map.len() > most {
            return fault(at, format!("{} properties; allowed: {most}", map.len()));
        }
        for (name, item) in map {
            if keyword == "patternProperties" {
                self.pattern(name, &join(at, name))?;
            }
            self.child(keyword, item, join(at, name), children)?;
        }
        Ok(())
    }

    fn pattern(&mut self, pattern: &'a str, at: &str) -> Checked<()> {
        if !self.patterns.insert(pattern) {
            return Ok(());
        }
        if self.patterns.len() > MAX_PATTERNS {
            return fault(at, format!("too many different patterns; allowed: {MAX_PATTERNS}"));
        }
        check_pattern(pattern, at)
    }

    /// llguidance's automaton for multiples has a state for each remainder, and joins several to
    /// their least common multiple: minutes of work at a million.
    fn multiple(&mut self, value: &Value, at: &str) -> Checked<()> {
        let units = (0..=MAX_DECIMALS).find_map(|decimals| {
            let scaled = value.as_f64()? * 10f64.powi(decimals as i32);
            let whole = scaled.round();
            let exact = (scaled - whole).abs() <= 1e-9 * whole && whole >= 1.0 && whole <= MAX_MULTIPLE as f64;
            exact.then_some(whole as u64 * 10u64.pow(MAX_DECIMALS - decimals))
        });
        let Some(units) = units else {
            let message = format!(
                "{} is out of range; allowed: up to {MAX_MULTIPLE} units of the last of up to {MAX_DECIMALS} decimals",
                shown(value)
            );
            return fault(at, message);
        };
        // In units of the smallest decimal; `units` and `common` are bounded, so nothing overflows.
        let common = self.common_multiple / gcd(self.common_multiple, units) * units;
        let shared = common / gcd(common, 10u64.pow(MAX_DECIMALS));
        if shared > MAX_MULTIPLE {
            return fault(
                at,
                format!(
                    "{}: the least common multiple of all multipleOf is too large; allowed: {MAX_MULTIPLE}",
                    shown(value)
                ),
            );
        }
        self.common_multiple = common;
        Ok(())
    }

    /// Follows a `$ref` within the document. There is no network here.
    fn reference(&mut self, value: &'a Value, at: &str, children: &mut Vec<(&'a str, usize)>) -> Checked<()> {
        let Value::String(reference) = value else {
            return fault(at, format!("expected a string, not {}", shown(value)));
        };
        let pointer = match reference.strip_prefix('#') {
            Some("" | "/") => "",
            Some(pointer) if pointer.starts_with('/') => pointer,
            _ => {
                return fault(at, format!("{} is not within this schema; allowed: \"#\" and \"#/...\"", shown(value)));
            }
        };
        // llguidance resolves segments as they are written.
        if pointer.contains(['~', '%']) {
            return fault(at, format!("{}: escapes in references are not supported", shown(value)));
        }
        let Some(target) = self.root.pointer(pointer) else {
            return fault(at, format!("{} is not in this schema", shown(value)));
        };
        self.child("$ref", target, pointer.to_owned(), children)
    }

    /// llguidance counts properties only where all named ones are required, or where an object
    /// that is closed needs one or may have one.
    fn count_keywords(&mut self, schema: &Map<String, Value>, pointer: &str) {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let optional = properties.is_some_and(|map| map.keys().any(|name| !required.contains(&name.as_str())));
        let number = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
        let one = number("minProperties").unwrap_or(0) <= 1 && number("maxProperties").unwrap_or(1) == 1;
        if one && required.is_empty() && schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            return;
        }
        for keyword in ["minProperties", "maxProperties"] {
            if optional && schema.contains_key(keyword) {
                self.ignored.push(join(pointer, keyword));
            }
        }
    }
}
