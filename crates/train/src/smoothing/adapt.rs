//! The population or σ of the next step, from the signal-to-noise ratio that the gradients of the last steps had.

use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use super::{Signal, SmoothingKind};
use crate::config::{Scheduled, SmoothingSection};

/// What is adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdaptationKind {
    /// Nothing.
    None,
    /// The number of members.
    Population,
    /// The standard deviation of the noise.
    Sigma,
}

impl AdaptationKind {
    /// Every kind, in the order of help texts.
    pub const ALL: [AdaptationKind; 3] = [AdaptationKind::None, AdaptationKind::Population, AdaptationKind::Sigma];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            AdaptationKind::None => "none",
            AdaptationKind::Population => "population",
            AdaptationKind::Sigma => "sigma",
        }
    }
}

/// Part of the exponential means that stays at each step.
const KEPT: f64 = 0.9;
/// Steps from one change to the next, which are what the means remember.
const WAIT: u64 = 10;

/// What the next step takes, and what is known of the steps so far: a part of the run's state.
///
/// Signal and variance are averaged exponentially over the steps since the last change. From the tenth of these on, their
/// ratio q is compared with the target t = `smoothing.snr`:
///
/// * population: members double where q < t and halve where q > 2t, since half as many have half the ratio;
/// * σ: changes by a factor of √2. Estimates from gradients, and slopes along a guide, scatter with σ (on a quadratic loss the
///   variance is that of the gradient, ∝ σ²): σ falls where q < t and rises where q > 2t. Plain PGPE scatters by its random
///   directions whatever σ is, and beyond that by jumps and ripples, whose part of a difference goes as 1/σ: there σ rises
///   where q < t and falls where q > 2t.
///
/// Between t and 2t nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptation {
    /// Gradients of `rgs`, else losses.
    pub members: u64,
    /// Standard deviation of the noise.
    pub sigma: f64,
    /// Steps since the last change.
    pub steps: u64,
    /// Exponential means over these, of which 0.9 stay at each step and which begin at 0.
    pub mean: Signal,
    /// The ratio at the last step; 0 before the first.
    pub ratio: f64,
}

impl Adaptation {
    /// Before the first step of a run; none where nothing is adapted.
    pub fn new(smoothing: &SmoothingSection) -> Option<Self> {
        let start = Adaptation {
            members: smoothing.members(),
            sigma: smoothing.sigma,
            steps: 0,
            mean: Signal::default(),
            ratio: 0.0,
        };
        (smoothing.adapt != AdaptationKind::None).then_some(start)
    }

    /// `smoothing` with the members of the next step, whose σ is put into its schedules; the gradients of `mixed` go with its
    /// population in proportion.
    pub fn applied(&self, smoothing: &SmoothingSection, scheduled: &mut Scheduled) -> SmoothingSection {
        let mut smoothing = smoothing.clone();
        if smoothing.adapt == AdaptationKind::Sigma {
            scheduled.sigma = self.sigma;
        }
        match smoothing.kind {
            SmoothingKind::Grad => {}
            SmoothingKind::Rgs => smoothing.samples = self.members,
            SmoothingKind::Pgpe => smoothing.population = self.members,
            SmoothingKind::Mixed => {
                smoothing.samples = (smoothing.samples * self.members / smoothing.population).max(2);
                smoothing.population = self.members;
            }
        }
        smoothing
    }

    /// Takes the signal of a step into the means, and changes what the next step takes if it is time to.
    pub fn observe(&mut self, smoothing: &SmoothingSection, signal: Signal) {
        let mean = |mean: f64, new: f64| KEPT * mean + (1.0 - KEPT) * new;
        self.mean.square = mean(self.mean.square, signal.square);
        self.mean.variance = mean(self.mean.variance, signal.variance);
        self.steps += 1;
        self.ratio = self.mean.ratio();
        if self.steps < WAIT {
            return;
        }
        let (too_low, too_high) = (self.ratio < smoothing.snr, self.ratio > 2.0 * smoothing.snr);
        let before = (self.members, self.sigma);
        match smoothing.adapt {
            AdaptationKind::None => {}
            AdaptationKind::Population => {
                let [least, most] = smoothing.members_range();
                let unit = smoothing.unit();
                let wanted = match (too_low, too_high) {
                    (true, _) => self.members.saturating_mul(2),
                    (_, true) => (self.members / 2).next_multiple_of(unit),
                    (false, false) => self.members,
                };
                self.members = wanted.clamp(least, most);
            }
            AdaptationKind::Sigma => {
                let [least, most] = smoothing.sigma_range();
                let (rise, fall) = match smoothing.scatters_with_sigma() {
                    true => (too_high, too_low),
                    false => (too_low, too_high),
                };
                let factor = match (rise, fall) {
                    (true, _) => SQRT_2,
                    (_, true) => 1.0 / SQRT_2,
                    (false, false) => 1.0,
                };
                self.sigma = (self.sigma * factor).clamp(least, most);
            }
        }
        // Steps before a change say nothing of those after it.
        if before != (self.members, self.sigma) {
            (self.steps, self.mean) = (0, Signal::default());
        }
    }

    /// Fails for numbers that no run with these settings arrives at.
    pub(crate) fn check(&self, smoothing: &SmoothingSection) -> Result<(), String> {
        let Adaptation { members, sigma, mean, ratio, .. } = self;
        let ([few, many], [least, most]) = (smoothing.members_range(), smoothing.sigma_range());
        let adapts = |kind| smoothing.adapt == kind;
        let population = if adapts(AdaptationKind::Population) {
            (few..=many).contains(members) && members.is_multiple_of(smoothing.unit())
        } else {
            *members == smoothing.members()
        };
        let noise =
            if adapts(AdaptationKind::Sigma) { (least..=most).contains(sigma) } else { *sigma == smoothing.sigma };
        let finite = [mean.square, mean.variance, *ratio].iter().all(|value| value.is_finite());
        match population && noise && finite {
            true => Ok(()),
            false => Err(format!("no run with these settings has {members} members and σ = {sigma}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Adaptation, AdaptationKind, WAIT};
    use crate::config::{Config, SmoothingSection};
    use crate::smoothing::{Signal, SmoothingKind};

    fn section(kind: SmoothingKind, adapt: AdaptationKind) -> SmoothingSection {
        SmoothingSection {
            kind,
            adapt,
            population: 24,
            samples: 6,
            sigma: 0.01,
            population_min: Some(4),
            population_max: Some(100),
            sigma_min: Some(0.004),
            sigma_max: Some(0.03),
            ..SmoothingSection::default()
        }
    }

    /// What is taken after so many changes' time with a constant ratio.
    fn after(section: &SmoothingSection, square: f64, changes: u64) -> (u64, f64) {
        let mut state = Adaptation::new(section).unwrap();
        (0..changes * WAIT).for_each(|_| state.observe(section, Signal { square, variance: 2.0 }));
        (state.members, state.sigma)
    }

    #[test]
    fn members_double_and_halve_within_bounds() {
        let kinds = [SmoothingKind::Rgs, SmoothingKind::Pgpe, SmoothingKind::Mixed];
        for (kind, [low, fewer, least]) in kinds.into_iter().zip([[12, 3, 4], [48, 12, 4], [48, 12, 4]]) {
            let section = section(kind, AdaptationKind::Population);
            // A ratio of 0.5, of 1.5 and of 2.5 where 1 is wanted; −1 is one of noise alone.
            assert_eq!(after(&section, 1.0, 1).0, low);
            assert_eq!(after(&section, -2.0, 9).0, 100);
            let start = section.members();
            assert_eq!(after(&section, 3.0, 9), (start, 0.01));
            assert_eq!(after(&section, 5.0, 1).0, fewer.max(least));
            assert_eq!(after(&section, 5.0, 9).0, least);
        }
        // 12 → 6 → 3 pairs, of which half are 1.5.
        let section =
            SmoothingSection { population_min: Some(2), ..section(SmoothingKind::Pgpe, AdaptationKind::Population) };
        assert_eq!([1, 2, 3, 4].map(|changes| after(&section, 5.0, changes).0), [12, 6, 4, 2]);
    }

    #[test]
    fn sigma_goes_where_the_estimator_has_more_signal() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        for (kind, guide, falls) in [
            (SmoothingKind::Rgs, "none", true),
            (SmoothingKind::Mixed, "none", true),
            (SmoothingKind::Pgpe, "ibp", true),
            (SmoothingKind::Pgpe, "none", false),
        ] {
            let section = SmoothingSection { guide: guide.into(), ..section(kind, AdaptationKind::Sigma) };
            let (low, high) = (after(&section, 1.0, 1).1, after(&section, 5.0, 1).1);
            let root = std::f64::consts::SQRT_2;
            let (down, up) = if falls { (low, high) } else { (high, low) };
            assert!(near(down, 0.01 / root) && near(up, 0.01 * root), "{kind:?} {guide}: {low} {high}");
            let ends = (after(&section, 1.0, 9).1, after(&section, 5.0, 9).1);
            assert_eq!(ends, if falls { (0.004, 0.03) } else { (0.03, 0.004) });
            assert_eq!(after(&section, 3.0, 9), (section.members(), 0.01));
        }
    }

    #[test]
    fn changes_wait_and_forget() {
        let section = section(SmoothingKind::Pgpe, AdaptationKind::Population);
        let mut state = Adaptation::new(&section).unwrap();
        let low = Signal { square: 0.1, variance: 1.0 };
        (1..WAIT).for_each(|_| state.observe(&section, low));
        assert_eq!((state.members, state.steps), (24, WAIT - 1));
        state.observe(&section, low);
        assert_eq!((state.members, state.steps, state.mean), (48, 0, Signal::default()));
        assert!((state.ratio - 0.1).abs() < 1e-12);
        // One outlier among many is averaged away: 1.5 with a single −3 at weight 0.1.
        let mut state = Adaptation::new(&section).unwrap();
        (0..99).for_each(|_| state.observe(&section, Signal { square: 1.5, variance: 1.0 }));
        state.observe(&section, Signal { square: -3.0, variance: 1.0 });
        assert!((state.ratio - 1.05).abs() < 1e-3 && state.members == 24, "{state:?}");
    }

    #[test]
    fn gradients_of_a_mixture_go_with_its_population() {
        let section = section(SmoothingKind::Mixed, AdaptationKind::Population);
        let state = |members| Adaptation { members, sigma: 0.01, ..Adaptation::new(&section).unwrap() };
        let mut scheduled = Config::default().at(0.0);
        let mut taken = |members| {
            let applied = state(members).applied(&section, &mut scheduled);
            (applied.samples, applied.population)
        };
        assert_eq!([taken(48), taken(12), taken(4)], [(12, 48), (3, 12), (2, 4)]);
        // Noise that is not adapted stays with its schedule.
        assert_eq!(scheduled.sigma, Config::default().smoothing.sigma);
        assert!(state(48).check(&section).is_ok());
        assert!(state(47).check(&section).is_err() && state(102).check(&section).is_err());
        assert!(Adaptation { sigma: 0.02, ..state(48) }.check(&section).is_err());
        assert!(Adaptation { ratio: f64::NAN, ..state(48) }.check(&section).is_err());
    }
}
