//! Units in which a network's values are neither very large nor very small, so that f32 can search and f64 can prove.

use tightrope_engine::Nonlinearity;
use tightrope_network::Layer;
use tightrope_vnnlib::Property;

use super::bound::handle::{Handle, not_covered};
use super::bound::prepared::Prepared;

/// Binary digits before or behind the point up to which values are left as they are.
const USUAL: i64 = 40;

/// One power of two per node, or none where the usual units will do.
///
/// Values are looked at in the middle of the first case's box and at two of its corners. Nodes that only pass values on
/// share their inputs' units, so that networks of ReLUs compute the same in all units, digit by digit. Functions that are
/// not homogeneous, products among them, have the usual ones, and so does the whole network.
pub(crate) fn units(prepared: &Prepared<'_>, property: &Property) -> Option<Vec<i32>> {
    let case = property.cases.first()?;
    let program = &prepared.exact;
    let nodes = program.network.nodes();
    let keeps_units = |layer: &Layer| match layer {
        Layer::Activation(f) => !f.is_homogeneous(),
        Layer::Product => true,
        Layer::Input
        | Layer::Conv2d(_)
        | Layer::Linear(_)
        | Layer::Affine(_)
        | Layer::BatchNorm(_)
        | Layer::AvgPool2d(_)
        | Layer::Gather(_)
        | Layer::MaxPool2d(_)
        | Layer::Flatten
        | Layer::Add => false,
    };
    if nodes.iter().any(|node| keeps_units(&node.layer)) {
        return None;
    }
    // In each chain of such nodes the first one stands for all.
    let mut group: Vec<usize> = (0..nodes.len()).collect();
    let find = |group: &[usize], mut node: usize| {
        while group[node] != node {
            node = group[node];
        }
        node
    };
    for (id, node) in nodes.iter().enumerate() {
        let passes_on = match &node.layer {
            Layer::Activation(_)
            | Layer::MaxPool2d(_)
            | Layer::Flatten
            | Layer::Add
            | Layer::AvgPool2d(_)
            | Layer::Gather(_) => true,
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::Product => false,
        };
        if passes_on {
            for &input in &node.inputs {
                let (a, b) = (find(&group, input), find(&group, id));
                group[a.max(b)] = a.min(b);
            }
        }
    }
    let mut largest: Vec<Option<i64>> = vec![None; nodes.len()];
    for share in [0.5, 0.0, 1.0] {
        let point: Vec<f64> = case.lower.iter().zip(&case.upper).map(|(l, u)| l + share * (u - l)).collect();
        for (id, size) in sizes(program, point)?.into_iter().enumerate() {
            let place = &mut largest[find(&group, id)];
            *place = (*place).max(size);
        }
    }
    let usual = |size: &Option<i64>| size.is_none_or(|size| size.abs() <= USUAL);
    if largest.iter().all(usual) {
        return None;
    }
    let unit = |id: usize| largest[find(&group, id)].unwrap_or(0);
    (0..nodes.len()).map(|id| i32::try_from(unit(id)).ok()).collect()
}

/// The exponent of a number other than 0: |value| < 2^e ≤ 2·|value|.
fn exponent(value: f64) -> i64 {
    tightrope_exact::Dyadic::from(value).magnitude().unwrap_or(0)
}

/// The exponent of the largest value of each node at a point; none for nodes that are all 0. None at all if even single
/// layers leave f64.
fn sizes(program: &Handle<'_, f64>, point: Vec<f64>) -> Option<Vec<Option<i64>>> {
    // Values are kept as v·2^e with the largest |v| near 1.
    let mut values: Vec<(Vec<f64>, i64)> = vec![normalised(point, 0)?];
    for (id, node) in program.network.nodes().iter().enumerate().skip(1) {
        let (input, unit) = &values[node.inputs[0]];
        let next = match &node.layer {
            // Homogeneous functions only.
            Layer::Activation(_) | Layer::MaxPool2d(_) => (Nonlinearity::of(program.network, id)?.values(input), *unit),
            Layer::Add => {
                let top = node.inputs.iter().map(|&input| values[input].1).max().unwrap_or(0);
                let mut sum = vec![0.0; node.len()];
                for &input in &node.inputs {
                    let (v, unit) = &values[input];
                    sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += v * power(unit - top));
                }
                (sum, top)
            }
            // With products a network keeps its units.
            Layer::Input | Layer::BatchNorm(_) | Layer::Product => not_covered(node),
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::Flatten => {
                let [product, bias] = program.at.summands(id, input)?;
                let (product, unit) = normalised(product, *unit)?;
                let (bias, bias_unit) = normalised(bias, 0)?;
                let zero = |v: &[f64]| v.iter().all(|v| *v == 0.0);
                let top = match (zero(&product), zero(&bias)) {
                    (true, _) => bias_unit,
                    (_, true) => unit,
                    _ => unit.max(bias_unit),
                };
                let sum = |(p, b): (&f64, &f64)| p * power(unit - top) + b * power(bias_unit - top);
                (product.iter().zip(&bias).map(sum).collect(), top)
            }
        };
        values.push(normalised(next.0, next.1)?);
    }
    let size = |(v, unit): &(Vec<f64>, i64)| v.iter().any(|v| *v != 0.0).then_some(*unit);
    Some(values.iter().map(size).collect())
}

/// 2^power, 0 where that is below f64.
fn power(power: i64) -> f64 {
    2.0_f64.powi(power.clamp(-2000, 1000) as i32)
}

/// v·2^unit with the largest |v| in [1/2, 1); none if a value is not finite.
fn normalised(mut v: Vec<f64>, unit: i64) -> Option<(Vec<f64>, i64)> {
    if v.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let top = v.iter().filter(|v| **v != 0.0).map(|v| exponent(*v)).max().unwrap_or(0);
    // In two steps, as 2^1074 is beyond f64.
    let (half, rest) = (-top / 2, -top - -top / 2);
    v.iter_mut().for_each(|v| *v = *v * power(half) * power(rest));
    Some((v, unit + top))
}
