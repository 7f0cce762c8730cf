//! The verifier as the comparison sees it; all that depends on its interfaces is here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tightrope_certificate::{Certificate, check};
use tightrope_verify::complete::{Outcome, Settings, decide};
use tightrope_vnnlib::Property;

/// Time limit of one property in seconds, unless `TIGHTROPE_EXACT_SECONDS` says otherwise.
const LIMIT: f64 = 8.0;

fn limit() -> Duration {
    let given = std::env::var("TIGHTROPE_EXACT_SECONDS").ok();
    Duration::from_secs_f64(given.map_or(LIMIT, |text| text.parse().expect("seconds")))
}

/// A verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Holds,
    Violated,
    Unknown,
    Timeout,
    /// No verdict, and why.
    Error(String),
}

/// What the verifier says of a network and a property, given as the content of their files.
#[derive(Clone, Debug)]
pub struct Answer {
    pub verdict: Verdict,
    /// Where it holds: whether the checker accepts the certificate, and why not.
    pub certificate: Result<(), String>,
    /// Where it is violated.
    pub counterexample: Option<Vec<f64>>,
    /// Whether the counterexample is said to be a point beside that one, which doubles do not hold.
    pub between_doubles: bool,
}

/// Decides, with a proof and without, and checks the certificate.
pub fn decide_bytes(onnx: &[u8], vnnlib: &[u8]) -> Answer {
    let answer =
        |verdict| Answer { verdict, certificate: Err("none".into()), counterexample: None, between_doubles: false };
    let decided = catch_unwind(AssertUnwindSafe(|| {
        let model = tightrope_onnx::import_bytes(onnx, "(network)").map_err(|e| e.to_string())?;
        let property = Property::parse(vnnlib, "(property)").map_err(|e| e.to_string())?;
        let settings = Settings { timeout: limit(), proof: true, ..Settings::default() };
        let decision =
            decide(&model.network, &model.weights(), &property, &settings, &|_| {}).map_err(|e| e.to_string())?;
        // Without a proof the search clips boxes; what it says must be the same.
        let settings = Settings { proof: false, ..settings };
        let clipped =
            decide(&model.network, &model.weights(), &property, &settings, &|_| {}).map_err(|e| e.to_string())?;
        if std::mem::discriminant(&clipped.outcome) != std::mem::discriminant(&decision.outcome) {
            return Err(format!("{:?} without a proof, {:?} with one", clipped.outcome, decision.outcome));
        }
        Ok(match decision.outcome {
            Outcome::Holds { proof } => {
                let certificate = proof.ok_or_else(|| "none".to_string()).and_then(|proof| {
                    let weights = model.weights();
                    let certificate = Certificate::new(&model.network, &weights, &property, proof);
                    // As another program would read it from its file.
                    let bytes =
                        certificate.and_then(|certificate| certificate.to_bytes()).map_err(|e| e.to_string())?;
                    let certificate = Certificate::from_bytes(&bytes).map_err(|e| e.to_string())?;
                    let checked = check(&certificate, &model.network, &weights, &property, None);
                    checked.map(drop).map_err(|e| e.to_string())
                });
                Answer { certificate, ..answer(Verdict::Holds) }
            }
            Outcome::Violated { input, fractions, .. } => {
                let between_doubles = fractions.is_some();
                Answer { counterexample: Some(input), between_doubles, ..answer(Verdict::Violated) }
            }
            Outcome::Unknown { .. } => answer(Verdict::Unknown),
            Outcome::Timeout { .. } => answer(Verdict::Timeout),
        })
    }));
    match decided {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => answer(Verdict::Error(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            answer(Verdict::Error(format!("panic: {text}")))
        }
    }
}
