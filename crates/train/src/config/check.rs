//! Ranges of the configuration's values, and defaults that depend on other keys.

use tightrope_network::number_text;

use super::{Clip, Config, Init, SmoothingKind};
use crate::TrainError;
use crate::methods;

/// Test samples evaluated by default with a relaxation that goes backward through the network.
const BACKWARD_EVAL_LIMIT: usize = 1000;

impl Config {
    /// Fills in the keys that depend on others and checks every value.
    ///
    /// # Errors
    /// If a value is out of range; the message names the key and the range.
    pub fn resolved(mut self) -> Result<Self, TrainError> {
        self.check_ranges()?;
        self.method.name = methods::method(&self.method.name)?.name().to_string();
        let standard = self.method.name == "standard";
        let epochs = self.train.epochs as f64;
        self.init.get_or_insert(if standard { Init::Default } else { Init::Ibp });
        self.clip = self.clip().map_or(Clip::Unit(false), |_| match self.clip {
            Clip::Range(range) => Clip::Range(range),
            Clip::Unit(_) => Clip::Range([0.0, 1.0]),
        });
        // Whole epochs, so that the learning rate changes where the metrics do.
        self.train.milestones.get_or_insert_with(|| {
            let mut list = vec![(0.7 * epochs).round(), (0.85 * epochs).round()];
            list.dedup();
            list.retain(|&milestone| milestone > 0.0 && milestone < epochs);
            list
        });
        self.train.eps.get_or_insert(self.eps);
        self.warmup.end.get_or_insert((0.3 * epochs).max(self.warmup.start));
        self.method.robust_weight_start.get_or_insert(self.method.robust_weight);
        self.smoothing.sigma_end.get_or_insert(self.smoothing.sigma);
        let relaxation = self.eval_relaxation()?.name();
        self.train.eval_relaxation = Some(relaxation.into());
        let forward = ["ibp", "crown-ibp"].contains(&relaxation);
        self.train.eval_limit.get_or_insert(if forward { 0 } else { BACKWARD_EVAL_LIMIT });
        self.check_relations()?;
        Ok(self)
    }

    fn check_ranges(&self) -> Result<(), TrainError> {
        let (train, method, smoothing) = (&self.train, &self.method, &self.smoothing);
        if i64::try_from(self.seed).is_err() {
            return Err(TrainError::value("seed", self.seed, "must be at most 2^63-1"));
        }
        for (key, text) in [("dataset", &self.dataset), ("model", &self.model)] {
            if text.is_empty() {
                return Err(TrainError::value(key, "\"\"", "must not be empty"));
            }
        }
        if let Clip::Range([low, high]) = self.clip
            && !is_range(low, high)
        {
            return Err(TrainError::value(
                "clip",
                format!("[{low:?}, {high:?}]"),
                "must be [low, high], two numbers of which low < high in single precision, such as [0, 1]",
            ));
        }
        radius("eps", self.eps)?;
        radius("train.eps", train.eps.unwrap_or(0.0))?;
        integer("train.epochs", train.epochs as u64, 1, 100_000)?;
        integer("train.batch", train.batch as u64, 1, 1 << 24)?;
        positive("train.lr", train.lr)?;
        factor("train.lr_decay", train.lr_decay)?;
        ascending("train.milestones", train.milestones.as_deref().unwrap_or(&[]))?;
        not_negative("train.grad_clip", train.grad_clip)?;
        not_negative("train.l1", train.l1)?;
        not_negative("train.checkpoint_seconds", train.checkpoint_seconds)?;
        not_negative("warmup.start", self.warmup.start)?;
        not_negative("warmup.end", self.warmup.end.unwrap_or(0.0))?;
        weight("method.robust_weight", method.robust_weight)?;
        weight("method.robust_weight_start", method.robust_weight_start.unwrap_or(0.0))?;
        not_negative("smoothing.sigma", smoothing.sigma)?;
        not_negative("smoothing.sigma_end", smoothing.sigma_end.unwrap_or(0.0))?;
        ascending("smoothing.sigma_milestones", &smoothing.sigma_milestones)?;
        factor("smoothing.sigma_decay", smoothing.sigma_decay)?;
        integer("smoothing.population", smoothing.population, 2, 1_000_000)?;
        integer("smoothing.samples", smoothing.samples, 1, 100_000)
    }

    /// What must hold between keys, once all have values.
    fn check_relations(&self) -> Result<(), TrainError> {
        let smoothing = &self.smoothing;
        let (start, end) = (self.warmup.start, self.warmup.end.unwrap_or(self.warmup.start));
        if end < start {
            return Err(TrainError::value("warmup.end", end, format!("must not be before warmup.start = {start}")));
        }
        if !smoothing.population.is_multiple_of(2) {
            return Err(TrainError::value(
                "smoothing.population",
                smoothing.population,
                "must be even: perturbations come in antithetic pairs",
            ));
        }
        let sigma_end = smoothing.sigma_end.unwrap_or(smoothing.sigma);
        if smoothing.kind == SmoothingKind::Pgpe {
            for (key, sigma) in [("smoothing.sigma", smoothing.sigma), ("smoothing.sigma_end", sigma_end)] {
                // Below it the differences of single-precision losses are rounding alone.
                if sigma < 1e-6 {
                    return Err(TrainError::value(key, sigma, "must be at least 1e-6 for pgpe (1e-3 is usual)"));
                }
            }
        }
        if !smoothing.sigma_milestones.is_empty() && sigma_end != smoothing.sigma {
            return Err(TrainError::value(
                "smoothing.sigma_end",
                sigma_end,
                "cannot be combined with smoothing.sigma_milestones; choose one of the two schedules",
            ));
        }
        Ok(())
    }
}

/// True for two finite numbers of which the first is smaller, also in single precision, in which bounds are computed.
fn is_range(low: f64, high: f64) -> bool {
    let (low, high) = (low as f32, high as f32);
    low.is_finite() && high.is_finite() && low < high
}

fn radius(key: &'static str, value: f64) -> Result<(), TrainError> {
    if value >= 0.0 && (value as f32).is_finite() {
        Ok(())
    } else {
        Err(TrainError::value(
            key,
            number_text(value),
            "must be a number >= 0 that single precision can hold, such as 0.1",
        ))
    }
}

fn positive(key: &'static str, value: f64) -> Result<(), TrainError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(TrainError::value(key, number_text(value), "must be a number > 0"))
    }
}

fn not_negative(key: &'static str, value: f64) -> Result<(), TrainError> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(TrainError::value(key, number_text(value), "must be a number >= 0"))
    }
}

fn factor(key: &'static str, value: f64) -> Result<(), TrainError> {
    if value > 0.0 && value <= 1.0 {
        Ok(())
    } else {
        Err(TrainError::value(key, number_text(value), "must be in (0, 1]"))
    }
}

fn weight(key: &'static str, value: f64) -> Result<(), TrainError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(TrainError::value(key, number_text(value), "must be in [0, 1]"))
    }
}

fn integer(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), TrainError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(TrainError::value(key, value, format!("must be a whole number from {least} to {most}")))
    }
}

fn ascending(key: &'static str, list: &[f64]) -> Result<(), TrainError> {
    if list.iter().all(|m| m.is_finite() && *m >= 0.0) && list.windows(2).all(|pair| pair[0] < pair[1]) {
        Ok(())
    } else {
        Err(TrainError::value(key, format!("{list:?}"), "must be epochs >= 0 in ascending order"))
    }
}
