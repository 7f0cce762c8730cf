//! α-CROWN: lower slopes optimised for every sample and margin at every evaluation; trained by PGPE alone.

use serde::{Deserialize, Serialize};
use tightrope_engine::{Relaxation, SlopeAscent};
use tightrope_network::choice_text;

use super::relaxed::{OBJECTIVE, robust};
use super::robust::REGULARISER;
use super::{MethodInfo, read_settings, write_settings};
use crate::TrainError;
use crate::config::{Setting, Values};

const SLOPES: &[Setting] = &[
    Setting::new(
        "method.slope_steps",
        Values::Whole(0, 10_000),
        "steps on the lower slopes of each margin; with 0 the loss is that of deeppoly",
        "10",
    ),
    Setting::new("method.slope_rate", Values::POSITIVE, "first learning rate of the slopes", "0.1"),
    Setting::new(
        "method.intermediate",
        Values::Name(|| RELAXATIONS.map(Relaxation::listed).to_vec()),
        "relaxation that intermediate bounds and the first slopes are of; crown-ibp costs least",
        "\"crown-ibp\"",
    ),
];

/// Those that leave slopes to choose.
const RELAXATIONS: [Relaxation; 4] =
    [Relaxation::Crown, Relaxation::CrownIbp, Relaxation::CrownMeetIbp, Relaxation::CrownSkipIbp];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Slopes {
    slope_steps: usize,
    slope_rate: f64,
    intermediate: String,
}

impl Slopes {
    fn relaxation(&self) -> Result<Relaxation, TrainError> {
        let known = self.intermediate.parse().ok().filter(|relaxation| RELAXATIONS.contains(relaxation));
        known.ok_or_else(|| {
            let names = choice_text(RELAXATIONS.map(Relaxation::listed).to_vec());
            TrainError::value(
                "method.intermediate",
                format!("\"{}\"", self.intermediate),
                format!("must be one of {names}"),
            )
        })
    }
}

impl Default for Slopes {
    fn default() -> Self {
        Slopes { slope_steps: 5, slope_rate: 0.25, intermediate: Relaxation::Crown.name().into() }
    }
}

/// `alpha-crown`.
pub static ALPHA_CROWN: MethodInfo = MethodInfo {
    name: "alpha-crown",
    title: "α-CROWN",
    aliases: &[],
    summary: "as deeppoly, the margins' lower slopes optimised at every evaluation (pgpe only)",
    description: "L as for `deeppoly`, but the lower slopes λ in [0, 1] of unstable ReLUs are optimised for each sample \
                  and each margin by themselves: a few steps of projected Adam on m̲_j, from DeepPoly's slopes on, of which \
                  the best bound counts. Intermediate bounds stay those of `deeppoly`, or of another relaxation by \
                  `intermediate`; never looser than that. There is no gradient through the optimised slopes: only \
                  `pgpe` trains it, as it does the 0/1 error of `objective = \"certified-error\"`. Over ℓ∞ alone. Evaluations during training take the slopes as they begin.",
    source: "Xu et al. 2021 (arXiv 2011.13824); trained by PGPE in arXiv 2403.07095",
    settings: &[SLOPES, OBJECTIVE, REGULARISER],
    build: |table| {
        let mut slopes: Slopes = read_settings(table)?;
        let relaxation = slopes.relaxation()?;
        slopes.intermediate = relaxation.name().into();
        let mut method = robust(&ALPHA_CROWN, relaxation, table)?;
        method.bounding.ascent = Some(SlopeAscent { steps: slopes.slope_steps, rate: slopes.slope_rate });
        method.settings.extend(write_settings(&slopes));
        Ok(Box::new(method))
    },
};
