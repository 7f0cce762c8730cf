//! The adjoint of a group's bounds, through every bound that lines were made from.

use tightrope_network::NodeId;

use super::{Group, Origin, unit_rows};
use crate::reference::affine::MapGradients;
use crate::reference::backward::{Set, Sinks, Walk};
use crate::reference::interval::{Intervals, Pair, on_ends};
use crate::reference::kernel_norm;
use crate::reference::plan::Plan;
use crate::{Cotangents, Final, Intermediate, Real, Wants};

/// Gradient sums of a group.
pub(in crate::reference) struct GroupGradient<T> {
    /// Cotangent of the box centres `[batch, d]`.
    pub(in crate::reference) center: Vec<T>,
    /// Cotangent of the box radii `[batch, d]`.
    pub(in crate::reference) radius: Vec<T>,
}

impl<T: Real> Group<T> {
    /// Pulls the group's own slice of the cotangents back; adds weight gradients to `weights`.
    pub(in crate::reference) fn backward(
        &self,
        plan: &Plan<T>,
        cotangents: &Cotangents<T>,
        mut weights: Option<&mut MapGradients<T>>,
        wants: Wants,
    ) -> GroupGradient<T> {
        let batch = self.region.batch();
        let dimension = self.region.dimension();
        let mut region =
            GroupGradient { center: vec![T::ZERO; batch * dimension], radius: vec![T::ZERO; batch * dimension] };
        // Cotangents of the bounds that lines are made from, by node, and of the interval pass.
        let mut bounds: Vec<Option<Pair<T>>> =
            self.bounded.iter().map(|pair| pair.as_ref().map(|pair| Pair::zeros(pair.lower.len()))).collect();
        for layer in &cotangents.layers {
            if let Some(target) = &mut bounds[layer.node] {
                target.lower.iter_mut().zip(&layer.lower).for_each(|(t, &g)| *t += g);
                target.upper.iter_mut().zip(&layer.upper).for_each(|(t, &g)| *t += g);
            }
        }
        let mut intervals = self.intervals.zero_cotangents();
        self.spec_backward(plan, cotangents, &mut weights, &mut region, &mut bounds, &mut intervals);
        for id in self.to_bound(plan).rev() {
            let Some(g) = bounds[id].take() else { continue };
            let on_walk = match self.origin(plan, id) {
                Origin::Image => {
                    let (f, known) = (plan.activation(id), self.input_bounds(plan, id));
                    if let Some(target) = &mut bounds[plan.network.node(id).inputs[0]] {
                        f.pull_back(&known.lower, &g.lower, &mut target.lower);
                        f.pull_back(&known.upper, &g.upper, &mut target.upper);
                    }
                    continue;
                }
                Origin::Relaxation(Intermediate::Interval) => {
                    intervals.add_on_ends(id, 0, &g.lower, &g.upper);
                    continue;
                }
                Origin::Relaxation(Intermediate::Backward) => g,
                Origin::Relaxation(Intermediate::BackwardIfUnstable) => self.on_unstable(plan, id, g),
                Origin::Relaxation(Intermediate::Intersection) => {
                    let (on_walk, on_interval) = self.split(id, g);
                    intervals.add_on_ends(id, 0, &on_interval.lower, &on_interval.upper);
                    on_walk
                }
            };
            self.walk_backward(plan, id, &on_walk, &mut weights, &mut region, &mut bounds);
        }
        self.intervals.backward(plan, batch, &self.known, &mut intervals, weights.as_deref_mut(), wants.input);
        for id in self.to_bound(plan).filter(|&id| self.known[id].is_some()) {
            let (center, radius) = (&intervals.center[id], &intervals.radius[id]);
            if let Some(ball) = kernel_norm::ball_for(plan, &self.region, id) {
                let mut epsilon = vec![T::ZERO; batch];
                let sinks = (region.center.as_mut_slice(), epsilon.as_mut_slice());
                kernel_norm::backward(plan, ball, id, (center, radius), weights.as_deref_mut(), sinks);
                region.radius.iter_mut().step_by(dimension).zip(epsilon).for_each(|(r, g)| *r += g);
                continue;
            }
            let on_bounds = on_ends(center, radius);
            self.walk_backward(plan, id, &on_bounds, &mut weights, &mut region, &mut bounds);
        }
        // Where the input itself is bounded over a ball, its cotangents went through the walk above.
        if wants.input && !intervals.center[0].is_empty() && self.known[0].is_none() {
            region.center.iter_mut().zip(&intervals.center[0]).for_each(|(t, &g)| *t += g);
            region.radius.iter_mut().zip(&intervals.radius[0]).for_each(|(t, &g)| *t += g);
        }
        if self.region.ball.is_some() && !self.region.clipped {
            for radius in region.radius.chunks_exact_mut(dimension) {
                let total = radius.iter().copied().sum();
                radius.fill(T::ZERO);
                radius[0] = total;
            }
        }
        region
    }

    fn spec_backward(
        &self,
        plan: &Plan<T>,
        cotangents: &Cotangents<T>,
        weights: &mut Option<&mut MapGradients<T>>,
        region: &mut GroupGradient<T>,
        bounds: &mut [Option<Pair<T>>],
        intervals: &mut Intervals<T>,
    ) {
        let last = self.last(plan);
        let rows = self.rows(plan);
        let upper_wanted = !cotangents.upper.is_empty();
        for sample in 0..self.region.batch() {
            let g_of = |&(row, is_upper): &(usize, bool)| {
                if is_upper { -cotangents.upper[sample * rows + row] } else { cotangents.lower[sample * rows + row] }
            };
            let matrix = self.spec_matrix(plan, sample);
            let mut live = self.spec_rows(plan, &matrix, upper_wanted);
            live.retain(|row| g_of(row) != T::ZERO);
            if live.is_empty() {
                continue;
            }
            let lines = self.lines(plan, sample);
            let known = self.sample_bounds(sample);
            let (stop, set) = self.spec_stop(plan, sample);
            let n = plan.network.node(stop).len();
            let range = sample * n..(sample + 1) * n;
            let backward = self.request.relaxation.last() == Final::Backward;
            let set_sink = if stop == 0 && (backward || intervals.center[0].is_empty()) {
                (&mut region.center[range.clone()], &mut region.radius[range])
            } else if stop == 0 {
                (&mut intervals.center[0][range.clone()], &mut intervals.radius[0][range])
            } else {
                (&mut intervals.center[stop][range.clone()], &mut intervals.radius[stop][range])
            };
            let walk = Walk { plan, lines: &lines, stop, set };
            let mut sinks = Sinks { weights: weights.as_deref_mut(), set: Some(set_sink) };
            let mut sample_bounds = zeros_like(&known);
            for chunk in live.chunks(walk.chunk_rows(last)) {
                let g: Vec<T> = chunk.iter().map(g_of).collect();
                let coefficients = self.spec_coefficients(plan, &matrix, chunk);
                walk.adjoint(last, coefficients, &g, &mut sinks, &known, &mut sample_bounds);
            }
            add_sample(bounds, &sample_bounds, sample);
        }
    }

    /// The adjoint of [`Self::walk_neurons`]: `g` are cotangents on the bounds of node `id`, `[batch, n]`.
    fn walk_backward(
        &self,
        plan: &Plan<T>,
        id: NodeId,
        g: &Pair<T>,
        weights: &mut Option<&mut MapGradients<T>>,
        region: &mut GroupGradient<T>,
        bounds: &mut [Option<Pair<T>>],
    ) {
        let n = plan.network.node(id).len();
        let dimension = self.region.dimension();
        for sample in 0..self.region.batch() {
            let g_of = |&(neuron, is_upper): &(usize, bool)| {
                if is_upper { -g.upper[sample * n + neuron] } else { g.lower[sample * n + neuron] }
            };
            let mut live: Vec<(usize, bool)> = (0..n).flat_map(|i| [(i, false), (i, true)]).collect();
            live.retain(|row| g_of(row) != T::ZERO);
            if live.is_empty() {
                continue;
            }
            let lines = self.lines(plan, sample);
            let known = self.sample_bounds(sample);
            let range = sample * dimension..(sample + 1) * dimension;
            let walk = Walk { plan, lines: &lines, stop: 0, set: Set::of_region(&self.region, sample) };
            let set = Some((&mut region.center[range.clone()], &mut region.radius[range]));
            let mut sinks = Sinks { weights: weights.as_deref_mut(), set };
            let mut sample_bounds = zeros_like(&known);
            for chunk in live.chunks(walk.chunk_rows(id)) {
                let g: Vec<T> = chunk.iter().map(g_of).collect();
                walk.adjoint(id, unit_rows(chunk, n), &g, &mut sinks, &known, &mut sample_bounds);
            }
            add_sample(bounds, &sample_bounds, sample);
        }
    }

    /// The cotangents on bounds of neurons that interval arithmetic leaves unstable; by definition of the method the
    /// interval bounds of the others carry no gradient.
    fn on_unstable(&self, plan: &Plan<T>, id: NodeId, mut g: Pair<T>) -> Pair<T> {
        let interval = self.intervals.ends(id);
        for i in 0..g.lower.len() {
            if plan.is_settled(id, interval.lower[i], interval.upper[i]) {
                (g.lower[i], g.upper[i]) = (T::ZERO, T::ZERO);
            }
        }
        g
    }

    /// Divides cotangents between the walk and the interval pass by which of the two gave each bound.
    fn split(&self, id: NodeId, g: Pair<T>) -> (Pair<T>, Pair<T>) {
        let interval = self.intervals.ends(id);
        let mut on_walk = g;
        let mut on_interval = Pair::zeros(on_walk.lower.len());
        let Some(used) = &self.bounded[id] else { unreachable!("node {id} is not bounded") };
        for i in 0..on_walk.lower.len() {
            if used.lower[i] == interval.lower[i] {
                on_interval.lower[i] = std::mem::take(&mut on_walk.lower[i]);
            }
            if used.upper[i] == interval.upper[i] {
                on_interval.upper[i] = std::mem::take(&mut on_walk.upper[i]);
            }
        }
        (on_walk, on_interval)
    }
}

fn zeros_like<T: Real>(pairs: &[Option<Pair<T>>]) -> Vec<Option<Pair<T>>> {
    pairs.iter().map(|pair| pair.as_ref().map(|pair| Pair::zeros(pair.lower.len()))).collect()
}

/// Adds one sample's cotangents to those of the batch.
fn add_sample<T: Real>(bounds: &mut [Option<Pair<T>>], sample_bounds: &[Option<Pair<T>>], sample: usize) {
    for (target, source) in bounds.iter_mut().zip(sample_bounds) {
        if let (Some(target), Some(source)) = (target, source) {
            let offset = sample * source.lower.len();
            target.lower[offset..].iter_mut().zip(&source.lower).for_each(|(t, &g)| *t += g);
            target.upper[offset..].iter_mut().zip(&source.upper).for_each(|(t, &g)| *t += g);
        }
    }
}
