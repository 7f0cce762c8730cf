//! Complete verification in one call.

use tightrope_network::Model;
use tightrope_verify::complete::{Decision, Settings, decide};
use tightrope_vnnlib::Property;

use crate::Error;

/// Decides whether `property` holds for `model`, read as a function of real numbers.
///
/// # Errors
/// If the property does not fit the model or a setting makes no sense.
///
/// ```
/// use tightrope::network::{Model, NetworkBuilder};
/// use tightrope::verification::complete::Outcome;
/// use tightrope::vnnlib::{Case, Constraint, Property};
/// use tightrope::{Settings, verify};
///
/// // y = 2x + 1; can y ≤ 0 for x in [0, 1]?
/// let mut builder = NetworkBuilder::new(&[1])?;
/// builder.linear("linear", 1, true, builder.input())?;
/// let model = Model::new(builder.build()?, vec![2.0, 1.0]);
/// let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], 0.0)]];
/// let property = Property::new(1, 1, vec![Case::closed(vec![0.0], vec![1.0], unsafe_outputs)]);
/// let decision = verify(&model, &property, &Settings::default())?;
/// assert!(matches!(decision.outcome, Outcome::Holds { .. }));
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn verify(model: &Model, property: &Property, settings: &Settings) -> Result<Decision, Error> {
    let model = model.frozen()?;
    Ok(decide(&model.network, &model.weights(), property, settings, &|_| ())?)
}
