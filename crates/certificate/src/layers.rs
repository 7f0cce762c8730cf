//! The network as the checker reads it: affine maps with f64 weights, ReLUs, sums and copies.

use tightrope_network::{AvgPool2d, Conv2d, Layer, Network, ParameterId};

use crate::error::CertificateError;
use crate::rounding::{add_up, sub_down, sum_error};

/// What one node computes from earlier nodes.
pub(crate) enum Operation {
    Input,
    Map(Box<Map>),
    Relu(usize),
    /// The same values in another shape.
    Copy(usize),
    Sum(Vec<usize>),
}

/// y = W x + b. Weights and biases are the model's f32 numbers, exactly; where they are products or quotients
/// (normalisation, pooling) one rounding is left to [`sum_error`], the bias' own to `bias_error`.
pub(crate) struct Map {
    /// The node x.
    pub input: usize,
    kind: Kind,
    weights: Vec<f64>,
    /// Per channel; empty for zeros.
    bias: Vec<f64>,
    bias_error: Vec<f64>,
    /// Outputs per channel.
    channel: usize,
    /// Outputs in all.
    outputs: usize,
}

enum Kind {
    Linear {
        features: usize,
    },
    /// Convolution of images `[C, H, W]` to `[_, H', W']`.
    Conv {
        conv: Conv2d,
        image: [usize; 2],
        output: [usize; 2],
    },
    Pool {
        pool: AvgPool2d,
        image: [usize; 2],
        output: [usize; 2],
    },
    Diagonal,
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

/// The operations of `network`'s nodes.
pub(crate) fn operations(network: &Network, theta: &[f32]) -> Result<Vec<Operation>, CertificateError> {
    network.check_theta(theta).map_err(|e| CertificateError::Network(e.to_string()))?;
    let numbers = |id: ParameterId| -> Vec<f64> {
        network.parameters().slice(theta, id).iter().map(|&value| f64::from(value)).collect()
    };
    let side = |id: usize| match network.node(id).shape[..] {
        [_, height, width] => [height, width],
        _ => [1, 1],
    };
    let mut operations = Vec::with_capacity(network.nodes().len());
    for (id, node) in network.nodes().iter().enumerate() {
        let input = node.inputs.first().copied().unwrap_or(0);
        let map = |kind, weights, bias: Vec<f64>, channel| Map {
            input,
            kind,
            weights,
            bias,
            bias_error: Vec::new(),
            channel,
            outputs: node.len(),
        };
        let bias = |id: Option<ParameterId>| id.map(numbers).unwrap_or_default();
        operations.push(match &node.layer {
            Layer::Input => Operation::Input,
            Layer::Relu => Operation::Relu(input),
            Layer::Flatten => Operation::Copy(input),
            Layer::Add => Operation::Sum(node.inputs.clone()),
            Layer::Linear(linear) => {
                map(Kind::Linear { features: linear.in_features }, numbers(linear.weight), bias(linear.bias), 1).into()
            }
            Layer::Conv2d(conv) => {
                let output = side(id);
                let kind = Kind::Conv { conv: conv.clone(), image: side(input), output };
                map(kind, numbers(conv.weight), bias(conv.bias), output[0] * output[1]).into()
            }
            Layer::AvgPool2d(pool) => {
                let kind = Kind::Pool { pool: pool.clone(), image: side(input), output: side(id) };
                map(kind, Vec::new(), Vec::new(), 1).into()
            }
            Layer::Affine(affine) => {
                let channels = affine.scale.len();
                let factor = affine.weight.map_or_else(|| vec![1.0; channels], numbers);
                let summand = affine.bias.map_or_else(|| vec![0.0; channels], numbers);
                let weights: Vec<f64> = factor.iter().zip(&affine.scale).map(|(w, scale)| w * scale).collect();
                let shifts: Vec<f64> = factor.iter().zip(&affine.shift).map(|(w, shift)| w * shift).collect();
                let lost = factor
                    .iter()
                    .zip(&affine.scale)
                    .zip(&weights)
                    .any(|((&w, &scale), product)| w != 0.0 && scale != 0.0 && !product.is_normal());
                if lost {
                    return Err(CertificateError::Network(format!(
                        "`{}`: a factor underflows or overflows",
                        node.name
                    )));
                }
                let biases = shifts.iter().zip(&summand).map(|(shift, b)| shift + b).collect();
                let bias_error = shifts.iter().zip(&summand).map(|(s, b)| sum_error(s.abs() + b.abs(), 2)).collect();
                Map { bias_error, ..map(Kind::Diagonal, weights, biases, affine.inner) }.into()
            }
        });
    }
    Ok(operations)
}

impl From<Map> for Operation {
    fn from(map: Map) -> Self {
        Operation::Map(Box::new(map))
    }
}

impl Map {
    /// Calls `visit(first input, weights)` for the runs of neighbouring inputs that output `o` reads.
    fn row(&self, o: usize, mut visit: impl FnMut(usize, &[f64])) {
        match &self.kind {
            Kind::Linear { features } => visit(0, &self.weights[o * features..(o + 1) * features]),
            Kind::Diagonal => visit(o, std::slice::from_ref(&self.weights[o / self.channel])),
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
            Kind::Pool { pool, image: [height, width], output: [rows, columns] } => {
                let (channel, y, x) = (o / (rows * columns), o / columns % rows, o % columns);
                let inside = |position: usize, axis: usize, length: usize| {
                    let first = position * pool.stride[axis];
                    let from = first.max(pool.padding[axis]);
                    from..(first + pool.kernel[axis]).min(length + pool.padding[axis]).max(from)
                };
                let (down, across) = (inside(y, 0, *height), inside(x, 1, *width));
                let count = match pool.count_include_pad {
                    true => pool.kernel[0] * pool.kernel[1],
                    false => down.len() * across.len(),
                };
                let weight = 1.0 / count.max(1) as f64;
                for row in down {
                    for column in across.clone() {
                        let index = (channel * height + row - pool.padding[0]) * width + column - pool.padding[1];
                        visit(index, std::slice::from_ref(&weight));
                    }
                }
            }
        }
    }

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

impl Operation {
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
