//! Where the checker's weights come from: the model's exact numbers, in the units of the proof.

use std::collections::BTreeSet;

use tightrope_exact::Enclosure;
use tightrope_network::{Layer, Network, Node, ParameterId, Place, Weights};

use crate::error::CertificateError;
use crate::function::Function;
use crate::layers::{Kind, Map, Operation, covered, pixels};
use crate::max_pool::MaxPool;
use crate::product::Product;

/// A type of weights.
pub(crate) trait Scalar: Clone {
    /// The number, or the nearest one with a relative error of one rounding; none if there is no such.
    fn of(number: Enclosure) -> Option<Self>;
    /// This number.
    fn exactly(value: f64) -> Self;
    /// A bound of what [`Scalar::of`] loses of `number`.
    fn error(&self, number: &Enclosure) -> f64;
}

impl Scalar for f64 {
    fn of(number: Enclosure) -> Option<Self> {
        let value = number.value.to_f64();
        // Subnormal numbers are no relative approximation of anything but themselves, nor are numbers of which nothing is
        // known but that they are small.
        let close = value.is_normal() && number.is_close();
        (close || value.is_finite() && number.is(value)).then_some(value)
    }

    fn exactly(value: f64) -> Self {
        value
    }

    fn error(&self, number: &Enclosure) -> f64 {
        match number.is(*self) {
            true => 0.0,
            // Twice what rounding can do, and twice the radius, whose nearest f64 may be below it.
            false => self.abs() * f64::EPSILON + 2.0 * number.radius.to_f64() + f64::MIN_POSITIVE,
        }
    }
}

impl Scalar for Enclosure {
    fn of(number: Enclosure) -> Option<Self> {
        Some(number)
    }

    fn exactly(value: f64) -> Self {
        value.into()
    }

    fn error(&self, _: &Enclosure) -> f64 {
        0.0
    }
}

/// Fails unless `units` has an exponent for each node (or none at all) that the nodes which only pass values on share
/// with their inputs.
pub(crate) fn check_units(network: &Network, units: &[i32]) -> Result<(), String> {
    const LARGEST: u32 = 4096;
    if units.is_empty() {
        return Ok(());
    }
    if units.len() != network.nodes().len() || units.iter().any(|unit| unit.unsigned_abs() > LARGEST) {
        return Err("the units are not one power of two per node".into());
    }
    for (node, &unit) in network.nodes().iter().zip(units) {
        let passes_on = match &node.layer {
            Layer::Activation(activation) if !activation.is_homogeneous() && unit != 0 => {
                return Err(format!("`{}` has another unit than 1", node.name));
            }
            Layer::Product if unit != 0 => return Err(format!("`{}` has another unit than 1", node.name)),
            Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product | Layer::Flatten | Layer::Add => true,
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_) => false,
        };
        if passes_on && node.inputs.iter().any(|&input| units[input] != unit) {
            return Err(format!("`{}` has another unit than its inputs", node.name));
        }
    }
    Ok(())
}

fn not_covered(node: &Node) -> CertificateError {
    CertificateError::Layer { layer: node.name.clone(), kind: node.layer.kind() }
}

/// Fails if `network` has a layer of a kind for which there are no proofs.
///
/// # Errors
/// With the first such layer.
pub fn check_kinds(network: &Network) -> Result<(), CertificateError> {
    let is_covered = |node: &&Node| match &node.layer {
        Layer::Activation(_)
        | Layer::Input
        | Layer::Conv2d(_)
        | Layer::Linear(_)
        | Layer::Affine(_)
        | Layer::AvgPool2d(_)
        | Layer::Gather(_)
        | Layer::MaxPool2d(_)
        | Layer::Product
        | Layer::Flatten
        | Layer::Add => true,
        Layer::BatchNorm(_) => false,
    };
    match network.nodes().iter().find(|node| !is_covered(node)) {
        Some(node) => Err(not_covered(node)),
        None => Ok(()),
    }
}

/// The operations of `network`'s nodes, where the values of node k are counted in units of 2^units\[k\] (of 1 if there are
/// no units).
pub(crate) fn operations<T: Scalar>(
    network: &Network,
    weights: &Weights,
    units: &[i32],
) -> Result<Vec<Operation<T>>, CertificateError> {
    network.check_weights(weights).map_err(|e| CertificateError::Network(e.to_string()))?;
    let unit = |node: usize| i64::from(units.get(node).copied().unwrap_or(0));
    let side = |id: usize| match network.node(id).shape[..] {
        [_, height, width] => [height, width],
        _ => [1, 1],
    };
    let mut operations = Vec::with_capacity(network.nodes().len());
    for (id, node) in network.nodes().iter().enumerate() {
        let input = node.inputs.first().copied().unwrap_or(0);
        // W maps units of the input to those of the output, b has the output's.
        let (factor, summand) = (unit(input) - unit(id), -unit(id));
        let lost = || CertificateError::Network(format!("`{}`: a weight underflows or overflows f64", node.name));
        let convert = |number: Enclosure| T::of(number).ok_or_else(lost);
        let parameter = |id: ParameterId, power: i64| -> Result<Vec<T>, CertificateError> {
            let info = network.parameters().get(id);
            let values = weights.theta()[info.range()].iter();
            if power == 0 && weights.is_plain() {
                return Ok(values.map(|&value| T::exactly(value)).collect());
            }
            let place = |(i, &value): (usize, &f64)| weights.number(Place::Theta(info.offset + i), value).scaled(power);
            values.enumerate().map(|pair| convert(place(pair))).collect()
        };
        let errors = |id: ParameterId, biases: &[T]| -> Vec<f64> {
            let info = network.parameters().get(id);
            if weights.is_plain() && summand == 0 {
                return Vec::new();
            }
            let number = |i: usize| {
                weights.number(Place::Theta(info.offset + i), weights.theta()[info.offset + i]).scaled(summand)
            };
            biases.iter().enumerate().map(|(i, bias)| bias.error(&number(i))).collect()
        };
        let map = |kind, weights, bias: Option<ParameterId>, channel| -> Result<Operation<T>, CertificateError> {
            let (bias, bias_error) = match bias {
                None => (Vec::new(), Vec::new()),
                Some(id) => {
                    let bias = parameter(id, summand)?;
                    let error = errors(id, &bias);
                    (bias, error)
                }
            };
            let outputs = node.len();
            Ok(Operation::Map(Box::new(Map { input, kind, weights, bias, bias_error, channel, outputs })))
        };
        operations.push(match &node.layer {
            Layer::Input => Operation::Input,
            Layer::Activation(activation) => match Function::of(*activation) {
                Some(function) => Operation::Function(input, function),
                None => Operation::Relu(input),
            },
            Layer::MaxPool2d(pool) => {
                let (image, output) = (side(input), side(id));
                Operation::MaxPool(Box::new(MaxPool::new(input, pool, image, output, node.len())))
            }
            Layer::Product => Operation::Product(Product { input, outputs: node.len() }),
            Layer::BatchNorm(_) => return Err(not_covered(node)),
            Layer::Flatten => Operation::Copy(input),
            Layer::Add => Operation::Sum(node.inputs.clone()),
            Layer::Linear(linear) => {
                let kind = Kind::Linear { features: linear.in_features };
                map(kind, parameter(linear.weight, factor)?, linear.bias, 1)?
            }
            Layer::Conv2d(conv) => {
                let output = side(id);
                let kind = Kind::Conv { conv: conv.clone(), image: side(input), output };
                map(kind, parameter(conv.weight, factor)?, conv.bias, output[0] * output[1])?
            }
            Layer::AvgPool2d(pool) => {
                let (image, output) = (side(input), side(id));
                let lengths = |axis: usize| {
                    let length = move |position| covered(pool, position, axis, image[axis]).len();
                    (0..output[axis]).map(length).collect::<BTreeSet<usize>>()
                };
                let (down, across) = (lengths(0), lengths(1));
                let counts = down.iter().flat_map(|down| across.iter().map(move |across| pixels(pool, down * across)));
                let counts: Vec<usize> = counts.collect::<BTreeSet<usize>>().into_iter().collect();
                let one = Enclosure::from(1.0);
                let share = |&count: &usize| one.over(&Enclosure::from(count as f64)).ok_or_else(lost);
                let shares = counts.iter().map(|count| convert(share(count)?.scaled(factor)));
                let shares = shares.collect::<Result<Vec<T>, _>>()?;
                map(Kind::Pool { pool: pool.clone(), image, output, counts }, shares, None, 1)?
            }
            Layer::Gather(gather) => {
                let one = convert(Enclosure::from(1.0).scaled(factor))?;
                map(Kind::Gather(gather.clone()), vec![one], None, 1)?
            }
            Layer::Affine(affine) => {
                let of = |parameter: Option<ParameterId>, channel: usize, otherwise: f64| match parameter {
                    None => Enclosure::from(otherwise),
                    Some(id) => {
                        let index = network.parameters().get(id).offset + channel;
                        weights.number(Place::Theta(index), weights.theta()[index])
                    }
                };
                let (mut scales, mut biases, mut bias_error) = (Vec::new(), Vec::new(), Vec::new());
                for (channel, (&scale, &shift)) in affine.scale.iter().zip(&affine.shift).enumerate() {
                    if !(scale.is_finite() && shift.is_finite()) {
                        return Err(lost());
                    }
                    let weight = of(affine.weight, channel, 1.0);
                    let scale = weights.number(Place::Scale(id, channel), scale);
                    let shift = weights.number(Place::Shift(id, channel), shift);
                    scales.push(convert(weight.times(&scale).scaled(factor))?);
                    let bias = weight.times(&shift).plus(&of(affine.bias, channel, 0.0)).scaled(summand);
                    let rounded = convert(bias.clone())?;
                    bias_error.push(rounded.error(&bias));
                    biases.push(rounded);
                }
                let (weights, channel, outputs) = (scales, affine.inner, node.len());
                let map = Map { input, kind: Kind::Diagonal, weights, bias: biases, bias_error, channel, outputs };
                Operation::Map(Box::new(map))
            }
        });
    }
    Ok(operations)
}
