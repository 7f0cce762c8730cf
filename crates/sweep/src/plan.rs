//! What a sweep tries: axes, the way configurations are chosen, seeds and objectives.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::Measured;
use crate::space::{Axis, Domain, Parameters};
use crate::{SweepError, sampler};

/// Configurations of a sweep, or trials of it, that are a mistake rather than a wish.
const MOST: u64 = 1_000_000;

/// How configurations are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All combinations of the axes' values.
    Grid,
    /// Independent draws.
    Random {
        /// How many.
        configurations: u64,
    },
    /// Tree-structured Parzen estimators, which learn from the results before, for one objective or several.
    Tpe {
        /// How many.
        configurations: u64,
        /// A proposal knows the results of all configurations but the last `lag − 1` before it; at least 1.
        lag: u64,
    },
    /// Those that the plan lists.
    Listed,
    /// Somebody else chooses and tells the results.
    Told,
}

/// A configuration that is chosen beforehand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Configuration keys with their values.
    pub parameters: Parameters,
    /// Seeds to train it with, at least 1 and at most those of the plan.
    pub seeds: u64,
}

/// What is to be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Natural accuracy.
    Natural,
    /// Share of samples that are not falsified.
    Adversarial,
    /// Certified accuracy.
    Certified,
}

impl Objective {
    /// All of them.
    pub const ALL: [Objective; 3] = [Objective::Natural, Objective::Adversarial, Objective::Certified];

    /// The name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Natural => "natural",
            Objective::Adversarial => "adversarial",
            Objective::Certified => "certified",
        }
    }

    /// Its value among the results of a trial; none if it was not told.
    pub fn of(self, measured: &Measured) -> Option<f64> {
        match self {
            Objective::Natural => Some(measured.natural),
            Objective::Adversarial => measured.adversarial,
            Objective::Certified => Some(measured.certified),
        }
    }
}

/// A configuration with one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Number of the trial: configuration · seeds + place of the seed.
    pub number: u64,
    /// Number of the configuration.
    pub configuration: u64,
    /// Seed.
    pub seed: u64,
    /// Values of the axes.
    pub parameters: Parameters,
}

/// Everything that decides which trials there are and what they measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Axes; none if configurations are listed or told.
    pub axes: Vec<Axis>,
    /// Configurations of [`Strategy::Listed`]; none otherwise.
    pub listed: Vec<Listed>,
    /// Choice of configurations.
    pub strategy: Strategy,
    /// Seeds of each configuration, at least 1.
    pub seeds: u64,
    /// The first of them, and the seed of the proposals.
    pub seed: u64,
    /// What is to be large, each once.
    pub objectives: Vec<Objective>,
    /// What else must agree before a sweep is continued, by name: recipe, data, certification.
    pub setting: BTreeMap<String, Value>,
}

impl Plan {
    /// Fails for a plan that is none.
    ///
    /// # Errors
    /// For axes that stand twice or do not fit the strategy, nothing to do, or too much.
    pub fn check(&self) -> Result<(), SweepError> {
        let mut keys = BTreeSet::new();
        for axis in &self.axes {
            if !keys.insert(&axis.key) {
                return Err(SweepError::usage(&axis.key, "is the key of two axes; give its values once"));
            }
            if self.strategy == Strategy::Grid && matches!(axis.domain, Domain::Range { .. }) {
                return Err(SweepError::usage(&axis.key, "a grid has no ranges; list values by --grid key=a,b"));
            }
        }
        let told = self.strategy == Strategy::Told;
        let without_axes = told || self.strategy == Strategy::Listed;
        if without_axes != self.axes.is_empty() {
            let problem = if without_axes {
                "axes need a way to choose: --grid alone, --random N or --tpe N"
            } else {
                "there is no axis; give --grid key=a,b,c, or --range key=lo..hi and --choice key=a,b"
            };
            return Err(SweepError::usage("axes", problem));
        }
        if let Some(bad) = self.listed.iter().position(|listed| !(1..=self.seeds).contains(&listed.seeds)) {
            let problem = format!("needs from 1 to {} seeds", self.seeds);
            return Err(SweepError::usage(format!("configuration {bad}"), problem));
        }
        let objectives: BTreeSet<_> = self.objectives.iter().collect();
        if objectives.is_empty() || objectives.len() < self.objectives.len() {
            return Err(SweepError::usage(
                "--objectives",
                "name at least one of natural, adversarial, certified, each once",
            ));
        }
        if let Strategy::Tpe { lag: 0, .. } = self.strategy {
            return Err(SweepError::usage("--lag 0", "a proposal cannot know its own result; give at least 1"));
        }
        let trials = match self.strategy {
            Strategy::Listed => Some(self.trials()),
            _ => self.configurations().and_then(|count| count.checked_mul(self.seeds)),
        };
        match trials {
            Some(0) if !told => Err(SweepError::usage("0 trials", "give at least one configuration and one seed")),
            Some(trials) if trials <= MOST && self.seeds > 0 && self.seed.checked_add(self.seeds).is_some() => Ok(()),
            _ => Err(SweepError::usage("trials", format!("give at least one seed and at most {MOST} trials in all"))),
        }
    }

    /// Configurations that the plan names; 0 if they are told. None beyond what a number holds.
    pub fn configurations(&self) -> Option<u64> {
        match self.strategy {
            Strategy::Grid => self.axes.iter().try_fold(1_u64, |count, axis| match &axis.domain {
                Domain::Values(values) => count.checked_mul(values.len() as u64),
                Domain::Range { .. } => None,
            }),
            Strategy::Random { configurations } | Strategy::Tpe { configurations, .. } => Some(configurations),
            Strategy::Listed => Some(self.listed.len() as u64),
            Strategy::Told => Some(0),
        }
    }

    /// Trials that the plan names.
    pub fn trials(&self) -> u64 {
        match self.strategy {
            Strategy::Listed => self.listed.iter().map(|listed| listed.seeds).sum(),
            _ => self.configurations().unwrap_or(0).saturating_mul(self.seeds),
        }
    }

    /// Seeds that a configuration is to have. Whoever tells trials may tell more.
    pub(crate) fn seeds_of(&self, configuration: u64) -> u64 {
        match self.strategy {
            Strategy::Listed => self.listed.get(configuration as usize).map_or(self.seeds, |listed| listed.seeds),
            _ => self.seeds,
        }
    }

    /// Configuration and seed of a trial.
    pub(crate) fn split(&self, number: u64) -> (u64, u64) {
        match self.strategy {
            Strategy::Listed => self.listed_trials().nth(number as usize).unwrap_or((u64::MAX, self.seed)),
            _ => (number / self.seeds, self.seed + number % self.seeds),
        }
    }

    /// The trials of a configuration.
    pub(crate) fn trials_of(&self, configuration: u64) -> Vec<u64> {
        match self.strategy {
            Strategy::Listed => {
                (0..).zip(self.listed_trials()).filter(|(_, (c, _))| *c == configuration).map(|(n, _)| n).collect()
            }
            _ => (configuration * self.seeds..(configuration + 1) * self.seeds).collect(),
        }
    }

    /// Listed configurations with their seeds, all with the first seed before any with the second: what is interrupted has
    /// something to say of each.
    fn listed_trials(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.seeds).flat_map(move |place| {
            let having = (0..).zip(&self.listed).filter(move |(_, listed)| place < listed.seeds);
            having.map(move |(configuration, _)| (configuration, self.seed + place))
        })
    }

    /// The parameters of a configuration. `history`, in the order of configurations, is what TPE may know.
    pub(crate) fn propose(&self, configuration: u64, history: &[sampler::Known<'_>]) -> Parameters {
        match self.strategy {
            Strategy::Grid => self.grid_point(configuration),
            Strategy::Random { .. } => sampler::random(&self.axes, self.seed, configuration),
            Strategy::Tpe { .. } => sampler::tpe(&self.axes, self.seed, configuration, history),
            Strategy::Listed => {
                self.listed.get(configuration as usize).map(|listed| listed.parameters.clone()).unwrap_or_default()
            }
            Strategy::Told => Parameters::new(),
        }
    }

    /// The last axis changes fastest.
    fn grid_point(&self, configuration: u64) -> Parameters {
        let mut rest = configuration as usize;
        let mut point = Vec::new();
        for axis in self.axes.iter().rev() {
            if let Domain::Values(values) = &axis.domain {
                point.push((axis.key.clone(), values[rest % values.len()].clone()));
                rest /= values.len();
            }
        }
        point.into_iter().rev().collect()
    }

    /// What must agree before a sweep is continued, by name. The number of configurations may grow.
    pub(crate) fn settings(&self) -> BTreeMap<String, Value> {
        let (strategy, lag) = match self.strategy {
            Strategy::Grid => ("grid", None),
            Strategy::Random { .. } => ("random", None),
            Strategy::Tpe { lag, .. } => ("tpe", Some(lag)),
            Strategy::Listed => ("listed", None),
            Strategy::Told => ("told", None),
        };
        let listed = (self.strategy == Strategy::Listed).then(|| ("listed", json!(self.listed)));
        let own = [
            ("strategy", json!(strategy)),
            ("axes", json!(self.axes)),
            ("seeds", json!(self.seeds)),
            ("seed", json!(self.seed)),
            ("objectives", json!(self.objectives)),
        ];
        let own = own.into_iter().chain(lag.map(|lag| ("lag", json!(lag)))).chain(listed);
        own.map(|(name, value)| (name.to_string(), value)).chain(self.setting.clone()).collect()
    }

    /// The plan that has these settings.
    ///
    /// # Errors
    /// If they are no plan's, with the reason.
    pub(crate) fn restored(settings: &BTreeMap<String, Value>, configurations: u64) -> Result<Self, String> {
        let mut setting = settings.clone();
        let mut take = |name: &str| setting.remove(name).ok_or_else(|| format!("the setting `{name}` is missing"));
        let read = |e: serde_json::Error| e.to_string();
        let strategy = match take("strategy")?.as_str() {
            Some("grid") => Strategy::Grid,
            Some("random") => Strategy::Random { configurations },
            Some("tpe") => {
                Strategy::Tpe { configurations, lag: take("lag")?.as_u64().ok_or("the lag is no whole number")? }
            }
            Some("listed") => Strategy::Listed,
            Some("told") => Strategy::Told,
            _ => return Err("the strategy is unknown to this program".into()),
        };
        let listed = match strategy {
            Strategy::Listed => serde_json::from_value(take("listed")?).map_err(read)?,
            _ => Vec::new(),
        };
        let plan = Plan {
            listed,
            axes: serde_json::from_value(take("axes")?).map_err(read)?,
            strategy,
            seeds: serde_json::from_value(take("seeds")?).map_err(read)?,
            seed: serde_json::from_value(take("seed")?).map_err(read)?,
            objectives: serde_json::from_value(take("objectives")?).map_err(read)?,
            setting,
        };
        plan.check().map_err(|e| e.to_string())?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Listed, Objective, Plan, Strategy};
    use crate::Axis;
    use crate::sampler::tests::history;

    fn plan(strategy: Strategy, axes: Vec<Axis>) -> Plan {
        let objectives = vec![Objective::Natural, Objective::Certified];
        Plan {
            axes,
            listed: vec![],
            strategy,
            seeds: 2,
            seed: 5,
            objectives,
            setting: BTreeMap::from([("limit".into(), json!(10))]),
        }
    }

    #[test]
    fn a_grid_is_the_product_of_its_axes() {
        let axes = ["a=1,2", "b=x,y,z", "c=0.5"].map(|text| Axis::values(text).unwrap()).to_vec();
        let plan = plan(Strategy::Grid, axes);
        plan.check().unwrap();
        assert_eq!((plan.configurations(), plan.trials()), (Some(6), 12));
        let points: Vec<String> = (0..6).map(|c| json!(plan.propose(c, &[])).to_string()).collect();
        assert_eq!(points[0], r#"{"a":1,"b":"x","c":0.5}"#);
        assert_eq!((points[1].contains('y'), points[3].contains("\"a\":2")), (true, true));
        assert_eq!(points.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
        assert_eq!((plan.split(0), plan.split(7)), ((0, 5), (3, 6)));
    }

    fn listed(seeds: &[u64]) -> Plan {
        let parameters = |place: usize| json!({ "a": place }).as_object().unwrap().clone();
        let listed =
            seeds.iter().enumerate().map(|(place, &seeds)| Listed { parameters: parameters(place), seeds }).collect();
        Plan { listed, ..plan(Strategy::Listed, vec![]) }
    }

    #[test]
    fn listed_configurations_have_seeds_of_their_own() {
        let plan = listed(&[2, 1, 2]);
        plan.check().unwrap();
        assert_eq!((plan.configurations(), plan.trials()), (Some(3), 5));
        let trials: Vec<(u64, u64)> = (0..5).map(|number| plan.split(number)).collect();
        assert_eq!(trials, [(0, 5), (1, 5), (2, 5), (0, 6), (2, 6)]);
        assert_eq!((plan.trials_of(2), plan.trials_of(1)), (vec![2, 4], vec![1]));
        assert_eq!((plan.seeds_of(2), plan.seeds_of(1)), (2, 1));
        assert_eq!(json!(plan.propose(2, &[])).to_string(), r#"{"a":2}"#);
        assert_eq!(Plan::restored(&plan.settings(), 3).unwrap(), plan);
        for bad in [&[1, 3][..], &[0], &[]] {
            assert!(listed(bad).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn settings_give_the_plan_back() {
        let list = Axis::values("method.name=ibp,deeppoly").unwrap();
        let range = Axis::range("train.lr=1e-4..1e-2:log").unwrap();
        for plan in [
            plan(Strategy::Grid, vec![list.clone()]),
            plan(Strategy::Random { configurations: 7 }, vec![list.clone(), range.clone()]),
            plan(Strategy::Tpe { configurations: 7, lag: 3 }, vec![range.clone()]),
            plan(Strategy::Told, vec![]),
        ] {
            assert_eq!(Plan::restored(&plan.settings(), 7).unwrap(), plan);
        }
        let mut other = plan(Strategy::Told, vec![]).settings();
        other.remove("seeds");
        assert!(Plan::restored(&other, 0).unwrap_err().contains("`seeds`"));
    }

    #[test]
    fn plans_that_are_none_are_refused() {
        let list = || Axis::values("a=1,2").unwrap();
        let range = || Axis::range("a=1..2").unwrap();
        let random = Strategy::Random { configurations: 3 };
        for (strategy, axes, part) in [
            (Strategy::Grid, vec![range()], "no ranges"),
            (Strategy::Grid, vec![], "no axis"),
            (Strategy::Told, vec![list()], "--random"),
            (random, vec![list(), range()], "two axes"),
            (Strategy::Random { configurations: 0 }, vec![list()], "at least one"),
            (Strategy::Random { configurations: u64::MAX }, vec![list()], "at most"),
            (Strategy::Tpe { configurations: 3, lag: 0 }, vec![list()], "--lag"),
        ] {
            let message = plan(strategy, axes).check().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        let twice = Plan { objectives: vec![Objective::Natural; 2], ..plan(random, vec![list()]) };
        assert!(twice.check().is_err());
        assert!(Plan { seeds: 0, ..plan(random, vec![list()]) }.check().is_err());
    }

    #[test]
    fn tpe_knows_only_what_it_is_told() {
        let axes = ["a=0..1", "b=0..1"].map(|text| Axis::range(text).unwrap()).to_vec();
        let plan = plan(Strategy::Tpe { configurations: 40, lag: 1 }, axes);
        let known = history(&plan, 30, |x, y| vec![1.0 - (x - 0.3).abs() - (y - 0.8).abs()]);
        let known: Vec<_> = known.iter().map(|known| known.borrowed()).collect();
        assert_eq!(plan.propose(30, &known), plan.propose(30, &known));
        assert_ne!(plan.propose(30, &known), plan.propose(30, &[]));
    }
}
