//! Max pooling as the checker reads it: the largest input of each window.
//!
//! On bounds [l_i, u_i] of a window's inputs the output is not below any of them, and not above max u_i; where one input is
//! not below what every other one can be, it is the output.

use tightrope_exact::{Dyadic, Enclosure};
use tightrope_network::MaxPool2d;

use crate::layers::{Coefficients, Intervals, Window};

/// The windows of one max-pooling node.
pub(crate) struct MaxPool {
    /// The node it reads.
    pub input: usize,
    /// Inputs of each output, at least one.
    windows: Vec<Vec<usize>>,
}

/// What is known of one output.
enum Largest {
    /// It is this input.
    Input(usize),
    /// It is not below this input and not above this number.
    Between(usize, f64),
}

impl MaxPool {
    /// The windows of `pool` over `[C, H, W]` images with `outputs` outputs in all.
    pub(crate) fn new(
        input: usize,
        pool: &MaxPool2d,
        [height, width]: [usize; 2],
        [rows, columns]: [usize; 2],
        outputs: usize,
    ) -> Self {
        let window = Window { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
        let inputs = |o: usize| {
            let (channel, y, x) = (o / (rows * columns), o / columns % rows, o % columns);
            let across = window.covered(x, 1, width);
            let row = |row: usize| {
                let start = (channel * height + row - pool.padding[0]) * width;
                across.clone().map(move |column| start + column - pool.padding[1])
            };
            window.covered(y, 0, height).flat_map(row).collect()
        };
        MaxPool { input, windows: (0..outputs).map(inputs).collect() }
    }

    /// Intervals of the outputs.
    pub(crate) fn interval(&self, input: &Intervals) -> Intervals {
        let largest = |values: &[f64]| {
            let of = |window: &Vec<usize>| window.iter().map(|&i| values[i]).fold(f64::NEG_INFINITY, f64::max);
            self.windows.iter().map(of).collect()
        };
        Intervals { lower: largest(&input.lower), upper: largest(&input.upper) }
    }

    /// The outputs for exact inputs or enclosures of them.
    pub(crate) fn values(&self, input: &[Enclosure]) -> Vec<Enclosure> {
        let of = |window: &Vec<usize>| {
            let ends = |i: usize| [&input[i].value - &input[i].radius, &input[i].value + &input[i].radius];
            let [mut low, mut high] = ends(window[0]);
            for &i in &window[1..] {
                let [l, h] = ends(i);
                (low, high) = (if l > low { l } else { low }, if h > high { h } else { high });
            }
            Enclosure { value: (&low + &high).scaled(-1), radius: (&high - &low).scaled(-1) }
        };
        self.windows.iter().map(of).collect()
    }

    fn largest(&self, o: usize, Intervals { lower, upper }: &Intervals) -> Largest {
        let window = &self.windows[o];
        let first = window[0];
        let followed = window[1..].iter().fold(first, |best, &i| if lower[i] > lower[best] { i } else { best });
        let top = window.iter().map(|&i| upper[i]).fold(f64::NEG_INFINITY, f64::max);
        match window.iter().all(|&i| i == followed || lower[followed] >= upper[i]) {
            true => Largest::Input(followed),
            false => Largest::Between(followed, top),
        }
    }

    /// Coefficients on the outputs as coefficients on the inputs that are never larger, and a number not above the constant.
    pub(crate) fn pull(&self, a: &[f64], bounds: &Intervals) -> (Coefficients, f64) {
        let mut form = Coefficients::exact(vec![0.0; bounds.lower.len()]);
        let mut constant = 0.0;
        for (o, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            match self.largest(o, bounds) {
                Largest::Between(_, top) if a < 0.0 => {
                    constant = crate::rounding::add_down(constant, (a * top).next_down());
                }
                Largest::Input(i) | Largest::Between(i, _) => {
                    form.values[i] += a;
                    form.errors[i] += form.values[i].abs() * f64::EPSILON;
                }
            }
        }
        (form, constant)
    }

    /// The same without any rounding.
    pub(crate) fn pull_exactly(&self, a: &[Dyadic], bounds: &Intervals) -> (Vec<Dyadic>, Dyadic) {
        let mut form = vec![Dyadic::zero(); bounds.lower.len()];
        let mut constant = Dyadic::zero();
        for (o, a) in a.iter().enumerate().filter(|(_, a)| !a.is_zero()) {
            match self.largest(o, bounds) {
                Largest::Between(_, top) if a.is_negative() => constant.add_product(a, &top.into()),
                Largest::Input(i) | Largest::Between(i, _) => form[i] += a,
            }
        }
        (form, constant)
    }
}
