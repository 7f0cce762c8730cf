//! The network in exact arithmetic, for searches that come too near to the truth for floating point.

use tightrope_exact::{Dyadic, Enclosure};
use tightrope_network::{Network, NodeId, Weights};

use crate::error::CertificateError;
use crate::layers::{Operation, are_exact};
use crate::numbers::operations;

/// A network with its exact numbers, as exact leaves of a proof are checked.
pub struct ExactNetwork {
    operations: Vec<Operation<Enclosure>>,
    lengths: Vec<usize>,
    products: u64,
    is_exact: bool,
}

/// A linear form a·x + b of the network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// a.
    pub coefficients: Vec<Dyadic>,
    /// b.
    pub constant: Dyadic,
    /// How far the true form may be from a·x + b anywhere in the box.
    pub radius: Dyadic,
}

impl ExactNetwork {
    /// `network` with `weights`.
    ///
    /// # Errors
    /// If the weights do not fit, or the network has smooth activations or products, of which there are no exact values.
    pub fn new(network: &Network, weights: &Weights) -> Result<Self, CertificateError> {
        let operations = operations::<Enclosure>(network, weights, &[])?;
        if !are_exact(&operations) {
            return Err(CertificateError::Network("smooth activations and products have no exact values".into()));
        }
        let (mut products, mut is_exact) = (0, true);
        for operation in &operations {
            if let Operation::Map(map) = operation {
                (0..map.outputs).for_each(|o| map.row(o, |_, weights| products += weights.len() as u64));
                is_exact &= map.weights.iter().chain(&map.bias).all(Enclosure::is_exact);
            }
        }
        let lengths = network.nodes().iter().map(|node| node.len()).collect();
        Ok(ExactNetwork { operations, lengths, products, is_exact })
    }

    /// Products of one evaluation: what a form or a point costs.
    pub fn products(&self) -> u64 {
        self.products
    }

    /// Whether every number of the network is a binary one.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// row·(values of `start`) as a form of the input, where `above` says of every neuron (node, index) and kink of an
    /// activation that reads it whether the neuron is above the kink: a ReLU passes it on then and is 0 otherwise.
    ///
    /// Numbers that are not exact stand with their middles; the rest of them goes into the form's radius, `magnitudes`
    /// being bounds of |z| by node.
    ///
    /// # Panics
    /// If the network has a max pooling.
    pub fn form(
        &self,
        start: NodeId,
        row: Vec<Dyadic>,
        magnitudes: &[Vec<f64>],
        above: impl Fn(NodeId, usize, f64) -> bool,
    ) -> Form {
        let mut pending: Vec<Vec<Dyadic>> = vec![Vec::new(); start + 1];
        pending[start] = row;
        let (mut constant, mut radius) = (Dyadic::zero(), Dyadic::zero());
        for node in (1..=start).rev() {
            let mut a = std::mem::take(&mut pending[node]);
            if a.is_empty() {
                continue;
            }
            match &self.operations[node] {
                Operation::Input => {}
                Operation::Map(map) => {
                    let target = &mut pending[map.input];
                    target.resize(self.lengths[map.input], Dyadic::zero());
                    for (o, a) in a.iter().enumerate().filter(|(_, a)| !a.is_zero()) {
                        let mut spread = Dyadic::zero();
                        map.row(o, |from, weights| {
                            for (i, weight) in (from..).zip(weights) {
                                target[i].add_product(a, &weight.value);
                                if !weight.is_exact() {
                                    spread.add_product(&weight.radius, &magnitudes[map.input][i].into());
                                }
                            }
                        });
                        if let Some(bias) = map.exact_bias(o) {
                            constant.add_product(a, &bias.value);
                            spread += &bias.radius;
                        }
                        radius.add_product(&a.abs(), &spread);
                    }
                }
                Operation::Copy(input) => add(&mut pending[*input], a),
                Operation::Sum(inputs) => inputs.iter().for_each(|&input| add(&mut pending[input], a.clone())),
                Operation::Relu(input) => {
                    for (index, a) in a.iter_mut().enumerate() {
                        if !a.is_zero() && !above(*input, index, 0.0) {
                            *a = Dyadic::zero();
                        }
                    }
                    add(&mut pending[*input], a);
                }
                Operation::Function(input, f) => {
                    for (index, a) in a.iter_mut().enumerate().filter(|(_, a)| !a.is_zero()) {
                        let (slope, value) = f.piece(|kink| above(*input, index, kink));
                        constant.add_product(a, &value.into());
                        *a = &*a * &slope.into();
                    }
                    add(&mut pending[*input], a);
                }
                Operation::MaxPool(_) => panic!("node {node} is a max pooling, which has no form"),
                Operation::Product(_) => unreachable!("networks with products have no exact values here"),
            }
        }
        let coefficients = match std::mem::take(&mut pending[0]) {
            none if none.is_empty() => vec![Dyadic::zero(); self.lengths[0]],
            coefficients => coefficients,
        };
        Form { coefficients, constant, radius }
    }

    /// `scale` times the network's output at `numerators` / `scale`, for `scale` > 0.
    ///
    /// A network of affine maps, piecewise linear activations and max poolings is homogeneous in its input, biases and kinks
    /// together, so points with a common denominator need no division.
    pub fn output(&self, numerators: &[Dyadic], scale: &Dyadic) -> Vec<Enclosure> {
        let denominator = scale;
        let scale = Enclosure::from(scale.clone());
        let mut values: Vec<Vec<Enclosure>> = Vec::with_capacity(self.operations.len());
        for operation in &self.operations {
            let next = match operation {
                Operation::Input => numerators.iter().map(|x| x.clone().into()).collect(),
                Operation::Map(map) => {
                    let input = &values[map.input];
                    let output = |o: usize| {
                        let mut sum = map.exact_bias(o).map_or_else(Enclosure::default, |bias| bias.times(&scale));
                        map.row(o, |from, weights| {
                            for (weight, x) in weights.iter().zip(&input[from..]) {
                                if !x.value.is_zero() || !x.is_exact() {
                                    sum = sum.plus(&weight.times(x));
                                }
                            }
                        });
                        sum
                    };
                    (0..map.outputs).map(output).collect()
                }
                Operation::Copy(input) => values[*input].clone(),
                Operation::Sum(inputs) => {
                    let mut sum = values[inputs[0]].clone();
                    for &other in &inputs[1..] {
                        sum.iter_mut().zip(&values[other]).for_each(|(sum, more)| *sum = sum.plus(more));
                    }
                    sum
                }
                Operation::Relu(input) => values[*input].iter().map(rectified).collect(),
                Operation::Function(input, f) => {
                    let image = |z: &Enclosure| {
                        let end = |x: Dyadic| f.exactly(&x, denominator);
                        let (low, high) = (end(&z.value - &z.radius), end(&z.value + &z.radius));
                        Enclosure { value: (&low + &high).scaled(-1), radius: (&high - &low).scaled(-1) }
                    };
                    values[*input].iter().map(image).collect()
                }
                Operation::MaxPool(pool) => pool.values(&values[pool.input]),
                Operation::Product(_) => unreachable!("networks with products have no exact values here"),
            };
            values.push(next);
        }
        values.pop().unwrap_or_default()
    }
}

/// max(z, 0): exactly 0 where z is surely not positive, elsewhere with the same error at most.
fn rectified(z: &Enclosure) -> Enclosure {
    if !(&z.value + &z.radius).is_positive() {
        return Enclosure::default();
    }
    match z.value.is_negative() {
        true => Enclosure { value: Dyadic::zero(), radius: z.radius.clone() },
        false => z.clone(),
    }
}

fn add(target: &mut Vec<Dyadic>, values: Vec<Dyadic>) {
    match target.is_empty() {
        true => *target = values,
        false => target.iter_mut().zip(&values).for_each(|(sum, more)| *sum += more),
    }
}
