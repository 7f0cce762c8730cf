//! Max pooling in every domain: values, interval image and lines, with adjoints.
//!
//! For bounds [l_i, u_i] of a window's inputs: the lower line is y ≥ x_j for the j with the largest l_j. If l_j ≥ u_i for
//! every other i, then y = x_j exactly; else the upper line is the constant max u_i. Parallel lines are both constant,
//! max l_i and max u_i.

use tightrope_network::MaxPool2d;

use crate::reference::{Pair, windows};
use crate::{LowerSlope, Real};

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
    /// Of each output: its constant lines, or none where the output is the input followed.
    room: Vec<Option<Room<T>>>,
}

/// The lines of an output that may be more than one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Room<T> {
    /// The constant lower line, where that does not follow an input.
    floor: Option<T>,
    /// The constant upper line.
    ceiling: T,
    /// The input whose upper bound is the largest.
    highest: usize,
    /// Height of the upper line above the lower one, at its lower end.
    gap: T,
    /// Whether both lines are the constant in the middle of largest lower and upper bound.
    centred: bool,
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
    pub(crate) fn lines<T: Real>(&self, lower: &[T], upper: &[T], rule: LowerSlope) -> PoolLines<T> {
        let mut lines = PoolLines::default();
        self.extend(&mut lines, lower, upper, rule);
        lines
    }

    /// Appends the lines for one more set of bounds `[n]`.
    pub(crate) fn extend<T: Real>(&self, lines: &mut PoolLines<T>, lower: &[T], upper: &[T], rule: LowerSlope) {
        let follows = self.peaks(lower);
        let ceilings = self.peaks(upper).into_iter().zip(self.places(lower.len())).zip(&follows);
        lines.room.extend(ceilings.map(|((highest, (start, window)), &followed)| {
            let mut others = window.iter().map(|&offset| start + offset as usize).filter(|&i| i != followed);
            let is_settled = others.all(|i| lower[followed] >= upper[i]);
            let floor = match rule {
                LowerSlope::Adaptive => None,
                LowerSlope::Parallel | LowerSlope::Constant => Some(lower[followed]),
            };
            let (ceiling, gap) = (upper[highest], upper[highest] - lower[followed]);
            (!is_settled).then_some(Room { floor, ceiling, highest, gap, centred: false })
        }));
        (lines.inputs, lines.outputs) = (lower.len(), follows.len());
        lines.follows.extend(follows);
    }
}

impl<T: Real> Room<T> {
    /// The constant that a coefficient of this sign takes; none where it goes on to the input followed.
    fn constant(&self, is_negative: bool) -> Option<T> {
        match (self.floor, is_negative) {
            (None, false) => None,
            (None, true) => Some(self.ceiling),
            (Some(floor), is_negative) if !self.centred => Some(if is_negative { self.ceiling } else { floor }),
            (Some(floor), _) => Some((floor + self.ceiling) * T::from_f64(0.5)),
        }
    }

    /// Adds the cotangent `g` of that constant to those of the inputs' bounds.
    fn pull_back(&self, is_negative: bool, followed: usize, g: T, bounds: &mut Pair<T>) {
        let half = T::from_f64(0.5);
        if self.centred {
            bounds.lower[followed] += g * half;
            bounds.upper[self.highest] += g * half;
        } else if is_negative {
            bounds.upper[self.highest] += g;
        } else {
            bounds.lower[followed] += g;
        }
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
            let lines = self.follows[first..].iter().zip(&self.room[first..]);
            for (&a, (&followed, room)) in row.iter().zip(lines) {
                match room.as_ref().and_then(|room| room.constant(a < T::ZERO)) {
                    Some(value) => *constant += a * value,
                    None => target[followed] += a,
                }
            }
        }
        result
    }

    /// The values that the lines chosen by the coefficients `row` of set `set` give for the inputs `z`.
    pub(crate) fn relaxed(&self, set: usize, row: &[T], z: &[T], values: &mut [T]) {
        let first = set * self.outputs;
        let lines = self.follows[first..].iter().zip(&self.room[first..]);
        for ((value, &a), (&followed, room)) in values.iter_mut().zip(row).zip(lines) {
            *value = room.as_ref().and_then(|room| room.constant(a < T::ZERO)).unwrap_or(z[followed]);
        }
    }

    /// Of output `o` of a set the input with the largest upper bound and its height above the lower line; none where the
    /// output is one of the inputs.
    pub fn open(&self, set: usize, o: usize) -> Option<(usize, T)> {
        self.room[set * self.outputs + o].map(|room| (room.highest, room.gap))
    }

    /// The adjoint of [`PoolLines::substitute`] for `rows`: from `g_inputs` on its result and `g_constants` to the
    /// cotangents of `rows`; adds those of the bounds of the inputs to `bounds`.
    pub(crate) fn adjoint(&self, rows: &[T], g_inputs: &[T], g_constants: &[T], bounds: &mut Pair<T>) -> Vec<T> {
        let mut result = Vec::with_capacity(rows.len());
        let g_rows = g_inputs.chunks_exact(self.inputs);
        for ((row, g_row), &g_constant) in rows.chunks_exact(self.outputs).zip(g_rows).zip(g_constants) {
            for ((&a, &followed), room) in row.iter().zip(&self.follows).zip(&self.room) {
                let is_negative = a < T::ZERO;
                match room.as_ref().and_then(|room| Some((room, room.constant(is_negative)?))) {
                    Some((room, value)) => {
                        room.pull_back(is_negative, followed, a * g_constant, bounds);
                        result.push(value * g_constant);
                    }
                    None => result.push(g_row[followed]),
                }
            }
        }
        result
    }

    /// Replaces constant lines by the one in their middle.
    pub(crate) fn centre(&mut self) {
        self.room.iter_mut().flatten().for_each(|room| room.centred = true);
    }

    /// The radii of the outputs where those of the inputs are `radii`: that of the input followed, or half the distance of
    /// the constant lines.
    pub(crate) fn radii(&self, radii: &[T]) -> Vec<T> {
        let of = |(&followed, room): (&usize, &Option<Room<T>>)| match room {
            Some(Room { floor: Some(floor), ceiling, .. }) => (*ceiling - *floor) * T::from_f64(0.5),
            Some(Room { floor: None, .. }) | None => radii[followed],
        };
        self.follows.iter().zip(&self.room).map(of).collect()
    }

    /// The adjoint of [`PoolLines::radii`]: adds to the cotangents of the inputs' radii and bounds.
    pub(crate) fn radii_adjoint(&self, g: &[T], g_radii: &mut [T], bounds: &mut Pair<T>) {
        let half = T::from_f64(0.5);
        for ((&g, &followed), room) in g.iter().zip(&self.follows).zip(&self.room) {
            match room {
                Some(room) if room.floor.is_some() => {
                    bounds.upper[room.highest] += g * half;
                    bounds.lower[followed] -= g * half;
                }
                Some(_) | None => g_radii[followed] += g,
            }
        }
    }
}

impl PoolLines<f64> {
    /// The same in f32, for optimisation.
    pub(crate) fn narrowed(&self) -> PoolLines<f32> {
        let narrow = |room: Room<f64>| Room {
            floor: room.floor.map(|floor| floor as f32),
            ceiling: room.ceiling as f32,
            highest: room.highest,
            gap: room.gap as f32,
            centred: room.centred,
        };
        PoolLines {
            inputs: self.inputs,
            outputs: self.outputs,
            follows: self.follows.clone(),
            room: self.room.iter().map(|room| room.map(narrow)).collect(),
        }
    }
}
