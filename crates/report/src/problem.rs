//! Natural and certified accuracy of the runs of one problem (samples, norm, radius, data range), and their Pareto front.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use tightrope_network::number_text;
use tightrope_statistics::{Proportion, pareto};

use crate::run::TEST;
use crate::{Evaluation, Run};

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
    /// Samples, norm, radius and data range in words; the usual ones, test samples and [0, 1], are not told.
    pub problem: String,
    /// SHA-256 of the samples; none where no run tells it.
    pub data: Option<String>,
    /// Accuracies, run by run.
    pub outcomes: Vec<Outcome>,
    /// Positions in `outcomes` of those that no other dominates, by rising natural accuracy.
    pub front: Vec<usize>,
    /// Area below the front from the reference point (0 %, 0 %), in %²; 10,000 at most.
    pub hypervolume: f64,
}

/// What accuracies that can be compared have in common.
struct Problem {
    /// As [`Front::problem`].
    words: String,
    /// As [`Front::data`].
    data: Option<String>,
}

impl Problem {
    /// Whether it is that of `front`. Samples are the same by name and checksum; where one of the two tells no checksum, the
    /// name alone counts.
    fn is_of(&self, front: &Front) -> bool {
        self.words == front.problem && (self.data.is_none() || front.data.is_none() || self.data == front.data)
    }
}

/// The fronts of `runs`, one for each problem: accuracies on other samples, at other radii or within another data range
/// cannot be compared.
pub fn fronts(runs: &[Run]) -> Vec<Front> {
    let mut fronts: Vec<Front> = Vec::new();
    for (problem, outcome) in runs.iter().enumerate().filter_map(|(place, run)| outcome(place, run)) {
        match fronts.iter_mut().find(|front| problem.is_of(front)) {
            Some(front) => {
                front.data = front.data.take().or(problem.data);
                front.outcomes.push(outcome);
            }
            None => fronts.push(Front {
                problem: problem.words,
                data: problem.data,
                outcomes: vec![outcome],
                front: Vec::new(),
                hypervolume: 0.0,
            }),
        }
    }
    let problems: Vec<String> = fronts.iter().map(|front| front.problem.clone()).collect();
    for front in &mut fronts {
        // Other samples of the same name.
        if problems.iter().filter(|problem| **problem == front.problem).count() > 1
            && let Some(data) = &front.data
        {
            let short: String = data.chars().take(8).collect();
            front.problem.push_str(&format!(", SHA-256 {short}…"));
        }
        let percent = |outcome: &Outcome| vec![100.0 * outcome.natural.value, 100.0 * outcome.certified.value];
        let points: Vec<Vec<f64>> = front.outcomes.iter().map(percent).collect();
        front.front = pareto::front(&points);
        front.front.reverse();
        front.hypervolume = pareto::hypervolume(&points);
    }
    fronts
}

/// Problem and accuracies of one run: of its certification, unless that is of an earlier model, else of its last
/// evaluation.
fn outcome(place: usize, run: &Run) -> Option<(Problem, Outcome)> {
    let own_norm = run.setting("norm").unwrap_or("inf");
    // `true`, `false` and lists of numbers are the same in TOML and JSON.
    let own_clip: Option<Value> = run.setting("clip").and_then(|text| serde_json::from_str(text).ok());
    let certification = run.certification.as_ref().filter(|found| !found.earlier_model && !found.records.is_empty());
    if let Some(found) = certification {
        let samples = found.setting("dataset").map_or_else(|| data_name(run, found.split()), Into::into);
        let norm = found.setting("norm").unwrap_or(own_norm);
        let own_eps = || Some(number_text(run.setting("eps")?.parse().ok()?));
        let eps = found.eps().or_else(own_eps);
        let clip = found.settings.get("clip").or(own_clip.as_ref());
        let problem = Problem {
            words: words(&samples, found.split(), norm, eps, clip),
            data: found.setting("data").map(Into::into),
        };
        let outcome = Outcome { run: place, cascade: true, natural: found.natural(), certified: found.certified() };
        return Some((problem, outcome));
    }
    let test = run.last_evaluation()?;
    let samples = usize::try_from(test.samples?).ok()?;
    let share = |value: Option<f64>| {
        let count = (value.filter(|value| (0.0..=1.0).contains(value))? * samples as f64).round();
        Some(Proportion::new(count as usize, samples))
    };
    let (natural, certified) = (share(test.natural_accuracy)?, share(test.certified_accuracy)?);
    let problem = Problem {
        words: words(
            &data_name(run, test.split()),
            test.split(),
            own_norm,
            test.eps.map(number_text),
            own_clip.as_ref(),
        ),
        data: data_checksum(run, test).map(Into::into),
    };
    Some((problem, Outcome { run: place, cascade: false, natural, certified }))
}

/// Samples, norm, radius and data range.
fn words(data: &str, split: &str, norm: &str, eps: Option<String>, clip: Option<&Value>) -> String {
    let split = if split == TEST { String::new() } else { format!(" {split}") };
    let eps = eps.unwrap_or_else(|| "unknown".into());
    format!("{data}{split}, {}, ε = {eps}{}", norm_title(norm), clip_words(clip))
}

/// The data range, which follows other words: `[low, high]`, true for [0, 1], false or null for none. Nothing for the usual
/// one, [0, 1], and where it is not told.
fn clip_words(clip: Option<&Value>) -> String {
    match clip {
        Some(Value::Null | Value::Bool(false)) => ", not clipped".into(),
        Some(Value::Array(ends)) => match ends.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>().as_deref() {
            Some(&[low, high]) if (low, high) != (0.0, 1.0) => {
                format!(", clipped to [{}, {}]", number_text(low), number_text(high))
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
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

/// The data set of a run, or its file of arrays, that `split` is of: what is kept for validation is a part of the training
/// samples.
pub(crate) fn data_name(run: &Run, split: &str) -> String {
    let named = |key: &str| run.setting(key).filter(|name| !name.is_empty());
    // The certification's log has the name of the file alone.
    let file = |key: &str| Some(Path::new(named(key)?).file_name()?.to_string_lossy().into_owned());
    let test = if split == TEST { file("test_inputs") } else { None };
    let own = test.or_else(|| file("inputs")).or_else(|| named("dataset").map(Into::into));
    own.unwrap_or_else(|| "unknown data".into())
}

/// SHA-256 of the samples of an evaluation, where the run's manifest tells it.
fn data_checksum<'a>(run: &'a Run, test: &Evaluation) -> Option<&'a str> {
    run.manifest.as_ref()?.field(&format!("data.{}.sha256", test.split()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fronts;
    use crate::{Certification, Epoch, Evaluation, Manifest, Record, Run, Verdict};

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

    /// A run that is evaluated on `split`.
    fn evaluated(split: &str, config: &[(&str, &str)], checksum: Option<&str>) -> Run {
        let mut run = run(0.1, 0.9, 0.5);
        run.epochs[0].test.as_mut().unwrap().split = Some(split.into());
        run.config = config.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect();
        let field = |checksum: &str| (format!("data.{split}.sha256"), checksum.to_string());
        run.manifest = checksum.map(|checksum| Manifest { fields: vec![field(checksum)], ..Manifest::default() });
        run
    }

    /// A run whose certification has these settings.
    fn certified(settings: serde_json::Value) -> Run {
        let record = Record {
            index: 0,
            label: 1,
            prediction: 1,
            natural_correct: true,
            verdict: Verdict::Verified,
            stage: None,
            margin_lower: None,
            margin_attack: None,
            seconds: None,
            stage_seconds: serde_json::Map::new(),
        };
        let settings = settings.as_object().unwrap().clone();
        let certification = Certification { settings, records: vec![record], ..Certification::default() };
        Run { certification: Some(certification), ..Run::default() }
    }

    /// Words and runs of each front.
    fn grouped(runs: &[Run]) -> Vec<(String, Vec<usize>)> {
        let places = |front: &super::Front| front.outcomes.iter().map(|outcome| outcome.run).collect::<Vec<usize>>();
        fronts(runs).iter().map(|front| (front.problem.clone(), places(front))).collect()
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

    #[test]
    fn splits_and_data_ranges_are_problems_of_their_own() {
        let digits = ("dataset", "\"digits\"");
        let asked = |split: &str, clip: serde_json::Value| {
            certified(json!({"dataset": "digits", "split": split, "eps": 0.1, "norm": "inf", "clip": clip}))
        };
        let runs = [
            evaluated("test", &[digits, ("clip", "true")], None),
            asked("test", json!([0.0, 1.0])),
            evaluated("validation", &[digits, ("clip", "[0.0, 1.0]")], None),
            asked("validation", json!([0, 1])),
            evaluated("test", &[digits, ("clip", "false")], None),
            asked("test", json!(null)),
            evaluated("test", &[digits, ("clip", "[-0.5, 1.5]")], None),
            asked("test", json!([-0.5, 1.5])),
            // Logs of before there was a choice.
            certified(json!({"dataset": "digits", "eps": 0.1, "norm": "inf"})),
        ];
        let expected: [(&str, Vec<usize>); 4] = [
            ("digits, ℓ∞, ε = 0.1", vec![0, 1, 8]),
            ("digits validation, ℓ∞, ε = 0.1", vec![2, 3]),
            ("digits, ℓ∞, ε = 0.1, not clipped", vec![4, 5]),
            ("digits, ℓ∞, ε = 0.1, clipped to [-0.5, 1.5]", vec![6, 7]),
        ];
        assert_eq!(grouped(&runs), expected.map(|(words, runs)| (words.to_string(), runs)));
    }

    #[test]
    fn samples_are_known_by_name_and_checksum() {
        let arrays = [("inputs", "\"/a/train.safetensors\""), ("test_inputs", "\"/a/b.safetensors\"")];
        let elsewhere = [("inputs", "\"/c/train.safetensors\""), ("test_inputs", "\"/c/b.safetensors\"")];
        let asked = |dataset: &str, data: &str| {
            certified(json!({"dataset": dataset, "data": data, "split": "test", "eps": 0.1, "norm": "inf"}))
        };
        let runs = [
            evaluated("test", &arrays, Some("0123456789")),
            asked("b.safetensors", "0123456789"),
            // The same file name, but other samples.
            evaluated("test", &elsewhere, Some("abcdefghij")),
            // What tells no checksum is taken by its name.
            evaluated("test", &arrays, None),
            // A part of the training samples.
            evaluated("validation", &arrays, None),
        ];
        let expected: [(&str, Vec<usize>); 3] = [
            ("b.safetensors, ℓ∞, ε = 0.1, SHA-256 01234567…", vec![0, 1, 3]),
            ("b.safetensors, ℓ∞, ε = 0.1, SHA-256 abcdefgh…", vec![2]),
            ("train.safetensors validation, ℓ∞, ε = 0.1", vec![4]),
        ];
        assert_eq!(grouped(&runs), expected.map(|(words, runs)| (words.to_string(), runs)));
        // Who comes first without a checksum has that of the next.
        let found = fronts(&[evaluated("test", &arrays, None), asked("b.safetensors", "0123456789")]);
        assert_eq!((found.len(), &found[0].problem[..]), (1, "b.safetensors, ℓ∞, ε = 0.1"));
        assert_eq!(found[0].data.as_deref(), Some("0123456789"));
    }
}
