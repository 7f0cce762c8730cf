//! A network with its weights in place, in one precision: what every pass of complete verification runs on.

use tightrope_engine::{AffineMap, Real, Weights};
use tightrope_network::{Activation, Layer, Network, Node, NodeId, ParameterId, Weights as Numbers};

use crate::VerifyError;

/// A network ready to be walked forwards and backwards.
pub(crate) struct Program<'a, T> {
    /// The network.
    pub network: &'a Network,
    /// One map per affine node.
    pub maps: Vec<Option<AffineMap<T>>>,
    /// Pre-activation nodes in network order; a *position* below is an index into this list.
    pub pre: Vec<NodeId>,
    /// Position of each node that is a pre-activation.
    pub position: Vec<Option<usize>>,
    /// |b| of each affine node's outputs, with both parts taken absolutely where the bias is a rounded sum.
    pub bias_magnitude: Vec<Vec<f64>>,
}

/// Fails if `network` has a layer of a kind that complete verification does not cover.
pub(crate) fn check_kinds(network: &Network) -> Result<(), VerifyError> {
    let is_covered = |node: &&Node| match &node.layer {
        Layer::Input
        | Layer::Conv2d(_)
        | Layer::Linear(_)
        | Layer::Affine(_)
        | Layer::AvgPool2d(_)
        | Layer::Activation(Activation::Relu)
        | Layer::Flatten
        | Layer::Add => true,
        Layer::MaxPool2d(_)
        | Layer::Activation(
            Activation::LeakyRelu { .. } | Activation::Sigmoid | Activation::Tanh | Activation::Clip { .. },
        ) => false,
    };
    match network.nodes().iter().find(|node| !is_covered(node)) {
        Some(node) => Err(VerifyError::Layer { layer: node.name.clone(), kind: node.layer.kind() }),
        None => Ok(()),
    }
}

/// Where a pass meets a node that [`check_kinds`] refuses, or the input beyond the start.
pub(crate) fn not_covered(node: &Node) -> ! {
    unreachable!("`{}` is of kind `{}`", node.name, node.layer.kind())
}

impl<'a, T: Real> Program<'a, T> {
    /// The program of a network that [`check_kinds`] accepts.
    pub(crate) fn new(network: &'a Network, weights: &Numbers) -> Self {
        let theta = weights.theta();
        let values: Vec<T> = theta.iter().map(|&v| T::from_f64(v)).collect();
        let maps: Vec<Option<AffineMap<T>>> =
            (0..network.nodes().len()).map(|id| AffineMap::of(network, &values, id)).collect();
        let bias_magnitude =
            maps.iter().enumerate().map(|(id, map)| bias_magnitude(network, theta, id, map.as_ref())).collect();
        let pre = network.pre_activations();
        let mut position = vec![None; network.nodes().len()];
        pre.iter().enumerate().for_each(|(p, &id)| position[id] = Some(p));
        Program { network, maps, pre, position, bias_magnitude }
    }

    /// The map of an affine node.
    pub(crate) fn map(&self, id: NodeId) -> &AffineMap<T> {
        match &self.maps[id] {
            Some(map) => map,
            None => unreachable!("node {id} is no affine layer"),
        }
    }

    /// Elements of the pre-activation at `position`.
    pub(crate) fn width(&self, position: usize) -> usize {
        self.network.node(self.pre[position]).len()
    }

    /// Products of one evaluation.
    pub(crate) fn products(&self) -> u64 {
        let of = |node: &Node| match &node.layer {
            Layer::Linear(linear) => linear.in_features * linear.out_features,
            Layer::Conv2d(conv) => node.len() * (conv.in_channels / conv.groups) * conv.kernel[0] * conv.kernel[1],
            Layer::AvgPool2d(pool) => node.len() * pool.kernel[0] * pool.kernel[1],
            Layer::Affine(_) => node.len(),
            Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Flatten | Layer::Add => 0,
        };
        self.network.nodes().iter().map(|node| of(node) as u64).sum()
    }

    /// Elements of all nodes up to `id`.
    pub(crate) fn elements(&self, id: NodeId) -> usize {
        self.network.nodes()[..=id].iter().map(|node| node.len()).sum()
    }

    /// Values of the nodes up to `last`, `[batch, n]` each; `relu` maps (node, pre-activation values) to a ReLU's output.
    pub(crate) fn forward(
        &self,
        inputs: Vec<T>,
        batch: usize,
        last: NodeId,
        mut relu: impl FnMut(NodeId, &[T]) -> Vec<T>,
    ) -> Vec<Vec<T>> {
        let mut values: Vec<Vec<T>> = Vec::with_capacity(last + 1);
        values.push(inputs);
        for (id, node) in self.network.nodes()[..=last].iter().enumerate().skip(1) {
            let input = &values[node.inputs[0]];
            let value = match &node.layer {
                Layer::Activation(Activation::Relu) => relu(id, input),
                Layer::Add => {
                    let mut sum = input.clone();
                    for &other in &node.inputs[1..] {
                        sum.iter_mut().zip(&values[other]).for_each(|(s, &v)| *s += v);
                    }
                    sum
                }
                Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) => not_covered(node),
                Layer::Conv2d(_) | Layer::Linear(_) | Layer::Affine(_) | Layer::AvgPool2d(_) | Layer::Flatten => {
                    let map = self.map(id);
                    let mut y = map.apply(Weights::Signed, input, batch);
                    map.add_bias(&mut y);
                    y
                }
            };
            values.push(value);
        }
        values
    }

    /// Values of all nodes for concrete inputs `[batch, d]`.
    pub(crate) fn run(&self, inputs: Vec<T>, batch: usize) -> Vec<Vec<T>> {
        self.forward(inputs, batch, self.network.output(), |_, z| z.iter().map(|&v| v.relu()).collect())
    }

    /// Gradient with respect to the inputs `[batch, d]` of ⟨cotangent, output⟩ at the `values` of a run.
    pub(crate) fn gradient(&self, values: &[Vec<T>], cotangent: Vec<T>, batch: usize) -> Vec<T> {
        let nodes = self.network.nodes();
        let mut cotangents: Vec<Vec<T>> = vec![Vec::new(); nodes.len()];
        cotangents[self.network.output()] = cotangent;
        for id in (1..nodes.len()).rev() {
            let mut g = std::mem::take(&mut cotangents[id]);
            if g.is_empty() {
                continue;
            }
            let node = &nodes[id];
            let input = node.inputs[0];
            match &node.layer {
                Layer::Activation(Activation::Relu) => {
                    g.iter_mut().zip(&values[input]).for_each(|(g, &v)| *g = if v > T::ZERO { *g } else { T::ZERO });
                    accumulate(&mut cotangents[input], g);
                }
                Layer::Add => node.inputs.iter().for_each(|&input| accumulate(&mut cotangents[input], g.clone())),
                Layer::Flatten => accumulate(&mut cotangents[input], g),
                Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) => not_covered(node),
                Layer::Conv2d(_) | Layer::Linear(_) | Layer::Affine(_) | Layer::AvgPool2d(_) => {
                    let map = self.map(id);
                    cotangents[input].resize(batch * map.inputs, T::ZERO);
                    map.transpose(Weights::Signed, &g, batch, &mut cotangents[input]);
                }
            }
        }
        std::mem::take(&mut cotangents[0])
    }
}

fn bias_magnitude<T: Real>(network: &Network, theta: &[f64], id: NodeId, map: Option<&AffineMap<T>>) -> Vec<f64> {
    let Some(map) = map else { return Vec::new() };
    if let Layer::Affine(affine) = &network.node(id).layer {
        let value = |id: Option<ParameterId>, channel: usize, otherwise: f64| {
            id.map_or(otherwise, |id| network.parameters().slice(theta, id)[channel])
        };
        let part = |channel: usize| {
            let factor = value(affine.weight, channel, 1.0);
            (factor * affine.shift[channel]).abs() + value(affine.bias, channel, 0.0).abs()
        };
        return (0..map.outputs).map(|element| part(element / affine.inner)).collect();
    }
    let mut bias = vec![T::ZERO; map.outputs];
    map.add_bias(&mut bias);
    bias.iter().map(|b| b.to_f64().abs()).collect()
}

/// target += values, where an empty target is zero.
pub(crate) fn accumulate<T: Real>(target: &mut Vec<T>, values: Vec<T>) {
    if target.is_empty() {
        *target = values;
    } else {
        target.iter_mut().zip(values).for_each(|(t, v)| *t += v);
    }
}
