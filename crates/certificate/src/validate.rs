//! Checks the parts of a property and a proof that can be checked without bounds.

use std::collections::BTreeMap;

use tightrope_network::Network;
use tightrope_vnnlib::{Case, Constraint};

use crate::error::CertificateError;
use crate::layers::Readers;
use crate::proof::{ExactLeaf, Proof, Refinement, Slopes};

/// Fails unless the case's numbers fit `network`.
pub(crate) fn check_case(case: &Case, network: &Network) -> Result<(), String> {
    if case.lower.len() != network.input_len() || case.upper.len() != case.lower.len() {
        return Err("its box does not have one interval per input".into());
    }
    let ends = case.lower.iter().zip(&case.upper);
    if !ends.clone().all(|(l, u)| l.is_finite() && u.is_finite() && l <= u) {
        return Err("its box has an end that is not finite, or a lower end above the upper".into());
    }
    for open in [&case.open_lower, &case.open_upper] {
        if !open.is_sorted_by(|a, b| a < b) || open.last().is_some_and(|&last| last as usize >= case.lower.len()) {
            return Err("its open ends are not inputs in increasing order".into());
        }
    }
    let rows = case.unsafe_outputs.iter().flatten();
    for Constraint { coefficients, bound, .. } in rows {
        if coefficients.len() != network.output_len()
            || !coefficients.iter().chain([bound]).all(|value| value.is_finite())
        {
            return Err("a constraint does not have one finite coefficient per output and a finite bound".into());
        }
    }
    Ok(())
}

/// Fails unless the slopes and refinements of `proof` make sense for `network` by themselves.
pub(crate) fn check_parts(proof: &Proof, network: &Network, readers: &[Readers]) -> Result<(), CertificateError> {
    let size = |node: usize| (node as u32, network.node(node).len() as u32);
    let read = (0..readers.len()).filter(|&node| readers[node].are_any());
    let sizes: BTreeMap<u32, u32> = read.map(size).collect();
    let fault = |place: String| move |problem: String| CertificateError::Proof { place, problem };
    for (i, slopes) in proof.slopes.iter().enumerate() {
        check_slopes(slopes, &sizes).map_err(fault(format!("slopes {i}")))?;
    }
    for (i, refinement) in proof.refinements.iter().enumerate() {
        check_refinement(refinement, &sizes, proof.slopes.len()).map_err(fault(format!("refinement {i}")))?;
    }
    Ok(())
}

fn check_slopes(slopes: &Slopes, sizes: &BTreeMap<u32, u32>) -> Result<(), String> {
    let found = layer_sizes(slopes.layers.iter().map(|layer| layer.node), sizes)?;
    for (layer, size) in slopes.layers.iter().zip(found) {
        let neurons = &layer.neurons;
        let known = neurons.last().is_none_or(|&last| last < size);
        if neurons.len() != layer.values.len() || !known || !neurons.is_sorted_by(|a, b| a < b) {
            return Err(format!("node {} has {size} neurons, each at most once, in order", layer.node));
        }
        if let Some(value) = layer.values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            return Err(format!("the slope {value} at node {} is not in [0, 1]", layer.node));
        }
    }
    Ok(())
}

fn check_refinement(refinement: &Refinement, sizes: &BTreeMap<u32, u32>, slopes: usize) -> Result<(), String> {
    let found = layer_sizes(refinement.layers.iter().map(|layer| layer.node), sizes)?;
    for (layer, size) in refinement.layers.iter().zip(found) {
        for bound in &layer.bounds {
            if bound.index >= size || bound.slopes.is_some_and(|id| id.0 as usize >= slopes) {
                return Err(format!("node {} has a bound of no neuron or without slopes", layer.node));
            }
            check_multipliers(&bound.multipliers)?;
        }
    }
    Ok(())
}

/// Neurons of each of `nodes`; fails unless activations or max poolings read them and they increase.
fn layer_sizes(nodes: impl Iterator<Item = u32> + Clone, sizes: &BTreeMap<u32, u32>) -> Result<Vec<u32>, String> {
    if !nodes.clone().is_sorted_by(|a, b| a < b) {
        return Err("the layers do not increase".into());
    }
    nodes.map(|node| sizes.get(&node).copied().ok_or_else(|| format!("node {node} is no pre-activation"))).collect()
}

/// Fails unless every β is a finite number ≥ 0.
pub(crate) fn check_multipliers(multipliers: &[f32]) -> Result<(), String> {
    match multipliers.iter().find(|beta| !(beta.is_finite() && **beta >= 0.0)) {
        Some(beta) => Err(format!("the multiplier {beta} is not a finite number ≥ 0")),
        None => Ok(()),
    }
}

/// Fails unless the whole numbers of a leaf are short enough to reckon with.
pub(crate) fn check_naturals(leaf: &ExactLeaf) -> Result<(), String> {
    const LONGEST: usize = 1 << 16;
    let mut numbers = leaf.rows.iter().map(|(_, weight)| weight).chain(&leaf.multipliers);
    match numbers.any(|number| number.len() > LONGEST) {
        true => Err(format!("a whole number has more than {LONGEST} bytes")),
        false => Ok(()),
    }
}
