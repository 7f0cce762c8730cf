//! Affine layers as arithmetic with constants or as BatchNormalization.

use tightrope_exact::Enclosure;
use tightrope_network::{Affine, BatchNorm, Network, Node, ParameterId};

use super::graph::{Graph, float, tensor};
use crate::error::Problem;
use crate::import::Step;
use crate::tensor::{encode_floats, encode_integers};

/// Writes an affine layer.
pub fn write(
    graph: &mut Graph,
    network: &Network,
    node: &Node,
    affine: &Affine,
    input: String,
    output: String,
) -> Result<(), Problem> {
    if affine.weight.is_none() && affine.bias.is_none() {
        return arithmetic(graph, node, affine, input, output);
    }
    let trained = [affine.weight, affine.bias];
    match statistics(affine) {
        Some(statistics) => {
            batch_norm(graph, network, node, (affine.inner, trained), &statistics, input, output);
            Ok(())
        }
        None => {
            let between = graph.tensor_name(&format!("{}.scaled", node.name));
            arithmetic(graph, node, affine, input, between.clone())?;
            let neutral = Statistics {
                mean: vec![0.0; affine.scale.len()],
                variance: vec![1.0; affine.scale.len()],
                epsilon: 0.0,
            };
            batch_norm(graph, network, node, (affine.inner, trained), &neutral, between, output);
            Ok(())
        }
    }
}

/// Writes a batch norm with the statistics in `buffers`.
pub fn write_norm(
    graph: &mut Graph,
    (network, buffers): (&Network, &[f32]),
    node: &Node,
    norm: &BatchNorm,
    input: String,
    output: String,
) -> Result<(), Problem> {
    let read = |id| network.buffers().slice(buffers, id).to_vec();
    let epsilon = norm.epsilon as f32;
    if epsilon == 0.0 || !epsilon.is_finite() {
        return Err(Problem::Layer {
            layer: node.name.clone(),
            problem: "its epsilon is beyond single precision".into(),
        });
    }
    let statistics = Statistics { mean: read(norm.mean), variance: read(norm.variance), epsilon };
    let trained = [Some(norm.weight), Some(norm.bias)];
    batch_norm(graph, network, node, (node.len() / norm.channels, trained), &statistics, input, output);
    Ok(())
}

/// Steps with one constant per channel each.
type Steps = Vec<(Step, Vec<f32>)>;

/// Writes scale·x + shift by the first list of steps that an import turns back into the same numbers, but for the last places of f64,
/// or else by a multiplication and an addition.
fn arithmetic(
    graph: &mut Graph,
    node: &Node,
    affine: &Affine,
    mut input: String,
    output: String,
) -> Result<(), Problem> {
    let pairs = || affine.scale.iter().zip(&affine.shift);
    let single = |f: &dyn Fn(f64, f64) -> f64| pairs().map(|(&s, &t)| f(s, t) as f32).collect::<Vec<f32>>();
    let candidates: [Steps; 5] = [
        vec![(Step::Subtract, single(&|_, t| -t))],
        vec![(Step::Multiply, single(&|s, _| s))],
        vec![(Step::Divide, single(&|s, _| 1.0 / s))],
        vec![(Step::Subtract, single(&|s, t| -t / s)), (Step::Divide, single(&|s, _| 1.0 / s))],
        vec![(Step::Multiply, single(&|s, _| s)), (Step::Add, single(&|_, t| t))],
    ];
    let exact = |steps: &Steps| {
        pairs().enumerate().all(|(channel, (&scale, &shift))| {
            let identity = (Enclosure::from(1.0), Enclosure::from(0.0));
            let end = steps.iter().try_fold(identity, |(s, t), (step, c)| {
                let c = c[channel];
                if c.is_finite() { step.after(&s, &t, f64::from(c)) } else { None }
            });
            end.is_some_and(|(s, t)| is_near(s.value.to_f64(), scale) && is_near(t.value.to_f64(), shift))
        })
    };
    let steps = candidates.iter().find(|steps| exact(steps)).unwrap_or(&candidates[4]);
    if steps.iter().flat_map(|(_, values)| values).any(|value| !value.is_finite()) {
        return Err(Problem::Layer {
            layer: node.name.clone(),
            problem: "a scale or shift is too large for single precision".into(),
        });
    }
    let last = steps.len() - 1;
    for (index, (step, values)) in steps.iter().enumerate() {
        let (operator, what) = match step {
            Step::Add => ("Add", "shift"),
            Step::Subtract | Step::SubtractFrom => ("Sub", "mean"),
            Step::Multiply | Step::MultiplyByRest => ("Mul", "scale"),
            Step::Divide => ("Div", "std"),
        };
        let (dims, values) = laid_out(&node.shape, affine.inner, values);
        let constant = graph.constant(&format!("{}.{what}", node.name), &dims, &values);
        let next = if index == last { output.clone() } else { graph.tensor_name(&format!("{}.centred", node.name)) };
        graph.node(&node.name, operator, vec![input, constant], next.clone(), vec![]);
        input = next;
    }
    Ok(())
}

/// Whether two numbers agree but for what a few roundings in f64 do.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 4.0 * f64::EPSILON * b.abs()
}

/// A constant per channel in a shape that broadcasts to `[N, shape…]`: one value per channel where
/// the channels are whole leading axes, else one per element.
fn laid_out(shape: &[usize], inner: usize, values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let leading = (0..=shape.len()).find(|&axes| shape[axes..].iter().product::<usize>() == inner);
    let mut dims = vec![1; shape.len() + 1];
    match leading {
        Some(axes) => {
            dims[1..=axes].copy_from_slice(&shape[..axes]);
            (dims, values.to_vec())
        }
        None => {
            dims[1..].copy_from_slice(shape);
            (dims, values.iter().flat_map(|&value| std::iter::repeat_n(value, inner)).collect())
        }
    }
}

/// Fixed statistics of a BatchNormalization.
struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
    epsilon: f32,
}

/// Statistics with 1/√(variance + epsilon) = scale and −mean·scale = shift, but for the last places of f64 where some usual
/// epsilon allows it, else to float32 precision; None if there are none.
fn statistics(affine: &Affine) -> Option<Statistics> {
    let of = |epsilon: f32| Statistics {
        mean: affine.scale.iter().zip(&affine.shift).map(|(scale, shift)| (-shift / scale) as f32).collect(),
        variance: affine.scale.iter().map(|scale| (1.0 / (scale * scale) - f64::from(epsilon)) as f32).collect(),
        epsilon,
    };
    let scale_of = |statistics: &Statistics, channel: usize| {
        1.0 / (f64::from(statistics.variance[channel]) + f64::from(statistics.epsilon)).sqrt()
    };
    let exact = |statistics: &Statistics| {
        (0..affine.scale.len()).all(|channel| is_near(scale_of(statistics, channel), affine.scale[channel]))
    };
    let plain = of(0.0);
    let possible = (0..affine.scale.len()).all(|channel| {
        affine.scale[channel] > 0.0 && plain.variance[channel].is_normal() && plain.mean[channel].is_finite()
    });
    if !possible {
        return None;
    }
    let usual = [1e-5, 1e-3, 1e-4, 1e-6].map(of);
    Some(usual.into_iter().find(|s| exact(s) && s.variance.iter().all(|&v| v >= 0.0)).unwrap_or(plain))
}

/// Writes a BatchNormalization of channels of `inner` elements; a factor or summand that is no parameter is the value of a
/// Constant node.
fn batch_norm(
    graph: &mut Graph,
    network: &Network,
    node: &Node,
    (inner, [weight, bias]): (usize, [Option<ParameterId>; 2]),
    statistics: &Statistics,
    mut input: String,
    output: String,
) {
    let channels = statistics.mean.len();
    // The operator's channels are axis 1: other channels are made so around it.
    let inner_of_axis = node.shape[1..].iter().product::<usize>();
    let reshaped = inner != inner_of_axis;
    let mut end = output.clone();
    if reshaped {
        let target = graph.tensor_name(&format!("{}.by_channel", node.name));
        reshape(graph, node, input, &[channels, inner], target.clone());
        input = target;
        end = graph.tensor_name(&format!("{}.normalised", node.name));
    }
    let mut operand = |id: Option<ParameterId>, what: &str, neutral: f32| match id {
        Some(id) => network.parameters().get(id).name.clone(),
        None => {
            let name = graph.tensor_name(&format!("{}.{what}", node.name));
            let value = tensor("value", encode_floats(&name, &[channels], &vec![neutral; channels]));
            graph.node(&format!("{}.{what}", node.name), "Constant", vec![], name.clone(), vec![value]);
            name
        }
    };
    let (weight, bias) = (operand(weight, "factor", 1.0), operand(bias, "summand", 0.0));
    let mean = graph.constant(&format!("{}.running_mean", node.name), &[channels], &statistics.mean);
    let variance = graph.constant(&format!("{}.running_var", node.name), &[channels], &statistics.variance);
    let inputs = vec![input, weight, bias, mean, variance];
    graph.node(&node.name, "BatchNormalization", inputs, end.clone(), vec![float("epsilon", statistics.epsilon)]);
    if reshaped {
        reshape(graph, node, end, &node.shape, output);
    }
}

/// Writes a Reshape to `[N, shape…]`.
fn reshape(graph: &mut Graph, node: &Node, input: String, shape: &[usize], output: String) {
    let target: Vec<i64> = std::iter::once(0).chain(shape.iter().map(|&side| side as i64)).collect();
    let name = graph.tensor_name(&format!("{}.shape", node.name));
    graph.constants.push(encode_integers(&name, &target));
    graph.node(&format!("{}.reshape", node.name), "Reshape", vec![input, name], output, vec![]);
}
