//! Checks the parts of a property and a proof that can be checked without bounds.

use tightrope_network::Network;
use tightrope_vnnlib::{Case, Constraint};

use crate::error::CertificateError;
use crate::proof::Proof;

/// Fails unless the case's numbers fit `network`.
pub(crate) fn check_case(case: &Case, network: &Network) -> Result<(), String> {
    if case.lower.len() != network.input_len() || case.upper.len() != case.lower.len() {
        return Err("its box does not have one interval per input".into());
    }
    let ends = case.lower.iter().zip(&case.upper);
    if !ends.clone().all(|(l, u)| l.is_finite() && u.is_finite() && l <= u) {
        return Err("its box has an end that is not finite, or a lower end above the upper".into());
    }
    let rows = case.unsafe_outputs.iter().flatten();
    for Constraint { coefficients, bound } in rows {
        if coefficients.len() != network.output_len()
            || !coefficients.iter().chain([bound]).all(|value| value.is_finite())
        {
            return Err("a constraint does not have one finite coefficient per output and a finite bound".into());
        }
    }
    Ok(())
}

/// Fails unless the slopes and refinements of `proof` make sense for `network` by themselves.
pub(crate) fn check_parts(proof: &Proof, network: &Network) -> Result<(), CertificateError> {
    let layers = network.pre_activations();
    let size = |node: u32| layers.contains(&(node as usize)).then(|| network.node(node as usize).len() as u32);
    for (i, slopes) in proof.slopes.iter().enumerate() {
        let fail = |problem: String| CertificateError::Proof { place: format!("slopes {i}"), problem };
        if !slopes.layers.is_sorted_by(|a, b| a.node < b.node) {
            return Err(fail("their layers do not increase".into()));
        }
        for layer in &slopes.layers {
            let Some(size) = size(layer.node) else {
                return Err(fail(format!("node {} is no pre-activation", layer.node)));
            };
            let neurons = &layer.neurons;
            let known = neurons.last().is_none_or(|&last| last < size);
            if neurons.len() != layer.values.len() || !known || !neurons.is_sorted_by(|a, b| a < b) {
                return Err(fail(format!("node {} has {size} neurons, each at most once, in order", layer.node)));
            }
            if let Some(value) = layer.values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return Err(fail(format!("the slope {value} at node {} is not in [0, 1]", layer.node)));
            }
        }
    }
    for (i, refinement) in proof.refinements.iter().enumerate() {
        let fail = |problem: String| CertificateError::Proof { place: format!("refinement {i}"), problem };
        if !refinement.layers.is_sorted_by(|a, b| a.node < b.node) {
            return Err(fail("its layers do not increase".into()));
        }
        for layer in &refinement.layers {
            let Some(size) = size(layer.node) else {
                return Err(fail(format!("node {} is no pre-activation", layer.node)));
            };
            for bound in &layer.bounds {
                if bound.index >= size || bound.slopes.is_some_and(|id| id.0 as usize >= proof.slopes.len()) {
                    return Err(fail(format!("node {} has a bound of no neuron or without slopes", layer.node)));
                }
                check_multipliers(&bound.multipliers).map_err(fail)?;
            }
        }
    }
    Ok(())
}

/// Fails unless every β is a finite number ≥ 0.
pub(crate) fn check_multipliers(multipliers: &[f32]) -> Result<(), String> {
    match multipliers.iter().find(|beta| !(beta.is_finite() && **beta >= 0.0)) {
        Some(beta) => Err(format!("the multiplier {beta} is not a finite number ≥ 0")),
        None => Ok(()),
    }
}
