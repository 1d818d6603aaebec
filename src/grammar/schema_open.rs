//! Objects that name their properties and leave open whether there may be others.
//!
//! JSON schema allows any others. llama-server does not, unless asked to: a small model would go
//! on inventing properties. Every answer within a closed object is valid for the open one, so
//! objects are closed wherever no other part of the schema relies on them being open.

use serde_json::{Map, Value};

use super::schema_check::Node;

/// Keywords that join another schema to the one they stand in.
const JOINING: [&str; 4] = ["$ref", "allOf", "anyOf", "oneOf"];
/// Keywords about the properties of an object.
const OBJECT: [&str; 7] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
];

/// The pointers of all objects that can be closed; none where schemas are joined into one object,
/// since a part that is closed would forbid the properties of the others.
pub fn closable(nodes: &[Node<'_>]) -> Vec<String> {
    let objects = || nodes.iter().filter_map(|node| node.value.as_object().map(|schema| (node, schema)));
    if objects().any(|(_, schema)| joins(schema)) {
        return Vec::new();
    }
    objects().filter(|(_, schema)| names_its_properties(schema)).map(|(node, _)| node.pointer.clone()).collect()
}

fn joins(schema: &Map<String, Value>) -> bool {
    let joining = JOINING.iter().filter(|keyword| schema.contains_key(**keyword)).count();
    let members = schema.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
    members > 1 || joining > 1 || (joining == 1 && OBJECT.iter().any(|keyword| schema.contains_key(*keyword)))
}

fn names_its_properties(schema: &Map<String, Value>) -> bool {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return false;
    };
    let silent = ["additionalProperties", "patternProperties", "unevaluatedProperties"]
        .iter()
        .all(|keyword| !schema.contains_key(*keyword));
    let mut required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let enough = schema.get("minProperties").and_then(Value::as_u64).unwrap_or(0) <= properties.len() as u64;
    silent && enough && !properties.is_empty() && required.all(|name| properties.contains_key(name))
}
