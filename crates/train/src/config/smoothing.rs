//! What the keys of `[smoothing]` mean together: members, their bounds, and what an adaptation asks for.

use tightrope_network::number_text;

use super::SmoothingSection;
use crate::TrainError;
use crate::smoothing::{AdaptationKind, SmoothingKind};

/// Least σ for estimates from losses: below it the differences of single-precision losses are rounding alone.
pub(super) const LEAST_SIGMA: f64 = 1e-6;
/// Largest population.
pub(super) const LARGEST_POPULATION: u64 = 1_000_000;

impl SmoothingSection {
    /// Members of a step: gradients of `rgs`, else losses.
    pub fn members(&self) -> u64 {
        match self.kind {
            SmoothingKind::Rgs => self.samples,
            SmoothingKind::Grad | SmoothingKind::Pgpe | SmoothingKind::Mixed => self.population,
        }
    }

    /// Members come in so many: losses in antithetic pairs.
    pub fn unit(&self) -> u64 {
        match self.kind {
            SmoothingKind::Rgs => 1,
            SmoothingKind::Grad | SmoothingKind::Pgpe | SmoothingKind::Mixed => 2,
        }
    }

    /// Least and most members that an adaptation takes.
    pub fn members_range(&self) -> [u64; 2] {
        let (start, unit) = (self.members(), self.unit());
        let least = self.population_min.unwrap_or_else(|| (start / 4).next_multiple_of(unit).max(2 * unit));
        let most = || start.saturating_mul(4).min(LARGEST_POPULATION).max(least);
        [least, self.population_max.unwrap_or_else(most)]
    }

    /// Least and most σ that an adaptation takes.
    pub fn sigma_range(&self) -> [f64; 2] {
        [self.sigma_min.unwrap_or(self.sigma / 10.0), self.sigma_max.unwrap_or((10.0 * self.sigma).min(f64::MAX))]
    }

    /// True if a smaller σ leaves less noise in the estimate: all but plain PGPE.
    pub fn scatters_with_sigma(&self) -> bool {
        self.kind != SmoothingKind::Pgpe || self.guide != "none"
    }

    /// Fills in the keys that depend on others.
    pub(super) fn fill(&mut self) {
        self.sigma_end.get_or_insert(self.sigma);
        let ([few, many], [least, most]) = (self.members_range(), self.sigma_range());
        (self.population_min, self.population_max) = (Some(few), Some(many));
        (self.sigma_min, self.sigma_max) = (Some(least), Some(most));
    }

    /// What must hold between the keys of a mixture and of an adaptation.
    pub(super) fn check_measured(&self) -> Result<(), TrainError> {
        let adapted = self.adapt != AdaptationKind::None;
        let (kind, adapt) = (self.kind.name(), self.adapt.name());
        if adapted && self.kind == SmoothingKind::Grad {
            let problem =
                "needs noise to adapt; choose smoothing.kind = \"rgs\", \"pgpe\" or \"mixed\", or set it to \"none\"";
            return Err(TrainError::value("smoothing.adapt", format!("\"{adapt}\""), problem));
        }
        let mixed = self.kind == SmoothingKind::Mixed;
        let why = match mixed {
            true => "smoothing.kind = \"mixed\"".into(),
            false => format!("smoothing.adapt = \"{adapt}\" with smoothing.kind = \"{kind}\""),
        };
        let controlled = self.control != "none";
        let averages = self.kind == SmoothingKind::Rgs || controlled && self.kind == SmoothingKind::Pgpe;
        if self.samples < 2 && (mixed || adapted && averages) {
            let problem = format!("must be at least 2 for {why}: one sample tells no variance");
            return Err(TrainError::value("smoothing.samples", self.samples, problem));
        }
        if self.population < 4 && (mixed || adapted && self.kind == SmoothingKind::Pgpe) {
            let problem = format!("must be at least 4 for {why}: one pair tells no variance");
            return Err(TrainError::value("smoothing.population", self.population, problem));
        }
        match self.adapt {
            AdaptationKind::None => Ok(()),
            AdaptationKind::Population => self.check_population(),
            AdaptationKind::Sigma => self.check_sigma(),
        }
    }

    fn check_population(&self) -> Result<(), TrainError> {
        let ([few, many], unit) = (self.members_range(), self.unit());
        for (key, bound) in [("smoothing.population_min", few), ("smoothing.population_max", many)] {
            if !bound.is_multiple_of(unit) {
                return Err(TrainError::value(key, bound, "must be even: perturbations come in antithetic pairs"));
            }
        }
        if few < 2 * unit {
            let problem = format!("must be at least {}: fewer members tell no variance", 2 * unit);
            return Err(TrainError::value("smoothing.population_min", few, problem));
        }
        let key = if self.kind == SmoothingKind::Rgs { "smoothing.samples" } else { "smoothing.population" };
        if self.members() < few {
            let problem = format!("must not be above {key} = {}, which the run starts with", self.members());
            return Err(TrainError::value("smoothing.population_min", few, problem));
        }
        if self.members() > many {
            let problem = format!("must not be below {key} = {}, which the run starts with", self.members());
            return Err(TrainError::value("smoothing.population_max", many, problem));
        }
        Ok(())
    }

    fn check_sigma(&self) -> Result<(), TrainError> {
        let ([least, most], end) = (self.sigma_range(), self.sigma_end.unwrap_or(self.sigma));
        if end != self.sigma || !self.sigma_milestones.is_empty() {
            let problem = "cannot be combined with smoothing.sigma_end or smoothing.sigma_milestones; choose either a \
                           schedule or an adaptation of σ";
            return Err(TrainError::value("smoothing.adapt", "\"sigma\"", problem));
        }
        let losses = self.kind != SmoothingKind::Rgs;
        if least <= 0.0 || losses && least < LEAST_SIGMA {
            let problem = match losses {
                true => format!("must be at least 1e-6 for {} (1e-3 is usual for smoothing.sigma)", self.kind.name()),
                false => "must be above 0 to be scaled; raise smoothing.sigma_min or smoothing.sigma".into(),
            };
            return Err(TrainError::value("smoothing.sigma_min", number_text(least), problem));
        }
        for (key, bound, wrong, word) in [
            ("smoothing.sigma_min", least, least > self.sigma, "above"),
            ("smoothing.sigma_max", most, most < self.sigma, "below"),
        ] {
            if wrong {
                let problem = format!("must not be {word} smoothing.sigma = {}, which the run starts with", self.sigma);
                return Err(TrainError::value(key, number_text(bound), problem));
            }
        }
        Ok(())
    }
}
