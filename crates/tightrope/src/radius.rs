//! The largest radius around each sample that bounds certify.

use tightrope_attack::ThreatModel;
use tightrope_engine::{BoundRequest, EngineError, Loaded, Relaxation, Spec};
use tightrope_network::Model;

use crate::{Error, default_engine};

/// What is certified about one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CertifiedRadius {
    /// Class of the largest clean logit.
    pub prediction: usize,
    /// The largest radius that the search found certified; none if the label's logit is not strictly the largest.
    pub radius: Option<f64>,
}

/// Radii are not doubled beyond 2¹⁰ times the first one.
const DOUBLINGS: usize = 10;

/// Searches the largest certified radius of each of `inputs` (`[N, d]`, labels `[N]`): from `threat`'s ε, which is doubled
/// while it is certified, then by bisection in `steps` steps. Norm and data range are those of `threat`.
///
/// The radius is certified itself, so that it is a lower bound: the largest that `relaxation` certifies lies above it by
/// less than 2⁻ˢᵗᵉᵖˢ of the last interval, unless the bounds are not monotone, and the robust radius may be larger still.
///
/// # Errors
/// If inputs and labels do not fit the model, an input lies outside the data range, or ε is not above 0.
///
/// ```
/// use tightrope::network::{Model, NetworkBuilder};
/// use tightrope::{Norm, Relaxation, ThreatModel, certified_radii};
///
/// // Logits x and −x: around 0.3, the label 0 is right until x falls to 0.
/// let mut builder = NetworkBuilder::new(&[1])?;
/// builder.linear("linear", 2, false, builder.input())?;
/// let model = Model::new(builder.build()?, vec![1.0, -1.0]);
/// let threat = ThreatModel::new(Norm::Inf, 0.25, None);
/// let found = certified_radii(&model, &[0.3], &[0], &threat, Relaxation::Crown, 8)?;
/// let radius = found[0].radius.unwrap_or(0.0);
/// assert!(0.298 < radius && radius < 0.3);
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn certified_radii(
    model: &Model,
    inputs: &[f32],
    labels: &[usize],
    threat: &ThreatModel,
    relaxation: Relaxation,
    steps: usize,
) -> Result<Vec<CertifiedRadius>, Error> {
    let (dimension, classes) = (model.network.input_len(), model.network.output_len());
    EngineError::check_length("inputs", inputs.len(), labels.len() * dimension)?;
    if let Some((sample, &label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        return Err(EngineError::Label { sample, label, classes }.into());
    }
    let Some(begin) = threat.epsilon.same().filter(|epsilon| *epsilon > 0.0 && epsilon.is_finite()) else {
        let problem = format!("ε = {:?}: the search for a radius begins at one finite number above 0", threat.epsilon);
        return Err(EngineError::Usage(problem).into());
    };
    let model = model.frozen()?;
    let at = default_engine()?.load(&model.network, &model.theta, &model.buffers)?;
    let logits = at.forward(inputs)?;
    let samples = labels.iter().zip(logits.chunks(classes)).zip(inputs.chunks(dimension));
    samples
        .map(|((&label, logits), input)| {
            let prediction =
                (0..classes).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
            let right = (0..classes).all(|class| class == label || logits[label] > logits[class]);
            let search = Search { at: &*at, input, label, threat, begin, relaxation };
            let radius = if right { Some(search.radius(steps)?) } else { None };
            Ok(CertifiedRadius { prediction, radius })
        })
        .collect()
}

/// One sample whose radius is searched.
struct Search<'a> {
    at: &'a dyn Loaded<f32>,
    input: &'a [f32],
    label: usize,
    threat: &'a ThreatModel,
    /// Radius that the search begins at, > 0.
    begin: f64,
    relaxation: Relaxation,
}

impl Search<'_> {
    fn radius(&self, steps: usize) -> Result<f64, Error> {
        let (mut certified, mut open) = (0.0, self.begin);
        for _ in 0..=DOUBLINGS {
            if !self.holds(open)? {
                break;
            }
            (certified, open) = (open, 2.0 * open);
        }
        for _ in 0..steps {
            let middle = 0.5 * (certified + open);
            if self.holds(middle)? {
                certified = middle;
            } else {
                open = middle;
            }
        }
        Ok(certified)
    }

    /// Whether all margins are above 0 within `epsilon`.
    fn holds(&self, epsilon: f64) -> Result<bool, Error> {
        let threat = ThreatModel::new(self.threat.norm, epsilon, self.threat.clip);
        let region = threat.region(self.input, self.input.len())?;
        let spec = Spec::Margins { labels: vec![self.label] };
        let bounds = self.at.bound(&region, &spec, BoundRequest::lower(self.relaxation))?;
        Ok(bounds.lower.iter().enumerate().all(|(class, &lower)| class == self.label || lower > 0.0))
    }
}
