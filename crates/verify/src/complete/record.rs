//! Collects the proof of one case while the search runs.

use num_bigint::{BigInt, Sign};
use tightrope_certificate::{
    BoundProof, CaseProof, CertificateError, ExactLeaf, LayerRefinement, LayerSlopes, Leaf, Neuron, Proof, Refinement,
    RefinementId, Side, Slopes, SlopesId, Tree, TreeBuilder,
};
use tightrope_engine::Multiplier;

use super::bound::root::Derived;
use super::bound::split::Split;
use super::exact::Refutation;

/// The trees of one case and what they share with those of other cases.
pub(crate) struct Recorder<'a> {
    proof: &'a mut Proof,
    pre: &'a [usize],
    trees: Vec<TreeBuilder>,
}

impl<'a> Recorder<'a> {
    /// A recorder for `conjunctions` trees over a network with pre-activations `pre`.
    pub(crate) fn new(proof: &'a mut Proof, pre: &'a [usize], conjunctions: usize) -> Self {
        Recorder { proof, pre, trees: vec![TreeBuilder::new(); conjunctions] }
    }

    /// The pre-activation neuron at a position.
    fn neuron(&self, position: usize, index: usize) -> Neuron {
        Neuron { node: self.pre[position] as u32, index: index as u32 }
    }

    /// Stores slopes by position; those that `chosen` does not name are left to the rule of least area.
    fn slopes(&mut self, slopes: &[Vec<f32>], chosen: impl Fn(usize, usize) -> bool) -> SlopesId {
        let layers = slopes
            .iter()
            .enumerate()
            .map(|(position, values)| {
                let neurons: Vec<usize> = (0..values.len()).filter(|&i| chosen(position, i)).collect();
                LayerSlopes {
                    node: self.pre[position] as u32,
                    values: neurons.iter().map(|&i| values[i]).collect(),
                    neurons: neurons.iter().map(|&i| i as u32).collect(),
                }
            })
            .filter(|layer| !layer.neurons.is_empty())
            .collect();
        self.proof.slopes.push(Slopes { layers });
        SlopesId(self.proof.slopes.len() as u32 - 1)
    }

    /// Stores how bounds were derived: by CROWN everywhere if `crown`, then as `derivation` says.
    pub(crate) fn refinement(
        &mut self,
        derivation: &[Derived],
        crown: bool,
        unstable: impl Fn(usize, usize) -> bool,
    ) -> RefinementId {
        let mut layers: Vec<LayerRefinement> = Refinement::crown(self.pre.iter().copied()).layers;
        layers.iter_mut().for_each(|layer| layer.crown = crown);
        for derived in derivation {
            let slopes = self.slopes(&derived.slopes, &unstable);
            layers[derived.position].bounds.push(BoundProof {
                index: derived.index as u32,
                side: if derived.is_upper { Side::Upper } else { Side::Lower },
                slopes: Some(slopes),
                multipliers: derived.multipliers.clone(),
            });
        }
        self.proof.refinements.push(Refinement { layers });
        RefinementId(self.proof.refinements.len() as u32 - 1)
    }

    /// Tightens the bounds of an open tree node; its child.
    pub(crate) fn refine(&mut self, conjunction: usize, node: usize, refinement: RefinementId) -> usize {
        self.trees[conjunction].refine(node, refinement)
    }

    /// Splits a neuron; the nodes of the children below and above the point.
    pub(crate) fn split(&mut self, conjunction: usize, node: usize, split: Split) -> [usize; 2] {
        let neuron = self.neuron(split.position, split.index);
        match split.point {
            0.0 => self.trees[conjunction].split_relu(node, neuron),
            point => self.trees[conjunction].split_neuron(node, neuron, point),
        }
    }

    /// Splits an input; the nodes of the lower and the upper child.
    pub(crate) fn split_input(&mut self, conjunction: usize, node: usize, index: usize, at: f64) -> [usize; 2] {
        self.trees[conjunction].split_input(node, index as u32, at)
    }

    /// Ends a branch with slopes of its own.
    pub(crate) fn leaf(
        &mut self,
        conjunction: usize,
        node: usize,
        weights: &[f32],
        slopes: &[Vec<f32>],
        chosen: impl Fn(usize, usize) -> bool,
        multipliers: &[Multiplier<f32>],
    ) {
        let slopes = self.slopes(slopes, chosen);
        let leaf = Leaf {
            rows: rows(weights),
            slopes: Some(slopes),
            multipliers: multipliers.iter().map(|m| m.value.abs()).collect(),
        };
        self.trees[conjunction].leaf(node, leaf);
    }

    /// Ends a branch with slopes of least area and no multipliers.
    pub(crate) fn plain_leaf(&mut self, conjunction: usize, node: usize, weights: &[f32]) {
        let leaf = Leaf { rows: rows(weights), slopes: None, multipliers: Vec::new() };
        self.trees[conjunction].leaf(node, leaf);
    }

    /// Ends a branch at `node` by an exact refutation, in place of all that was done below it.
    pub(crate) fn exact_instead(&mut self, conjunction: usize, node: usize, refutation: &Refutation) {
        self.trees[conjunction].reopen(node);
        self.exact(conjunction, node, refutation);
    }

    /// Ends a branch by an exact refutation.
    pub(crate) fn exact(&mut self, conjunction: usize, node: usize, refutation: &Refutation) {
        match refutation {
            Refutation::Leaf { rows, multipliers } => {
                let bytes = |value: &BigInt| value.magnitude().to_bytes_le();
                let positive = |(_, weight): &(usize, &BigInt)| weight.sign() == Sign::Plus;
                let leaf = ExactLeaf {
                    rows: rows.iter().enumerate().filter(positive).map(|(r, w)| (r as u32, bytes(w))).collect(),
                    slopes: None,
                    multipliers: multipliers.iter().map(bytes).collect(),
                };
                self.trees[conjunction].exact_leaf(node, leaf);
            }
            Refutation::Split { at, children } => {
                let nodes = self.split(conjunction, node, *at);
                children.iter().zip(nodes).for_each(|(child, node)| self.exact(conjunction, node, child));
            }
        }
    }

    /// Adds the finished trees to the proof.
    pub(crate) fn finish(self) -> Result<(), CertificateError> {
        let conjunctions: Result<Vec<Tree>, _> = self.trees.into_iter().map(TreeBuilder::finish).collect();
        self.proof.cases.push(CaseProof { conjunctions: conjunctions? });
        Ok(())
    }
}

fn rows(weights: &[f32]) -> Vec<(u32, f64)> {
    weights.iter().enumerate().filter(|(_, w)| **w > 0.0).map(|(r, &w)| (r as u32, f64::from(w))).collect()
}
