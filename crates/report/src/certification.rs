//! `certify.jsonl`: what the cascade found about each sample, and its sums by stage.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::run::{TEST, log_lines};
use crate::text;
use tightrope_network::number_text;
use tightrope_statistics::Proportion;

/// The name under which misclassified samples are decided, before any stage.
pub(crate) const NATURAL: &str = "natural";

/// What was decided about a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Proved.
    Verified,
    /// Misclassified, or a counterexample was found.
    Falsified,
    /// Neither.
    Unknown,
}

impl Verdict {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Falsified => "falsified",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Place in the split, from 0.
    pub index: u64,
    /// True class.
    pub label: u64,
    /// Class of the largest clean logit.
    pub prediction: u64,
    /// Whether the label's clean logit is strictly the largest.
    pub natural_correct: bool,
    /// The outcome.
    pub verdict: Verdict,
    /// The stage that decided.
    pub stage: Option<String>,
    /// Best lower bound of the smallest margin.
    pub margin_lower: Option<f64>,
    /// Smallest margin that an attack met.
    pub margin_attack: Option<f64>,
    /// Seconds spent.
    pub seconds: Option<f64>,
    /// Seconds of each stage entered.
    #[serde(default)]
    pub stage_seconds: Map<String, Value>,
}

impl Record {
    /// Fails for a record that contradicts itself.
    fn checked(self) -> Result<Self, String> {
        if self.natural_correct && self.label != self.prediction {
            return Err(format!(
                "sample {} counts as right with label {} and prediction {}",
                self.index, self.label, self.prediction
            ));
        }
        if !self.natural_correct && self.verdict == Verdict::Verified {
            return Err(format!("sample {} is misclassified and verified", self.index));
        }
        Ok(self)
    }
}

/// What one stage did over all samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTotals {
    /// Name; the first is `natural`, the clean prediction.
    pub stage: String,
    /// Samples that entered.
    pub entered: usize,
    /// Samples it verified.
    pub verified: usize,
    /// Samples it falsified.
    pub falsified: usize,
    /// Samples verified up to here: a lower bound of the robust accuracy.
    pub certified: Proportion,
    /// Samples not falsified up to here: an upper bound of the robust accuracy.
    pub unbroken: Proportion,
    /// Seconds of all samples together.
    pub seconds: f64,
}

/// A certification log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Certification {
    /// Settings of the header: model, data, radius, norm, stages, ….
    pub settings: Map<String, Value>,
    /// True if the model among them is not the one that the run has now: see
    /// [`Run::compare_model`](crate::Run::compare_model).
    pub earlier_model: bool,
    /// The samples, as the log has them.
    #[serde(skip)]
    pub records: Vec<Record>,
}

#[derive(Deserialize)]
struct Header {
    certify_log: u64,
    settings: Map<String, Value>,
}

impl Certification {
    /// Reads a log; lines that are damaged, or tell of a sample again, are left out with a remark.
    pub(crate) fn parse(bytes: &[u8], remarks: &mut Vec<String>) -> Result<Self, String> {
        let lines = log_lines(bytes, remarks);
        let header = lines.first().and_then(|(_, line)| serde_json::from_slice::<Header>(line).ok());
        let body = if header.is_some() { &lines[1..] } else { &lines[..] };
        match &header {
            None => remarks.push("the header is missing or damaged: radius, norm and stages are not known".into()),
            Some(header) if header.certify_log != 1 => {
                remarks.push(format!("has format {}, newer than this program; it may be misread", header.certify_log));
            }
            Some(_) => {}
        }
        let mut certification = Certification {
            settings: header.map(|header| header.settings).unwrap_or_default(),
            earlier_model: false,
            records: Vec::with_capacity(body.len()),
        };
        let mut seen = std::collections::HashSet::new();
        let (mut damaged, mut reason, mut again) = (Vec::new(), String::new(), Vec::new());
        for &(number, line) in body {
            let read = serde_json::from_slice::<Record>(line).map_err(|problem| problem.to_string());
            match read.and_then(Record::checked) {
                Ok(record) if seen.insert(record.index) => certification.records.push(record),
                Ok(_) => again.push(number),
                Err(problem) => {
                    if damaged.is_empty() {
                        reason = problem;
                    }
                    damaged.push(number);
                }
            }
        }
        if !damaged.is_empty() {
            let (count, lines) = (damaged.len(), text::lines(&damaged));
            remarks.push(format!("{count} damaged and left out: {lines} (the first: {reason})"));
        }
        if !again.is_empty() {
            remarks.push(format!(
                "{} left out, whose samples stand there already: {}",
                again.len(),
                text::lines(&again)
            ));
        }
        Ok(certification)
    }

    /// A text among the settings.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str)
    }

    /// Radius ε as a text, or those of the channels in parentheses.
    pub fn eps(&self) -> Option<String> {
        let number = |value: &Value| value.as_f64().map(number_text);
        match self.settings.get("eps")? {
            Value::Array(radii) => {
                let radii = radii.iter().map(number).collect::<Option<Vec<String>>>()?;
                Some(format!("({})", radii.join(", ")))
            }
            one => number(one),
        }
    }

    /// What was certified: `test`, also where it is not told, or `validation`.
    pub fn split(&self) -> &str {
        self.setting("split").unwrap_or(TEST)
    }

    /// Share classified correctly.
    pub fn natural(&self) -> Proportion {
        self.share(|record| record.natural_correct)
    }

    /// Share not falsified: an upper bound of the robust accuracy.
    pub fn adversarial(&self) -> Proportion {
        self.share(|record| record.verdict != Verdict::Falsified)
    }

    /// Share verified: a lower bound of the robust accuracy.
    pub fn certified(&self) -> Proportion {
        self.share(|record| record.verdict == Verdict::Verified)
    }

    fn share(&self, property: impl Fn(&Record) -> bool) -> Proportion {
        Proportion::new(self.records.iter().filter(|record| property(record)).count(), self.records.len())
    }

    /// What each stage did, the clean prediction first, then in the order of the settings; stages that only records
    /// name come last.
    pub fn stages(&self) -> Vec<StageTotals> {
        let mut names: Vec<&str> = vec![NATURAL];
        let listed = self.setting("stages").into_iter().flat_map(|list| list.split(','));
        let decided = self.records.iter().filter_map(|record| record.stage.as_deref());
        let entered = self.records.iter().flat_map(|record| record.stage_seconds.keys().map(String::as_str));
        for name in listed.chain(decided).chain(entered).map(str::trim).filter(|name| !name.is_empty()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let total = self.records.len();
        let (mut certified, mut unbroken) = (0, total);
        let mut totals = Vec::new();
        for name in names {
            let count = |verdict| {
                let decided = |record: &&Record| record.verdict == verdict && record.stage.as_deref() == Some(name);
                self.records.iter().filter(decided).count()
            };
            let (verified, falsified) = (count(Verdict::Verified), count(Verdict::Falsified));
            certified += verified;
            unbroken -= falsified;
            let times = self.records.iter().filter_map(|record| record.stage_seconds.get(name));
            let entered = if name == NATURAL { total } else { times.clone().count() };
            let seconds = times.filter_map(Value::as_f64).filter(|seconds| seconds.is_finite() && *seconds > 0.0);
            totals.push(StageTotals {
                stage: name.into(),
                entered,
                verified,
                falsified,
                certified: Proportion::new(certified, total),
                unbroken: Proportion::new(unbroken, total),
                // Not `sum`, whose empty value is −0.
                seconds: seconds.fold(0.0, |total, seconds| total + seconds),
            });
        }
        totals
    }

    /// Samples that are neither proved nor refuted, by rising index.
    pub fn undecided(&self) -> Vec<&Record> {
        self.chosen(|record| record.verdict == Verdict::Unknown)
    }

    /// Samples whose clean prediction is wrong, by rising index.
    pub fn misclassified(&self) -> Vec<&Record> {
        self.chosen(|record| !record.natural_correct)
    }

    fn chosen(&self, property: impl Fn(&Record) -> bool) -> Vec<&Record> {
        let mut chosen: Vec<&Record> = self.records.iter().filter(|record| property(record)).collect();
        chosen.sort_by_key(|record| record.index);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::Certification;

    const HEADER: &str = r#"{"certify_log":1,"settings":{"eps":0.1,"norm":"inf","stages":"pgd,ibp,bab"}}"#;

    fn line(index: u64, correct: bool, verdict: &str, stage: &str, seconds: &str) -> String {
        let prediction = if correct { 1 } else { 2 };
        format!(
            "{{\"index\":{index},\"label\":1,\"prediction\":{prediction},\"natural_correct\":{correct},\"verdict\":\"{verdict}\",\
             \"stage\":{stage},\"margin_lower\":null,\"margin_attack\":0.5,\"seconds\":1.0,\"stage_seconds\":{seconds}}}"
        )
    }

    #[test]
    fn stages_add_up_to_the_verdicts() {
        let lines = [
            HEADER.to_string(),
            line(0, false, "falsified", "\"natural\"", "{}"),
            line(3, true, "falsified", "\"pgd\"", "{\"pgd\":0.5}"),
            line(1, true, "verified", "\"ibp\"", "{\"pgd\":0.5,\"ibp\":0.25}"),
            line(2, true, "unknown", "null", "{\"pgd\":0.5,\"ibp\":0.25,\"bab\":2}"),
        ];
        let mut remarks = Vec::new();
        let found = Certification::parse((lines.join("\n") + "\n").as_bytes(), &mut remarks).unwrap();
        assert!(remarks.is_empty(), "{remarks:?}");
        let stages = found.stages();
        let counts: Vec<_> = stages
            .iter()
            .map(|s| (&*s.stage, s.entered, s.verified, s.falsified, s.certified.count, s.unbroken.count, s.seconds))
            .collect();
        let expected = [
            ("natural", 4, 0, 1, 0, 3, 0.0),
            ("pgd", 3, 0, 1, 0, 2, 1.5),
            ("ibp", 2, 1, 0, 1, 2, 0.5),
            ("bab", 1, 0, 0, 1, 2, 2.0),
        ];
        assert_eq!(counts, expected);
        assert_eq!((found.natural().count, found.adversarial().count, found.certified().count), (3, 2, 1));
        assert_eq!(found.undecided().iter().map(|record| record.index).collect::<Vec<_>>(), [2]);
        assert_eq!(found.misclassified().iter().map(|record| record.index).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn radii_of_channels_are_told_as_such() {
        let header = HEADER.replace("\"eps\":0.1", "\"eps\":[0.1,0.25,0]");
        let found = Certification::parse(format!("{header}\n").as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!(found.eps().as_deref(), Some("(0.1, 0.25, 0)"));
        let found = Certification::parse(format!("{HEADER}\n").as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!(found.eps().as_deref(), Some("0.1"));
    }

    #[test]
    fn damage_is_counted_and_named() {
        let whole = line(0, true, "verified", "\"ibp\"", "{}");
        let text = format!("{HEADER}\n{whole}\nnonsense\n{whole}\n{}\n\u{0}", line(1, true, "maybe", "null", "{}"));
        let mut remarks = Vec::new();
        let found = Certification::parse(text.as_bytes(), &mut remarks).unwrap();
        assert_eq!(found.records.len(), 1);
        assert!(remarks[0].contains("last line is not complete"), "{remarks:?}");
        assert!(remarks[1].starts_with("2 damaged and left out: lines 3, 5"), "{remarks:?}");
        assert!(remarks[2].contains("line 4"), "{remarks:?}");
        // Records that contradict themselves are no better.
        let (wrong, proved) =
            (whole.replace("\"prediction\":1", "\"prediction\":3"), line(7, false, "verified", "\"ibp\"", "{}"));
        let mut remarks = Vec::new();
        let found = Certification::parse(format!("{HEADER}\n{wrong}\n{proved}\n").as_bytes(), &mut remarks).unwrap();
        assert!(found.records.is_empty() && remarks[0].contains("label 1 and prediction 3"), "{remarks:?}");
        let mut remarks = Vec::new();
        let found = Certification::parse(format!("{whole}\n").as_bytes(), &mut remarks).unwrap();
        assert_eq!((found.records.len(), found.eps()), (1, None));
        assert!(remarks[0].contains("header is missing"), "{remarks:?}");
        assert_eq!(Certification::parse(b"", &mut remarks).unwrap().stages().len(), 1);
    }
}
