//! The checker: replays a proof with outward-rounded f64 arithmetic, trusting nothing in it.

use std::collections::HashMap;

use tightrope_network::Network;
use tightrope_vnnlib::Property;

use crate::error::CertificateError;
use crate::file::{Certificate, network_digest, property_digest};
use crate::layers::{Operation, operations};
use crate::proof::Proof;
use crate::state::State;
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
    /// Smallest bound of any leaf, > 0; infinite if no leaf needed one.
    pub smallest_bound: f64,
}

/// Replays proofs for one network, read as a function of real numbers with exactly its f32 parameters.
///
/// ```
/// use tightrope_certificate::{CaseProof, Checker, Leaf, Proof, TreeBuilder};
/// use tightrope_network::NetworkBuilder;
/// use tightrope_vnnlib::{Case, Constraint, Property};
///
/// let mut builder = NetworkBuilder::new(&[1]).unwrap();
/// builder.linear("double", 1, false, builder.input()).unwrap();
/// let network = builder.build().unwrap();
/// // Unsafe: 2x ≤ −1 for x in [0, 1].
/// let row = Constraint { coefficients: vec![1.0], bound: -1.0 };
/// let case = Case { lower: vec![0.0], upper: vec![1.0], unsafe_outputs: vec![vec![row]] };
/// let property = Property { inputs: 1, outputs: 1, cases: vec![case] };
///
/// let mut tree = TreeBuilder::new();
/// tree.leaf(TreeBuilder::ROOT, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() });
/// let conjunctions = vec![tree.finish().unwrap()];
/// let proof = Proof { cases: vec![CaseProof { conjunctions }], ..Proof::default() };
/// let report = Checker::new(&network, &[2.0]).unwrap().check(&property, &proof).unwrap();
/// assert_eq!(report.leaves, 1);
/// ```
pub struct Checker<'a> {
    pub(crate) network: &'a Network,
    pub(crate) operations: Vec<Operation>,
}

impl<'a> Checker<'a> {
    /// A checker for `network` with parameters `theta`.
    ///
    /// # Errors
    /// If `theta` does not fit or holds numbers that are not finite.
    pub fn new(network: &'a Network, theta: &[f32]) -> Result<Self, CertificateError> {
        Ok(Checker { network, operations: operations(network, theta)? })
    }

    /// Checks that `proof` proves `property`: that no input of any case has an unsafe output.
    ///
    /// # Errors
    /// If it does not, with the first place where it fails.
    pub fn check(&self, property: &Property, proof: &Proof) -> Result<Report, CertificateError> {
        let fault = |place: &str, problem: String| CertificateError::Proof { place: place.into(), problem };
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
        check_parts(proof, self.network)?;
        let mut report = Report { conjunctions: 0, leaves: 0, splits: 0, smallest_bound: f64::INFINITY };
        for (c, (case, trees)) in property.cases.iter().zip(&proof.cases).enumerate() {
            let place = format!("case {c}");
            check_case(case, self.network).map_err(|problem| fault(&place, problem))?;
            if trees.conjunctions.len() != case.unsafe_outputs.len() {
                let (got, needed) = (trees.conjunctions.len(), case.unsafe_outputs.len());
                return Err(fault(&place, format!("the proof has {got} trees for {needed} conjunctions")));
            }
            if trees.conjunctions.is_empty() {
                continue;
            }
            let root =
                State::root(&self.operations, &case.lower, &case.upper).map_err(|problem| fault(&place, problem))?;
            let mut refined = HashMap::new();
            for (k, (rows, tree)) in case.unsafe_outputs.iter().zip(&trees.conjunctions).enumerate() {
                let walk = Walk { checker: self, proof, tree, rows };
                walk.run(&root, &mut refined, &mut report)
                    .map_err(|(step, problem)| fault(&format!("case {c}, conjunction {k}, step {step}"), problem))?;
                report.conjunctions += 1;
            }
        }
        Ok(report)
    }
}

/// Checks a certificate: that it belongs to the network and the property, and that its proof holds.
pub fn check(
    certificate: &Certificate,
    network: &Network,
    theta: &[f32],
    property: &Property,
) -> Result<Report, CertificateError> {
    let checker = Checker::new(network, theta)?;
    if network_digest(network, theta)? != certificate.network {
        return Err(CertificateError::Other { what: "network" });
    }
    if property_digest(property) != certificate.property {
        return Err(CertificateError::Other { what: "property" });
    }
    checker.check(property, &certificate.proof)
}
