//! Averages of θ along a run, which are evaluated and saved in its place: SWA and EMA.

use serde::{Deserialize, Serialize};

use crate::config::TrainSection;
use crate::state::State;

/// Which average is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AverageKind {
    /// None: θ itself is evaluated and saved.
    None,
    /// The mean of θ at the ends of epochs (stochastic weight averaging, Izmailov et al. 2018).
    Swa,
    /// The exponential moving average of θ over steps (Polyak and Juditsky 1992 in its exponential form).
    Ema,
}

impl AverageKind {
    /// Every kind, in the order of help texts.
    pub const ALL: [AverageKind; 3] = [AverageKind::None, AverageKind::Swa, AverageKind::Ema];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            AverageKind::None => "none",
            AverageKind::Swa => "swa",
            AverageKind::Ema => "ema",
        }
    }
}

/// An average of θ under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    /// The average, laid out as θ.
    pub theta: Vec<f32>,
    /// Buffers for it: those of θ when the average began, then its own statistics after each epoch.
    pub buffers: Vec<f32>,
    /// How many θ it is made of, ≥ 1.
    pub count: u64,
}

impl Average {
    /// The average of `theta` alone.
    pub fn new(theta: &[f32], buffers: &[f32]) -> Self {
        Average { theta: theta.to_vec(), buffers: buffers.to_vec(), count: 1 }
    }

    /// Takes `theta` into the mean of all: a ← a + (θ − a)/n.
    pub fn add(&mut self, theta: &[f32]) {
        self.count += 1;
        self.approach(theta, 1.0 / self.count as f64);
    }

    /// a ← `decay`·a + (1 − `decay`)·θ.
    pub fn decay(&mut self, theta: &[f32], decay: f64) {
        self.count += 1;
        self.approach(theta, 1.0 - decay);
    }

    /// In f64, since the parts are small.
    fn approach(&mut self, theta: &[f32], part: f64) {
        for (a, &t) in self.theta.iter_mut().zip(theta) {
            *a = (f64::from(*a) + part * (f64::from(t) - f64::from(*a))) as f32;
        }
    }
}

/// Takes θ into its moving average after a step, of which an epoch has `steps`.
pub(crate) fn after_step(train: &TrainSection, state: &mut State, steps: usize) {
    let time = state.epoch as f64 + state.position as f64 / steps as f64;
    if train.average != AverageKind::Ema || time <= train.average_start.unwrap_or(0.0) {
        return;
    }
    match &mut state.average {
        Some(average) => average.decay(&state.theta, train.average_decay),
        None => state.average = Some(Average::new(&state.theta, &state.buffers)),
    }
}

/// The average at the end of the epoch at hand, into which SWA takes θ; `state` stays as it is.
pub(crate) fn after_epoch(train: &TrainSection, state: &State) -> Option<Average> {
    let due = train.average == AverageKind::Swa && (state.epoch + 1) as f64 > train.average_start.unwrap_or(0.0);
    match (&state.average, due) {
        (average, false) => average.clone(),
        (None, true) => Some(Average::new(&state.theta, &state.buffers)),
        (Some(average), true) => {
            let mut average = average.clone();
            average.add(&state.theta);
            Some(average)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Average;

    #[test]
    fn means_and_moving_averages_have_their_closed_form() {
        let mut mean = Average::new(&[1.0, -2.0], &[]);
        let mut moving = mean.clone();
        for theta in [[2.0, 0.0], [6.0, 5.0]] {
            mean.add(&theta);
            moving.decay(&theta, 0.75);
        }
        assert_eq!((&mean.theta[..], mean.count), (&[3.0, 1.0][..], 3));
        // 1·.75² + 2·.75·.25 + 6·.25, and likewise.
        assert_eq!(moving.theta, [2.4375, 0.125]);
    }
}
