//! A network loaded in one precision, with the numbering that complete verification speaks in.

use tightrope_engine::{Cotangents, Engine, Loaded, Real, Reference, Wants};
use tightrope_network::{Activation, Layer, Network, Node, NodeId, Weights};

use crate::VerifyError;

/// A network ready to be walked forwards and backwards.
///
/// The reference engine loads it: the margins for rounding errors are those of its arithmetic.
pub(crate) struct Handle<'a, T> {
    /// The network.
    pub network: &'a Network,
    /// The network at its weights.
    pub at: Box<dyn Loaded<T>>,
    /// Pre-activation nodes in network order; a *position* below is an index into this list.
    pub pre: Vec<NodeId>,
    /// Position of each node that is a pre-activation.
    pub position: Vec<Option<usize>>,
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
        Layer::BatchNorm(_)
        | Layer::MaxPool2d(_)
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

impl<'a, T: Real> Handle<'a, T>
where
    Reference: Engine<T>,
{
    /// `network` with the nearest numbers to `weights`, which must be checked.
    pub(crate) fn new(network: &'a Network, weights: &Weights) -> Self {
        let theta: Vec<T> = weights.theta().iter().map(|&v| T::from_f64(v)).collect();
        let at = match Reference.load(network, &theta, &[]) {
            Ok(at) => at,
            Err(problem) => unreachable!("the weights were checked: {problem}"),
        };
        let pre = network.pre_activations();
        let mut position = vec![None; network.nodes().len()];
        pre.iter().enumerate().for_each(|(p, &id)| position[id] = Some(p));
        Handle { network, at, pre, position }
    }
}

impl<T: Real> Handle<'_, T> {
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
            Layer::Affine(_) | Layer::BatchNorm(_) => node.len(),
            Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Flatten | Layer::Add => 0,
        };
        self.network.nodes().iter().map(|node| of(node) as u64).sum()
    }

    /// Elements of all nodes up to `id`.
    pub(crate) fn elements(&self, id: NodeId) -> usize {
        self.network.nodes()[..=id].iter().map(|node| node.len()).sum()
    }

    /// Outputs `[batch, k]` for concrete inputs `[batch, d]`.
    pub(crate) fn outputs(&self, inputs: &[T]) -> Vec<T> {
        match self.at.forward(inputs) {
            Ok(outputs) => outputs,
            Err(problem) => unreachable!("inputs come from the network's own box: {problem}"),
        }
    }

    /// What `cotangent` makes of the outputs `[batch, k]`, pulled back to the inputs; none if it makes nothing of them.
    pub(crate) fn gradient(&self, inputs: &[T], cotangent: impl FnOnce(&[T]) -> Option<Vec<T>>) -> Option<Vec<T>> {
        let (outputs, tape) = match self.at.forward_taped(inputs) {
            Ok(taped) => taped,
            Err(problem) => unreachable!("inputs come from the network's own box: {problem}"),
        };
        let cotangent = cotangent(&outputs)?;
        match self.at.vjp(&tape, &Cotangents::on_lower(cotangent), Wants::INPUT) {
            Ok(gradients) => gradients.input,
            Err(problem) => unreachable!("the tape is this network's own: {problem}"),
        }
    }
}
