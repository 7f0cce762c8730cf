//! What a network computes: by a naive evaluator that shares no code with the engines, or by the reference engine.

use tightrope_engine::activation::activation;
use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, EngineError, Gradients, Real, Reference, Region, Spec, Tape, Wants,
};
use tightrope_network::{Activation, AvgPool2d, BatchNorm, Conv2d, Layer, MaxPool2d, Model, Network, Node, NodeId};

/// One question to an engine about a network at θ, which is loaded for it alone: tests ask at many θ, once or twice each.
/// Everything fails as the methods of the same names of [`tightrope_engine::Loaded`] do.
pub trait Ask<T: Real>: Engine<T> {
    /// Logits `[N, K]`.
    ///
    /// # Errors
    /// If θ or the inputs do not fit.
    fn forward(&self, network: &Network, theta: &[T], inputs: &[T]) -> Result<Vec<T>, EngineError> {
        self.load(network, theta, &[])?.forward(inputs)
    }

    /// Logits with a tape.
    ///
    /// # Errors
    /// If θ or the inputs do not fit.
    fn forward_taped(&self, network: &Network, theta: &[T], inputs: &[T]) -> Result<(Vec<T>, Tape), EngineError> {
        self.load(network, theta, &[])?.forward_taped(inputs)
    }

    /// Bounds of `spec` over each sample's region.
    ///
    /// # Errors
    /// If θ, the region or the specification do not fit.
    fn bound(
        &self,
        network: &Network,
        theta: &[T],
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
    ) -> Result<Bounds<T>, EngineError> {
        self.load(network, theta, &[])?.bound(region, spec, request)
    }

    /// Bounds with a tape.
    ///
    /// # Errors
    /// If θ, the region or the specification do not fit.
    fn bound_taped(
        &self,
        network: &Network,
        theta: &[T],
        region: &Region<T>,
        spec: &Spec<T>,
        request: BoundRequest,
    ) -> Result<(Bounds<T>, Tape), EngineError> {
        self.load(network, theta, &[])?.bound_taped(region, spec, request)
    }

    /// Pulls cotangents back through a tape of the same network and θ.
    ///
    /// # Errors
    /// If θ, the tape or the cotangents do not fit.
    fn vjp(
        &self,
        network: &Network,
        theta: &[T],
        tape: &Tape,
        cotangents: &Cotangents<T>,
        wants: Wants,
    ) -> Result<Gradients<T>, EngineError> {
        self.load(network, theta, &[])?.vjp(tape, cotangents, wants)
    }
}

impl<T: Real, E: Engine<T> + ?Sized> Ask<T> for E {}

/// Logits `[N, K]` of inputs `[N, d]` by the reference engine, in double precision from parameters of single precision.
pub fn logits(model: &Model, inputs: &[f64]) -> Vec<f64> {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let at = Reference.load(&model.network, &wide(&model.theta), &wide(&model.buffers)).unwrap();
    at.forward(inputs).unwrap()
}

/// Whether the bounds [l, u] of a neuron of `node` make no difference to any line: what reads it is affine there.
pub fn is_settled(network: &Network, node: NodeId, l: f64, u: f64) -> bool {
    let readers = |id: NodeId| network.nodes().iter().enumerate().filter(move |(_, node)| node.inputs.contains(&id));
    readers(node).all(|(reader, read)| match &read.layer {
        Layer::Activation(kind) => {
            let is_pooled = readers(reader).any(|(_, node)| matches!(node.layer, Layer::MaxPool2d(_)));
            activation::<f64>(*kind).is_affine_on(l, u) && !is_pooled
        }
        layer => layer.is_affine(),
    })
}

/// Values of every node for one input, every layer by its definition; the network has no batch norms.
pub fn evaluate(network: &Network, theta: &[f64], input: &[f64]) -> Vec<Vec<f64>> {
    evaluate_batch(network, theta, Some(&[]), input).0
}

/// Values of every node for a batch, `[N, n]` each, and the batch's own statistics in the layout of the buffers. Batch norms
/// take `buffers` or, without any, those statistics.
pub fn evaluate_batch(
    network: &Network,
    theta: &[f64],
    buffers: Option<&[f64]>,
    inputs: &[f64],
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let batch = inputs.len() / network.input_len();
    let mut values: Vec<Vec<f64>> = vec![inputs.to_vec()];
    let mut statistics = vec![0.0; network.buffers().total()];
    for node in &network.nodes()[1..] {
        let read = |i: usize| &values[node.inputs[i]];
        values.push(match &node.layer {
            Layer::BatchNorm(norm) => {
                normalise(network, theta, buffers, norm, node.len() / norm.channels, read(0), &mut statistics)
            }
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Activation(_)
            | Layer::Product
            | Layer::Flatten
            | Layer::Add => (0..batch)
                .flat_map(|sample| {
                    let of = |i: usize| {
                        let n = network.node(node.inputs[i]).len();
                        &read(i)[sample * n..(sample + 1) * n]
                    };
                    sample_value(network, theta, node, &of)
                })
                .collect(),
        });
    }
    (values, statistics)
}

/// y = w·(x − mean)/√(variance + ε) + b per channel of `inner` elements; writes the batch's mean and variance to
/// `statistics`.
fn normalise(
    network: &Network,
    theta: &[f64],
    buffers: Option<&[f64]>,
    norm: &BatchNorm,
    inner: usize,
    x: &[f64],
    statistics: &mut [f64],
) -> Vec<f64> {
    let (parameters, layout) = (network.parameters(), network.buffers());
    let channel_of = |element: usize| element / inner % norm.channels;
    for channel in 0..norm.channels {
        let own: Vec<f64> = (0..x.len()).filter(|&e| channel_of(e) == channel).map(|e| x[e]).collect();
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        layout.slice_mut(statistics, norm.mean)[channel] = mean;
        let variance = own.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / own.len() as f64;
        layout.slice_mut(statistics, norm.variance)[channel] = variance;
    }
    let used = buffers.unwrap_or(statistics);
    let value = |(element, v): (usize, &f64)| {
        let channel = channel_of(element);
        let deviation = (layout.slice(used, norm.variance)[channel] + norm.epsilon).sqrt();
        let normalised = (v - layout.slice(used, norm.mean)[channel]) / deviation;
        parameters.slice(theta, norm.weight)[channel] * normalised + parameters.slice(theta, norm.bias)[channel]
    };
    x.iter().enumerate().map(value).collect()
}

/// The value of a node that is no batch norm for one sample; `of` gives the values of its inputs.
fn sample_value<'v>(network: &Network, theta: &[f64], node: &Node, of: &impl Fn(usize) -> &'v [f64]) -> Vec<f64> {
    let layout = network.parameters();
    let shape = |i: usize| network.node(node.inputs[i]).shape.as_slice();
    match &node.layer {
        Layer::Input | Layer::BatchNorm(_) => unreachable!("a value of the batch"),
        Layer::Activation(activation) => of(0).iter().map(|&v| activate(*activation, v)).collect(),
        Layer::Flatten => of(0).to_vec(),
        Layer::Add => (0..node.len()).map(|e| (0..node.inputs.len()).map(|i| of(i)[e]).sum()).collect(),
        Layer::Linear(linear) => {
            let weight = layout.slice(theta, linear.weight);
            let dot = |o: usize| -> f64 {
                (0..linear.in_features).map(|i| weight[o * linear.in_features + i] * of(0)[i]).sum()
            };
            let bias = |o: usize| linear.bias.map_or(0.0, |id| layout.slice(theta, id)[o]);
            (0..linear.out_features).map(|o| dot(o) + bias(o)).collect()
        }
        Layer::Affine(affine) => {
            let at = |id: Option<_>, c: usize, absent: f64| id.map_or(absent, |id| layout.slice(theta, id)[c]);
            let map = |e: usize| {
                let c = e / affine.inner;
                at(affine.weight, c, 1.0) * (affine.scale[c] * of(0)[e] + affine.shift[c]) + at(affine.bias, c, 0.0)
            };
            (0..node.len()).map(map).collect()
        }
        Layer::Conv2d(conv) => {
            let weight = layout.slice(theta, conv.weight);
            let bias = conv.bias.map(|id| layout.slice(theta, id));
            convolve(conv, weight, bias, of(0), shape(0), &node.shape)
        }
        Layer::AvgPool2d(pool) => average(pool, of(0), shape(0), &node.shape),
        Layer::Gather(gather) => {
            (0..node.len()).map(|e| gather.sources(e).iter().map(|&source| of(0)[source as usize]).sum()).collect()
        }
        Layer::MaxPool2d(pool) => maximum(pool, of(0), shape(0), &node.shape),
        Layer::Product => (0..node.len()).map(|e| of(0)[e] * of(0)[node.len() + e]).collect(),
    }
}

fn activate(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::Relu => v.max(0.0),
        Activation::LeakyRelu { slope } => v.max(slope * v),
        Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        Activation::Tanh => v.tanh(),
        Activation::Clip { lower, upper } => v.clamp(lower, upper),
        Activation::Exp => v.exp(),
        Activation::Softplus => v.max(0.0) + (-v.abs()).exp().ln_1p(),
        Activation::Reciprocal => 1.0 / v,
        Activation::Power { exponent } => v.powi(exponent as i32),
    }
}

/// The input pixel under a tap, or `None` in the padding.
fn pixel(position: usize, stride: usize, tap: usize, dilation: usize, padding: usize, side: usize) -> Option<usize> {
    (position * stride + tap * dilation).checked_sub(padding).filter(|&p| p < side)
}

fn convolve(
    conv: &Conv2d,
    weight: &[f64],
    bias: Option<&[f64]>,
    x: &[f64],
    input: &[usize],
    output: &[usize],
) -> Vec<f64> {
    let (group_in, group_out) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let mut y = Vec::new();
    for o in 0..output[0] {
        for oy in 0..output[1] {
            for ox in 0..output[2] {
                let mut sum = bias.map_or(0.0, |b| b[o]);
                for i in 0..group_in {
                    for ky in 0..conv.kernel[0] {
                        for kx in 0..conv.kernel[1] {
                            let py = pixel(oy, conv.stride[0], ky, conv.dilation[0], conv.padding[0], input[1]);
                            let px = pixel(ox, conv.stride[1], kx, conv.dilation[1], conv.padding[1], input[2]);
                            if let (Some(py), Some(px)) = (py, px) {
                                let channel = o / group_out * group_in + i;
                                let w = weight[((o * group_in + i) * conv.kernel[0] + ky) * conv.kernel[1] + kx];
                                sum += w * x[(channel * input[1] + py) * input[2] + px];
                            }
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

fn average(pool: &AvgPool2d, x: &[f64], input: &[usize], output: &[usize]) -> Vec<f64> {
    let mut y = Vec::new();
    for c in 0..output[0] {
        for oy in 0..output[1] {
            for ox in 0..output[2] {
                let (mut sum, mut count) = (0.0, 0);
                for ky in 0..pool.kernel[0] {
                    for kx in 0..pool.kernel[1] {
                        let py = pixel(oy, pool.stride[0], ky, 1, pool.padding[0], input[1]);
                        let px = pixel(ox, pool.stride[1], kx, 1, pool.padding[1], input[2]);
                        if let (Some(py), Some(px)) = (py, px) {
                            sum += x[(c * input[1] + py) * input[2] + px];
                            count += 1;
                        }
                    }
                }
                let divisor = if pool.count_include_pad { pool.kernel[0] * pool.kernel[1] } else { count };
                y.push(sum / divisor as f64);
            }
        }
    }
    y
}

fn maximum(pool: &MaxPool2d, x: &[f64], input: &[usize], output: &[usize]) -> Vec<f64> {
    let mut y = Vec::new();
    for c in 0..output[0] {
        for oy in 0..output[1] {
            for ox in 0..output[2] {
                let mut largest = f64::NEG_INFINITY;
                for ky in 0..pool.kernel[0] {
                    for kx in 0..pool.kernel[1] {
                        let py = pixel(oy, pool.stride[0], ky, 1, pool.padding[0], input[1]);
                        let px = pixel(ox, pool.stride[1], kx, 1, pool.padding[1], input[2]);
                        if let (Some(py), Some(px)) = (py, px) {
                            largest = largest.max(x[(c * input[1] + py) * input[2] + px]);
                        }
                    }
                }
                y.push(largest);
            }
        }
    }
    y
}
