//! Collects the proof of one case while the search runs.

use num_bigint::{BigInt, Sign};
use tightrope_certificate::{
    BoundProof, CaseProof, CertificateError, ExactLeaf, LayerRefinement, LayerSlopes, Leaf, Neuron, Proof, Refinement,
    RefinementId, Side, Slopes, SlopesId, Step, Tree, TreeBuilder,
};
use tightrope_engine::Multiplier;

use super::bound::root::Derived;
use super::bound::split::Split;
use super::exact::Refutation;

/// About the bytes of a node of a tree: its step, the list of its children, and the open ones.
const STEP: usize = size_of::<Step>() + 96;

/// The trees of one case and what they share with those of other cases.
pub(crate) struct Recorder<'a> {
    proof: &'a mut Proof,
    pre: &'a [usize],
    conjunctions: usize,
    trees: Vec<TreeBuilder>,
    /// Slopes and refinements that the proof had before.
    before: [usize; 2],
    /// Whether conjunctions have two trees, so that some of what was added since then is of no use.
    mixed: bool,
    /// Bytes that may still be added; none once they were used up, and all that was recorded is forgotten.
    room: Option<usize>,
}

impl<'a> Recorder<'a> {
    /// A recorder for `conjunctions` trees over a network with pre-activations `pre`, which gives up beyond `room` bytes.
    pub(crate) fn new(proof: &'a mut Proof, pre: &'a [usize], conjunctions: usize, room: usize) -> Self {
        let before = [proof.slopes.len(), proof.refinements.len()];
        let trees = vec![TreeBuilder::new(); conjunctions];
        Recorder { proof, pre, conjunctions, trees, before, mixed: false, room: Some(room) }
    }

    /// Takes `bytes` of the room; whether recording goes on. Where it does not, what is there goes at once, and whatever
    /// follows is not looked at.
    fn takes(&mut self, bytes: usize) -> bool {
        self.room = self.room.and_then(|room| room.checked_sub(bytes));
        if self.room.is_none() {
            self.trees = Vec::new();
            self.proof.slopes = Vec::new();
            self.proof.refinements = Vec::new();
        }
        self.room.is_some()
    }

    /// The pre-activation neuron at a position.
    fn neuron(&self, position: usize, index: usize) -> Neuron {
        Neuron { node: self.pre[position] as u32, index: index as u32 }
    }

    /// Stores slopes by position; those that `chosen` does not name are left to the rule of least area.
    fn slopes(&mut self, slopes: &[Vec<f32>], chosen: impl Fn(usize, usize) -> bool) -> SlopesId {
        let layers: Vec<LayerSlopes> = slopes
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
        let bytes = |layer: &LayerSlopes| size_of::<LayerSlopes>() + 8 * layer.neurons.len();
        if !self.takes(size_of::<Slopes>() + layers.iter().map(bytes).sum::<usize>()) {
            return SlopesId(0);
        }
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
        let bytes = |layer: &LayerRefinement| {
            let multipliers: usize = layer.bounds.iter().map(|bound| size_of_val(&*bound.multipliers)).sum();
            size_of::<LayerRefinement>() + size_of_val(&*layer.bounds) + multipliers
        };
        if !self.takes(size_of::<Refinement>() + layers.iter().map(bytes).sum::<usize>()) {
            return RefinementId(0);
        }
        self.proof.refinements.push(Refinement { layers });
        RefinementId(self.proof.refinements.len() as u32 - 1)
    }

    /// Tightens the bounds of an open tree node; its child.
    pub(crate) fn refine(&mut self, conjunction: usize, node: usize, refinement: RefinementId) -> usize {
        if !self.takes(STEP) {
            return 0;
        }
        self.trees[conjunction].refine(node, refinement)
    }

    /// Splits a neuron; the nodes of the children below and above the point.
    pub(crate) fn split(&mut self, conjunction: usize, node: usize, split: Split) -> [usize; 2] {
        if !self.takes(STEP) {
            return [0; 2];
        }
        let neuron = self.neuron(split.position, split.index);
        match split.point {
            0.0 => self.trees[conjunction].split_relu(node, neuron),
            point => self.trees[conjunction].split_neuron(node, neuron, point),
        }
    }

    /// Splits an input; the nodes of the lower and the upper child.
    pub(crate) fn split_input(&mut self, conjunction: usize, node: usize, index: usize, at: f64) -> [usize; 2] {
        if !self.takes(STEP) {
            return [0; 2];
        }
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
        if !self.takes(STEP + size_of::<(u32, f64)>() * weights.len() + size_of::<f32>() * multipliers.len()) {
            return;
        }
        let leaf = Leaf {
            rows: rows(weights),
            slopes: Some(slopes),
            multipliers: multipliers.iter().map(|m| m.value.abs()).collect(),
        };
        self.trees[conjunction].leaf(node, leaf);
    }

    /// Ends a branch with slopes of least area and no multipliers.
    pub(crate) fn plain_leaf(&mut self, conjunction: usize, node: usize, weights: &[f32]) {
        if !self.takes(STEP + size_of::<(u32, f64)>() * weights.len()) {
            return;
        }
        let leaf = Leaf { rows: rows(weights), slopes: None, multipliers: Vec::new() };
        self.trees[conjunction].leaf(node, leaf);
    }

    /// Ends a branch at `node` by an exact refutation, in place of all that was done below it.
    pub(crate) fn exact_instead(&mut self, conjunction: usize, node: usize, refutation: &Refutation) {
        if self.room.is_some() {
            self.trees[conjunction].reopen(node);
        }
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
                let numbers = leaf.rows.iter().map(|(_, number)| number).chain(&leaf.multipliers);
                if self.takes(STEP + numbers.map(|number| size_of::<Vec<u8>>() + number.len()).sum::<usize>()) {
                    self.trees[conjunction].exact_leaf(node, leaf);
                }
            }
            Refutation::Split { at, children } => {
                let nodes = self.split(conjunction, node, *at);
                children.iter().zip(nodes).for_each(|(child, node)| self.exact(conjunction, node, child));
            }
        }
    }

    /// The root of another way to refute each conjunction.
    pub(crate) fn alternatives(&mut self) -> Vec<usize> {
        if self.room.is_none() {
            return vec![0; self.conjunctions];
        }
        self.mixed = true;
        self.trees.iter_mut().map(TreeBuilder::alternative).collect()
    }

    /// Takes the other way for a conjunction.
    pub(crate) fn take(&mut self, conjunction: usize, alternative: usize) {
        if self.room.is_some() {
            self.trees[conjunction].replace_root(alternative);
        }
    }

    /// Adds the finished trees to the proof; the room that is left, none if there is no proof for want of it.
    pub(crate) fn finish(self) -> Result<Option<usize>, CertificateError> {
        if self.room.is_none() {
            return Ok(None);
        }
        let conjunctions: Result<Vec<Tree>, _> = self.trees.into_iter().map(TreeBuilder::finish).collect();
        let mut conjunctions = conjunctions?;
        if self.mixed {
            forget_unused(self.proof, self.before, &mut conjunctions);
        }
        self.proof.cases.push(CaseProof { conjunctions });
        Ok(self.room)
    }
}

/// Drops the slopes and refinements beyond the first `before` that `trees` do not use.
fn forget_unused(proof: &mut Proof, before: [usize; 2], trees: &mut [Tree]) {
    let steps = || trees.iter().flat_map(|tree| &tree.steps);
    let mut refinements = vec![false; proof.refinements.len()];
    for step in steps() {
        if let Step::Refine(id) = step {
            refinements[id.0 as usize] = true;
        }
    }
    let mut slopes = vec![false; proof.slopes.len()];
    let of_bounds = |refinement: &Refinement| -> Vec<SlopesId> {
        refinement.layers.iter().flat_map(|layer| &layer.bounds).filter_map(|bound| bound.slopes).collect()
    };
    let of_leaves = steps().filter_map(|step| match step {
        Step::Leaf(leaf) => leaf.slopes,
        Step::Exact(leaf) => leaf.slopes,
        Step::SplitRelu(_) | Step::SplitNeuron { .. } | Step::SplitInput { .. } | Step::Refine(_) => None,
    });
    let used = proof.refinements.iter().zip(&refinements).filter(|(_, used)| **used);
    let of_refinements = used.flat_map(|(refinement, _)| of_bounds(refinement));
    of_leaves.chain(of_refinements).for_each(|id| slopes[id.0 as usize] = true);
    let [slopes, refinements] = [(slopes, before[0]), (refinements, before[1])].map(|(used, before)| {
        let mut next = 0;
        let places = used.iter().enumerate().map(|(place, &used)| {
            let kept = used || place < before;
            next += u32::from(kept);
            kept.then(|| next - 1)
        });
        places.collect::<Vec<Option<u32>>>()
    });
    let mut place = 0..;
    proof.slopes.retain(|_| place.next().is_some_and(|place: usize| slopes[place].is_some()));
    let mut place = 0..;
    proof.refinements.retain(|_| place.next().is_some_and(|place: usize| refinements[place].is_some()));
    let renumber = |id: &mut u32, places: &[Option<u32>]| {
        if let Some(place) = places[*id as usize] {
            *id = place;
        }
    };
    for bound in proof.refinements.iter_mut().skip(before[1]).flat_map(|r| &mut r.layers).flat_map(|l| &mut l.bounds) {
        bound.slopes.iter_mut().for_each(|id| renumber(&mut id.0, &slopes));
    }
    for step in trees.iter_mut().flat_map(|tree| &mut tree.steps) {
        match step {
            Step::Leaf(leaf) => leaf.slopes.iter_mut().for_each(|id| renumber(&mut id.0, &slopes)),
            Step::Exact(leaf) => leaf.slopes.iter_mut().for_each(|id| renumber(&mut id.0, &slopes)),
            Step::Refine(id) => renumber(&mut id.0, &refinements),
            Step::SplitRelu(_) | Step::SplitNeuron { .. } | Step::SplitInput { .. } => {}
        }
    }
}

fn rows(weights: &[f32]) -> Vec<(u32, f64)> {
    weights.iter().enumerate().filter(|(_, w)| **w > 0.0).map(|(r, &w)| (r as u32, f64::from(w))).collect()
}

#[cfg(test)]
mod tests {
    use tightrope_certificate::{
        BoundProof, LayerRefinement, LayerSlopes, Leaf, Proof, Refinement, RefinementId, Side, Slopes, SlopesId, Step,
        Tree,
    };

    use super::forget_unused;

    #[test]
    fn what_no_tree_uses_is_dropped_and_the_rest_renumbered() {
        let slopes = |value: f32| {
            let layer = LayerSlopes { node: 1, neurons: vec![0], values: vec![value] };
            Slopes { layers: vec![layer] }
        };
        let refinement = |id: u32| {
            let slopes = Some(SlopesId(id));
            let bound = BoundProof { index: 0, side: Side::Lower, slopes, multipliers: Vec::new() };
            Refinement { layers: vec![LayerRefinement { node: 1, crown: false, bounds: vec![bound] }] }
        };
        let mut proof = Proof {
            slopes: [0.0, 0.1, 0.2, 0.3, 0.4].map(slopes).to_vec(),
            refinements: [0, 2, 4].map(refinement).to_vec(),
            ..Proof::default()
        };
        let leaf = Leaf { rows: vec![(0, 1.0)], slopes: Some(SlopesId(3)), multipliers: Vec::new() };
        let mut trees = vec![Tree { steps: vec![Step::Refine(RefinementId(2)), Step::Leaf(leaf.clone())] }];
        forget_unused(&mut proof, [1, 1], &mut trees);
        assert_eq!(proof.slopes, [0.0, 0.3, 0.4].map(slopes));
        assert_eq!(proof.refinements, [0, 2].map(refinement));
        let leaf = Leaf { slopes: Some(SlopesId(1)), ..leaf };
        assert_eq!(trees[0].steps, [Step::Refine(RefinementId(1)), Step::Leaf(leaf)]);
    }
}
