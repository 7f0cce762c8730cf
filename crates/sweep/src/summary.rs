//! What came out: means over seeds, the Pareto front and its hypervolume.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

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
    /// Trials that have failed.
    pub failed: usize,
    /// Natural accuracy over seeds; none if all failed.
    pub natural: Option<Moments>,
    /// Share of samples that are not falsified, over seeds.
    pub adversarial: Option<Moments>,
    /// Certified accuracy over seeds.
    pub certified: Option<Moments>,
    /// Whether it is on the Pareto front.
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
    /// Numbers of those that no other dominates in the means of all objectives, the largest first objective first.
    pub front: Vec<u64>,
    /// Volume that the front dominates, with the origin as reference point.
    pub hypervolume: f64,
}

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
        let mut trials: BTreeMap<u64, Vec<&TrialRecord>> = BTreeMap::new();
        for record in state.records.values() {
            trials.entry(record.configuration).or_default().push(record);
        }
        let mut configurations: Vec<ConfigurationSummary> =
            trials.iter().map(|(&configuration, records)| summed(configuration, records)).collect();
        let means = |summary: &ConfigurationSummary| {
            let mean = |&objective: &Objective| Some(summary.moments(objective)?.mean);
            plan.objectives.iter().map(mean).collect::<Option<Vec<f64>>>()
        };
        let (places, points): (Vec<usize>, Vec<Vec<f64>>) =
            configurations.iter().enumerate().filter_map(|(i, summary)| Some((i, means(summary)?))).unzip();
        let on_front: Vec<usize> = pareto::front(&points).into_iter().map(|i| places[i]).collect();
        on_front.iter().for_each(|&i| configurations[i].on_front = true);
        let done = state.records.values().filter(|record| record.measured().is_some()).count() as u64;
        let ended = state.records.len() as u64;
        Summary {
            objectives: plan.objectives.clone(),
            trials: if plan.strategy == Strategy::Told { ended } else { plan.trials().max(ended) },
            done,
            failed: ended - done,
            front: on_front.iter().map(|&i| configurations[i].configuration).collect(),
            configurations,
            hypervolume: pareto::hypervolume(&points),
        }
    }
}

fn summed(configuration: u64, records: &[&TrialRecord]) -> ConfigurationSummary {
    let measured: Vec<_> = records.iter().filter_map(|record| record.measured()).collect();
    let moments = |objective: Objective| {
        let values: Vec<f64> = measured.iter().filter_map(|measured| objective.of(measured)).collect();
        Moments::of(&values)
    };
    ConfigurationSummary {
        configuration,
        parameters: records[0].parameters.clone(),
        failed: records.len() - measured.len(),
        natural: moments(Objective::Natural),
        adversarial: moments(Objective::Adversarial),
        certified: moments(Objective::Certified),
        on_front: false,
    }
}
