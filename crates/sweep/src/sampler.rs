//! Proposals of configurations: random, and by tree-structured Parzen estimators.
//!
//! Each proposal is a function of the seed, its number and what is known, and of nothing else: a sampler is made for it.

use std::collections::HashMap;

use optimizer::Direction;
use optimizer::distribution::{CategoricalDistribution, Distribution, FloatDistribution};
use optimizer::multi_objective::{MultiObjectiveSampler, MultiObjectiveTrial};
use optimizer::parameter::{ParamId, ParamValue};
use optimizer::sampler::motpe::MotpeSampler;
use optimizer::sampler::random::RandomSampler;
use optimizer::sampler::tpe::TpeSampler;
use optimizer::sampler::{CompletedTrial, Sampler};

use crate::space::{Axis, Domain, Parameters};

/// Places are drawn from this interval and reflected at the ends of [0, 1]: the samplers cut at the ends of the interval
/// they are given, which would propose those again and again.
const WIDER: (f64, f64) = (-0.5, 1.5);
/// Standard deviation of the uniform distribution on [0, 1].
const UNIFORM_DEVIATION: f64 = 0.288_675_134_594_812_9;

/// A configuration with its results.
pub(crate) struct Known<'a> {
    /// Its number.
    pub(crate) configuration: u64,
    /// Its parameters.
    pub(crate) parameters: &'a Parameters,
    /// Its objectives, all to be large.
    pub(crate) values: Vec<f64>,
}

/// An independent draw.
pub(crate) fn random(axes: &[Axis], seed: u64, configuration: u64) -> Parameters {
    let sampler = RandomSampler::with_seed(seed);
    point(axes, |_, distribution| sampler.sample(distribution, configuration, &[]))
}

/// A draw that prefers what went well (Bergstra et al. 2011); what is on the Pareto front went well if there are several
/// objectives (after Ozaki et al. 2020). The first are random.
///
/// Axes are estimated each by itself, on [0, 1]. The kernel's width is Scott's for a uniform distribution, since the
/// spread of a few good points, often of a single one, says little.
pub(crate) fn tpe(axes: &[Axis], seed: u64, configuration: u64, history: &[Known<'_>]) -> Parameters {
    let width = UNIFORM_DEVIATION * (history.len().max(1) as f64).powf(-0.2);
    let objectives = history.first().map_or(0, |known| known.values.len());
    if objectives > 1 {
        let sampler = MotpeSampler::builder().seed(seed).kde_bandwidth(width).build();
        let directions = vec![Direction::Maximize; objectives];
        return point(axes, |axis, distribution| {
            let history: Vec<MultiObjectiveTrial> =
                history.iter().filter_map(|known| several(axis, distribution, known)).collect();
            sampler.sample(distribution, configuration, &history, &directions)
        });
    }
    let builder = TpeSampler::builder().seed(seed).kde_bandwidth(width);
    let Ok(sampler) = builder.build() else { return random(axes, seed, configuration) };
    point(axes, |axis, distribution| {
        let history: Vec<CompletedTrial> =
            history.iter().filter_map(|known| single(axis, distribution, known)).collect();
        sampler.sample(distribution, configuration, &history)
    })
}

/// The parameters that `sample` gives for each axis.
fn point(axes: &[Axis], mut sample: impl FnMut(&Axis, &Distribution) -> ParamValue) -> Parameters {
    let value = |axis: &Axis| {
        let distribution = distribution(&axis.domain);
        let value = match (sample(axis, &distribution), &axis.domain) {
            (ParamValue::Categorical(i), Domain::Values(values)) => values.get(i).cloned(),
            (ParamValue::Float(place), domain) => domain.at(reflected(place)),
            _ => None,
        };
        (axis.key.clone(), value.unwrap_or_default())
    };
    axes.iter().map(value).collect()
}

/// `place` of the wider interval in [0, 1]; what is uniform there is uniform here.
fn reflected(place: f64) -> f64 {
    1.0 - (1.0 - place.abs()).abs()
}

/// A list is one of so many choices, a range is [0, 1] and a half more at each end.
fn distribution(domain: &Domain) -> Distribution {
    match domain {
        Domain::Values(values) => Distribution::Categorical(CategoricalDistribution { n_choices: values.len() }),
        Domain::Range { .. } => {
            Distribution::Float(FloatDistribution { low: WIDER.0, high: WIDER.1, log_scale: false, step: None })
        }
    }
}

/// Where the value of `axis` is in a known configuration; none if it lies outside.
fn place(axis: &Axis, known: &Known<'_>) -> Option<ParamValue> {
    let value = known.parameters.get(&axis.key)?;
    match &axis.domain {
        Domain::Values(values) => values.iter().position(|other| other == value).map(ParamValue::Categorical),
        domain => domain.place(value).map(ParamValue::Float),
    }
}

// The samplers look for values by their distribution, which two axes may share: each axis gets a history of its own.

fn single(axis: &Axis, distribution: &Distribution, known: &Known<'_>) -> Option<CompletedTrial> {
    let id = ParamId::new();
    let parameters = HashMap::from([(id, place(axis, known)?)]);
    let distributions = HashMap::from([(id, distribution.clone())]);
    // Small is good there.
    let value = -known.values.first()?;
    Some(CompletedTrial::new(known.configuration, parameters, distributions, HashMap::new(), value))
}

fn several(axis: &Axis, distribution: &Distribution, known: &Known<'_>) -> Option<MultiObjectiveTrial> {
    let id = ParamId::new();
    Some(MultiObjectiveTrial {
        id: known.configuration,
        params: HashMap::from([(id, place(axis, known)?)]),
        distributions: HashMap::from([(id, distribution.clone())]),
        param_labels: HashMap::new(),
        values: known.values.clone(),
        state: optimizer::TrialState::Complete,
        user_attrs: HashMap::new(),
        constraints: Vec::new(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Known, random};
    use crate::{Axis, Parameters, Plan};

    /// A known configuration that owns its parameters.
    pub(crate) struct Owned(u64, Parameters, Vec<f64>);

    impl Owned {
        pub(crate) fn borrowed(&self) -> Known<'_> {
            Known { configuration: self.0, parameters: &self.1, values: self.2.clone() }
        }
    }

    /// What a search of `count` configurations with axes `a` and `b` and the results `values` knows.
    pub(crate) fn history(plan: &Plan, count: u64, values: impl Fn(f64, f64) -> Vec<f64>) -> Vec<Owned> {
        let mut known: Vec<Owned> = Vec::new();
        for configuration in 0..count {
            let borrowed: Vec<Known<'_>> = known.iter().map(Owned::borrowed).collect();
            let parameters = plan.propose(configuration, &borrowed);
            let number = |key: &str| parameters[key].as_f64().unwrap();
            let results = values(number("a"), number("b"));
            known.push(Owned(configuration, parameters, results));
        }
        known
    }

    #[test]
    fn random_points_fill_the_axes_and_depend_on_seed_and_number_alone() {
        let axes = [Axis::values("c=x,y,z").unwrap(), Axis::range("a=0..1").unwrap(), Axis::range("b=0..1").unwrap()];
        let points: Vec<Parameters> = (0..300).map(|c| random(&axes, 7, c)).collect();
        assert_eq!(random(&axes, 7, 123), points[123]);
        assert_ne!(random(&axes, 8, 123), points[123]);
        let mean = |key: &str| points.iter().map(|p| p[key].as_f64().unwrap()).sum::<f64>() / 300.0;
        // Six standard deviations of the mean.
        assert!((mean("a") - 0.5).abs() < 0.1 && (mean("b") - 0.5).abs() < 0.1);
        let below = points.iter().filter(|point| point["a"].as_f64() < Some(0.25)).count();
        assert!((45..=105).contains(&below), "{below} of 300 in the first quarter");
        assert!(points.iter().all(|point| point["a"] != point["b"]), "axes of one range must differ");
        for value in ["x", "y", "z"] {
            assert!(points.iter().filter(|point| point["c"] == value).count() > 60);
        }
    }

    /// Two ranges alike whose good values differ, and both objectives.
    #[test]
    fn tpe_finds_better_points_than_chance() {
        let axes = ["a=0..1", "b=0..1"].map(|text| Axis::range(text).unwrap()).to_vec();
        let distance = |x: f64, y: f64| (x - 0.2).abs() + (y - 0.9).abs();
        let (mut better, mut ends) = (0, 0);
        for seed in 0..10 {
            let plan = |strategy| Plan {
                axes: axes.clone(),
                strategy,
                seeds: 1,
                seed,
                objectives: vec![crate::Objective::Natural],
                setting: Default::default(),
            };
            let mut mean = |strategy, several: bool| {
                let values = |x, y| match several {
                    true => vec![1.0 - distance(x, y), 1.0 - distance(x, y) / 2.0],
                    false => vec![1.0 - distance(x, y)],
                };
                let late = history(&plan(strategy), 60, values).split_off(30);
                let at_end = |Owned(_, parameters, _): &&Owned| {
                    parameters.values().any(|value| value.as_f64().is_some_and(|value| value <= 0.0 || value >= 1.0))
                };
                ends += late.iter().filter(at_end).count();
                late.iter().map(|Owned(_, _, values)| values[0]).sum::<f64>() / 30.0
            };
            let tpe = crate::Strategy::Tpe { configurations: 60, lag: 1 };
            let chance = mean(crate::Strategy::Random { configurations: 60 }, false);
            better += usize::from(mean(tpe, false) > chance + 0.1) + usize::from(mean(tpe, true) > chance + 0.1);
        }
        assert!(better >= 18, "better in {better} of 20 searches");
        assert!(ends <= 10, "{ends} of 900 proposals at an end");
    }
}
