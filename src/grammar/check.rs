//! What must hold of a grammar before it is served: a root, no undefined rule, no left recursion.

use std::collections::HashMap;

use super::gbnf::{Atom, Fault, Grammar, Rule, RuleId};

/// Checks `rules` and finds out which of them match the empty text.
pub fn check(rules: Vec<Rule>, ids: &HashMap<String, RuleId>) -> Result<Grammar, Fault> {
    let root = ids.get("root").copied().filter(|&id| !rules[id].alternatives.is_empty());
    if let Some(rule) = rules.iter().find(|rule| rule.alternatives.is_empty()) {
        return Err(Fault { offset: rule.offset, message: format!("the rule {:?} is not defined", rule.name) });
    }
    let Some(root) = root else {
        return Err(Fault { offset: 0, message: "the grammar has no rule \"root\"".into() });
    };
    let nullable = nullable(&rules);
    let order = order(&rules, &nullable).map_err(|rule| {
        let Rule { name, offset, .. } = &rules[rule];
        Fault { offset: *offset, message: format!("the rule {name:?} is left-recursive: it can begin with itself") }
    })?;
    Ok(Grammar { rules, root, nullable, order })
}

/// Which rules match the empty text. Each rule is looked at again only when a rule that it uses
/// has turned out to be nullable.
fn nullable(rules: &[Rule]) -> Vec<bool> {
    let mut users: Vec<Vec<RuleId>> = vec![Vec::new(); rules.len()];
    for (id, rule) in rules.iter().enumerate() {
        for element in rule.alternatives.iter().flatten() {
            if let Atom::Rule(used) = element.atom {
                users[used].push(id);
            }
        }
    }
    let mut nullable = vec![false; rules.len()];
    let mut queue: Vec<RuleId> = (0..rules.len()).collect();
    while let Some(id) = queue.pop() {
        let empty = |sequence: &Vec<_>| sequence.iter().all(|e| element_nullable(e, &nullable));
        if !nullable[id] && rules[id].alternatives.iter().any(empty) {
            nullable[id] = true;
            queue.extend(users[id].iter().copied().filter(|&user| !nullable[user]));
        }
    }
    nullable
}

fn element_nullable(element: &super::gbnf::Element, nullable: &[bool]) -> bool {
    element.min == 0 || matches!(element.atom, Atom::Rule(rule) if nullable[rule])
}

/// A number for each rule, smaller than those of all rules that can begin with it. The error is a rule
/// that can begin with itself, directly or through rules and elements that match nothing.
/// Depth-first, with the path on a list instead of the call stack.
fn order(rules: &[Rule], nullable: &[bool]) -> Result<Vec<u32>, RuleId> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let firsts: Vec<Vec<RuleId>> = rules.iter().map(|rule| first_rules(rule, nullable)).collect();
    let mut marks = vec![Mark::New; rules.len()];
    let mut order = vec![0; rules.len()];
    let mut n_done = 0;
    for start in 0..rules.len() {
        let mut path: Vec<(RuleId, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::OnPath;
            path.push((start, 0));
        }
        while let Some((rule, next)) = path.last_mut() {
            let Some(&first) = firsts[*rule].get(*next) else {
                marks[*rule] = Mark::Done;
                order[*rule] = n_done;
                n_done += 1;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[first] {
                Mark::OnPath => return Err(first),
                Mark::New => {
                    marks[first] = Mark::OnPath;
                    path.push((first, 0));
                }
                Mark::Done => {}
            }
        }
    }
    Ok(order)
}

/// The rules that can stand first in `rule`.
fn first_rules(rule: &Rule, nullable: &[bool]) -> Vec<RuleId> {
    let mut firsts = Vec::new();
    for sequence in &rule.alternatives {
        for element in sequence {
            match element.atom {
                // `x{0}` never begins with x.
                Atom::Rule(first) if element.max != Some(0) => firsts.push(first),
                _ => {}
            }
            if !element_nullable(element, nullable) {
                break;
            }
        }
    }
    firsts
}
