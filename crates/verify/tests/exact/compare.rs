//! Compares the verifier with the truth, one kind of network at a time.

use std::collections::BTreeMap;

use crate::adaptor::{Answer, Verdict, decide_bytes};
use crate::examples::Example;
use crate::networks::{KINDS, Kind};
use crate::truth::{Truth, refutes};

/// Failures that are told in full.
const TOLD: usize = 3;

/// What can be wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// `holds` where it is violated, or the other way round.
    WrongVerdict,
    /// A counterexample outside the box or with safe outputs, although there are others.
    WrongCounterexample,
    /// A certificate that is missing or that the checker refuses.
    Certificate,
    /// Neither `holds` nor `violated`.
    Undecided,
    /// A panic, or a file that is refused.
    Error,
}

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Examples of each kind: `TIGHTROPE_EXACT_CASES` is their number over all kinds.
pub fn count() -> u64 {
    variable("TIGHTROPE_EXACT_CASES").unwrap_or(1000).div_ceil(KINDS.len() as u64)
}

/// The fault of an answer, if it has one.
fn judge(example: &Example, answer: &Answer) -> Option<(Fault, String)> {
    let fault = |fault, text: &str| Some((fault, text.to_string()));
    match (&answer.verdict, &example.truth) {
        (Verdict::Error(error), _) => fault(Fault::Error, error),
        (Verdict::Holds, Truth::Holds) => {
            let refused = answer.certificate.as_ref().err()?;
            fault(Fault::Certificate, &format!("certificate: {refused}"))
        }
        (Verdict::Violated, Truth::Violated(_)) => match &answer.counterexample {
            Some(point) if refutes(&example.net, &example.property, point) => None,
            // The verdict is about real numbers; that no double was found near the counterexample is said, not hidden.
            Some(_) if answer.between_doubles => None,
            point => fault(Fault::WrongCounterexample, &format!("no counterexample: {point:?}")),
        },
        (verdict @ (Verdict::Holds | Verdict::Violated), truth) => {
            let text = format!("{verdict:?} where the truth is {truth:?}, at {:?}", answer.counterexample);
            fault(Fault::WrongVerdict, &text)
        }
        (verdict, truth) if example.demanded() => {
            fault(Fault::Undecided, &format!("{verdict:?} where the truth is {truth:?}"))
        }
        _ => None,
    }
}

/// Compares all examples of a kind; `TIGHTROPE_EXACT_ONLY` is the index of a single one.
pub fn compare(kind: Kind) {
    let only = variable("TIGHTROPE_EXACT_ONLY");
    let indices = only.map_or(0..count(), |index| index..index + 1);
    let total = indices.end - indices.start;
    let mut faults: BTreeMap<_, usize> = BTreeMap::new();
    let (mut told, mut open) = (String::new(), 0);
    for index in indices {
        let example = Example::new(kind, index);
        open += usize::from(!example.demanded());
        let answer = decide_bytes(&example.onnx, example.vnnlib.as_bytes());
        if let Some((fault, text)) = judge(&example, &answer) {
            if faults.values().sum::<usize>() < TOLD {
                told += &format!("{fault:?}: {text}\n{}\n", example.describe());
            } else {
                told +=
                    &format!("{fault:?} in {kind:?} {index} ({:?}, {:?}): {text}\n", example.shape, example.distance);
            }
            *faults.entry((fault, example.distance)).or_default() += 1;
        }
    }
    let failed: usize = faults.values().sum();
    let list: Vec<String> =
        faults.iter().map(|((fault, distance), n)| format!("{n} {fault:?} ({distance:?})")).collect();
    let summary = format!(
        "{kind:?}: {failed} of {total} examples fail [{}]; {open} are violated without a known counterexample of doubles",
        list.join(", ")
    );
    eprintln!("{summary}");
    assert!(failed == 0, "{told}{summary}");
}
