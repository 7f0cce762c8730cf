//! Sets over which rows are bounded one by one: boxes, lines, slopes and split multipliers of each row's own.

use super::{CutBox, NodeLines};
use crate::vector::vectorised;
use crate::{Ball, Real};

/// A signed multiplier of a neuron z split at a point p, of one row: −β where z ≥ p, +β where z ≤ p. Adding
/// value·(z − p) does not raise the row there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multiplier<T> {
    /// Position of the node.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// p.
    pub point: T,
    /// What is added to its coefficient.
    pub value: T,
}

/// Which set of lines or boxes a row uses.
#[derive(Clone, Copy)]
pub enum SetOf<'a> {
    /// All rows the only one.
    Only,
    /// Each row its own.
    Own,
    /// As listed.
    Listed(&'a [u32]),
}

impl SetOf<'_> {
    pub(crate) fn of(self, row: usize) -> usize {
        match self {
            SetOf::Only => 0,
            SetOf::Own => row,
            SetOf::Listed(sets) => sets[row] as usize,
        }
    }
}

/// What rows are bounded over: boxes, lines, and possibly slopes and multipliers of each row's own.
#[derive(Clone, Copy)]
pub struct Domain<'a, T> {
    /// Lower ends of the boxes `[sets, d]`.
    pub lower: &'a [T],
    /// Upper ends.
    pub upper: &'a [T],
    /// Which box a row uses.
    pub box_of: SetOf<'a>,
    /// An ℓ2 or ℓ1 ball around `[d]` that cuts every box.
    pub ball: Option<&'a Ball<T>>,
    /// Lines by site, at least those before the rows' start.
    pub lines: &'a [NodeLines<T>],
    /// Which lines a row uses.
    pub lines_of: SetOf<'a>,
    /// Shares α of each row `[rows, n]` by position, in place of the lines' own: for a ReLU the slope of its lower line where
    /// it is open (a stable one keeps its own), for other activations what mixes the lines of its bracket.
    pub slopes: Option<&'a [Vec<T>]>,
    /// Multipliers of each row.
    pub multipliers: Option<&'a [Vec<Multiplier<T>>]>,
}

/// What a backward pass leaves behind for the forward pass.
#[derive(Default)]
pub struct Trace<T> {
    /// Coefficients on the outputs of activations, max poolings and products by node, `[rows, n]`; empty for other nodes.
    pub post: Vec<Vec<T>>,
    /// Coefficients on the input `[rows, d]`.
    pub input: Vec<T>,
}

impl<T: Real> Domain<'_, T> {
    /// The box of a row.
    fn ends(&self, row: usize, d: usize) -> (&[T], &[T]) {
        let set = self.box_of.of(row) * d;
        (&self.lower[set..set + d], &self.upper[set..set + d])
    }

    /// The row's box cut by the ball, if there is one.
    pub(crate) fn cut(&self, row: usize, d: usize) -> Option<CutBox<'_, T>> {
        let (lower, upper) = self.ends(row, d);
        self.ball.map(|ball| CutBox { ball, lower, upper })
    }

    /// The minimisers `[count, d]` for coefficients on the input; where a coefficient is 0, the middle of the box or, if a ball
    /// cuts it, the value nearest to the ball's centre.
    pub fn minimisers(&self, rows: &[T], count: usize) -> Vec<T> {
        let d = rows.len() / count;
        let half = T::from_f64(0.5);
        let mut points = Vec::with_capacity(rows.len());
        for (index, row) in rows.chunks_exact(d).enumerate() {
            if let Some(cut) = self.cut(index, d) {
                cut.minimiser(row, &mut points);
                continue;
            }
            let (lower, upper) = self.ends(index, d);
            let minimiser = row.iter().zip(lower.iter().zip(upper)).map(|(&a, (&l, &u))| {
                if a > T::ZERO {
                    l
                } else if a < T::ZERO {
                    u
                } else {
                    (l + u) * half
                }
            });
            vectorised(|| points.extend(minimiser));
        }
        points
    }
}
