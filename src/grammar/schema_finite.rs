//! Whether a schema can be satisfied by anything finite.
//!
//! llguidance compiles `{"$ref": "#"}` to a grammar that allows no token at all, and a node that
//! requires a child of its own kind to one that never ends. Neither is an error there.

use serde_json::{Map, Value};

use super::schema_check::Node;

/// The root, if nothing finite satisfies it. Starts from "nothing is satisfiable" and adds what
/// follows, so that only circles stay out.
pub fn first_endless(nodes: &[Node<'_>]) -> Option<usize> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (id, node) in nodes.iter().enumerate() {
        for &(_, child) in &node.children {
            users[child].push(id);
        }
    }
    let mut finite = vec![false; nodes.len()];
    let mut queue: Vec<usize> = (0..nodes.len()).collect();
    while let Some(id) = queue.pop() {
        if !finite[id] && is_finite(&nodes[id], &finite) {
            finite[id] = true;
            queue.extend(users[id].iter().copied().filter(|&user| !finite[user]));
        }
    }
    (!finite[0]).then(|| deepest_endless(nodes, &finite))
}

/// From the root down to the schema that leads back: the place to name.
fn deepest_endless(nodes: &[Node<'_>], finite: &[bool]) -> usize {
    let mut seen = vec![false; nodes.len()];
    let mut at = 0;
    loop {
        seen[at] = true;
        match nodes[at].children.iter().find(|(_, child)| !finite[*child]) {
            Some(&(_, child)) if !seen[child] => at = child,
            _ => return at,
        }
    }
}

fn is_finite(node: &Node<'_>, finite: &[bool]) -> bool {
    let Value::Object(schema) = node.value else {
        return true;
    };
    let all = |keyword: &str| node.children.iter().filter(|(k, _)| *k == keyword).all(|&(_, child)| finite[child]);
    let some = |keyword: &str| {
        let mut choices = node.children.iter().filter(|(k, _)| *k == keyword).peekable();
        choices.peek().is_none() || choices.any(|&(_, child)| finite[child])
    };
    all("$ref")
        && all("allOf")
        && some("anyOf")
        && some("oneOf")
        && object_finite(schema, node, finite)
        && array_finite(schema, node, finite)
}

fn only_type(schema: &Map<String, Value>, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(types)) => types.iter().all(|t| t == name),
        _ => false,
    }
}

/// An object needs its required properties.
fn object_finite(schema: &Map<String, Value>, node: &Node<'_>, finite: &[bool]) -> bool {
    if !only_type(schema, "object") {
        return true;
    }
    let (Some(Value::Object(properties)), Some(Value::Array(required))) =
        (schema.get("properties"), schema.get("required"))
    else {
        return true;
    };
    // The children stand in the order of the properties.
    let children = node.children.iter().filter(|(keyword, _)| *keyword == "properties");
    properties.keys().zip(children).all(|(name, &(_, child))| finite[child] || !required.iter().any(|r| r == name))
}

/// An array needs its first `minItems` items.
fn array_finite(schema: &Map<String, Value>, node: &Node<'_>, finite: &[bool]) -> bool {
    let min = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    if min == 0 || !only_type(schema, "array") {
        return true;
    }
    let of = |keyword: &'static str| {
        node.children.iter().filter(move |(k, _)| *k == keyword).map(|&(_, child)| finite[child])
    };
    let listed = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    of("prefixItems").take(min as usize).all(|ok| ok)
        && (min <= listed || schema.get("items").is_some_and(Value::is_array) || of("items").all(|ok| ok))
}
