//! Outward-rounded interval arithmetic.
//!
//! W·centre ± |W|·radius is off by at most γ·(|W|·M + |b|), with γ and M as in [`crate::Charges`].

use tightrope_network::{Layer, NodeId};

use super::affine::Weights;
use super::plan::Plan;
use crate::substitution::{GENEROUS, gamma};
use crate::{OutwardInterval, Real};

/// Bounds of node `id` from those of all nodes before it, over `sets` boxes.
///
/// An end that leaves the precision is infinite: what overflows says nothing.
pub(super) fn enclose<T: Real>(
    plan: &Plan<T>,
    theta: &[T],
    id: NodeId,
    before: &[OutwardInterval<T>],
    sets: usize,
) -> OutwardInterval<T> {
    let mut enclosure = finite(plan, theta, id, before, sets);
    enclosure.lower.iter_mut().filter(|l| !l.is_finite()).for_each(|l| *l = -T::INFINITY);
    enclosure.upper.iter_mut().filter(|u| !u.is_finite()).for_each(|u| *u = T::INFINITY);
    enclosure.reach.iter_mut().filter(|r| !r.is_finite()).for_each(|r| *r = T::INFINITY);
    enclosure
}

/// [`enclose`] where nothing overflows.
fn finite<T: Real>(
    plan: &Plan<T>,
    theta: &[T],
    id: NodeId,
    before: &[OutwardInterval<T>],
    sets: usize,
) -> OutwardInterval<T> {
    let node = plan.network.node(id);
    let input = &before[node.inputs[0]];
    let gamma: T = gamma(&plan.network);
    match &node.layer {
        Layer::Activation(_) => {
            let f = plan.activation(id);
            // Each end off by its rounding.
            let error = f.value_error();
            let margin = |y: T| if error == T::ZERO { T::ZERO } else { error * y.abs() + T::MIN_POSITIVE };
            let (mut lower, mut upper) = f.images(&input.lower, &input.upper);
            lower.iter_mut().for_each(|y| *y -= margin(*y));
            upper.iter_mut().for_each(|y| *y += margin(*y));
            let reach = input.lower.iter().zip(&input.upper).map(|(&l, &u)| f.reach(l, u)).collect();
            OutwardInterval { lower, upper, reach }
        }
        Layer::MaxPool2d(_) => {
            let pool = plan.max_pool(id);
            OutwardInterval {
                lower: pool.values(&input.lower),
                upper: pool.values(&input.upper),
                reach: pool.values(&input.magnitude()),
            }
        }
        Layer::Product => {
            let product = plan.product(id);
            let (mut lower, mut upper) = product.images(&input.lower, &input.upper);
            let margin = |y: T| T::EPSILON * y.abs() + T::MIN_POSITIVE;
            lower.iter_mut().for_each(|y| *y -= margin(*y));
            upper.iter_mut().for_each(|y| *y += margin(*y));
            // Two products of slopes, and a constant of twice that size.
            let mut reach = product.reaches(&input.lower, &input.upper);
            reach.iter_mut().for_each(|reach| *reach *= T::from_f64(4.0));
            OutwardInterval { lower, upper, reach }
        }
        Layer::Flatten => input.clone(),
        Layer::Add => {
            let mut sum = OutwardInterval { reach: input.magnitude(), ..input.clone() };
            for &other in &node.inputs[1..] {
                let add = |target: &mut [T], values: &[T]| target.iter_mut().zip(values).for_each(|(t, &v)| *t += v);
                add(&mut sum.lower, &before[other].lower);
                add(&mut sum.upper, &before[other].upper);
                add(&mut sum.reach, &before[other].magnitude());
            }
            enlarge(&mut sum, gamma);
            sum
        }
        Layer::Input => unreachable!("the input has no enclosure but the box"),
        Layer::Conv2d(_)
        | Layer::Linear(_)
        | Layer::Affine(_)
        | Layer::BatchNorm(_)
        | Layer::AvgPool2d(_)
        | Layer::Gather(_) => {
            let map = plan.map(id);
            let ends = || input.lower.iter().zip(&input.upper);
            let center: Vec<T> = ends().map(|(&l, &u)| T::from_f64(0.5) * (l + u)).collect();
            // Around the centre as it was rounded; differences among the smallest numbers are exact, halves of them are not.
            let reach = |((&l, &u), &c): ((&T, &T), &T)| (u - c).max(c - l) * (T::ONE + T::EPSILON);
            let radius: Vec<T> = ends().zip(&center).map(reach).collect();
            let mut center = map.apply(Weights::Signed, &center, sets);
            map.add_bias(&mut center);
            let radius = map.apply(Weights::Absolute, &radius, sets);
            let mut reach = map.apply(Weights::Absolute, &input.magnitude(), sets);
            let bias = map.bias_magnitude(plan.network.parameters(), theta);
            for row in reach.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(&bias).for_each(|(r, &b)| *r = (*r + b) * T::from_f64(GENEROUS));
            }
            let lower = center.iter().zip(&radius).map(|(&c, &r)| c - r).collect();
            let upper = center.iter().zip(&radius).map(|(&c, &r)| c + r).collect();
            let mut result = OutwardInterval { lower, upper, reach };
            enlarge(&mut result, T::from_f64(2.0) * gamma);
            result
        }
    }
}

fn enlarge<T: Real>(enclosure: &mut OutwardInterval<T>, gamma: T) {
    for ((l, u), &r) in enclosure.lower.iter_mut().zip(&mut enclosure.upper).zip(&enclosure.reach) {
        let margin = gamma * (r + l.abs().max(u.abs())) + T::MIN_POSITIVE;
        *l -= margin;
        *u += margin;
    }
}
