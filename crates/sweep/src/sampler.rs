//! Proposals of configurations: random, and by tree-structured Parzen estimators.
//!
//! Each proposal is a function of the seed, its number and what is known, and of nothing else: a sampler is made for it.

use std::collections::HashMap;

use optimizer::distribution::{CategoricalDistribution, Distribution, FloatDistribution};
use optimizer::parameter::{ParamId, ParamValue};
use optimizer::sampler::random::RandomSampler;
use optimizer::sampler::tpe::TpeSampler;
use optimizer::sampler::{CompletedTrial, Sampler};

use crate::space::{Axis, Domain, Parameters};
use tightrope_statistics::pareto;

/// Configurations with results before the first estimate.
const FIRST: usize = 11;
/// Part of the configurations that count as good.
const GOOD: f64 = 0.15;
/// Candidates of each value. Many would pick the extremes of the ratio of two estimates that know little.
const CANDIDATES: usize = 4;
/// Places, evenly in [0, 1], that count as one good and one bad value each, so that both estimates are somewhere above 0.
const PRIOR: usize = 3;
/// Places are drawn from this interval and reflected at the ends of [0, 1]: the sampler cuts at the ends of the interval
/// that it is given, which would propose those again and again.
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
    point(axes, |_, _, distribution| sampler.sample(distribution, configuration, &[]))
}

/// A draw that prefers what went well (Bergstra et al. 2011), random at first.
///
/// For several objectives those went well that are on the first fronts and, of the front that is cut, dominate the most
/// volume together (Ozaki et al. 2020). Axes are estimated each by itself, on [0, 1]. The kernel's width is Scott's for a
/// uniform distribution, since the spread of a few good points, often of a single one, says little.
pub(crate) fn tpe(axes: &[Axis], seed: u64, configuration: u64, history: &[Known<'_>]) -> Parameters {
    if history.len() < FIRST {
        return random(axes, seed, configuration);
    }
    let values: Vec<&[f64]> = history.iter().map(|known| &*known.values).collect();
    let good = best(&values, (GOOD * history.len() as f64).ceil() as usize);
    let width = UNIFORM_DEVIATION * (history.len() as f64).powf(-0.2);
    point(axes, |number, axis, distribution| {
        let history = labelled(axis, distribution, history, &good);
        let goods = history.iter().filter(|trial| trial.value == WENT_WELL).count();
        // So that the sampler, which rounds up, takes exactly the good ones.
        let part = (goods as f64 - 0.5) / history.len() as f64;
        let builder = TpeSampler::builder().seed(seed).kde_bandwidth(width).n_ei_candidates(CANDIDATES);
        match builder.n_startup_trials(1).gamma(part).build() {
            // Each axis has a stream of its own.
            Ok(sampler) => sampler.sample(distribution, configuration * axes.len() as u64 + number, &history),
            // Values outside of the axis leave nothing that is good.
            Err(_) => RandomSampler::with_seed(seed).sample(distribution, configuration, &[]),
        }
    })
}

/// Which `count` of the points are best: whole fronts, then those of the next that add the most volume.
fn best(points: &[&[f64]], count: usize) -> Vec<bool> {
    let mut left: Vec<usize> = (0..points.len()).collect();
    let mut chosen: Vec<usize> = Vec::new();
    let those = |indices: &[usize]| indices.iter().map(|&i| points[i].to_vec()).collect::<Vec<_>>();
    while chosen.len() < count.min(points.len()) {
        let mut front: Vec<usize> = pareto::front(&those(&left)).into_iter().map(|i| left[i]).collect();
        if chosen.len() + front.len() > count {
            let mut volumes = those(&chosen);
            while chosen.len() < count {
                let volume = |&i: &usize| {
                    volumes.push(points[i].to_vec());
                    let volume = pareto::hypervolume(&volumes);
                    volumes.pop();
                    volume
                };
                let added: Vec<f64> = front.iter().map(volume).collect();
                // The first of equals.
                let largest = (1..front.len()).fold(0, |best, i| if added[i] > added[best] { i } else { best });
                let next = front.remove(largest);
                volumes.push(points[next].to_vec());
                chosen.push(next);
            }
        } else {
            chosen.extend(&front);
        }
        left.retain(|i| !chosen.contains(i));
    }
    (0..points.len()).map(|i| chosen.contains(&i)).collect()
}

/// The parameters that `sample` gives for each axis.
fn point(axes: &[Axis], mut sample: impl FnMut(u64, &Axis, &Distribution) -> ParamValue) -> Parameters {
    let value = |(number, axis): (u64, &Axis)| {
        let distribution = distribution(&axis.domain);
        let value = match (sample(number, axis, &distribution), &axis.domain) {
            (ParamValue::Categorical(i), Domain::Values(values)) => values.get(i).cloned(),
            (ParamValue::Float(place), domain) => domain.at(reflected(place)),
            _ => None,
        };
        (axis.key.clone(), value.unwrap_or_default())
    };
    (0..).zip(axes).map(value).collect()
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

/// The value of good trials; small is good for the sampler.
const WENT_WELL: f64 = 0.0;

/// What is known of one axis, and of ranges the prior.
///
/// The sampler looks for values by their distribution, which two axes may share: each axis gets a history of its own.
fn labelled(axis: &Axis, distribution: &Distribution, history: &[Known<'_>], good: &[bool]) -> Vec<CompletedTrial> {
    let id = ParamId::new();
    let trial = |number: u64, place: ParamValue, good: bool| {
        let (parameters, distributions) = (HashMap::from([(id, place)]), HashMap::from([(id, distribution.clone())]));
        let value = if good { WENT_WELL } else { 1.0 };
        CompletedTrial::new(number, parameters, distributions, HashMap::new(), value)
    };
    let prior = match &axis.domain {
        // There the sampler has one of its own.
        Domain::Values(_) => 0,
        Domain::Range { .. } => PRIOR,
    };
    let prior = (0..prior).flat_map(|i| [true, false].map(|good| (i, good)));
    let prior = prior.map(|(i, good)| trial(i as u64, ParamValue::Float((i as f64 + 0.5) / PRIOR as f64), good));
    let known = history.iter().zip(good);
    known
        .filter_map(|(known, &good)| Some(trial(known.configuration, place(axis, known)?, good)))
        .chain(prior)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Known, best, random};
    use tightrope_statistics::pareto;

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

    #[test]
    fn the_best_are_whole_fronts_and_then_what_adds_most_volume() {
        let points = [[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.85, 0.15], [0.4, 0.4], [0.1, 0.1]];
        let points: Vec<&[f64]> = points.iter().map(|point| &point[..]).collect();
        let chosen = |count| {
            let good = best(&points, count);
            (0..points.len()).filter(|&i| good[i]).collect::<Vec<_>>()
        };
        // Of (0.9, 0.1), (0.1, 0.9) and (0.85, 0.15), the last adds 0.35·0.15 to (0.5, 0.5), the others 0.04.
        assert_eq!(
            [chosen(1), chosen(2), chosen(4), chosen(5)],
            [vec![0], vec![0, 3], vec![0, 1, 2, 3], vec![0, 1, 2, 3, 4]]
        );
        let single: Vec<&[f64]> = vec![&[0.3], &[0.7], &[0.5]];
        assert_eq!(best(&single, 2), [false, true, true]);
    }

    /// Of a front that is bent, with a second axis of one good value.
    #[test]
    fn tpe_dominates_more_than_chance() {
        let axes = ["a=0..1", "b=0..1"].map(|text| Axis::range(text).unwrap()).to_vec();
        let volume = |strategy, seed| {
            let objectives = vec![crate::Objective::Natural, crate::Objective::Certified];
            let plan = Plan {
                axes: axes.clone(),
                listed: vec![],
                strategy,
                seeds: 1,
                seed,
                objectives,
                setting: Default::default(),
            };
            let values = |x: f64, y: f64| vec![0.9 - x * x / 2.0, 0.2 + x / 2.0 - (y - 0.5).powi(2) / 2.0];
            let found = history(&plan, 40, values);
            // The two axes, alike as they are, are drawn independently.
            assert!(found.iter().all(|Owned(_, point, _)| point["a"] != point["b"]));
            pareto::hypervolume(&found.into_iter().map(|Owned(_, _, values)| values).collect::<Vec<_>>())
        };
        let mean = |strategy| (0..10).map(|seed| volume(strategy, seed)).sum::<f64>() / 10.0;
        let tpe = mean(crate::Strategy::Tpe { configurations: 40, lag: 1 });
        let chance = mean(crate::Strategy::Random { configurations: 40 });
        assert!(tpe > chance + 0.005, "{tpe} by TPE, {chance} at random");
    }

    /// Two ranges alike whose good values differ, with one objective and with two that want the same.
    #[test]
    fn tpe_finds_better_points_than_chance() {
        let axes = ["a=0..1", "b=0..1"].map(|text| Axis::range(text).unwrap()).to_vec();
        let distance = |x: f64, y: f64| (x - 0.2).abs() + (y - 0.9).abs();
        let (mut better, mut ends) = (0, 0);
        for seed in 0..10 {
            let plan = |strategy| Plan {
                listed: vec![],
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
