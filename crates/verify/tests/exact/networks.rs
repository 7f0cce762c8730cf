//! Random networks of every kind that a file may hold.

use crate::model::{DEFAULT_EPSILON, Model, Node, Operation, Precision, Step};
use crate::random::Random;

/// What is special about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Doubles with all their bits.
    Doubles,
    /// Single precision.
    Singles,
    /// Multiples of an eighth, so that optima are often doubles themselves.
    Coarse,
    /// Gemm with transB, alpha and beta.
    Gemm,
    /// Sub and Div by constants before the first layer.
    Normalised,
    /// Add, Sub, Mul and Div by constants in many places.
    Chains,
    /// BatchNormalization whose root is rational.
    SquareNormalisation,
    /// BatchNormalization with any variance.
    BatchNormalisation,
    /// Very large and very small numbers one after the other.
    Extreme,
    /// Sums of two branches.
    Residual,
    /// A convolution first.
    Convolution,
}

/// All of them.
pub const KINDS: [Kind; 11] = [
    Kind::Doubles,
    Kind::Singles,
    Kind::Coarse,
    Kind::Gemm,
    Kind::Normalised,
    Kind::Chains,
    Kind::SquareNormalisation,
    Kind::BatchNormalisation,
    Kind::Extreme,
    Kind::Residual,
    Kind::Convolution,
];

/// Inputs lie between minus this and this.
pub const RADIUS: f64 = 4.0;

/// A random network of a kind.
pub fn network(kind: Kind, random: &mut Random) -> Model {
    let precision = match kind {
        Kind::Doubles => Precision::Double,
        Kind::Singles => Precision::Single,
        _ => random.pick(&[Precision::Single, Precision::Double]),
    };
    let input = match kind {
        Kind::Convolution => vec![random.between(1, 2), random.between(2, 3), random.between(2, 3)],
        _ => vec![random.between(1, 5)],
    };
    let model = Model { precision, input, nodes: Vec::new() };
    let scaling =
        random.pick(&[Scaling::Layers(60), Scaling::Layers(-60), Scaling::Neurons, Scaling::Neurons, Scaling::Decimal]);
    let mut builder = Builder { model, kind, random, scaling, scales: None };
    let (outputs, hidden) = match kind {
        Kind::Residual => (builder.random.between(1, 3), builder.random.between(1, 2)),
        _ => (builder.random.between(1, 3), builder.random.pick(&[0, 1, 1, 2, 2, 2])),
    };
    let mut last = builder.front();
    for layer in 0..hidden {
        let width = builder.random.between(2, 8);
        last = match kind {
            Kind::Residual => builder.residual(last, width),
            Kind::Convolution if layer == 0 => builder.convolution(last),
            _ => builder.gemm(last, width),
        };
        last = builder.after(last);
        last = builder.node(Operation::Relu, &[last]);
        last = builder.between(last);
    }
    last = builder.flat(last);
    last = builder.gemm(last, outputs);
    if kind == Kind::Chains {
        builder.after(last);
    }
    builder.model
}

/// How layers are scaled where numbers shall be extreme.
#[derive(Clone, Copy)]
enum Scaling {
    /// Each layer by this power of two.
    Layers(i32),
    /// Each neuron by its own power of two.
    Neurons,
    /// The first layer by 10¹⁸, later ones by 10⁻³⁸.
    Decimal,
}

struct Builder<'a> {
    model: Model,
    kind: Kind,
    random: &'a mut Random,
    scaling: Scaling,
    /// By what the last layer's outputs are scaled.
    scales: Option<Vec<f64>>,
}

impl Builder<'_> {
    fn node(&mut self, operation: Operation, inputs: &[usize]) -> usize {
        self.model.nodes.push(Node { operation, inputs: inputs.to_vec() });
        self.model.nodes.len()
    }

    fn shape(&self, id: usize) -> Vec<usize> {
        self.model.shapes()[id].clone()
    }

    fn width(&self, id: usize) -> usize {
        self.shape(id).iter().product()
    }

    /// `value` as the file can store it.
    fn stored(&self, value: f64) -> f64 {
        match self.model.precision {
            Precision::Single => f64::from(value as f32),
            Precision::Double => value,
        }
    }

    /// A number of about this size.
    fn number(&mut self, size: f64) -> f64 {
        let value = match self.kind {
            Kind::Coarse => (8.0 * self.random.signed() * size.max(1.0)).round() / 8.0,
            _ => size * self.random.signed(),
        };
        self.stored(value)
    }

    fn numbers(&mut self, count: usize, size: f64) -> Vec<f64> {
        (0..count).map(|_| self.number(size)).collect()
    }

    /// A number between these two.
    fn within(&mut self, low: f64, high: f64) -> f64 {
        let value = low + (high - low) * self.random.unit();
        self.stored(value)
    }

    /// What stands before the first layer.
    fn front(&mut self) -> usize {
        match self.kind {
            Kind::Normalised => {
                let width = self.width(0);
                let [mean, deviation] = match self.random.below(3) {
                    0 => [vec![0.1307], vec![0.3081]],
                    1 => [self.numbers(width, 1.0), (0..width).map(|_| self.within(0.2, 3.0)).collect()],
                    _ => [vec![0.4914], (0..width).map(|j| 0.2 + 0.1 * (j + 1) as f64).collect()],
                };
                let [mean, deviation] = [mean, deviation].map(|list| self.all_stored(&list));
                let centered = self.node(Operation::Step { step: Step::Subtract, constant: mean }, &[0]);
                self.node(Operation::Step { step: Step::Divide, constant: deviation }, &[centered])
            }
            Kind::Chains => self.steps(0),
            _ => 0,
        }
    }

    fn all_stored(&self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|&value| self.stored(value)).collect()
    }

    /// What stands between a layer and its ReLU.
    fn after(&mut self, last: usize) -> usize {
        match self.kind {
            Kind::Chains => self.steps(last),
            Kind::SquareNormalisation | Kind::BatchNormalisation => self.normalisation(last),
            _ => last,
        }
    }

    /// What stands after a ReLU.
    fn between(&mut self, last: usize) -> usize {
        match self.kind {
            Kind::Chains if self.random.one_in(2) => self.steps(last),
            _ => last,
        }
    }

    fn steps(&mut self, mut last: usize) -> usize {
        for _ in 0..self.random.between(1, 3) {
            let width = self.width(last);
            let count = self.random.pick(&[1, width]);
            let step = self.random.pick(&[Step::Add, Step::Subtract, Step::SubtractFrom, Step::Multiply, Step::Divide]);
            let constant = match step {
                // Away from zero: nothing divides by it, and products stay of moderate size.
                Step::Multiply | Step::Divide => {
                    (0..count).map(|_| self.within(0.4, 1.9) * self.random.pick(&[1.0, 1.0, -1.0])).collect()
                }
                _ => self.numbers(count, 0.7),
            };
            last = self.node(Operation::Step { step, constant }, &[last]);
        }
        last
    }

    fn normalisation(&mut self, last: usize) -> usize {
        let channels = self.shape(last)[0];
        let square = self.kind == Kind::SquareNormalisation;
        let epsilon = match (square, self.model.precision) {
            // A square minus the default is a double, but no number of single precision.
            (true, Precision::Double) => self.random.pick(&[None, Some(1.0 / 1024.0), Some(0.0)]),
            (true, Precision::Single) => self.random.pick(&[Some(1.0 / 1024.0), Some(0.0)]),
            _ => self.random.pick(&[None, Some(1e-3), Some(1e-5)]),
        };
        let variance = if square {
            let epsilon = f64::from(epsilon.unwrap_or(DEFAULT_EPSILON));
            let root = |random: &mut Random| random.between(3, 40) as f64 / 16.0;
            (0..channels).map(|_| root(self.random).powi(2) - epsilon).collect()
        } else {
            (0..channels).map(|_| self.within(0.01, 4.0)).collect()
        };
        let scale = (0..channels).map(|_| self.within(0.4, 1.6) * self.random.pick(&[1.0, 1.0, -1.0])).collect();
        let (shift, mean) = (self.numbers(channels, 0.5), self.numbers(channels, 0.5));
        self.node(Operation::BatchNormalization { scale, shift, mean, variance, epsilon }, &[last])
    }

    fn gemm(&mut self, last: usize, width: usize) -> usize {
        let last = self.flat(last);
        let inputs = self.width(last);
        let size = 2.4 / (inputs as f64).sqrt();
        let mut weight: Vec<Vec<f64>> = (0..width).map(|_| self.numbers(inputs, size)).collect();
        let mut bias =
            if self.kind != Kind::Chains || self.random.one_in(2) { Some(self.numbers(width, 0.6)) } else { None };
        let (mut transposed, mut alpha, mut beta) = (self.random.one_in(2), 1.0, 1.0);
        if self.kind == Kind::Gemm {
            let (a, b) = self.random.pick(&[(0.1, 1.0), (1.0, 0.3), (0.7, 1.3), (-1.1, 0.5), (3.0, 1.0 / 3.0)]);
            (transposed, alpha, beta) = (self.random.pick(&[true, true, false]), a, b);
        }
        if self.kind == Kind::Extreme {
            self.scale(&mut weight, &mut bias);
        }
        self.node(Operation::Gemm { weight, bias, transposed, alpha, beta }, &[last])
    }

    /// Scales a layer's outputs, and undoes the scales of the layer before.
    fn scale(&mut self, weight: &mut [Vec<f64>], bias: &mut Option<Vec<f64>>) {
        let own: Vec<f64> = match (self.scaling, &self.scales) {
            (Scaling::Decimal, None) => vec![1e18; weight.len()],
            (Scaling::Decimal, Some(_)) => vec![1.0; weight.len()],
            (Scaling::Layers(exponent), _) => vec![2.0_f64.powi(exponent); weight.len()],
            (Scaling::Neurons, _) => {
                weight.iter().map(|_| 2.0_f64.powi(self.random.between(0, 120) as i32 - 60)).collect()
            }
        };
        for (row, own) in weight.iter_mut().zip(&own) {
            for (j, value) in row.iter_mut().enumerate() {
                *value *= match (self.scaling, &self.scales) {
                    // Undone in the wrong measure, so that later layers see tiny numbers.
                    (Scaling::Decimal, Some(_)) => 1e-38,
                    (_, Some(before)) => own / before[j],
                    _ => *own,
                };
            }
            *row = row.iter().map(|&value| self.stored(value)).collect();
        }
        for (value, own) in bias.iter_mut().flatten().zip(&own) {
            *value *= match (self.scaling, &self.scales) {
                (Scaling::Decimal, Some(_)) => 1e-20,
                _ => *own,
            };
        }
        *bias = bias.take().map(|list| self.all_stored(&list));
        self.scales = Some(own);
    }

    /// W₂·relu(W₁x) + W₃x or + the input of W₁ where it is as wide.
    fn residual(&mut self, last: usize, width: usize) -> usize {
        let width = if self.random.one_in(2) { self.width(last).max(2) } else { width };
        let inner_width = self.random.between(2, 4);
        let inner = self.gemm(last, inner_width);
        let inner = self.node(Operation::Relu, &[inner]);
        let left = self.gemm(inner, width);
        let right = if self.width(last) == width { last } else { self.gemm(last, width) };
        let sides = if self.random.one_in(2) { [left, right] } else { [right, left] };
        self.node(Operation::Add, &sides)
    }

    fn convolution(&mut self, last: usize) -> usize {
        let input = self.shape(last);
        let out = self.random.between(1, 2);
        let kernel = [self.random.between(1, input[1]), self.random.between(1, input[2])];
        let padding = if kernel.contains(&1) { 0 } else { self.random.below(2) };
        let stride = self.random.between(1, 2);
        let shape = [out, input[0], kernel[0], kernel[1]];
        let weight = self.numbers(shape.iter().product(), 1.0);
        let bias = self.numbers(out, 0.5);
        self.node(Operation::Conv { shape, weight, bias, stride, padding }, &[last])
    }

    fn flat(&mut self, last: usize) -> usize {
        if self.shape(last).len() == 1 { last } else { self.node(Operation::Flatten, &[last]) }
    }
}
