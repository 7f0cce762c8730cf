//! The nodes that the output depends on, each behind those whose outputs it reads, and the one input that is free.

use std::collections::{HashMap, HashSet};

use crate::error::Problem;
use crate::proto::{GraphProto, NodeProto, ValueInfoProto};

/// The nodes that `output` depends on, in an order in which they can be computed.
pub fn needed<'a>(graph: &'a GraphProto, output: &'a str) -> Result<Vec<&'a NodeProto>, Problem> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if makers.insert(name, index).is_some() {
                let label = if node.name.is_empty() { name } else { &node.name };
                return Err(Problem::Node {
                    node: label.clone(),
                    operator: node.op_type.clone(),
                    problem: format!("makes `{name}`, which exists already; the file is damaged"),
                });
            }
        }
    }
    let Some(&last) = makers.get(output) else {
        return Err(Problem::Model(format!("no node makes its output `{output}`")));
    };
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; graph.node.len()];
    let mut order = Vec::new();
    // Each with the number of its inputs that were looked at.
    let mut stack = vec![(last, 0)];
    states[last] = State::Open;
    while let Some((index, next)) = stack.last_mut() {
        let node = &graph.node[*index];
        let Some(input) = node.input.get(*next) else {
            states[*index] = State::Done;
            order.push(node);
            stack.pop();
            continue;
        };
        *next += 1;
        let Some(&maker) = makers.get(input.as_str()) else { continue };
        match states[maker] {
            State::Done => {}
            State::New => {
                states[maker] = State::Open;
                stack.push((maker, 0));
            }
            State::Open => {
                let label = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
                return Err(Problem::Node {
                    node: label.cloned().unwrap_or_default(),
                    operator: node.op_type.clone(),
                    problem: format!("reads `{input}`, which depends on its own output; loops are not supported"),
                });
            }
        }
    }
    Ok(order)
}

/// The input that is no initializer and that the nodes read.
pub fn free_input<'a>(
    graph: &'a GraphProto,
    needed: &[&NodeProto],
    fixed: impl Fn(&str) -> bool,
) -> Result<&'a ValueInfoProto, Problem> {
    let read: HashSet<&str> = needed.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let free: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !fixed(&input.name)).collect();
    let used: Vec<&ValueInfoProto> = free.iter().copied().filter(|input| read.contains(input.name.as_str())).collect();
    match used[..] {
        [input] => Ok(input),
        [] => match free[..] {
            [input] => Ok(input),
            _ => Err(Problem::Model(format!(
                "its graph has {} inputs that its output depends on; it must have one",
                used.len()
            ))),
        },
        _ => Err(Problem::Model(format!(
            "its output depends on {} inputs, {}; it must be one: fix the others by initializers of their names, or join \
             them into one input that the model splits",
            used.len(),
            used.iter().map(|input| format!("`{}`", input.name)).collect::<Vec<_>>().join(", ")
        ))),
    }
}
