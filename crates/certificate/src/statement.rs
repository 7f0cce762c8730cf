//! Properties whose constraints are about inputs, too, as properties of outputs alone.

use tightrope_network::{Network, NetworkError, Weights};
use tightrope_vnnlib::Property;

/// A network, its weights and a property of its outputs alone.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The network, whose last outputs are the property's sums.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// The property, without sums.
    pub property: Property,
}

impl Statement {
    /// `property` of `network` as a property of a network that has the property's [sums](Property::sums) as further outputs
    /// ([`Network::with_sums`]): the one holds exactly if the other does. None if it has no sums.
    ///
    /// # Errors
    /// If the network has no such inputs, or too many to combine.
    pub fn of(network: &Network, weights: &Weights, property: &Property) -> Result<Option<Self>, NetworkError> {
        if property.sums.is_empty() {
            return Ok(None);
        }
        if (property.inputs, property.outputs) != (network.input_len(), network.output_len()) {
            return Err(NetworkError::Network(format!(
                "the property speaks of {} inputs and {} outputs, the network has {} and {}; give the property's own network",
                property.inputs,
                property.outputs,
                network.input_len(),
                network.output_len()
            )));
        }
        let (network, weights) = network.with_sums(weights, &property.sums)?;
        let outputs = property.outputs + property.sums.len();
        let property = Property { outputs, sums: Vec::new(), ..property.clone() };
        Ok(Some(Statement { network, weights, property }))
    }
}
