//! Products of two factors as the checker reads them.
//!
//! On [l, u] × [l', u'] McCormick's planes hold: with (p, q) = (l, l') or (u, u'), x·y ≥ q·x + p·y − p·q, and with (l, u') or
//! (u, l'), x·y ≤ q·x + p·y − p·q. The plane taken is the mean of two, which has the middles for slopes.

use crate::layers::{Coefficients, Intervals};
use crate::rounding::{add_down, sub_down};

/// One product node.
pub(crate) struct Product {
    /// The node it reads.
    pub input: usize,
    /// Its outputs: elements of the first half of the input times those of the second.
    pub outputs: usize,
}

impl Product {
    /// Intervals of the outputs.
    pub(crate) fn interval(&self, input: &Intervals) -> Intervals {
        let of = |o: usize| {
            let ends = |i: usize| [input.lower[i], input.upper[i]];
            let (x, y) = (ends(o), ends(self.outputs + o));
            let products = [x[0] * y[0], x[0] * y[1], x[1] * y[0], x[1] * y[1]];
            if products.iter().any(|product| product.is_nan()) {
                return (f64::NEG_INFINITY, f64::INFINITY);
            }
            let least = products.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = products.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (least.next_down(), largest.next_up())
        };
        let (lower, upper) = (0..self.outputs).map(of).unzip();
        Intervals { lower, upper }
    }

    /// Coefficients on the outputs as coefficients on the inputs that are never larger, and a number not above the constant.
    ///
    /// With the slopes s on x and t on y, whatever they are, a·x·y − a·s·x − a·t·y is a·(x − t)·(y − s) − a·s·t. The first term
    /// is bilinear, so that it is least at a corner.
    pub(crate) fn pull(&self, a: &[f64], bounds: &Intervals) -> (Coefficients, f64) {
        let mut form = Coefficients::exact(vec![0.0; bounds.lower.len()]);
        let mut constant = 0.0;
        for (o, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            let ends = |i: usize| [bounds.lower[i], bounds.upper[i]];
            let (x, y) = (ends(o), ends(self.outputs + o));
            let middle = |[l, u]: [f64; 2]| l + 0.5 * (u - l);
            let (s, t) = (middle(y), middle(x));
            for (i, slope) in [(o, s), (self.outputs + o, t)] {
                form.values[i] += a * slope;
                // Of the product and of the sum.
                form.errors[i] += ((a * slope).abs() + form.values[i].abs()) * f64::EPSILON + f64::MIN_POSITIVE;
            }
            let lost = f64::MIN_POSITIVE * (1.0 + a.abs());
            let mut least = f64::INFINITY;
            for p in [x[0] - t, x[1] - t] {
                for q in [y[0] - s, y[1] - s] {
                    // Three roundings and those of a; what underflows in p·q is multiplied by a.
                    let product = a * (p * q);
                    let corner = sub_down(product, 8.0 * f64::EPSILON * product.abs() + lost);
                    least = if corner.is_nan() { f64::NEG_INFINITY } else { least.min(corner) };
                }
            }
            let base = a * (s * t);
            let base = add_down(-base, -(4.0 * f64::EPSILON * base.abs() + lost));
            constant = add_down(constant, add_down(least, base));
        }
        (form, constant)
    }
}
