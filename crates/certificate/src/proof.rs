//! The data of a proof: branch-and-bound trees, the dual variables of their leaves, and how bounds were derived.

use serde::{Deserialize, Serialize};
use tightrope_exact::Dyadic;

/// A proof that a property holds: every conjunction of every case is refuted over the case's box.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The values of node k are counted in units of 2^units\[k\] everywhere in the proof, which keeps the numbers of networks
    /// with very large or small weights within f64; none at all for units of 1. Nodes that only pass values on (ReLUs,
    /// reshapes, sums) have the units of their inputs.
    pub units: Vec<i32>,
    /// Slopes of lines, referred to by their position ([`SlopesId`]); many leaves may share one entry.
    pub slopes: Vec<Slopes>,
    /// Ways to derive pre-activation bounds, referred to by their position ([`RefinementId`]).
    pub refinements: Vec<Refinement>,
    /// One per case of the property, in order.
    pub cases: Vec<CaseProof>,
}

/// Position in [`Proof::slopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlopesId(pub u32);

/// Position in [`Proof::refinements`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefinementId(pub u32);

/// The refutation of one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaseProof {
    /// One tree per conjunction of the case's `unsafe_outputs`, in order.
    pub conjunctions: Vec<Tree>,
}

/// One neuron of a node that activations or max poolings read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neuron {
    /// The node.
    pub node: u32,
    /// Element of the node's flat output.
    pub index: u32,
}

/// A branch-and-bound tree in preorder; [`TreeBuilder`](crate::TreeBuilder) makes one from nodes in any order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The nodes, each followed by its whole subtree(s).
    pub steps: Vec<Step>,
}

/// One node of a [`Tree`].
///
/// The set of inputs of a node is a box (the case's, cut by the input splits above) together with the splits of neurons
/// above. Each node also has bounds of all values over that set: at the root those of interval arithmetic,
/// below the parent's, cut by the split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Tightens the bounds; one child.
    Refine(RefinementId),
    /// Two children: first pre-activation ≤ 0, then ≥ 0.
    SplitRelu(Neuron),
    /// Two children: first `input[index]` ≤ at, then ≥ at.
    SplitInput {
        /// Element of the flat input.
        index: u32,
        /// Where the box is cut, inside it.
        at: f64,
    },
    /// No child: the dual variables that refute the conjunction over this node's set.
    Leaf(Leaf),
    /// No child: the same to the last digit.
    Exact(ExactLeaf),
    /// Two children: first neuron ≤ at, then ≥ at.
    SplitNeuron {
        /// One of a node that activations or max poolings read.
        neuron: Neuron,
        /// A finite number.
        at: f64,
    },
}

/// The dual variables of a leaf. The lower bound of Σ weight·(c·y − b) that they give must be > 0.
///
/// All weights 0 is allowed: the bound being > 0 then shows that no input satisfies the splits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// (row of the conjunction, weight ≥ 0), each row at most once.
    pub rows: Vec<(u32, f64)>,
    /// Lower slopes; none for the rule of least area.
    pub slopes: Option<SlopesId>,
    /// β ≥ 0 of the splits of neurons on the path, in the order in which they stand from the root; empty for all 0.
    pub multipliers: Vec<f32>,
}

/// The dual variables of a leaf whose bound is evaluated exactly. It must be > 0, or 0 where a strict row has a weight or
/// an input with a coefficient does not reach its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExactLeaf {
    /// (row of the conjunction, weight), each row at most once; whole numbers ≥ 0, little-endian.
    pub rows: Vec<(u32, Vec<u8>)>,
    /// Lower slopes; none for the rule of least area.
    pub slopes: Option<SlopesId>,
    /// β of the splits of neurons on the path, in the order in which they stand from the root; empty for all 0.
    pub multipliers: Vec<Vec<u8>>,
}

/// A whole number ≥ 0 from its little-endian bytes.
pub(crate) fn natural(bytes: &[u8]) -> Dyadic {
    Dyadic::from_natural(bytes)
}

/// Shares α ∈ [0, 1] of unstable neurons. For a ReLU α is the slope of the lower line, relu(z) ≥ α·z; leaky ReLU and clip
/// mix two lines by it (`function.rs` says which), below with positive and above with negative coefficients.
///
/// Neurons not listed have the lines of least area, ReLUs α = 1 if u > −l, else 0. Shares of stable neurons are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slopes {
    /// Per pre-activation node, in increasing order of the node.
    pub layers: Vec<LayerSlopes>,
}

/// The slopes of one pre-activation node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerSlopes {
    /// The node.
    pub node: u32,
    /// Neurons in increasing order.
    pub neurons: Vec<u32>,
    /// α of each.
    pub values: Vec<f32>,
}

/// How the pre-activation bounds of a tree node are tightened, layer by layer in network order.
///
/// Every pre-activation is first bounded by interval arithmetic from the bounds before it, intersected with the
/// bounds it had; then the layers listed here are tightened as they say, each using the tightened ones before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refinement {
    /// In increasing order of the node.
    pub layers: Vec<LayerRefinement>,
}

/// How one pre-activation node's bounds are tightened; all results are intersected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRefinement {
    /// The node.
    pub node: u32,
    /// Bound both sides of every neuron that is still unstable by backward substitution with slopes of least area: a kink of
    /// what reads it is inside its bounds, or a max pooling reads it or an activation of it. Not where it is an activation
    /// that only max poolings read, whose bounds are those of its input, mapped.
    pub crown: bool,
    /// Further bounds with slopes of their own.
    pub bounds: Vec<BoundProof>,
}

/// A bound of one neuron by backward substitution with given slopes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundProof {
    /// Element of the pre-activation node.
    pub index: u32,
    /// Which bound.
    pub side: Side,
    /// Lower slopes of the unstable neurons before it; none for the rule of least area.
    pub slopes: Option<SlopesId>,
    /// As [`Leaf::multipliers`]; those of splits of later nodes have no effect.
    pub multipliers: Vec<f32>,
}

/// A side of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// A lower bound.
    Lower,
    /// An upper bound: the negated lower bound of the negated neuron.
    Upper,
}

impl Refinement {
    /// Least-area backward substitution for every unstable neuron of `nodes` (all that activations and max poolings read for CROWN ∩ IBP).
    pub fn crown(nodes: impl IntoIterator<Item = usize>) -> Self {
        let layer = |node: usize| LayerRefinement { node: node as u32, crown: true, bounds: Vec::new() };
        Refinement { layers: nodes.into_iter().map(layer).collect() }
    }
}
