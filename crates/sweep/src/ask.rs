//! Trials that somebody else runs: asked for one by one, told when they have ended.

use serde::Deserialize;
use serde_json::Value;

use crate::SweepError;
use crate::folder::Sweep;
use crate::journal::{Measured, Outcome, Record, TrialRecord};
use crate::plan::{Objective, Strategy, Trial};
use crate::space::Parameters;

/// A line that is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    trial: Option<u64>,
    parameters: Option<Parameters>,
    seed: Option<u64>,
    natural: Option<f64>,
    adversarial: Option<f64>,
    certified: Option<f64>,
    samples: Option<u64>,
    train_seconds: Option<f64>,
    certify_seconds: Option<f64>,
    failed: Option<Value>,
}

impl Sweep {
    /// Gives a trial away: the next, or with `open` the first that was given away before and has not been told. None if
    /// there is no such trial.
    ///
    /// A proposal knows all configurations whose trials have ended, so that proposals of TPE depend on who was quicker.
    ///
    /// # Errors
    /// If the sweep does not propose, or the journal cannot be written.
    pub fn ask(&mut self, open: bool) -> Result<Option<Trial>, SweepError> {
        if self.plan.strategy == Strategy::Told {
            let problem = "the sweep in this folder has no axes to propose from; tell trials with their parameters";
            return Err(SweepError::file(&self.folder, problem));
        }
        let ended = |number: &u64| self.state.records.contains_key(number);
        let found = match open {
            true => self.state.asked.iter().copied().find(|number| !ended(number)),
            false => self.numbers().find(|number| !self.state.asked.contains(number) && !ended(number)),
        };
        let Some(number) = found else { return Ok(None) };
        let trial = self.trial(number, u64::MAX)?;
        if !open {
            self.record(Record::Asked(number))?;
        }
        Ok(Some(trial))
    }

    /// Takes note of a trial that has ended, from a JSON object: `trial` as it was asked for, or `parameters` (and `seed`)
    /// where somebody else proposes; then `natural`, `certified` and what else was measured, or `failed` with the reason.
    /// Shares are from 0 to 1, with `certified` ≤ `adversarial` ≤ `natural`.
    ///
    /// # Errors
    /// If the line is none of these, the trial is unknown or has ended before, or the journal cannot be written.
    pub fn tell(&mut self, line: &str) -> Result<TrialRecord, SweepError> {
        let bad = |problem: &str| SweepError::usage(line.trim(), problem);
        let told: Told = serde_json::from_str(line).map_err(|e| {
            bad(&format!("{e}; a line such as {{\"trial\": 0, \"natural\": 0.95, \"certified\": 0.9}} is meant"))
        })?;
        let outcome = self.outcome(&told).map_err(|problem: String| bad(&problem))?;
        let trial = match (told.trial, told.parameters, self.plan.strategy) {
            (None, Some(parameters), Strategy::Told) => self.told_trial(parameters, told.seed),
            (
                Some(number),
                None,
                Strategy::Grid | Strategy::Random { .. } | Strategy::Tpe { .. } | Strategy::Listed,
            ) => {
                if !self.state.asked.contains(&number) {
                    return Err(bad(&format!("trial {number} was not asked for; `ask` gives trials away")));
                }
                self.trial(number, u64::MAX)?
            }
            (_, _, Strategy::Told) => {
                return Err(bad("the sweep proposes nothing, so that a line has `parameters` and no `trial`"));
            }
            _ => return Err(bad("the sweep proposes its parameters, so that a line has `trial` and no `parameters`")),
        };
        if self.state.records.get(&trial.number).is_some_and(|record| record.measured().is_some()) {
            return Err(bad(&format!("trial {} has results already", trial.number)));
        }
        let Trial { number, configuration, seed, parameters } = trial;
        let record = TrialRecord { trial: number, configuration, parameters, seed, outcome };
        self.record(Record::Trial(record.clone()))?;
        Ok(record)
    }

    fn outcome(&self, told: &Told) -> Result<Outcome, String> {
        match &told.failed {
            None | Some(Value::Bool(false)) => {}
            Some(Value::String(reason)) => return Ok(Outcome::Failed(reason.clone())),
            Some(reason) => return Ok(Outcome::Failed(reason.to_string())),
        }
        let share = |value: Option<f64>, name: &str| match value {
            Some(value) if !(0.0..=1.0).contains(&value) => {
                Err(format!("`{name}` is a share from 0 to 1, not {value}"))
            }
            value => Ok(value),
        };
        let needed = |value, name: &str| share(value, name)?.ok_or_else(|| format!("`{name}` is missing"));
        let measured = Measured {
            natural: needed(told.natural, "natural")?,
            adversarial: share(told.adversarial, "adversarial")?,
            certified: needed(told.certified, "certified")?,
            samples: told.samples,
            train_seconds: told.train_seconds,
            certify_seconds: told.certify_seconds,
        };
        let rising = [
            ("certified", Some(measured.certified)),
            ("adversarial", measured.adversarial),
            ("natural", Some(measured.natural)),
        ];
        let rising: Vec<(&str, f64)> = rising.into_iter().filter_map(|(name, share)| Some((name, share?))).collect();
        if let Some(&[(less, small), (more, large)]) = rising.windows(2).find(|pair| pair[0].1 > pair[1].1) {
            return Err(format!(
                "`{less}` is {small} and `{more}` {large}, but what is certified no attack breaks, and what none breaks is \
                 classified correctly; tell shares of the same samples with certified <= adversarial <= natural"
            ));
        }
        match self.plan.objectives.iter().find(|objective| objective.of(&measured).is_none()) {
            Some(Objective::Adversarial) => Err("`adversarial` is an objective and missing".into()),
            _ => Ok(Outcome::Done(measured)),
        }
    }

    /// The next number; equal parameters are one configuration.
    fn told_trial(&self, parameters: Parameters, seed: Option<u64>) -> Trial {
        let state = &self.state;
        let next = |last: Option<&u64>| last.map_or(0, |last| last + 1);
        let same =
            state.proposals.iter().find(|(_, other)| **other == parameters).map(|(&configuration, _)| configuration);
        Trial {
            number: next(state.records.keys().next_back()),
            configuration: same.unwrap_or_else(|| next(state.proposals.keys().next_back())),
            seed: seed.unwrap_or(self.plan.seed),
            parameters,
        }
    }
}
