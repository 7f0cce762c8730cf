//! Max pooling in every domain: values, interval image and lines, with adjoints.
//!
//! For bounds [l_i, u_i] of a window's inputs: the lower line is y ≥ x_j for the j with the largest l_j. If l_j ≥ u_i for
//! every other i, then y = x_j exactly; else the upper line is the constant max u_i.

use tightrope_network::MaxPool2d;

use crate::Real;
use crate::reference::{Pair, windows};

/// The windows of one max-pooling node.
#[derive(Debug)]
pub struct MaxPool {
    input_plane: usize,
    /// Input offsets of each output position's window within a plane, without padding; none is empty.
    windows: Vec<Vec<u32>>,
}

/// Lines of one max-pooling node for some sets of bounds, `[sets, outputs]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolLines<T> {
    /// Inputs of the node.
    inputs: usize,
    outputs: usize,
    /// Of each output: the input that the lower line follows.
    follows: Vec<usize>,
    /// Of each output: the constant upper line, or none where the output is the input followed.
    ceiling: Vec<Option<Ceiling<T>>>,
}

/// The largest upper bound of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ceiling<T> {
    value: T,
    /// The input it belongs to.
    input: usize,
    /// Height above the lower line, at its lower end.
    gap: T,
}

impl MaxPool {
    pub(crate) fn new(pool: &MaxPool2d, input: &[usize], output: &[usize]) -> Self {
        let windows = windows(pool.kernel, pool.stride, pool.padding, [input[1], input[2]], [output[1], output[2]]);
        MaxPool { input_plane: input[1] * input[2], windows }
    }

    /// For each output of a batch the position in `x` of its window and the window.
    fn places(&self, elements: usize) -> impl Iterator<Item = (usize, &[u32])> {
        let planes = (0..elements).step_by(self.input_plane);
        planes.flat_map(|start| self.windows.iter().map(move |window| (start, window.as_slice())))
    }

    /// The position in `x` (`[batch, n]`) of each output's largest input, the first of equal ones; NaN is the largest.
    fn peaks<T: Real>(&self, x: &[T]) -> Vec<usize> {
        let peak = |(start, window): (usize, &[u32])| {
            let mut places = window.iter().map(|&offset| start + offset as usize);
            let first = places.next().unwrap_or(start);
            let is_nan = |v: T| v.partial_cmp(&v).is_none();
            places.fold(first, |best, i| if x[i] > x[best] || (is_nan(x[i]) && !is_nan(x[best])) { i } else { best })
        };
        self.places(x.len()).map(peak).collect()
    }

    /// The largest value of each window; `x` is `[batch, n]`.
    pub(crate) fn values<T: Real>(&self, x: &[T]) -> Vec<T> {
        self.peaks(x).into_iter().map(|i| x[i]).collect()
    }

    /// The adjoint of [`MaxPool::values`] at `x`: adds to `target`.
    pub(crate) fn pull_back<T: Real>(&self, x: &[T], g: &[T], target: &mut [T]) {
        self.peaks(x).into_iter().zip(g).for_each(|(i, &g)| target[i] += g);
    }

    /// The lines for bounds `[n]` of one sample's inputs.
    pub(crate) fn lines<T: Real>(&self, lower: &[T], upper: &[T]) -> PoolLines<T> {
        let mut lines = PoolLines::default();
        self.extend(&mut lines, lower, upper);
        lines
    }

    /// Appends the lines for one more set of bounds `[n]`.
    pub(crate) fn extend<T: Real>(&self, lines: &mut PoolLines<T>, lower: &[T], upper: &[T]) {
        let follows = self.peaks(lower);
        let ceilings = self.peaks(upper).into_iter().zip(self.places(lower.len())).zip(&follows);
        lines.ceiling.extend(ceilings.map(|((input, (start, window)), &followed)| {
            let mut others = window.iter().map(|&offset| start + offset as usize).filter(|&i| i != followed);
            let is_settled = others.all(|i| lower[followed] >= upper[i]);
            (!is_settled).then(|| Ceiling { value: upper[input], input, gap: upper[input] - lower[followed] })
        }));
        (lines.inputs, lines.outputs) = (lower.len(), follows.len());
        lines.follows.extend(follows);
    }
}

impl<T: Real> PoolLines<T> {
    /// Coefficients on the outputs to coefficients on the inputs, for lower bounds: a positive coefficient takes the lower
    /// line, a negative one the upper line. `set_of` says which set a row uses.
    pub(crate) fn substitute(&self, rows: &[T], constants: &mut [T], set_of: impl Fn(usize) -> usize) -> Vec<T> {
        let mut result = vec![T::ZERO; constants.len() * self.inputs];
        let targets = result.chunks_exact_mut(self.inputs);
        for (index, ((row, target), constant)) in
            rows.chunks_exact(self.outputs).zip(targets).zip(constants).enumerate()
        {
            let first = set_of(index) * self.outputs;
            let lines = self.follows[first..].iter().zip(&self.ceiling[first..]);
            for (&a, (&followed, ceiling)) in row.iter().zip(lines) {
                match ceiling {
                    Some(ceiling) if a < T::ZERO => *constant += a * ceiling.value,
                    Some(_) | None => target[followed] += a,
                }
            }
        }
        result
    }

    /// The values that the lines chosen by the coefficients `row` of set `set` give for the inputs `z`.
    pub(crate) fn relaxed(&self, set: usize, row: &[T], z: &[T], values: &mut [T]) {
        let first = set * self.outputs;
        let lines = self.follows[first..].iter().zip(&self.ceiling[first..]);
        for ((value, &a), (&followed, ceiling)) in values.iter_mut().zip(row).zip(lines) {
            *value = match ceiling {
                Some(ceiling) if a < T::ZERO => ceiling.value,
                Some(_) | None => z[followed],
            };
        }
    }

    /// Of output `o` of a set the input with the largest upper bound and its height above the lower line; none where the
    /// output is one of the inputs.
    pub fn open(&self, set: usize, o: usize) -> Option<(usize, T)> {
        self.ceiling[set * self.outputs + o].map(|ceiling| (ceiling.input, ceiling.gap))
    }

    /// The adjoint of [`PoolLines::substitute`] for `rows`: from `g_inputs` on its result and `g_constants` to the
    /// cotangents of `rows`; adds those of the upper bounds of the inputs to `bounds`.
    pub(crate) fn adjoint(&self, rows: &[T], g_inputs: &[T], g_constants: &[T], bounds: &mut Pair<T>) -> Vec<T> {
        let mut result = Vec::with_capacity(rows.len());
        let g_rows = g_inputs.chunks_exact(self.inputs);
        for ((row, g_row), &g_constant) in rows.chunks_exact(self.outputs).zip(g_rows).zip(g_constants) {
            for ((&a, &followed), ceiling) in row.iter().zip(&self.follows).zip(&self.ceiling) {
                match ceiling {
                    Some(ceiling) if a < T::ZERO => {
                        bounds.upper[ceiling.input] += a * g_constant;
                        result.push(ceiling.value * g_constant);
                    }
                    Some(_) | None => result.push(g_row[followed]),
                }
            }
        }
        result
    }
}

impl PoolLines<f64> {
    /// The same in f32, for optimisation.
    pub(crate) fn narrowed(&self) -> PoolLines<f32> {
        let narrow = |c: Ceiling<f64>| Ceiling { value: c.value as f32, input: c.input, gap: c.gap as f32 };
        PoolLines {
            inputs: self.inputs,
            outputs: self.outputs,
            follows: self.follows.clone(),
            ceiling: self.ceiling.iter().map(|ceiling| ceiling.map(narrow)).collect(),
        }
    }
}
