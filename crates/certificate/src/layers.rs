//! The network as the checker reads it: affine maps, activations, max poolings, products, sums and copies.

use tightrope_exact::Enclosure;
use tightrope_network::{AvgPool2d, Conv2d, Gather};

use crate::function::Function;
use crate::max_pool::MaxPool;
use crate::product::Product;
use crate::rounding::{add_up, sub_down, sum_error};

/// What one node computes from earlier nodes, with weights of type `T`.
pub(crate) enum Operation<T> {
    Input,
    Map(Box<Map<T>>),
    Relu(usize),
    /// Another activation.
    Function(usize, Function),
    MaxPool(Box<MaxPool>),
    Product(Product),
    /// The same values in another shape.
    Copy(usize),
    Sum(Vec<usize>),
}

/// y = W x + b.
///
/// As f64, weights are the model's numbers where these are f64; others, products and quotients among them (normalisation,
/// pooling), are the nearest f64, and their one rounding is left to [`sum_error`], that of a bias to `bias_error`.
pub(crate) struct Map<T> {
    /// The node x.
    pub input: usize,
    pub kind: Kind,
    /// In the order that [`Map::row`] reads them.
    pub weights: Vec<T>,
    /// Per channel; empty for zeros.
    pub bias: Vec<T>,
    /// Bound of |bias − exact bias| per channel; empty for zeros.
    pub bias_error: Vec<f64>,
    /// Outputs per channel.
    pub channel: usize,
    /// Outputs in all.
    pub outputs: usize,
}

/// Which weights meet which inputs.
pub(crate) enum Kind {
    Linear {
        features: usize,
    },
    /// Convolution of images `[C, H, W]` to `[_, H', W']`.
    Conv {
        conv: Conv2d,
        image: [usize; 2],
        output: [usize; 2],
    },
    /// The weights are 1 / (pixels in the window) for each of the counts.
    Pool {
        pool: AvgPool2d,
        image: [usize; 2],
        output: [usize; 2],
        /// In increasing order.
        counts: Vec<usize>,
    },
    Diagonal,
    /// The one weight is that of every element read.
    Gather(Gather),
}

/// An interval per element.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intervals {
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

/// Coefficients of a linear form, each known up to an error.
pub(crate) struct Coefficients {
    pub values: Vec<f64>,
    pub errors: Vec<f64>,
}

/// Sides of windows, steps between them and zeros before the image, each by axis.
pub(crate) struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 4],
}

impl Window {
    /// The rows (or columns, by `axis`) of the padded image that the window at `position` covers and the image has.
    pub(crate) fn covered(&self, position: usize, axis: usize, length: usize) -> std::ops::Range<usize> {
        let first = position * self.stride[axis];
        let from = first.max(self.padding[axis]);
        from..(first + self.kernel[axis]).min(length + self.padding[axis]).max(from)
    }
}

/// [`Window::covered`] of an average pooling.
pub(crate) fn covered(pool: &AvgPool2d, position: usize, axis: usize, length: usize) -> std::ops::Range<usize> {
    Window { kernel: pool.kernel, stride: pool.stride, padding: pool.padding }.covered(position, axis, length)
}

/// What a window that covers `inside` pixels of the image divides by.
pub(crate) fn pixels(pool: &AvgPool2d, inside: usize) -> usize {
    match pool.count_include_pad {
        true => pool.kernel[0] * pool.kernel[1],
        false => inside.max(1),
    }
}

impl<T> Map<T> {
    /// Calls `visit(first input, weights)` for the runs of neighbouring inputs that output `o` reads.
    pub(crate) fn row(&self, o: usize, mut visit: impl FnMut(usize, &[T])) {
        match &self.kind {
            Kind::Linear { features } => visit(0, &self.weights[o * features..(o + 1) * features]),
            Kind::Diagonal => visit(o, std::slice::from_ref(&self.weights[o / self.channel])),
            Kind::Gather(gather) => gather.sources(o).iter().for_each(|&source| visit(source as usize, &self.weights)),
            Kind::Conv { conv, image: [height, width], output: [rows, columns] } => {
                let (out, y, x) = (o / (rows * columns), o / columns % rows, o % columns);
                let channels = conv.in_channels / conv.groups;
                let first = out / (conv.out_channels / conv.groups) * channels;
                let [kernel_y, kernel_x] = conv.kernel;
                for channel in 0..channels {
                    for ky in 0..kernel_y {
                        let above = y * conv.stride[0] + ky * conv.dilation[0];
                        let Some(row) = above.checked_sub(conv.padding[0]).filter(|row| row < height) else { continue };
                        let start = ((first + channel) * height + row) * width;
                        let weights =
                            &self.weights[((out * channels + channel) * kernel_y + ky) * kernel_x..][..kernel_x];
                        let left = x * conv.stride[1];
                        if conv.dilation[1] == 1 {
                            let from = conv.padding[1].saturating_sub(left).min(kernel_x);
                            let to = (width + conv.padding[1]).saturating_sub(left).min(kernel_x);
                            if from < to {
                                visit(start + left + from - conv.padding[1], &weights[from..to]);
                            }
                            continue;
                        }
                        for (kx, weight) in weights.iter().enumerate() {
                            let column = (left + kx * conv.dilation[1]).checked_sub(conv.padding[1]);
                            if let Some(column) = column.filter(|column| column < width) {
                                visit(start + column, std::slice::from_ref(weight));
                            }
                        }
                    }
                }
            }
            Kind::Pool { pool, image: [height, width], output: [rows, columns], counts } => {
                let (channel, y, x) = (o / (rows * columns), o / columns % rows, o % columns);
                let (down, across) = (covered(pool, y, 0, *height), covered(pool, x, 1, *width));
                let count = pixels(pool, down.len() * across.len());
                let weight = &self.weights[counts.binary_search(&count).unwrap_or_default()];
                for row in down {
                    for column in across.clone() {
                        let index = (channel * height + row - pool.padding[0]) * width + column - pool.padding[1];
                        visit(index, std::slice::from_ref(weight));
                    }
                }
            }
        }
    }
}

impl Map<f64> {
    fn bias(&self, o: usize) -> (f64, f64) {
        let at = |values: &[f64]| values.get(o / self.channel).copied().unwrap_or(0.0);
        (at(&self.bias), at(&self.bias_error))
    }

    /// Intervals that contain W x + b for every x in `input`.
    fn interval(&self, input: &Intervals) -> Intervals {
        let mut output = Intervals { lower: Vec::with_capacity(self.outputs), upper: Vec::with_capacity(self.outputs) };
        for o in 0..self.outputs {
            let (bias, bias_error) = self.bias(o);
            let (mut lower, mut upper, mut magnitude, mut terms) = (bias, bias, bias.abs(), 1);
            self.row(o, |start, weights| {
                terms += weights.len();
                let ends = input.lower[start..].iter().zip(&input.upper[start..]);
                for (&weight, (&l, &u)) in weights.iter().zip(ends) {
                    let (low, high) = if weight >= 0.0 { (weight * l, weight * u) } else { (weight * u, weight * l) };
                    lower += low;
                    upper += high;
                    magnitude += low.abs().max(high.abs());
                }
            });
            let error = add_up(sum_error(magnitude, terms), bias_error);
            output.lower.push(sub_down(lower, error));
            output.upper.push(add_up(upper, error));
        }
        output
    }

    /// a·(W x + b) as a linear form of x and a number not above its constant.
    pub(crate) fn pull(&self, a: &[f64], inputs: usize) -> (Coefficients, f64) {
        let mut values = vec![0.0; inputs];
        let mut magnitudes = vec![0.0; inputs];
        let (mut constant, mut magnitude, mut bias_errors, mut terms) = (0.0, 0.0, 0.0, 0);
        for (o, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            terms += 1;
            self.row(o, |start, weights| {
                let sums = values[start..].iter_mut().zip(&mut magnitudes[start..]);
                for (&weight, (value, magnitude)) in weights.iter().zip(sums) {
                    let product = a * weight;
                    *value += product;
                    *magnitude += product.abs();
                }
            });
            let (bias, bias_error) = self.bias(o);
            constant += a * bias;
            magnitude += (a * bias).abs();
            bias_errors += a.abs() * bias_error;
        }
        // Twice a sum of numbers ≥ 0 is above the exact sum.
        let error = add_up(sum_error(magnitude, terms), 2.0 * bias_errors);
        let errors = magnitudes.into_iter().map(|magnitude| sum_error(magnitude, terms)).collect();
        (Coefficients { values, errors }, sub_down(constant, error))
    }
}

impl Map<Enclosure> {
    /// The bias of output `o`; none for 0.
    pub(crate) fn exact_bias(&self, o: usize) -> Option<&Enclosure> {
        self.bias.get(o / self.channel)
    }
}

impl Operation<f64> {
    /// The interval of an element of an activation that reads `node`; none of other operations.
    pub(crate) fn image(&self, before: &[Intervals], node: usize, index: usize) -> Option<(f64, f64)> {
        let ends = || (before[node].lower[index], before[node].upper[index]);
        match self {
            Operation::Relu(input) if *input == node => Some((ends().0.max(0.0), ends().1.max(0.0))),
            Operation::Function(input, f) if *input == node => Some(f.interval(ends().0, ends().1)),
            Operation::Relu(_)
            | Operation::Function(..)
            | Operation::Input
            | Operation::Map(_)
            | Operation::MaxPool(_)
            | Operation::Product(_)
            | Operation::Copy(_)
            | Operation::Sum(_) => None,
        }
    }

    /// Intervals of the node's values from those of earlier nodes; `None` for the input.
    pub(crate) fn interval(&self, nodes: &[Intervals]) -> Option<Intervals> {
        match self {
            Operation::Input => None,
            Operation::Map(map) => Some(map.interval(&nodes[map.input])),
            Operation::Copy(input) => Some(nodes[*input].clone()),
            Operation::Relu(input) => {
                let clamp = |values: &[f64]| values.iter().map(|value| value.max(0.0)).collect();
                Some(Intervals { lower: clamp(&nodes[*input].lower), upper: clamp(&nodes[*input].upper) })
            }
            Operation::Function(input, f) => {
                let ends = nodes[*input].lower.iter().zip(&nodes[*input].upper);
                let (lower, upper) = ends.map(|(&l, &u)| f.interval(l, u)).unzip();
                Some(Intervals { lower, upper })
            }
            Operation::MaxPool(pool) => Some(pool.interval(&nodes[pool.input])),
            Operation::Product(product) => Some(product.interval(&nodes[product.input])),
            Operation::Sum(inputs) => {
                let mut sum = nodes[inputs[0]].clone();
                for &input in &inputs[1..] {
                    let ends = |sum: &mut [f64], more: &[f64], add: fn(f64, f64) -> f64| {
                        sum.iter_mut().zip(more).for_each(|(sum, &more)| *sum = add(*sum, more));
                    };
                    ends(&mut sum.lower, &nodes[input].lower, crate::rounding::add_down);
                    ends(&mut sum.upper, &nodes[input].upper, add_up);
                }
                Some(sum)
            }
        }
    }
}

/// Whether exact arithmetic has the values of all operations.
pub(crate) fn are_exact<T>(operations: &[Operation<T>]) -> bool {
    operations.iter().all(|operation| match operation {
        Operation::Function(_, f) => f.is_piecewise_linear(),
        Operation::Product(_) => false,
        Operation::Input
        | Operation::Map(_)
        | Operation::Relu(_)
        | Operation::MaxPool(_)
        | Operation::Copy(_)
        | Operation::Sum(_) => true,
    })
}

/// What says whether better bounds of a node's neurons make any line better.
pub(crate) struct Readers {
    relu: bool,
    functions: Vec<Function>,
    /// Whether a max pooling or a product reads it or its image.
    pooled: bool,
    /// Whether it is an activation that does not fall and that only max poolings and products read.
    is_image: bool,
}

impl Readers {
    /// The readers of every node.
    pub(crate) fn of<T>(operations: &[Operation<T>]) -> Vec<Readers> {
        let none = |_| Readers { relu: false, functions: Vec::new(), pooled: false, is_image: false };
        let mut readers: Vec<Readers> = operations.iter().map(none).collect();
        for operation in operations {
            match operation {
                Operation::Relu(input) => readers[*input].relu = true,
                Operation::Function(input, f) => readers[*input].functions.push(*f),
                Operation::MaxPool(pool) => readers[pool.input].pooled = true,
                Operation::Product(product) => readers[product.input].pooled = true,
                Operation::Input | Operation::Map(_) | Operation::Copy(_) | Operation::Sum(_) => {}
            }
        }
        for (node, operation) in operations.iter().enumerate() {
            // Of a function that falls somewhere a split of its input says nothing in general.
            let input = match operation {
                Operation::Relu(input) => input,
                Operation::Function(input, f) if f.is_increasing() => input,
                Operation::Function(..)
                | Operation::Input
                | Operation::Map(_)
                | Operation::MaxPool(_)
                | Operation::Product(_)
                | Operation::Copy(_)
                | Operation::Sum(_) => continue,
            };
            let own = &mut readers[node];
            if own.pooled && !own.relu && own.functions.is_empty() {
                own.is_image = true;
                readers[*input].pooled = true;
            }
        }
        readers
    }

    /// Whether activations, max poolings or products read the node.
    pub(crate) fn are_any(&self) -> bool {
        self.relu || self.pooled || !self.functions.is_empty()
    }

    /// Whether better bounds than [l, u] of a neuron would make a line better.
    pub(crate) fn is_open(&self, l: f64, u: f64) -> bool {
        let kink = self.relu && l < 0.0 && u > 0.0;
        !self.is_image && (kink || self.pooled && l < u || self.functions.iter().any(|f| f.is_open(l, u)))
    }
}
