//! The interval domain (IBP, Gowal et al. 2018): centre and radius of every node, and their adjoint.
//!
//! Affine: c' = W c + b, r' = |W| r. Activations, max pooling and products: the image of the interval, which for functions that do not
//! fall is that of both ends, and whose upper end may be shrunk where a ReLU is unstable.

use tightrope_network::{Activation, Layer, NodeId};

use super::affine::{MapGradients, Weights};
use super::plan::Plan;
use crate::{Real, Region};

/// Centres and radii per node, `[batch, n]`; empty where not computed.
#[derive(Default)]
pub(super) struct Intervals<T> {
    pub(super) center: Vec<Vec<T>>,
    pub(super) radius: Vec<Vec<T>>,
    /// Factor of the upper ends of unstable ReLUs.
    shrinkage: T,
}

/// Lower and upper values of the same length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair<T> {
    pub(crate) lower: Vec<T>,
    pub(crate) upper: Vec<T>,
}

impl<T: Real> Pair<T> {
    pub(super) fn zeros(length: usize) -> Self {
        Pair { lower: vec![T::ZERO; length], upper: vec![T::ZERO; length] }
    }
}

impl<T: Real> Intervals<T> {
    /// Interval bounds of the nodes marked in `needed` (closed under inputs); at nodes with an
    /// entry in `known` those bounds are taken instead.
    pub(super) fn forward(
        plan: &Plan<T>,
        region: &Region<T>,
        needed: &[bool],
        known: &[Option<Pair<T>>],
        shrinkage: T,
    ) -> Self {
        let batch = region.batch();
        let count = plan.maps.len();
        let mut result = Intervals { center: vec![Vec::new(); count], radius: vec![Vec::new(); count], shrinkage };
        for (id, node) in plan.network.nodes().iter().enumerate().filter(|(id, _)| needed[*id]) {
            let (center, radius) = if let Some(pair) = &known[id] {
                from_ends(&pair.lower, &pair.upper)
            } else {
                match &node.layer {
                    Layer::Input => (region.center.clone(), region.radius.clone()),
                    Layer::Activation(kind) => {
                        let (pair, f) = (result.ends(node.inputs[0]), plan.activation(id));
                        let (lower, mut upper) = f.images(&pair.lower, &pair.upper);
                        result.shrink(*kind, &pair, &mut upper);
                        from_ends(&lower, &upper)
                    }
                    Layer::MaxPool2d(_) => {
                        let (pair, pool) = (result.ends(node.inputs[0]), plan.max_pool(id));
                        from_ends(&pool.values(&pair.lower), &pool.values(&pair.upper))
                    }
                    Layer::Product => {
                        let pair = result.ends(node.inputs[0]);
                        let (lower, upper) = plan.product(id).images(&pair.lower, &pair.upper);
                        from_ends(&lower, &upper)
                    }
                    Layer::Add => (sum(&result.center, &node.inputs), sum(&result.radius, &node.inputs)),
                    Layer::Conv2d(_)
                    | Layer::Linear(_)
                    | Layer::Affine(_)
                    | Layer::BatchNorm(_)
                    | Layer::AvgPool2d(_)
                    | Layer::Gather(_)
                    | Layer::Flatten => {
                        let (input, map) = (node.inputs[0], plan.map(id));
                        let mut center = map.apply(Weights::Signed, &result.center[input], batch);
                        map.add_bias(&mut center);
                        (center, map.apply(Weights::Absolute, &result.radius[input], batch))
                    }
                }
            };
            result.center[id] = center;
            result.radius[id] = radius;
        }
        result
    }

    /// Shrinks the upper ends, or cotangents on them, of the ReLUs that are unstable over `input`.
    fn shrink(&self, kind: Activation, input: &Pair<T>, upper: &mut [T]) {
        if kind != Activation::Relu || self.shrinkage == T::ONE {
            return;
        }
        for ((value, &l), &u) in upper.iter_mut().zip(&input.lower).zip(&input.upper) {
            if l < T::ZERO && u > T::ZERO {
                *value *= self.shrinkage;
            }
        }
    }

    /// [c − r, c + r] of a node.
    pub(super) fn ends(&self, id: NodeId) -> Pair<T> {
        let (center, radius) = (&self.center[id], &self.radius[id]);
        Pair {
            lower: center.iter().zip(radius).map(|(&c, &r)| c - r).collect(),
            upper: center.iter().zip(radius).map(|(&c, &r)| c + r).collect(),
        }
    }

    /// Zero cotangents for every computed node.
    pub(super) fn zero_cotangents(&self) -> Self {
        let zeros = |values: &[Vec<T>]| values.iter().map(|v| vec![T::ZERO; v.len()]).collect();
        Intervals { center: zeros(&self.center), radius: zeros(&self.radius), shrinkage: self.shrinkage }
    }

    /// Adds cotangents on the ends of a node, `offset` elements into the batch.
    pub(super) fn add_on_ends(&mut self, id: NodeId, offset: usize, lower: &[T], upper: &[T]) {
        for (i, (&l, &u)) in lower.iter().zip(upper).enumerate() {
            self.center[id][offset + i] += l + u;
            self.radius[id][offset + i] += u - l;
        }
    }

    /// Pulls `cotangents` back through the interval pass.
    ///
    /// Cotangents that reach the input stay in node 0; those that reach a node of `known` stay there.
    pub(super) fn backward(
        &self,
        plan: &Plan<T>,
        batch: usize,
        known: &[Option<Pair<T>>],
        cotangents: &mut Intervals<T>,
        mut weights: Option<&mut MapGradients<T>>,
        input_wanted: bool,
    ) {
        for (id, node) in plan.network.nodes().iter().enumerate().skip(1).rev() {
            if self.center[id].is_empty() || known[id].is_some() {
                continue;
            }
            let g_center = std::mem::take(&mut cotangents.center[id]);
            let g_radius = std::mem::take(&mut cotangents.radius[id]);
            if g_center.iter().chain(&g_radius).all(|&g| g == T::ZERO) {
                continue;
            }
            match &node.layer {
                Layer::Activation(kind) => {
                    let (input, f) = (node.inputs[0], plan.activation(id));
                    let (ends, mut on_image) = (self.ends(input), on_ends(&g_center, &g_radius));
                    self.shrink(*kind, &ends, &mut on_image.upper);
                    let mut g = Pair::zeros(ends.lower.len());
                    let on_image = [&on_image.lower[..], &on_image.upper];
                    f.pull_back_images([&ends.lower, &ends.upper], on_image, [&mut g.lower, &mut g.upper]);
                    cotangents.add_on_ends(input, 0, &g.lower, &g.upper);
                }
                Layer::MaxPool2d(_) => {
                    let (input, pool) = (node.inputs[0], plan.max_pool(id));
                    let (ends, on_image) = (self.ends(input), on_ends(&g_center, &g_radius));
                    let mut g = Pair::zeros(ends.lower.len());
                    pool.pull_back(&ends.lower, &on_image.lower, &mut g.lower);
                    pool.pull_back(&ends.upper, &on_image.upper, &mut g.upper);
                    cotangents.add_on_ends(input, 0, &g.lower, &g.upper);
                }
                Layer::Product => {
                    let (input, ends) = (node.inputs[0], self.ends(node.inputs[0]));
                    let mut g = Pair::zeros(ends.lower.len());
                    plan.product(id).pull_back_images(&ends, &on_ends(&g_center, &g_radius), &mut g);
                    cotangents.add_on_ends(input, 0, &g.lower, &g.upper);
                }
                Layer::Add => {
                    for &input in &node.inputs {
                        cotangents.center[input].iter_mut().zip(&g_center).for_each(|(t, &g)| *t += g);
                        cotangents.radius[input].iter_mut().zip(&g_radius).for_each(|(t, &g)| *t += g);
                    }
                }
                Layer::Input => unreachable!("only node 0 is the input"),
                Layer::Conv2d(_)
                | Layer::Linear(_)
                | Layer::Affine(_)
                | Layer::BatchNorm(_)
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::Flatten => {
                    let (input, map) = (node.inputs[0], plan.map(id));
                    if let Some(weights) = weights.as_deref_mut() {
                        weights.add_weight(id, map, Weights::Signed, &self.center[input], &g_center, batch);
                        weights.add_weight(id, map, Weights::Absolute, &self.radius[input], &g_radius, batch);
                        weights.add_bias(id, map, None, &g_center);
                    }
                    if input != 0 || input_wanted {
                        map.transpose(Weights::Signed, &g_center, batch, &mut cotangents.center[input]);
                        map.transpose(Weights::Absolute, &g_radius, batch, &mut cotangents.radius[input]);
                    }
                }
            }
        }
    }
}

fn from_ends<T: Real>(lower: &[T], upper: &[T]) -> (Vec<T>, Vec<T>) {
    let half = T::from_f64(0.5);
    let center = lower.iter().zip(upper).map(|(&l, &u)| (l + u) * half).collect();
    let radius = lower.iter().zip(upper).map(|(&l, &u)| (u - l) * half).collect();
    (center, radius)
}

/// The adjoint of [`from_ends`].
pub(super) fn on_ends<T: Real>(center: &[T], radius: &[T]) -> Pair<T> {
    let half = T::from_f64(0.5);
    Pair {
        lower: center.iter().zip(radius).map(|(&c, &r)| (c - r) * half).collect(),
        upper: center.iter().zip(radius).map(|(&c, &r)| (c + r) * half).collect(),
    }
}

/// The sum of the values of some nodes.
pub(super) fn sum<T: Real>(values: &[Vec<T>], inputs: &[NodeId]) -> Vec<T> {
    let mut total = values[inputs[0]].clone();
    for &input in &inputs[1..] {
        total.iter_mut().zip(&values[input]).for_each(|(t, &v)| *t += v);
    }
    total
}
