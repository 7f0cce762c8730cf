//! What a network computes: by a naive evaluator that shares no code with the engines, or by the reference engine.

use tightrope_engine::{Engine, Reference};
use tightrope_network::{AvgPool2d, Conv2d, Layer, Model, Network};

/// Logits `[N, K]` of inputs `[N, d]` by the reference engine, in double precision from parameters of single precision.
pub fn logits(model: &Model, inputs: &[f64]) -> Vec<f64> {
    let theta: Vec<f64> = model.theta.iter().map(|&value| f64::from(value)).collect();
    Reference.forward(&model.network, &theta, inputs).unwrap()
}

/// Values of every node for one input, every layer by its definition.
pub fn evaluate(network: &Network, theta: &[f64], input: &[f64]) -> Vec<Vec<f64>> {
    let layout = network.parameters();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for node in network.nodes() {
        let of = |i: usize| values[node.inputs[i]].as_slice();
        let shape = |i: usize| network.node(node.inputs[i]).shape.as_slice();
        let value = match &node.layer {
            Layer::Input => input.to_vec(),
            Layer::Relu => of(0).iter().map(|&v| if v > 0.0 { v } else { 0.0 }).collect(),
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
        };
        values.push(value);
    }
    values
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
