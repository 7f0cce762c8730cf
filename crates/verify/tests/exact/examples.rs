//! Examples: a network, a property and its truth, all from a kind and an index.

use crate::encode::encode;
use crate::model::Model;
use crate::net::Net;
use crate::networks::{Kind, RADIUS, network};
use crate::properties::{Distance, SHAPES, Shape, property};
use crate::property::Property;
use crate::random::Random;
use crate::text::text;
use crate::truth::{Truth, truth};

/// Most properties tried for a network with irrational numbers until the truth of one is certain.
const TRIES: u64 = 20;

/// One example.
pub struct Example {
    pub kind: Kind,
    pub index: u64,
    pub shape: Shape,
    pub distance: Distance,
    pub model: Model,
    pub net: Net,
    pub property: Property,
    pub truth: Truth,
    /// The files' content.
    pub onnx: Vec<u8>,
    pub vnnlib: String,
}

impl Example {
    /// Example number `index` of a kind.
    pub fn new(kind: Kind, index: u64) -> Self {
        let seed = index * 1024 + kind as u64;
        let mut random = Random::new(seed);
        let model = network(kind, &mut random);
        let net = Net::new(&model, RADIUS);
        let shape = SHAPES[index as usize % SHAPES.len()];
        let sizes = [model.inputs(), model.outputs()];
        let mut tries = (0..TRIES).map(|_| {
            let (property, distance) = property(shape, kind, &net, sizes, &mut random);
            let truth = truth(&net, &property);
            (property, distance, truth)
        });
        let found = tries.find(|(_, _, truth)| *truth != Truth::Open);
        let (property, distance, truth) = found.expect("a property whose truth is certain");
        let onnx = encode(&model, random.one_in(2));
        let vnnlib = text(&property, &mut random);
        Example { kind, index, shape, distance, model, net, property, truth, onnx, vnnlib }
    }

    /// Whether the verifier has to decide: a violation that no counterexample of doubles was found for may stay unknown.
    pub fn demanded(&self) -> bool {
        self.truth != Truth::Violated(None)
    }

    /// Everything that is needed to replay the example.
    pub fn describe(&self) -> String {
        let Example { kind, index, shape, distance, model, truth, vnnlib, .. } = self;
        let mut text = format!("{kind:?} {index}: {shape:?}, {distance:?}, {truth:?}\n");
        text += &format!("input {:?}, {:?} precision\n", model.input, model.precision);
        for (i, node) in model.nodes.iter().enumerate() {
            text += &format!("v{} = {:?} of {:?}\n", i + 1, node.operation, node.inputs);
        }
        text + vnnlib
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::networks::KINDS;
    use crate::truth::refutes;

    /// Points of the box that show that a property said to hold is violated.
    fn contradiction(example: &Example, random: &mut Random) -> Option<Vec<f64>> {
        for case in &example.property.cases {
            for _ in 0..10 {
                let between = |lower: f64, upper: f64, t: f64| (lower + t * (upper - lower)).clamp(lower, upper);
                let valid = case.ranges.iter().all(|range| range.lower <= range.upper);
                let t = |random: &mut Random| if random.one_in(3) { random.below(2) as f64 } else { random.unit() };
                let point = case.ranges.iter().filter(|_| valid).map(|r| between(r.lower, r.upper, t(random)));
                let point: Vec<f64> = point.collect();
                if refutes(&example.net, &example.property, &point) {
                    return Some(point);
                }
            }
        }
        None
    }

    /// Samples do not contradict the oracle, and both truths and all distances are frequent.
    #[test]
    fn truths_are_balanced_and_uncontradicted() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let (each, mut random) = (48, Random::new(7));
        for kind in KINDS {
            for index in 0..each {
                let example = Example::new(kind, index);
                let truth = match &example.truth {
                    Truth::Holds => {
                        let found = contradiction(&example, &mut random);
                        assert!(found.is_none(), "{found:?}: {}", example.describe());
                        "holds"
                    }
                    Truth::Violated(Some(_)) => "violated",
                    Truth::Violated(None) => "violated, without doubles",
                    Truth::Open => panic!("an open truth: {}", example.describe()),
                };
                *counts.entry(truth.into()).or_default() += 1;
                *counts.entry(format!("{:?}", example.distance)).or_default() += 1;
            }
        }
        let total = KINDS.len() * each as usize;
        let rare =
            |name: &str, least: usize| assert!(counts[name] * least > total, "{name} is rare: {counts:?} of {total}");
        ["holds", "violated", "Clear", "Neighbour"].iter().for_each(|name| rare(name, 5));
        rare("Exact", 20);
        eprintln!("{counts:?} of {total}");
    }
}
