//! A model as exact affine maps and ReLUs over integers with common denominators.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use crate::model::{DEFAULT_EPSILON, Model, Node, Operation, Step};
use crate::number::{Rational, common_denominator, exact, inverse_root, times};

/// Σ factor·value + constant.
struct Row {
    terms: Vec<(usize, Rational)>,
    constant: Rational,
}

/// A row times its stage's denominator.
type IntegerRow = (Vec<(usize, BigInt)>, BigInt);

/// How an activation follows from earlier ones; 0 is the input.
enum Stage {
    Affine { from: usize, rows: Vec<IntegerRow> },
    Relu { from: usize },
    Sum { left: usize, right: usize },
}

/// A network. The numbers of activation v are integers over `denominators[v]`.
pub struct Net {
    stages: Vec<Stage>,
    denominators: Vec<BigInt>,
    /// How far each output may be from the network's, whose numbers are irrational where this is not zero.
    pub slack: Vec<Rational>,
}

/// What the partition needs to know of a stage.
pub enum Next<const N: usize> {
    /// The next activation.
    Values(Vec<[BigInt; N]>),
    /// The next activation rectifies this one.
    Relu(usize),
    /// There is none.
    End,
}

impl Net {
    /// The network of `model`, which is only asked for inputs between −`radius` and `radius`.
    pub fn new(model: &Model, radius: f64) -> Self {
        let shapes = model.shapes();
        let mut net = Net { stages: Vec::new(), denominators: vec![BigInt::one()], slack: Vec::new() };
        let zeros = vec![Rational::zero(); model.inputs()];
        // Largest absolute values and errors of each activation.
        let mut sizes = vec![vec![exact(radius); model.inputs()]];
        let mut errors = vec![zeros];
        for node in &model.nodes {
            let from = node.inputs[0];
            match node.operation {
                Operation::Relu => {
                    net.denominators.push(net.denominators[from].clone());
                    net.stages.push(Stage::Relu { from });
                    sizes.push(sizes[from].clone());
                    errors.push(errors[from].clone());
                }
                Operation::Add => {
                    let right = node.inputs[1];
                    net.denominators.push(&net.denominators[from] * &net.denominators[right]);
                    net.stages.push(Stage::Sum { left: from, right });
                    let add =
                        |list: &[Vec<Rational>]| list[from].iter().zip(&list[right]).map(|(a, b)| a + b).collect();
                    sizes.push(add(&sizes));
                    errors.push(add(&errors));
                }
                _ => {
                    let (rows, error) = rows(node, &shapes[from]);
                    let bounds = |row: &Row| bounds(row, &error, &sizes[from], &errors[from]);
                    let (size, wrong) = rows.iter().map(bounds).unzip();
                    sizes.push(size);
                    errors.push(wrong);
                    net.affine(from, &rows);
                }
            }
        }
        net.slack = errors.pop().unwrap_or_default();
        net
    }

    fn affine(&mut self, from: usize, rows: &[Row]) {
        let numbers = rows.iter().flat_map(|row| row.terms.iter().map(|(_, w)| w).chain([&row.constant]));
        let denominator = common_denominator(numbers);
        let integers = |row: &Row| {
            let terms = row.terms.iter().map(|(j, w)| (*j, times(w, &denominator))).collect();
            (terms, times(&row.constant, &denominator))
        };
        let rows = rows.iter().map(integers).collect();
        self.denominators.push(&denominator * &self.denominators[from]);
        self.stages.push(Stage::Affine { from, rows });
    }

    /// The denominator of the outputs.
    pub fn denominator(&self) -> &BigInt {
        self.denominators.last().expect("the input's")
    }

    /// What follows `values`, the activations so far. Every number is a linear form with integer coefficients over its
    /// activation's denominator times the form `unit`, which stands for one.
    pub fn next<const N: usize>(&self, values: &[Vec<[BigInt; N]>], unit: &[BigInt; N]) -> Next<N> {
        match self.stages.get(values.len() - 1) {
            None => Next::End,
            Some(Stage::Relu { from }) => Next::Relu(*from),
            Some(Stage::Sum { left, right }) => {
                let (a, b) = (&self.denominators[*left], &self.denominators[*right]);
                let pairs = values[*left].iter().zip(&values[*right]);
                Next::Values(pairs.map(|(x, y)| std::array::from_fn(|i| &x[i] * b + &y[i] * a)).collect())
            }
            Some(Stage::Affine { from, rows }) => {
                let one: [BigInt; N] = std::array::from_fn(|i| &unit[i] * &self.denominators[*from]);
                let row = |(terms, constant): &IntegerRow| {
                    std::array::from_fn(|i| {
                        let start = constant * &one[i];
                        terms.iter().fold(start, |sum, (j, w)| sum + w * &values[*from][*j][i])
                    })
                };
                Next::Values(rows.iter().map(row).collect())
            }
        }
    }

    /// The outputs at a point.
    pub fn outputs(&self, point: &[Rational]) -> Vec<Rational> {
        let unit = common_denominator(point.iter());
        let mut values = vec![point.iter().map(|x| [times(x, &unit)]).collect::<Vec<_>>()];
        let unit = [unit];
        loop {
            let next = match self.next(&values, &unit) {
                Next::Values(next) => next,
                Next::Relu(from) => values[from].iter().map(|[x]| [x.max(&BigInt::zero()).clone()]).collect(),
                Next::End => break,
            };
            values.push(next);
        }
        let below = self.denominator() * &unit[0];
        values[values.len() - 1].iter().map(|[y]| BigRational::new(y.clone(), below.clone())).collect()
    }
}

/// Bounds on a row's value and error, its own numbers being wrong by up to `error`.
fn bounds(row: &Row, error: &Rational, sizes: &[Rational], errors: &[Rational]) -> (Rational, Rational) {
    let (mut size, mut wrong) = (row.constant.abs() + error, error.clone());
    for (j, w) in &row.terms {
        size += (w.abs() + error) * &sizes[*j];
        wrong += (w.abs() + error) * &errors[*j] + error * &sizes[*j];
    }
    (size, wrong)
}

/// The affine map of a node and how far its numbers may be from the true ones.
fn rows(node: &Node, shape: &[usize]) -> (Vec<Row>, Rational) {
    let elements: usize = shape.iter().product();
    let mut error = Rational::zero();
    let rows = match &node.operation {
        Operation::Gemm { weight, bias, alpha, beta, .. } => {
            let (alpha, beta) = (exact(f64::from(*alpha)), exact(f64::from(*beta)));
            let terms = |row: &Vec<f64>| row.iter().enumerate().map(|(j, &w)| (j, &alpha * exact(w))).collect();
            let constant = |i: usize| bias.as_ref().map_or_else(Rational::zero, |bias| &beta * exact(bias[i]));
            weight.iter().enumerate().map(|(i, row)| Row { terms: terms(row), constant: constant(i) }).collect()
        }
        Operation::Conv { .. } => convolution(&node.operation, shape),
        Operation::Step { step, constant } => {
            let row = |e: usize| {
                let c = exact(constant[if constant.len() == 1 { 0 } else { e }]);
                let (factor, constant) = match step {
                    Step::Add => (Rational::one(), c),
                    Step::Subtract => (Rational::one(), -c),
                    Step::SubtractFrom => (-Rational::one(), c),
                    Step::Multiply => (c, Rational::zero()),
                    Step::Divide => (c.recip(), Rational::zero()),
                };
                Row { terms: vec![(e, factor)], constant }
            };
            (0..elements).map(row).collect()
        }
        Operation::BatchNormalization { scale, shift, mean, variance, epsilon } => {
            let epsilon = exact(f64::from(epsilon.unwrap_or(DEFAULT_EPSILON)));
            let inner = elements / shape[0];
            let channel = |c: usize| {
                let (root, wrong) = inverse_root(&(exact(variance[c]) + &epsilon));
                let (scale, mean) = (exact(scale[c]), exact(mean[c]));
                let wrong = wrong * scale.abs() * (Rational::one() + mean.abs());
                let factor = scale * root;
                (exact(shift[c]) - &factor * mean, factor, wrong)
            };
            let channels: Vec<_> = (0..shape[0]).map(channel).collect();
            error = channels.iter().map(|channel| channel.2.clone()).max().unwrap_or(error);
            let row = |e: usize| {
                let (constant, factor, _) = &channels[e / inner];
                Row { terms: vec![(e, factor.clone())], constant: constant.clone() }
            };
            (0..elements).map(row).collect()
        }
        _ => (0..elements).map(|e| Row { terms: vec![(e, Rational::one())], constant: Rational::zero() }).collect(),
    };
    (rows, error)
}

fn convolution(operation: &Operation, input: &[usize]) -> Vec<Row> {
    let Operation::Conv { shape: [out, channels, high, wide], weight, bias, stride, padding } = operation else {
        panic!("{operation:?} is no convolution");
    };
    let positions = |side: usize, kernel: usize| (side + 2 * padding - kernel) / stride + 1;
    let mut rows = Vec::new();
    for o in 0..*out {
        for (y, x) in grid(positions(input[1], *high), positions(input[2], *wide)) {
            let mut terms = Vec::new();
            for c in 0..*channels {
                for (i, j) in grid(*high, *wide) {
                    let (at_y, at_x) = (y * stride + i, x * stride + j);
                    let inside = |at: usize, side: usize| at >= *padding && at - padding < side;
                    if inside(at_y, input[1]) && inside(at_x, input[2]) {
                        let element = (c * input[1] + at_y - padding) * input[2] + at_x - padding;
                        terms.push((element, exact(weight[((o * channels + c) * high + i) * wide + j])));
                    }
                }
            }
            rows.push(Row { terms, constant: exact(bias[o]) });
        }
    }
    rows
}

fn grid(high: usize, wide: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..high).flat_map(move |y| (0..wide).map(move |x| (y, x)))
}
