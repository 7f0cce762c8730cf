//! Option values with a syntax of their own: radii, norms, methods, stages.

use std::path::Path;

use clap::{Args, ValueEnum};
use tightrope_engine::{Norm, Relaxation};
use tightrope_verify::{Stage, ThreatModel};

use crate::dataset;

/// `--norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NormChoice {
    /// ℓ∞.
    #[value(name = "inf")]
    Inf,
    /// ℓ2.
    #[value(name = "2")]
    L2,
    /// ℓ1.
    #[value(name = "1")]
    L1,
}

impl From<NormChoice> for Norm {
    fn from(choice: NormChoice) -> Self {
        match choice {
            NormChoice::Inf => Norm::Inf,
            NormChoice::L2 => Norm::L2,
            NormChoice::L1 => Norm::L1,
        }
    }
}

/// The perturbation options of commands whose default is the ball cut to the data range [0, 1].
#[derive(Clone, Debug, Args)]
pub struct Perturbation {
    /// Perturbation radius ε, a number or a fraction such as 8/255 [default: a run folder's own].
    #[arg(long, value_name = "E", value_parser = radius, allow_hyphen_values = true)]
    pub eps: Option<f64>,
    /// Norm of the perturbation.
    #[arg(long, value_enum, default_value = "inf")]
    pub norm: NormChoice,
    /// Data range that perturbed inputs stay in [default: 0 1].
    #[arg(long, num_args = 2, value_names = ["LO", "HI"], allow_negative_numbers = true, conflicts_with = "no_clip")]
    pub clip: Option<Vec<f64>>,
    /// Let perturbed inputs leave the data range.
    #[arg(long)]
    pub no_clip: bool,
}

impl Perturbation {
    /// The set of perturbations asked for; `model` may be a run folder that knows its radius.
    pub fn threat(&self, model: &Path) -> anyhow::Result<ThreatModel> {
        let clip = match (&self.clip, self.no_clip) {
            (_, true) => None,
            (Some(range), false) => Some(clip_range(range)?),
            (None, false) => Some((0.0, 1.0)),
        };
        Ok(ThreatModel { norm: self.norm.into(), epsilon: dataset::epsilon(self.eps, model)?, clip })
    }
}

/// The two values of `--clip` as a range.
pub fn clip_range(range: &[f64]) -> anyhow::Result<(f64, f64)> {
    match range {
        &[low, high] if low.is_finite() && high.is_finite() && low < high => Ok((low, high)),
        _ => {
            let given: Vec<String> = range.iter().map(f64::to_string).collect();
            anyhow::bail!("--clip {}: give two finite numbers LO HI with LO < HI, such as --clip 0 1", given.join(" "))
        }
    }
}

/// The norm's name on the command line.
pub fn norm_name(norm: Norm) -> &'static str {
    match norm {
        Norm::Inf => "inf",
        Norm::L2 => "2",
        Norm::L1 => "1",
    }
}

/// The perturbations in words.
pub fn threat_text(threat: &ThreatModel) -> String {
    let norm = match threat.norm {
        Norm::Inf => "ℓ∞",
        Norm::L2 => "ℓ2",
        Norm::L1 => "ℓ1",
    };
    let range = threat.clip.map_or("not clipped".into(), |(low, high)| format!("clipped to [{low}, {high}]"));
    // Beyond any data range; written out it would only be digits.
    let epsilon = match threat.epsilon {
        large if large > 1e6 => format!("{large:e}"),
        usual => usual.to_string(),
    };
    format!("{norm} ε = {epsilon}, {range}")
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Parses a radius: a finite number ≥ 0 or a fraction of two.
pub fn radius(text: &str) -> Result<f64, String> {
    let number = |part: &str| part.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        Some((above, below)) => number(above).zip(number(below)).map(|(a, b)| a / b),
        None => number(text),
    };
    match value {
        // The sum makes −0 a plain 0.
        Some(value) if value.is_finite() && value >= 0.0 => Ok(value + 0.0),
        _ => Err("a radius is a finite number ≥ 0 such as 0.1, or a fraction such as 8/255".into()),
    }
}

/// A way to bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By an engine.
    Relaxation(Relaxation),
    /// CROWN by an engine, met with α-CROWN.
    AlphaCrown,
}

impl Method {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Relaxation(relaxation) => relaxation.name(),
            Method::AlphaCrown => ALPHA_CROWN,
        }
    }

    /// What the engine computes.
    pub fn relaxation(self) -> Relaxation {
        match self {
            Method::Relaxation(relaxation) => relaxation,
            Method::AlphaCrown => Relaxation::Crown,
        }
    }
}

/// Parses a bounding method.
pub fn method(text: &str) -> Result<Method, String> {
    match text {
        ALPHA_CROWN => Ok(Method::AlphaCrown),
        "zonotope" | "hbox" => {
            Err("not in this version; use ibp, crown-ibp, crown, crown-meet-ibp, crown-skip-ibp or alpha-crown".into())
        }
        _ => text.parse().map(Method::Relaxation).map_err(|_| {
            format!("unknown method `{text}`; use one of {}{}", METHODS.join(", "), suggestion(text, &METHODS))
        }),
    }
}

const ALPHA_CROWN: &str = "alpha-crown";

/// The bounding methods by name.
const METHODS: [&str; 7] = ["ibp", "crown-ibp", "crown", "deeppoly", "crown-meet-ibp", "crown-skip-ibp", ALPHA_CROWN];

/// "; did you mean …?" with the name most like `text`, unless none is much like it.
fn suggestion(text: &str, names: &[&str]) -> String {
    let scored = names.iter().map(|name| (strsim::damerau_levenshtein(text, name), name));
    match scored.min_by_key(|&(distance, _)| distance) {
        Some((distance, name)) if 2 * distance <= text.len() => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

/// Parses one stage of the cascade.
pub fn stage(text: &str) -> Result<Stage, String> {
    text.parse().map_err(|problem: String| {
        let known = problem.starts_with("unknown");
        if known {
            format!("{problem}{}", suggestion(text, &[&METHODS[..], &["pgd", "bab"]].concat()))
        } else {
            problem
        }
    })
}

/// Parses a positive number of seconds.
pub fn seconds(text: &str) -> Result<std::time::Duration, String> {
    text.parse()
        .ok()
        .filter(|&seconds: &f64| seconds > 0.0)
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a time limit is a positive number of seconds".into())
}

#[cfg(test)]
mod tests {
    use super::radius;

    #[test]
    fn radii_are_numbers_or_fractions() {
        assert_eq!(radius("0.1"), Ok(0.1));
        assert_eq!(radius("8/255"), Ok(8.0 / 255.0));
        assert!(radius("-0").unwrap().is_sign_positive());
        for bad in ["-0.1", "nan", "inf", "1/0", "x", "", "1/-3"] {
            assert!(radius(bad).is_err(), "{bad}");
        }
    }
}
