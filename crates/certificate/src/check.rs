//! The checker: replays a proof with outward-rounded f64 arithmetic, trusting nothing in it.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;

use tightrope_exact::{Dyadic, Enclosure};
use tightrope_network::{Network, Weights};
use tightrope_vnnlib::{Case, Property};

use crate::budget::Budget;
use crate::deadline::{Deadline, Failure};
use crate::error::CertificateError;
use crate::file::{Certificate, network_digest, property_digest};
use crate::layers::{Operation, Readers, are_exact};
use crate::numbers::{check_units, operations};
use crate::proof::Proof;
use crate::state::State;
use crate::statement::Statement;
use crate::validate::{check_case, check_parts};
use crate::walk::Walk;

/// What a checked proof consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Conjunctions refuted.
    pub conjunctions: usize,
    /// Leaves of all trees.
    pub leaves: usize,
    /// Splits of all trees.
    pub splits: usize,
    /// Those of them whose bound was evaluated exactly.
    pub exact_leaves: usize,
    /// Smallest bound of any leaf, > 0, or 0 where exact arithmetic shows that it is enough; infinite if no leaf needed one.
    pub smallest_bound: f64,
}

/// Replays proofs for one network, read as a function of real numbers with exactly its weights.
///
/// ```
/// use tightrope_certificate::{CaseProof, Checker, Leaf, Proof, TreeBuilder};
/// use tightrope_network::{NetworkBuilder, Weights};
/// use tightrope_vnnlib::{Case, Constraint, Property};
///
/// let mut builder = NetworkBuilder::new(&[1]).unwrap();
/// builder.linear("double", 1, false, builder.input()).unwrap();
/// let network = builder.build().unwrap();
/// // Unsafe: 2x ≤ −1 for x in [0, 1].
/// let row = Constraint::at_most(vec![1.0], -1.0);
/// let property = Property::new(1, 1, vec![Case::closed(vec![0.0], vec![1.0], vec![vec![row]])]);
///
/// let mut tree = TreeBuilder::new();
/// tree.leaf(TreeBuilder::ROOT, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() });
/// let conjunctions = vec![tree.finish().unwrap()];
/// let proof = Proof { cases: vec![CaseProof { conjunctions }], ..Proof::default() };
/// let weights = Weights::new(vec![2.0]);
/// let report = Checker::new(&network, &weights).check(&property, &proof).unwrap();
/// assert_eq!(report.leaves, 1);
/// ```
pub struct Checker<'a> {
    network: &'a Network,
    weights: &'a Weights,
    deadline: Deadline,
}

/// A network in the units of one proof.
pub(crate) struct Reading<'a> {
    pub network: &'a Network,
    pub operations: Vec<Operation<f64>>,
    /// By node.
    pub readers: Vec<Readers>,
    pub deadline: Deadline,
    /// Memory for what is known at open tree nodes.
    pub budget: Budget,
    weights: &'a Weights,
    units: &'a [i32],
    /// Made when the first leaf needs it.
    exact: OnceLock<Result<Vec<Operation<Enclosure>>, String>>,
}

impl Reading<'_> {
    /// The operations with exact weights.
    pub(crate) fn exact(&self) -> Result<&[Operation<Enclosure>], Failure> {
        if !are_exact(&self.operations) {
            return Err(
                "smooth activations and products have no exact values; leaves cannot be evaluated exactly".into()
            );
        }
        let make = || crate::numbers::operations(self.network, self.weights, self.units).map_err(|e| e.to_string());
        self.exact.get_or_init(make).as_deref().map_err(|problem| problem.clone().into())
    }
}

impl<'a> Checker<'a> {
    /// A checker for `network` with `weights`.
    pub fn new(network: &'a Network, weights: &'a Weights) -> Self {
        Checker { network, weights, deadline: Deadline(None) }
    }

    /// The same, giving up at `deadline`.
    pub fn until(self, deadline: Instant) -> Self {
        Checker { deadline: Deadline(Some(deadline)), ..self }
    }

    /// Checks that `proof` proves `property`: that no input of any case has an unsafe output. Sums of inputs are outputs of
    /// the network that the proof is about ([`Statement`]); that only whole inputs count is not made use of.
    ///
    /// # Errors
    /// If it does not, with the first place where it fails; if the network's weights do not fit it; or
    /// [`CertificateError::Late`].
    pub fn check(&self, property: &Property, proof: &Proof) -> Result<Report, CertificateError> {
        let statement = Statement::of(self.network, self.weights, property);
        match statement.map_err(|e| CertificateError::Network(e.to_string()))? {
            Some(Statement { network, weights, property }) => {
                Checker { deadline: self.deadline, ..Checker::new(&network, &weights) }.replay(&property, proof)
            }
            None => self.replay(property, proof),
        }
    }

    /// [`Checker::check`] for a property of outputs alone.
    fn replay(&self, property: &Property, proof: &Proof) -> Result<Report, CertificateError> {
        let fault = |place: &str, problem: String| CertificateError::Proof { place: place.into(), problem };
        let failed = |place: String| {
            move |failure: Failure| match failure {
                Failure::Wrong(problem) => CertificateError::Proof { place, problem },
                Failure::Late => CertificateError::Late,
            }
        };
        let (inputs, outputs) = (self.network.input_len(), self.network.output_len());
        if (property.inputs, property.outputs) != (inputs, outputs) {
            return Err(fault(
                "property",
                format!(
                    "has {} inputs and {} outputs, the network {inputs} and {outputs}",
                    property.inputs, property.outputs
                ),
            ));
        }
        if proof.cases.len() != property.cases.len() {
            return Err(fault(
                "proof",
                format!("has {} cases, the property {}", proof.cases.len(), property.cases.len()),
            ));
        }
        check_units(self.network, &proof.units).map_err(|problem| fault("proof", problem))?;
        let operations = operations(self.network, self.weights, &proof.units)?;
        let readers = Readers::of(&operations);
        check_parts(proof, self.network, &readers)?;
        let reading = Reading {
            network: self.network,
            operations,
            readers,
            deadline: self.deadline,
            budget: Budget::default(),
            weights: self.weights,
            units: &proof.units,
            exact: OnceLock::new(),
        };
        let mut report =
            Report { conjunctions: 0, leaves: 0, splits: 0, exact_leaves: 0, smallest_bound: f64::INFINITY };
        for (c, (case, trees)) in property.cases.iter().zip(&proof.cases).enumerate() {
            let place = format!("case {c}");
            check_case(case, self.network).map_err(|problem| fault(&place, problem))?;
            let case = &in_units(case, self.network, &proof.units).map_err(|problem| fault(&place, problem))?;
            if trees.conjunctions.len() != case.unsafe_outputs.len() {
                let (got, needed) = (trees.conjunctions.len(), case.unsafe_outputs.len());
                return Err(fault(&place, format!("the proof has {got} trees for {needed} conjunctions")));
            }
            if trees.conjunctions.is_empty() {
                continue;
            }
            let root = State::root(&reading, &case.lower, &case.upper).map_err(failed(place))?;
            let mut refined = HashMap::new();
            for (k, (rows, tree)) in case.unsafe_outputs.iter().zip(&trees.conjunctions).enumerate() {
                let walk = Walk { reading: &reading, proof, tree, rows, case };
                walk.run(&root, &mut refined, &mut report)
                    .map_err(|(step, failure)| failed(format!("case {c}, conjunction {k}, step {step}"))(failure))?;
                report.conjunctions += 1;
            }
        }
        Ok(report)
    }
}

/// The case with its box in the unit of the inputs and its constraints in that of the outputs.
fn in_units(case: &Case, network: &Network, units: &[i32]) -> Result<Case, String> {
    let mut case = case.clone();
    let (Some(input), Some(output)) = (units.first(), units.get(network.output())) else { return Ok(case) };
    let convert = |value: &mut f64, unit: i32| {
        let scaled = Dyadic::from(*value).scaled(-i64::from(unit));
        *value = scaled.to_f64();
        match value.is_finite() && Dyadic::from(*value) == scaled {
            true => Ok(()),
            false => Err("its numbers leave f64 in the units of the proof".to_string()),
        }
    };
    case.lower.iter_mut().chain(&mut case.upper).try_for_each(|end| convert(end, *input))?;
    case.unsafe_outputs.iter_mut().flatten().try_for_each(|row| convert(&mut row.bound, *output))?;
    Ok(case)
}

/// Checks a certificate: that it belongs to the network and the property, and that its proof holds.
///
/// # Errors
/// If it does not, or [`CertificateError::Late`] once the `deadline`, if there is one, has passed.
pub fn check(
    certificate: &Certificate,
    network: &Network,
    weights: &Weights,
    property: &Property,
    deadline: Option<Instant>,
) -> Result<Report, CertificateError> {
    network.check_weights(weights).map_err(|e| CertificateError::Network(e.to_string()))?;
    if network_digest(network, weights)? != certificate.network {
        return Err(CertificateError::Other { what: "network" });
    }
    if property_digest(property) != certificate.property {
        return Err(CertificateError::Other { what: "property" });
    }
    Checker { deadline: Deadline(deadline), ..Checker::new(network, weights) }.check(property, &certificate.proof)
}
