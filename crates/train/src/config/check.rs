//! Checks of the configuration's values, and defaults that depend on other keys.

use tightrope_engine::{Intermediate, Norm};
use tightrope_network::number_text;
use toml::Table;

use super::keys::settings;
use super::smoothing::LEAST_SIGMA;
use super::{Clip, Config, MethodSection};
use crate::TrainError;
use crate::average::AverageKind;
use crate::methods::{self, Method};
use crate::schedule::LrSchedule;
use crate::smoothing::SmoothingKind;

/// Test samples evaluated by default with a relaxation that goes backward through the network.
const BACKWARD_EVAL_LIMIT: usize = 1000;

impl Config {
    /// The method whose loss is PGPE's control variate; none if there is none.
    ///
    /// # Errors
    /// If there is no method of its name, or it has no gradient.
    pub(crate) fn control(&self) -> Result<Option<Box<dyn Method>>, TrainError> {
        self.helper("smoothing.control", &self.smoothing.control)
    }

    /// The method whose gradient guides PGPE; none if there is none.
    ///
    /// # Errors
    /// As [`Config::control`].
    pub(crate) fn guide(&self) -> Result<Option<Box<dyn Method>>, TrainError> {
        self.helper("smoothing.guide", &self.smoothing.guide)
    }

    /// The method `name`, whose gradient PGPE is helped by: with the run's own settings if the run trains by it, else its defaults.
    fn helper(&self, key: &'static str, name: &str) -> Result<Option<Box<dyn Method>>, TrainError> {
        if name == "none" {
            return Ok(None);
        }
        let section = match name == self.method.name {
            true => self.method.clone(),
            false => MethodSection { name: name.into(), ..MethodSection::default() },
        };
        let refused = |problem: String| TrainError::value(key, format!("\"{name}\""), problem);
        let helper = methods::method(&section).map_err(|e| refused(format!("names no method ({e})")))?;
        let usual = MethodSection { name: name.into(), ..MethodSection::default() };
        match helper.differentiable() {
            true => Ok(Some(helper)),
            // By itself it would have one: the run's own objective is in the way.
            false if methods::method(&usual).is_ok_and(|usual| usual.differentiable()) => {
                let other = if name == "ibp" { "crown-ibp" } else { "ibp" };
                Err(refused(format!(
                    "has no gradient here, since it is the run's own method and takes its method.objective, \
                     \"certified-error\"; choose {other}, or method.objective = \"cross-entropy\""
                )))
            }
            false => Err(refused("has no gradient, which is what it is for here; choose crown-ibp or ibp".into())),
        }
    }

    /// Fills in the keys that depend on others and checks every value.
    ///
    /// # Errors
    /// If a value is out of range; the message names the key and the range.
    pub fn resolved(mut self) -> Result<Self, TrainError> {
        self.check_ranges()?;
        let method = methods::method(&self.method)?;
        self.method.name = method.name().into();
        self.method.settings = method.settings();
        if !method.differentiable() && self.smoothing.kind != SmoothingKind::Pgpe {
            return Err(TrainError::value(
                "smoothing.kind",
                format!("\"{}\"", self.smoothing.kind.name()),
                format!(
                    "the loss of {} has no gradient of use, and only \"pgpe\" does without; choose it, or another method or \
                     objective",
                    method.name()
                ),
            ));
        }
        if !method.covers(self.norm()) {
            return Err(TrainError::value(
                "norm",
                norm_text(self.norm()),
                format!("{} trains over ℓ∞ balls alone; set norm = \"inf\", or choose another method", method.name()),
            ));
        }
        let epochs = self.train.epochs as f64;
        self.init.get_or_insert(method.initialisation().into());
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
        self.train.weight_decay.get_or_insert(self.train.optimiser.weight_decay());
        self.train.lr_start.get_or_insert(self.train.lr / 25.0);
        self.train.average_start.get_or_insert(match self.train.average {
            // Whole epochs, since it takes their ends.
            AverageKind::Swa => (0.75 * epochs).floor(),
            AverageKind::None | AverageKind::Ema => 0.0,
        });
        self.train.eps.get_or_insert(self.eps);
        self.warmup.end.get_or_insert((0.3 * epochs).max(self.warmup.start));
        self.method.robust_weight_start.get_or_insert(self.method.robust_weight);
        self.smoothing.fill();
        let relaxation = self.eval_relaxation()?;
        self.train.eval_relaxation = Some(relaxation.name().into());
        self.train.eval_limit.get_or_insert(match relaxation.intermediate() {
            Intermediate::Interval => 0,
            Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable => {
                BACKWARD_EVAL_LIMIT
            }
        });
        self.check_relations()?;
        Ok(self)
    }

    fn check_ranges(&self) -> Result<(), TrainError> {
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
        let table = Table::try_from(self).map_err(|e| TrainError::ConfigText {
            origin: "(values)".into(),
            problem: format!("a number is larger than 2^63-1 ({e}); give a smaller one"),
        })?;
        settings().try_for_each(|setting| setting.check(&table))
    }

    /// What must hold between keys, once all have values.
    fn check_relations(&self) -> Result<(), TrainError> {
        let smoothing = &self.smoothing;
        let (start, end) = (self.warmup.start, self.warmup.end.unwrap_or(self.warmup.start));
        if end < start {
            return Err(TrainError::value("warmup.end", end, format!("must not be before warmup.start = {start}")));
        }
        self.check_optimisation()?;
        if !smoothing.population.is_multiple_of(2) {
            return Err(TrainError::value(
                "smoothing.population",
                smoothing.population,
                "must be even: perturbations come in antithetic pairs",
            ));
        }
        let quoted = |name: &str| (name != "none").then(|| format!("\"{name}\""));
        let split = ("smoothing.split", smoothing.split.then(|| "true".to_owned()));
        let control = ("smoothing.control", quoted(&smoothing.control));
        let guide = ("smoothing.guide", quoted(&smoothing.guide));
        for (key, set) in [&split, &control, &guide] {
            let splits = *key == split.0 && smoothing.kind == SmoothingKind::Mixed;
            if let (Some(value), false) = (set, smoothing.kind == SmoothingKind::Pgpe || splits) {
                let kind = smoothing.kind.name();
                let kinds = if *key == split.0 { "\"pgpe\" and \"mixed\"" } else { "\"pgpe\"" };
                return Err(TrainError::value(
                    key,
                    value,
                    format!("is for smoothing.kind = {kinds} alone, not \"{kind}\""),
                ));
            }
        }
        for (key, set) in [split, control] {
            if let (Some(value), Some(name)) = (set, &guide.1) {
                let problem = format!("cannot be combined with smoothing.guide = {name}; choose one of the two");
                return Err(TrainError::value(key, value, problem));
            }
        }
        self.control()?;
        self.guide()?;
        let sigma_end = smoothing.sigma_end.unwrap_or(smoothing.sigma);
        if let SmoothingKind::Pgpe | SmoothingKind::Mixed = smoothing.kind {
            for (key, sigma) in [("smoothing.sigma", smoothing.sigma), ("smoothing.sigma_end", sigma_end)] {
                if sigma < LEAST_SIGMA {
                    let kind = smoothing.kind.name();
                    let problem = format!("must be at least 1e-6 for {kind} (1e-3 is usual)");
                    return Err(TrainError::value(key, sigma, problem));
                }
            }
        }
        smoothing.check_measured()?;
        if !smoothing.sigma_milestones.is_empty() && sigma_end != smoothing.sigma {
            return Err(TrainError::value(
                "smoothing.sigma_end",
                sigma_end,
                "cannot be combined with smoothing.sigma_milestones; choose one of the two schedules",
            ));
        }
        Ok(())
    }

    /// What must hold between the keys of learning rate, SAM and averages.
    fn check_optimisation(&self) -> Result<(), TrainError> {
        let train = &self.train;
        let (lr, start) = (train.lr, train.lr_start.unwrap_or(train.lr));
        let (cosine, one_cycle) = (train.schedule == LrSchedule::Cosine, train.schedule == LrSchedule::OneCycle);
        for (key, rate, used) in
            [("train.lr_final", train.lr_final, cosine || one_cycle), ("train.lr_start", start, one_cycle)]
        {
            if used && rate > lr {
                return Err(TrainError::value(key, number_text(rate), format!("must not be above train.lr = {lr}")));
            }
        }
        if train.sam > 0.0 && self.smoothing.kind != SmoothingKind::Grad {
            let kind = self.smoothing.kind.name();
            return Err(TrainError::value(
                "train.sam",
                number_text(train.sam),
                format!("cannot be combined with smoothing.kind = \"{kind}\"; use \"grad\", or set train.sam = 0"),
            ));
        }
        let start = train.average_start.unwrap_or(0.0);
        if train.average != AverageKind::None && start >= train.epochs as f64 {
            return Err(TrainError::value(
                "train.average_start",
                number_text(start),
                format!("must be before the end of the run, train.epochs = {}", train.epochs),
            ));
        }
        Ok(())
    }
}

/// The norm as configurations write it.
fn norm_text(norm: Norm) -> &'static str {
    match norm {
        Norm::Inf => "\"inf\"",
        Norm::L2 => "\"2\"",
        Norm::L1 => "\"1\"",
    }
}

/// True for two finite numbers of which the first is smaller, also in single precision, in which bounds are computed.
fn is_range(low: f64, high: f64) -> bool {
    let (low, high) = (low as f32, high as f32);
    low.is_finite() && high.is_finite() && low < high
}
