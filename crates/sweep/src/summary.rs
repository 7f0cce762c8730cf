//! What came out: means over seeds, Pareto fronts and their hypervolumes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::SweepError;
use crate::folder::Merged;
use crate::journal::{State, TrialRecord};
use crate::plan::{Objective, Plan, Strategy};
use crate::space::Parameters;
use tightrope_statistics::{Moments, pareto};

/// One configuration with all its trials that have ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigurationSummary {
    /// Number of the configuration.
    pub configuration: u64,
    /// Values of the axes.
    pub parameters: Parameters,
    /// Seeds that were asked for.
    pub seeds: u64,
    /// Trials with results.
    pub done: usize,
    /// Trials that have failed.
    pub failed: usize,
    /// Whether every seed has results. Means over some of them do not compare: such a configuration is on no front.
    pub complete: bool,
    /// Natural accuracy over seeds; none if all failed.
    pub natural: Option<Moments>,
    /// Share of samples that are not falsified, over seeds.
    pub adversarial: Option<Moments>,
    /// Certified accuracy over seeds.
    pub certified: Option<Moments>,
    /// Whether it is on the Pareto front of those that are certified for the same.
    pub on_front: bool,
}

impl ConfigurationSummary {
    /// The results for an objective.
    pub fn moments(&self, objective: Objective) -> Option<Moments> {
        match objective {
            Objective::Natural => self.natural,
            Objective::Adversarial => self.adversarial,
            Objective::Certified => self.certified,
        }
    }
}

/// What a sweep has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What is to be large.
    pub objectives: Vec<Objective>,
    /// Trials in all.
    pub trials: u64,
    /// Trials with results.
    pub done: u64,
    /// Trials that failed.
    pub failed: u64,
    /// Configurations with a trial that has ended, by number.
    pub configurations: Vec<ConfigurationSummary>,
    /// The Pareto fronts, one of each question.
    pub fronts: Vec<Front>,
}

/// The best of the configurations that are certified for the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Front {
    /// Values of the axes that say what is certified: samples, norm, radius and data range; figures of others do not
    /// compare.
    pub certified_for: Parameters,
    /// Configurations whose seeds all have results.
    pub of: usize,
    /// Numbers of those that no other dominates in the means of all objectives, the largest first objective first.
    pub configurations: Vec<u64>,
    /// Volume that the front dominates, with the origin as reference point.
    pub hypervolume: f64,
}

/// Keys that say what is certified.
const QUESTION: [&str; 6] = ["dataset", "test_inputs", "data.resize", "norm", "eps", "clip"];
/// Keys that say so, too, of the samples that are kept for validation.
const KEPT: [&str; 2] = ["inputs", "train.validation"];

impl Summary {
    /// What the journals in `folder` say together.
    ///
    /// # Errors
    /// If there is no sweep, or a journal cannot be read.
    pub fn read(folder: &Path) -> Result<Self, SweepError> {
        match Merged::read(folder)? {
            Merged { plan: Some(plan), state, .. } => Ok(Summary::of(&plan, &state)),
            _ => Err(SweepError::file(folder, "no sweep in this folder")),
        }
    }

    fn of(plan: &Plan, state: &State) -> Self {
        let mut configurations: Vec<ConfigurationSummary> = by_configuration(state)
            .iter()
            .map(|(&configuration, records)| summed(plan.seeds_of(configuration), configuration, records))
            .collect();
        let means = |summary: &ConfigurationSummary| {
            let mean = |&objective: &Objective| Some(summary.moments(objective)?.mean);
            plan.objectives.iter().map(mean).collect::<Option<Vec<f64>>>()
        };
        // By question, in the order of the first configuration of each.
        let mut questions: Vec<(Parameters, Vec<usize>, Vec<Vec<f64>>)> = Vec::new();
        // On the test split, what is kept for validation is a matter of training.
        let on_test = plan.setting.get("split").and_then(Value::as_str) == Some("test");
        let asks = |key: &str| QUESTION.contains(&key) || (!on_test && KEPT.contains(&key));
        for (i, summary) in configurations.iter().enumerate().filter(|(_, summary)| summary.complete) {
            let Some(point) = means(summary) else { continue };
            let asked = summary.parameters.iter().filter(|(key, _)| asks(key.as_str()));
            let asked: Parameters = asked.map(|(key, value)| (key.clone(), value.clone())).collect();
            let place = questions.iter().position(|(question, ..)| *question == asked).unwrap_or_else(|| {
                questions.push((asked, Vec::new(), Vec::new()));
                questions.len() - 1
            });
            questions[place].1.push(i);
            questions[place].2.push(point);
        }
        let mut fronts = Vec::new();
        for (certified_for, places, points) in questions {
            let best: Vec<usize> = pareto::front(&points).into_iter().map(|i| places[i]).collect();
            best.iter().for_each(|&i| configurations[i].on_front = true);
            fronts.push(Front {
                certified_for,
                of: places.len(),
                configurations: best.iter().map(|&i| configurations[i].configuration).collect(),
                hypervolume: pareto::hypervolume(&points),
            });
        }
        let done = state.records.values().filter(|record| record.measured().is_some()).count() as u64;
        let ended = state.records.len() as u64;
        Summary {
            objectives: plan.objectives.clone(),
            trials: if plan.strategy == Strategy::Told { ended } else { plan.trials().max(ended) },
            done,
            failed: ended - done,
            configurations,
            fronts,
        }
    }
}

/// The trials that have ended, by configuration.
fn by_configuration(state: &State) -> BTreeMap<u64, Vec<&TrialRecord>> {
    let mut trials: BTreeMap<u64, Vec<&TrialRecord>> = BTreeMap::new();
    for record in state.records.values() {
        trials.entry(record.configuration).or_default().push(record);
    }
    trials
}

/// Numbers of the configurations whose seeds all have results.
pub(crate) fn complete(plan: &Plan, state: &State) -> BTreeSet<u64> {
    let summaries = by_configuration(state);
    let whole = summaries.iter().map(|(&number, records)| summed(plan.seeds_of(number), number, records));
    whole.filter(|summary| summary.complete).map(|summary| summary.configuration).collect()
}

/// The trials of a configuration that have ended, of so many `seeds` at least.
fn summed(seeds: u64, configuration: u64, records: &[&TrialRecord]) -> ConfigurationSummary {
    let measured: Vec<_> = records.iter().filter_map(|record| record.measured()).collect();
    // Whoever chooses trials may have tried a seed again, as a trial of its own.
    let has = |seed| records.iter().any(|record| record.seed == seed && record.measured().is_some());
    let lost: BTreeSet<u64> = records.iter().map(|record| record.seed).filter(|&seed| !has(seed)).collect();
    let moments = |objective: Objective| {
        let values: Vec<f64> = measured.iter().filter_map(|measured| objective.of(measured)).collect();
        Moments::of(&values)
    };
    ConfigurationSummary {
        configuration,
        parameters: records[0].parameters.clone(),
        seeds: seeds.max((measured.len() + lost.len()) as u64),
        done: measured.len(),
        failed: records.len() - measured.len(),
        complete: lost.is_empty() && measured.len() as u64 >= seeds,
        natural: moments(Objective::Natural),
        adversarial: moments(Objective::Adversarial),
        certified: moments(Objective::Certified),
        on_front: false,
    }
}
