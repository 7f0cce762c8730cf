//! What of a network memory depends on, and how a batch is cut.

use tightrope_engine::{BoundRequest, Engine, Relaxation, Support};
use tightrope_network::{Layer, Network};

/// Images in lanes.
pub const LANES: usize = 16;
/// Most gradients that are summed separately, so that results do not depend on threads: fewer if they are large.
const SLOTS: [usize; 2] = [16, 4];
/// Parameters from which on there are fewer.
const LARGE: usize = 1 << 22;
/// Weights from which on a linear layer is read in θ's own order, and its gradient written there, where the batch allows it.
const DENSE: usize = 1 << 16;
/// Chunks from which on a batch keeps all threads busy without being divided further.
const BUSY: usize = 8;

/// Counts of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of an input.
    pub input: usize,
    /// What all layers with weights read, of one sample.
    pub read: usize,
    /// Pre-activations of one sample.
    pub neurons: usize,
    /// Of the widest layer.
    pub widest: usize,
    /// Values of all nodes.
    pub nodes: usize,
    /// Logits.
    pub classes: usize,
    /// Parameters.
    pub parameters: usize,
    /// Those of them in large linear layers.
    pub dense: usize,
    /// What large linear layers read, of one sample.
    pub dense_read: usize,
    /// True if the vector kernels cover the network.
    pub fused: bool,
    /// Worker threads.
    pub threads: usize,
}

impl Sizes {
    /// Of `network` on `engine`.
    pub fn of(network: &Network, engine: &dyn Engine<f32>) -> Self {
        let (mut read, mut dense, mut dense_read) = (0, 0, 0);
        for node in network.nodes() {
            let reads: usize = node.inputs.iter().map(|&input| network.node(input).len()).sum();
            match &node.layer {
                Layer::Linear(linear) if reads * linear.out_features >= DENSE => {
                    read += reads;
                    dense += reads * linear.out_features;
                    dense_read += reads;
                }
                Layer::Linear(_) | Layer::Conv2d(_) => read += reads,
                Layer::Input
                | Layer::Affine(_)
                | Layer::BatchNorm(_)
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::MaxPool2d(_)
                | Layer::Activation(_)
                | Layer::Flatten
                | Layer::Add
                | Layer::Product => {}
            }
        }
        let own = matches!(engine.supports(network, &BoundRequest::lower(Relaxation::Ibp)), Support::Own);
        Sizes {
            input: network.input_len(),
            read,
            neurons: network.pre_activations().iter().map(|&node| network.node(node).len()).sum(),
            widest: network.nodes().iter().map(|node| node.len()).max().unwrap_or(0),
            nodes: network.nodes().iter().map(|node| node.len()).sum(),
            classes: network.output_len(),
            parameters: network.parameters().total(),
            dense,
            dense_read,
            fused: own && engine.name() == "fused",
            threads: rayon::current_num_threads(),
        }
    }

    /// Parameters outside large linear layers.
    pub fn packed(&self) -> usize {
        self.parameters - self.dense
    }

    /// Gradients that are summed separately over so many chunks.
    pub fn slots(&self, chunks: usize) -> usize {
        chunks.min(SLOTS[usize::from(self.parameters > LARGE)])
    }

    /// Parts that the walks of each of so many chunks are divided into, which are at most `most`.
    pub fn parts(&self, chunks: usize, most: usize) -> usize {
        if chunks >= BUSY { 1 } else { BUSY.div_ceil(chunks.max(1)).min(most) }
    }
}
