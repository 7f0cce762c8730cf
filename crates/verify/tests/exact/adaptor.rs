//! The verifier as the comparison sees it; all that depends on its interfaces is here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tightrope_certificate::{Certificate, check};
use tightrope_verify::complete::{Outcome, Settings, decide};
use tightrope_vnnlib::Property;

/// Time limit of one property in seconds, unless `TIGHTROPE_EXACT_SECONDS` says otherwise.
const LIMIT: f64 = 20.0;

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
}

/// Decides, and checks the certificate.
pub fn decide_bytes(onnx: &[u8], vnnlib: &[u8]) -> Answer {
    let answer = |verdict| Answer { verdict, certificate: Err("none".into()), counterexample: None };
    let decided = catch_unwind(AssertUnwindSafe(|| {
        let model = tightrope_onnx::import_bytes(onnx, "(network)").map_err(|e| e.to_string())?;
        let property = Property::parse(vnnlib, "(property)").map_err(|e| e.to_string())?;
        let settings = Settings { timeout: limit(), proof: true, ..Settings::default() };
        let decision =
            decide(&model.network, &model.theta, &property, &settings, &|_| {}).map_err(|e| e.to_string())?;
        Ok(match decision.outcome {
            Outcome::Holds { proof } => {
                let certificate = proof.ok_or_else(|| "none".to_string()).and_then(|proof| {
                    let certificate = Certificate::new(&model.network, &model.theta, &property, proof);
                    let certificate = certificate.map_err(|e| e.to_string())?;
                    check(&certificate, &model.network, &model.theta, &property).map(drop).map_err(|e| e.to_string())
                });
                Answer { certificate, ..answer(Verdict::Holds) }
            }
            Outcome::Violated { input, .. } => {
                let input = input.iter().map(|&x| f64::from(x)).collect();
                Answer { counterexample: Some(input), ..answer(Verdict::Violated) }
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
