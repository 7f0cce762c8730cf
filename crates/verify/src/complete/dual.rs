//! The batched dual bound: linear lower bounds of many rows at once, substituted back to the input box, and the relaxed
//! primal point from which the derivatives of the bounds with respect to slopes and multipliers follow.
//!
//! For a row c over node `start` the bound is g(α, β) = min over the box of A₀·x + const, where going back through a ReLU
//! a coefficient a ≥ 0 takes the lower line α·z, a < 0 the upper line s·z + t, and a split neuron adds −β·z (active,
//! z ≥ 0) or +β·z (inactive, z ≤ 0). As the bound is A₀·x* + const with everything else linear in between, the derivative
//! with respect to a coefficient is the value z̃ that the relaxation gives that neuron when it is run forwards from the
//! minimiser x* along the lines chosen: ∂g/∂α = max(a, 0)·z̃ and ∂g/∂β = ∓z̃ (Wang et al. 2021).

use tightrope_engine::{Real, Weights};
use tightrope_network::{Activation, Layer, NodeId};

use super::lines::Lines;
use super::program::{Program, accumulate, not_covered};
use super::rounding::Rounding;

/// A signed multiplier of a split neuron of one row: −β if it is active, +β if inactive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Multiplier<T> {
    /// Position of the pre-activation node.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// What is added to its coefficient.
    pub value: T,
}

/// Which set of lines or boxes a row uses.
#[derive(Clone, Copy)]
pub(crate) enum SetOf<'a> {
    /// All rows the only one.
    Only,
    /// Each row its own.
    Own,
    /// As listed.
    Listed(&'a [u32]),
}

impl SetOf<'_> {
    fn of(self, row: usize) -> usize {
        match self {
            SetOf::Only => 0,
            SetOf::Own => row,
            SetOf::Listed(sets) => sets[row] as usize,
        }
    }
}

/// What rows are bounded over: boxes, lines, and possibly slopes and multipliers of each row's own.
#[derive(Clone, Copy)]
pub(crate) struct Domain<'a, T> {
    /// Lower ends of the boxes `[sets, d]`.
    pub lower: &'a [T],
    /// Upper ends.
    pub upper: &'a [T],
    /// Which box a row uses.
    pub box_of: SetOf<'a>,
    /// Lines by position, at least those before the rows' start.
    pub lines: &'a [Lines<T>],
    /// Which lines a row uses.
    pub lines_of: SetOf<'a>,
    /// Lower slopes of each row `[rows, n]` by position, in place of the lines' own.
    pub slopes: Option<&'a [Vec<T>]>,
    /// Multipliers of each row.
    pub multipliers: Option<&'a [Vec<Multiplier<T>>]>,
}

/// What a backward pass leaves behind for the forward pass.
#[derive(Default)]
pub(crate) struct Trace<T> {
    /// Coefficients on the ReLU outputs by node, `[rows, n]`; empty for other nodes.
    pub post: Vec<Vec<T>>,
    /// Coefficients on the input `[rows, d]`.
    pub input: Vec<T>,
}

impl<T: Real> Domain<'_, T> {
    /// Lower bounds of `rows` (`[count, n]` on the output of node `start`).
    ///
    /// With `trace` the coefficients are kept. With `rounding` (f64 only) the second result bounds the rounding error of
    /// each value; see [`Rounding`].
    pub(crate) fn bound(
        &self,
        program: &Program<'_, T>,
        start: NodeId,
        rows: Vec<T>,
        count: usize,
        mut trace: Option<&mut Trace<T>>,
        rounding: Option<&Rounding<T>>,
    ) -> (Vec<T>, Vec<T>) {
        let nodes = program.network.nodes();
        let mut coefficients: Vec<Vec<T>> = vec![Vec::new(); start + 1];
        let mut values = vec![T::ZERO; count];
        let mut errors = vec![T::ZERO; count];
        coefficients[start] = rows;
        if let Some(trace) = trace.as_deref_mut() {
            trace.post = vec![Vec::new(); start + 1];
        }
        for id in (0..=start).rev() {
            let mut row = std::mem::take(&mut coefficients[id]);
            if row.is_empty() {
                continue;
            }
            if let Some(position) = program.position[id] {
                self.add_multipliers(position, nodes[id].len(), &mut row);
            }
            if let Some(rounding) = rounding {
                rounding.charge(id, &row, &values, &mut errors);
            }
            let node = &nodes[id];
            match &node.layer {
                Layer::Input => {
                    self.minimum(&row, &mut values);
                    if let Some(trace) = trace.as_deref_mut() {
                        trace.input = row;
                    }
                }
                Layer::Activation(Activation::Relu) => {
                    if let Some(trace) = trace.as_deref_mut() {
                        trace.post[id].clone_from(&row);
                    }
                    let input = node.inputs[0];
                    self.relax(program.position[input].unwrap_or_default(), node.len(), &mut row, &mut values);
                    accumulate(&mut coefficients[input], row);
                }
                Layer::Flatten => accumulate(&mut coefficients[node.inputs[0]], row),
                Layer::Add => {
                    let (&last, others) = node.inputs.split_last().unwrap_or((&0, &[]));
                    others.iter().for_each(|&input| accumulate(&mut coefficients[input], row.clone()));
                    accumulate(&mut coefficients[last], row);
                }
                Layer::Activation(_) | Layer::MaxPool2d(_) => not_covered(node),
                Layer::Conv2d(_) | Layer::Linear(_) | Layer::Affine(_) | Layer::AvgPool2d(_) => {
                    let map = program.map(id);
                    map.bias_dot(&row, &mut values);
                    let target = &mut coefficients[node.inputs[0]];
                    target.resize(count * map.inputs, T::ZERO);
                    map.transpose(Weights::Signed, &row, count, target);
                }
            }
        }
        if let Some(rounding) = rounding {
            errors.iter_mut().zip(&values).for_each(|(e, &v)| *e = rounding.finish(*e, v));
        }
        (values, errors)
    }

    fn add_multipliers(&self, position: usize, n: usize, rows: &mut [T]) {
        let Some(multipliers) = self.multipliers else { return };
        for (row, list) in rows.chunks_exact_mut(n).zip(multipliers) {
            list.iter().filter(|m| m.position == position).for_each(|m| row[m.index] += m.value);
        }
    }

    /// The lower slopes of a row at a position.
    fn lower_slopes(&self, position: usize, n: usize, row: usize) -> &[T] {
        match self.slopes {
            Some(slopes) => &slopes[position][row * n..(row + 1) * n],
            None => &self.lines[position].lower_slope[self.lines_of.of(row) * n..][..n],
        }
    }

    /// Replaces coefficients on a ReLU's output by those on its input.
    fn relax(&self, position: usize, n: usize, rows: &mut [T], values: &mut [T]) {
        let lines = &self.lines[position];
        for (index, (row, value)) in rows.chunks_exact_mut(n).zip(values).enumerate() {
            let set = self.lines_of.of(index) * n;
            let (upper, intercept) = (&lines.upper_slope[set..set + n], &lines.intercept[set..set + n]);
            *value += negative_dot(row, intercept);
            let lower = self.lower_slopes(position, n, index);
            for ((a, &low), &up) in row.iter_mut().zip(lower).zip(upper) {
                *a = *a * if *a >= T::ZERO { low } else { up };
            }
        }
    }

    /// values += min over each row's box of row·x.
    fn minimum(&self, rows: &[T], values: &mut [T]) {
        let d = rows.len() / values.len();
        for (index, (row, value)) in rows.chunks_exact(d).zip(values).enumerate() {
            let set = self.box_of.of(index) * d;
            let (lower, upper) = (&self.lower[set..set + d], &self.upper[set..set + d]);
            *value += box_minimum(row, lower, upper);
        }
    }

    /// The minimisers `[count, d]` for coefficients on the input; the middle of the box where a coefficient is 0.
    pub(crate) fn minimisers(&self, rows: &[T], count: usize) -> Vec<T> {
        let d = rows.len() / count;
        let half = T::from_f64(0.5);
        let mut points = Vec::with_capacity(rows.len());
        for (index, row) in rows.chunks_exact(d).enumerate() {
            let set = self.box_of.of(index) * d;
            points.extend(row.iter().enumerate().map(|(i, &a)| {
                let (l, u) = (self.lower[set + i], self.upper[set + i]);
                if a > T::ZERO {
                    l
                } else if a < T::ZERO {
                    u
                } else {
                    (l + u) * half
                }
            }));
        }
        points
    }

    /// The relaxed values of all nodes up to `last`, run forwards from the minimisers along the lines chosen in `trace`.
    pub(crate) fn primal(
        &self,
        program: &Program<'_, T>,
        last: NodeId,
        trace: &Trace<T>,
        points: Vec<T>,
    ) -> Vec<Vec<T>> {
        let count = points.len() / program.network.input_len();
        program.forward(points, count, last, |id, z| {
            let n = z.len() / count;
            let position = program.position[program.network.node(id).inputs[0]].unwrap_or_default();
            let post = trace.post.get(id).map(Vec::as_slice).unwrap_or_default();
            let mut values = vec![T::ZERO; z.len()];
            if post.is_empty() {
                // Nothing the rows read depends on it.
                return values;
            }
            let lines = &self.lines[position];
            for index in 0..count {
                let set = self.lines_of.of(index) * n;
                let lower = self.lower_slopes(position, n, index);
                let (upper, intercept) = (&lines.upper_slope[set..set + n], &lines.intercept[set..set + n]);
                let range = index * n..(index + 1) * n;
                let (post, z, values) = (&post[range.clone()], &z[range.clone()], &mut values[range]);
                for i in 0..n {
                    values[i] = if post[i] >= T::ZERO { lower[i] * z[i] } else { upper[i] * z[i] + intercept[i] };
                }
            }
            values
        })
    }
}

/// Lanes of the sums below, so that the compiler vectorises them.
const LANES: usize = 16;

/// Σ f(i) over `n` elements in lanes.
#[inline(always)]
fn lane_sum<T: Real>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let whole = n / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(first + lane);
        }
    }
    let mut total = T::ZERO;
    lanes.iter().for_each(|&lane| total += lane);
    (whole..n).for_each(|i| total += f(i));
    total
}

/// Σ min(a, 0)·t.
fn negative_dot<T: Real>(a: &[T], t: &[T]) -> T {
    let t = &t[..a.len()];
    lane_sum(a.len(), |i| if a[i] < T::ZERO { a[i] * t[i] } else { T::ZERO })
}

/// Σ a·l where a ≥ 0 and a·u elsewhere.
fn box_minimum<T: Real>(a: &[T], lower: &[T], upper: &[T]) -> T {
    let (lower, upper) = (&lower[..a.len()], &upper[..a.len()]);
    lane_sum(a.len(), |i| a[i] * if a[i] >= T::ZERO { lower[i] } else { upper[i] })
}

/// Σ |a|·v.
pub(crate) fn absolute_dot<T: Real>(a: &[T], v: &[T]) -> T {
    let v = &v[..a.len()];
    lane_sum(a.len(), |i| a[i].abs() * v[i])
}
