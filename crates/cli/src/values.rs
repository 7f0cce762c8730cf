//! Option values with a syntax of their own: radii, norms, methods, stages.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
pub use tightrope::norm_name;
use tightrope_attack::{Radius, ThreatModel};
use tightrope_engine::{Norm, Relaxation};
use tightrope_network::{Network, nearest_name};
pub use tightrope_network::{counted_text as counted, number_text as number, rounded_text as rounded};
use tightrope_statistics::Proportion;
use tightrope_train::Config;
use tightrope_verify::Stage;

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

/// The perturbation options of commands that take what is left out from a run.
#[derive(Clone, Debug, Args)]
pub struct Perturbation {
    /// Perturbation radius ε, a number or a fraction such as 8/255, or one for each channel, between commas (ℓ∞ alone)
    /// [default: a run folder's own].
    #[arg(long, value_name = "E[,E…]", value_parser = radii, allow_hyphen_values = true)]
    pub eps: Option<Radius>,
    /// Norm of the perturbation [default: a run folder's own, else inf].
    #[arg(long, value_enum)]
    pub norm: Option<NormChoice>,
    /// Data range that perturbed inputs stay in [default: a run folder's own, else 0 1].
    #[arg(long, num_args = 2, value_names = ["LO", "HI"], conflicts_with = "no_clip", value_parser = range_end)]
    pub clip: Option<Vec<f64>>,
    /// Let perturbed inputs leave the data range.
    #[arg(long)]
    pub no_clip: bool,
}

/// The two values of `--clip` as a range.
pub fn clip_range(range: &[f64]) -> anyhow::Result<(f64, f64)> {
    match range {
        // Bounds are computed in single precision.
        &[low, high] if (low as f32).is_finite() && (high as f32).is_finite() && (low as f32) < high as f32 => {
            Ok((low, high))
        }
        _ => {
            let given: Vec<String> = range.iter().map(|&value| number(value)).collect();
            anyhow::bail!(
                "--clip {}: give two finite numbers LO HI with LO < HI in single precision, such as --clip 0 1",
                given.join(" ")
            )
        }
    }
}

/// The norm in texts.
pub fn norm_title(norm: Norm) -> &'static str {
    match norm {
        Norm::Inf => "ℓ∞",
        Norm::L2 => "ℓ2",
        Norm::L1 => "ℓ1",
    }
}

/// A data range in words.
pub fn clip_text(clip: Option<(f64, f64)>) -> String {
    clip.map_or("not clipped".into(), |(low, high)| format!("clipped to [{}, {}]", number(low), number(high)))
}

/// The perturbations in words.
pub fn threat_text(threat: &ThreatModel) -> String {
    format!("{} ε = {}, {}", norm_title(threat.norm), radius_text(&threat.epsilon), clip_text(threat.clip))
}

/// Checks that the radii are of the network's channels.
pub fn check_radius(threat: &ThreatModel, network: &Network) -> anyhow::Result<()> {
    threat.epsilon.check(threat.norm, network.input_shape()).context("--eps")
}

/// A radius in texts: a number, or one for each channel in parentheses.
pub fn radius_text(radius: &Radius) -> String {
    match radius {
        Radius::Same(epsilon) => number(*epsilon),
        Radius::Channels(radii) => format!("({})", radii.iter().map(|&e| number(e)).collect::<Vec<_>>().join(", ")),
    }
}

/// A relaxation's name in texts, with its aliases.
pub fn relaxation_title(name: &str) -> String {
    name.parse::<Relaxation>().map_or_else(|_| name.into(), Relaxation::listed)
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The row of a table that tells an accuracy, with its interval if only a `part` of the samples was looked at.
pub fn accuracy_row(title: &str, p: Proportion, part: bool) -> Vec<String> {
    let mut row = vec![format!("{title} accuracy"), percent(p.value), format!("{}/{}", p.count, p.total)];
    row.extend(part.then(|| format!("95 % interval {:.2} – {:.2} %", 100.0 * p.low, 100.0 * p.high)));
    row
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
        Some(value) if (value as f32).is_finite() && value >= 0.0 => Ok(value + 0.0),
        Some(value) if value.is_finite() && value > 0.0 => {
            Err("a radius must not exceed what single precision can hold, 3.4e38; give one such as 0.1".into())
        }
        _ => Err("a radius is a finite number ≥ 0 such as 0.1, or a fraction such as 8/255".into()),
    }
}

/// Parses a radius, or one for each channel between commas.
pub fn radii(text: &str) -> Result<Radius, String> {
    if !text.contains(',') {
        return radius(text).map(Radius::Same);
    }
    let one =
        |(place, part): (usize, &str)| radius(part).map_err(|problem| format!("channel {}: {problem}", place + 1));
    text.split(',').enumerate().map(one).collect::<Result<_, _>>().map(Radius::Channels)
}

/// Parses an end of a data range: a number that is not rounded to 0 or to infinity.
pub fn range_end(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| format!("`{text}` is no number"))?;
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let nonzero = digits.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    match nonzero && (value == 0.0 || value.is_infinite()) {
        true => Err("is beyond double precision; give a number such as 0 or 1".into()),
        false => Ok(value),
    }
}

/// Parses a number of things of which there must be one.
pub fn positive(text: &str) -> Result<usize, String> {
    count(text).ok().filter(|&count| count > 0).ok_or_else(|| format!("`{text}` is no whole number ≥ 1"))
}

/// Parses a number of things.
pub fn count(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no whole number ≥ 0"))
}

/// Parses a seed: a whole number that TOML can hold.
pub fn seed(text: &str) -> Result<u64, String> {
    let value = text.trim().parse().ok().filter(|&value| i64::try_from(value).is_ok());
    value.ok_or_else(|| format!("a seed is a whole number from 0 to {} (2^63-1)", i64::MAX))
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
        _ => text.parse().map(Method::Relaxation).map_err(|_| {
            let known = method_names();
            format!("unknown method `{text}`; use one of {}{}", known.join(", "), suggestion(text, &known))
        }),
    }
}

const ALPHA_CROWN: &str = "alpha-crown";

/// The bounding methods by name.
fn method_names() -> Vec<&'static str> {
    let names = |relaxation: Relaxation| [relaxation.name()].into_iter().chain(relaxation.aliases().iter().copied());
    Relaxation::ALL.into_iter().flat_map(names).chain([ALPHA_CROWN]).collect()
}

/// The help of an option that takes a bounding method.
pub fn method_help() -> String {
    let relaxations = Relaxation::ALL.map(Relaxation::listed).join(", ");
    format!("{relaxations}, or {ALPHA_CROWN} (slopes of all layers optimised, never looser than crown)")
}

/// The help of an option that takes stages.
pub fn stage_help() -> String {
    let default: Vec<&str> = Stage::DEFAULT.iter().map(|stage| stage.name()).collect();
    format!("Stages in order: {} [default: {}]", Stage::names().join(", "), default.join(","))
}

/// The help of a flag that sets the configuration key `path`, which tells what it is and its default.
pub fn key_help(path: &str) -> String {
    let Some(key) = Config::keys().iter().find(|key| key.path == path) else { return String::new() };
    let mut letters = key.about.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect::<String>() + &format!(" [default: {}]", key.default.trim_matches('"'))
}

/// "; did you mean …?" with the name most like `text`, unless none is much like it.
fn suggestion(text: &str, names: &[&str]) -> String {
    nearest_name(text, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Parses one stage of the cascade.
pub fn stage(text: &str) -> Result<Stage, String> {
    text.parse().map_err(|problem: String| {
        let known = problem.starts_with("unknown");
        if known { format!("{problem}{}", suggestion(text, &Stage::names())) } else { problem }
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
    use super::{clip_range, count, radius, seed};

    #[test]
    fn what_single_precision_cannot_hold_is_refused() {
        assert!(radius("1e39").unwrap_err().contains("3.4e38"));
        assert!(clip_range(&[0.0, 1e-60]).is_err() && clip_range(&[0.0, 1e39]).is_err());
        assert_eq!(clip_range(&[0.0, 1e-30]).unwrap(), (0.0, 1e-30));
    }

    #[test]
    fn counts_and_seeds_are_whole_numbers() {
        assert_eq!((count("12"), seed("9223372036854775807")), (Ok(12), Ok(i64::MAX as u64)));
        for bad in ["-1", "1.5", "", "x"] {
            assert!(count(bad).unwrap_err().contains("whole number") && seed(bad).unwrap_err().contains("2^63-1"));
        }
        assert!(seed("18446744073709551615").unwrap_err().contains("2^63-1"));
    }

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
