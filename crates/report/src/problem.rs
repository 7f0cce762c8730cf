//! Natural and certified accuracy of the runs of one problem (data, norm, radius), and their Pareto front.

use serde::Serialize;
use tightrope_network::number_text;
use tightrope_statistics::{Proportion, pareto};

use crate::Run;

/// Accuracies of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Position of the run in the report.
    pub run: usize,
    /// True if the certification cascade found them, false for the last evaluation in training, which bounds by one
    /// relaxation only.
    pub cascade: bool,
    /// Natural accuracy.
    pub natural: Proportion,
    /// Certified accuracy.
    pub certified: Proportion,
}

/// The runs of one problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Front {
    /// Data, norm and radius in words.
    pub problem: String,
    /// Accuracies, run by run.
    pub outcomes: Vec<Outcome>,
    /// Positions in `outcomes` of those that no other dominates, by rising natural accuracy.
    pub front: Vec<usize>,
    /// Area below the front from the reference point (0 %, 0 %), in %²; 10,000 at most.
    pub hypervolume: f64,
}

/// The fronts of `runs`, one for each problem: accuracies at other radii or on other data cannot be compared.
pub fn fronts(runs: &[Run]) -> Vec<Front> {
    let mut fronts: Vec<Front> = Vec::new();
    for (problem, outcome) in runs.iter().enumerate().filter_map(|(place, run)| outcome(place, run)) {
        match fronts.iter_mut().find(|front| front.problem == problem) {
            Some(front) => front.outcomes.push(outcome),
            None => fronts.push(Front { problem, outcomes: vec![outcome], front: Vec::new(), hypervolume: 0.0 }),
        }
    }
    for front in &mut fronts {
        let percent = |outcome: &Outcome| vec![100.0 * outcome.natural.value, 100.0 * outcome.certified.value];
        let points: Vec<Vec<f64>> = front.outcomes.iter().map(percent).collect();
        front.front = pareto::front(&points);
        front.front.reverse();
        front.hypervolume = pareto::hypervolume(&points);
    }
    fronts
}

/// Problem and accuracies of one run: of its certification, else of its last evaluation.
fn outcome(place: usize, run: &Run) -> Option<(String, Outcome)> {
    let own_norm = run.setting("norm").unwrap_or("inf");
    if let Some(found) = run.certification.as_ref().filter(|found| !found.records.is_empty()) {
        let data = found.setting("dataset").map_or_else(|| data_name(run), Into::into);
        let eps = found.eps().or_else(|| run.setting("eps").and_then(|text| text.parse().ok()));
        let outcome = Outcome { run: place, cascade: true, natural: found.natural(), certified: found.certified() };
        return Some((problem(&data, found.setting("norm").unwrap_or(own_norm), eps), outcome));
    }
    let test = run.last_evaluation()?;
    let samples = usize::try_from(test.samples?).ok()?;
    let share = |value: Option<f64>| {
        let count = (value.filter(|value| (0.0..=1.0).contains(value))? * samples as f64).round();
        Some(Proportion::new(count as usize, samples))
    };
    let (natural, certified) = (share(test.natural_accuracy)?, share(test.certified_accuracy)?);
    Some((problem(&data_name(run), own_norm, test.eps), Outcome { run: place, cascade: false, natural, certified }))
}

fn problem(data: &str, norm: &str, eps: Option<f64>) -> String {
    let eps = eps.map_or_else(|| "unknown".into(), number_text);
    format!("{data}, {}, ε = {eps}", norm_title(norm))
}

/// The norm in texts.
pub(crate) fn norm_title(name: &str) -> String {
    match name {
        "inf" => "ℓ∞".into(),
        "2" => "ℓ2".into(),
        "1" => "ℓ1".into(),
        other => other.into(),
    }
}

/// The data set of a run, or its file of arrays.
pub(crate) fn data_name(run: &Run) -> String {
    let named = |key: &str| run.setting(key).filter(|name| !name.is_empty());
    named("test_inputs").or_else(|| named("inputs")).or_else(|| named("dataset")).unwrap_or("unknown data").into()
}

#[cfg(test)]
mod tests {
    use super::fronts;
    use crate::{Epoch, Evaluation, Run};

    fn run(eps: f64, natural: f64, certified: f64) -> Run {
        let test = Evaluation {
            samples: Some(100),
            eps: Some(eps),
            natural_accuracy: Some(natural),
            certified_accuracy: Some(certified),
            ..Evaluation::default()
        };
        Run { epochs: vec![Epoch { epoch: 1, test: Some(test), ..Epoch::default() }], ..Run::default() }
    }

    #[test]
    fn problems_are_kept_apart_and_runs_without_figures_left_out() {
        let runs = [run(0.1, 0.9, 0.1), run(0.3, 0.5, 0.5), Run::default(), run(0.1, 0.6, 0.6), run(0.1, 0.5, 0.5)];
        let found = fronts(&runs);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].problem, "unknown data, ℓ∞, ε = 0.1");
        assert_eq!(found[0].outcomes.iter().map(|outcome| outcome.run).collect::<Vec<_>>(), [0, 3, 4]);
        assert_eq!(found[0].front, [1, 0]);
        // 60·60 + 30·10
        assert!((found[0].hypervolume - 3900.0).abs() < 1e-9, "{}", found[0].hypervolume);
        assert!((found[1].hypervolume - 2500.0).abs() < 1e-9);
        assert_eq!(fronts(&[run(0.1, f64::NAN, 0.5), run(0.1, 0.5, 7.0)]), []);
    }
}
