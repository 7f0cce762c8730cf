//! Builds a tree node by node in any order, as a search produces it.

use crate::error::CertificateError;
use crate::proof::{ExactLeaf, Leaf, Neuron, RefinementId, Step, Tree};

/// A tree under construction; nodes are named by small integers.
///
/// ```
/// use tightrope_certificate::{Leaf, Neuron, TreeBuilder};
///
/// let mut builder = TreeBuilder::new();
/// let [inactive, active] = builder.split_relu(TreeBuilder::ROOT, Neuron { node: 1, index: 0 });
/// builder.leaf(active, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() });
/// builder.leaf(inactive, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() });
/// assert_eq!(builder.finish().unwrap().steps.len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct TreeBuilder {
    nodes: Vec<Option<(Step, Vec<usize>)>>,
}

impl Default for TreeBuilder {
    fn default() -> Self {
        TreeBuilder::new()
    }
}

impl TreeBuilder {
    /// The root's name.
    pub const ROOT: usize = 0;

    /// A tree whose root is still open.
    pub fn new() -> Self {
        TreeBuilder { nodes: vec![None] }
    }

    /// Splits an open node by a neuron's sign; its children for pre-activation ≤ 0 and ≥ 0.
    pub fn split_relu(&mut self, node: usize, neuron: Neuron) -> [usize; 2] {
        self.close(node, Step::SplitRelu(neuron))
    }

    /// Splits an open node by a neuron at a point; its children for value ≤ at and ≥ at.
    pub fn split_neuron(&mut self, node: usize, neuron: Neuron, at: f64) -> [usize; 2] {
        self.close(node, Step::SplitNeuron { neuron, at })
    }

    /// Splits an open node's box; its children for `input[index]` ≤ at and ≥ at.
    pub fn split_input(&mut self, node: usize, index: u32, at: f64) -> [usize; 2] {
        self.close(node, Step::SplitInput { index, at })
    }

    /// Tightens an open node's bounds; its child.
    pub fn refine(&mut self, node: usize, refinement: RefinementId) -> usize {
        let [child] = self.close(node, Step::Refine(refinement));
        child
    }

    /// Ends a branch.
    pub fn leaf(&mut self, node: usize, leaf: Leaf) {
        let [] = self.close(node, Step::Leaf(leaf));
    }

    /// Ends a branch by a bound that is to be evaluated exactly.
    pub fn exact_leaf(&mut self, node: usize, leaf: ExactLeaf) {
        let [] = self.close(node, Step::Exact(leaf));
    }

    /// Opens a node again, and forgets what has been done below it.
    pub fn reopen(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// A further open node, for another way to prove what the root says.
    pub fn alternative(&mut self) -> usize {
        self.nodes.push(None);
        self.nodes.len() - 1
    }

    /// Puts an alternative in the place of the root.
    pub fn replace_root(&mut self, alternative: usize) {
        self.nodes[Self::ROOT] = self.nodes[alternative].take();
    }

    fn close<const CHILDREN: usize>(&mut self, node: usize, step: Step) -> [usize; CHILDREN] {
        let children = std::array::from_fn(|i| self.nodes.len() + i);
        self.nodes.extend(children.iter().map(|_| None));
        self.nodes[node] = Some((step, children.to_vec()));
        children
    }

    /// The tree in preorder.
    ///
    /// # Errors
    /// If a node is still open.
    pub fn finish(mut self) -> Result<Tree, CertificateError> {
        let mut steps = Vec::with_capacity(self.nodes.len());
        let mut stack = vec![Self::ROOT];
        while let Some(node) = stack.pop() {
            let Some((step, children)) = self.nodes[node].take() else {
                return Err(CertificateError::Proof {
                    place: format!("node {node} of the tree under construction"),
                    problem: "is still open".into(),
                });
            };
            steps.push(step);
            stack.extend(children.into_iter().rev());
        }
        Ok(Tree { steps })
    }
}
