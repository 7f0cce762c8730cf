//! Complete verification in one call: what it finds counts only after a replay of the counterexample or a check of the proof.

use std::time::Instant;

use serde_json::{Value, json};
use tightrope_certificate::{Certificate, CertificateError, Proof, check};
use tightrope_network::Model;
use tightrope_verify::complete::{Outcome, Progress, Settings, Statistics, decide};
use tightrope_verify::{Replay, replay_counterexample};
use tightrope_vnnlib::{Property, Verdict};

use crate::Error;

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whether the property holds, as far as that is known; never [`Verdict::Error`].
    pub verdict: Verdict,
    /// Where undecided, the smallest lower bound of what is open; −∞ if there is none.
    pub lower_bound: Option<f64>,
    /// Where violated.
    pub counterexample: Option<Counterexample>,
    /// Where it holds because no input satisfies the property's bounds: which of them contradict each other.
    pub contradiction: Option<String>,
    /// Where it holds, if [`Settings::proof`] asked for it: one that the checker has accepted.
    pub certificate: Option<Certificate>,
    /// Why a certificate that was asked for is not there, or why the verdict says less than the search did.
    pub remark: Option<String>,
    /// What the search did.
    pub statistics: Statistics,
}

/// A point that violates a property, confirmed by its replay.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The point.
    pub input: Vec<f64>,
    /// The network's output there in f64.
    pub output: Vec<f64>,
    /// The point itself, where no f64 one is a counterexample and `input` is next to it.
    pub fractions: Option<Vec<String>>,
    /// How programs see it.
    pub replay: Replay,
}

impl Verified {
    /// Of a verification whose time was out before it had begun.
    pub fn late() -> Self {
        Verified { lower_bound: Some(f64::NEG_INFINITY), ..Verified::plain(Verdict::Timeout) }
    }

    fn plain(verdict: Verdict) -> Self {
        Verified {
            verdict,
            lower_bound: None,
            counterexample: None,
            contradiction: None,
            certificate: None,
            remark: None,
            statistics: Statistics::default(),
        }
    }

    /// Verdict, bound, counterexample, contradiction and statistics as JSON.
    pub fn document(&self) -> Value {
        let finite = |bound: f64| Some(bound).filter(|bound| bound.is_finite());
        json!({
            "verdict": self.verdict.name(),
            "lower_bound": self.lower_bound.and_then(finite),
            "counterexample": self.counterexample.as_ref().map(|c| json!({
                "input": c.input,
                "output": c.output,
                "fractions": c.fractions,
                "unsafe_in_f64": c.replay.in_double,
                "unsafe_in_f32": c.replay.in_single,
                "f32_input": c.replay.single,
                "f32_outside": finite(c.replay.outside),
            })),
            "contradiction": self.contradiction,
            "statistics": {
                "subproblems": self.statistics.subproblems,
                "peak_open": self.statistics.peak_open,
                "attack_seconds": self.statistics.attack_seconds,
                "root_seconds": self.statistics.root_seconds,
                "branch_seconds": self.statistics.branch_seconds,
            },
        })
    }

    /// Takes the certificate of `proof` if the checker accepts it by `deadline`. Without one the verdict stands, unless the
    /// checker refuses the proof: then nothing is known.
    fn certify(
        &mut self,
        model: &Model,
        property: &Property,
        proof: Proof,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let weights = model.weights();
        let certificate = Certificate::new(&model.network, &weights, property, proof)?;
        match check(&certificate, &model.network, &weights, property, deadline) {
            Ok(_) => self.certificate = Some(certificate),
            Err(CertificateError::Late) => {
                self.remark = Some(
                    "no certificate: the time was out before its check had ended; the verdict stands without it; allow \
                     a longer timeout"
                        .into(),
                );
            }
            Err(CertificateError::Network(problem)) => {
                self.remark = Some(format!("no certificate: the checker cannot read the network ({problem})"));
            }
            Err(CertificateError::Proof { place, problem }) => {
                self.verdict = Verdict::Unknown;
                self.remark = Some(format!(
                    "the proof found does not pass the checker ({place}: {problem}), so nothing is said of the property"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Decides whether `property` holds for `model`, read as a function of real numbers. [`Settings::timeout`] bounds the search
/// and, where [`Settings::proof`] asks for one, making and checking the certificate.
///
/// # Errors
/// If the property does not fit the model or a setting makes no sense.
///
/// ```
/// use tightrope::network::{Model, NetworkBuilder};
/// use tightrope::vnnlib::{Case, Constraint, Property, Verdict};
/// use tightrope::{Settings, verify};
///
/// // y = 2x + 1; can y ≤ 0 for x in [0, 1]?
/// let mut builder = NetworkBuilder::new(&[1])?;
/// builder.linear("linear", 1, true, builder.input())?;
/// let model = Model::new(builder.build()?, vec![2.0, 1.0]);
/// let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], 0.0)]];
/// let property = Property::new(1, 1, vec![Case::closed(vec![0.0], vec![1.0], unsafe_outputs)]);
/// let verified = verify(&model, &property, &Settings { proof: true, ..Settings::default() })?;
/// assert_eq!(verified.verdict, Verdict::Holds);
/// assert!(verified.certificate.is_some());
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn verify(model: &Model, property: &Property, settings: &Settings) -> Result<Verified, Error> {
    verify_watched(model, property, settings, &|_| ())
}

/// [`verify`]; `progress` hears of every round of branch and bound.
///
/// # Errors
/// As [`verify`].
pub fn verify_watched(
    model: &Model,
    property: &Property,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verified, Error> {
    let deadline = Instant::now().checked_add(settings.timeout);
    let model = model.frozen()?;
    let decision = decide(&model.network, &model.weights(), property, settings, progress)?;
    let found = |verdict| Verified {
        contradiction: property.contradiction.clone(),
        statistics: decision.statistics,
        ..Verified::plain(verdict)
    };
    match decision.outcome {
        Outcome::Holds { proof } => {
            let mut verified = found(Verdict::Holds);
            if let Some(proof) = proof {
                verified.certify(&model, property, proof, deadline)?;
            } else if settings.proof {
                verified.remark = Some(match property.whole {
                    true => {
                        "no certificate: proofs do not cover properties that were split between whole inputs".into()
                    }
                    false => format!("no certificate: the proof would take more than {} bytes", settings.proof_bytes),
                });
            }
            Ok(verified)
        }
        Outcome::Violated { input, output, fractions } => {
            let replay = replay_counterexample(&model, property, &input)?;
            if !replay.confirmed && fractions.is_none() {
                let remark = "a counterexample did not survive its replay from the file's numbers".to_string();
                return Ok(Verified { remark: Some(remark), ..found(Verdict::Unknown) });
            }
            // What leaves f64 on the way says nothing of the result.
            let output = if replay.output.iter().all(|y| y.is_finite()) { replay.output.clone() } else { output };
            let counterexample = Counterexample { input, output, fractions, replay };
            Ok(Verified { counterexample: Some(counterexample), ..found(Verdict::Violated) })
        }
        Outcome::Unknown { lower_bound } => Ok(Verified { lower_bound: Some(lower_bound), ..found(Verdict::Unknown) }),
        Outcome::Timeout { lower_bound } => Ok(Verified { lower_bound: Some(lower_bound), ..found(Verdict::Timeout) }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tightrope_certificate::Proof;
    use tightrope_network::{Activation, Layer, Model, NetworkBuilder};
    use tightrope_verify::complete::{Outcome, Settings, decide};
    use tightrope_vnnlib::{Case, Constraint, Property, Verdict};

    use super::{Verified, verify};

    /// y = relu(x) with the statement that y ≥ −`slack` for x in [−1, 1], and its proof.
    fn proved(slack: f64) -> (Model, Property, Proof) {
        let mut builder = NetworkBuilder::new(&[1]).unwrap();
        let pre = builder.linear("in", 1, false, builder.input()).unwrap();
        let hidden = builder.add("relu", Layer::Activation(Activation::Relu), &[pre]).unwrap();
        builder.linear("out", 1, false, hidden).unwrap();
        let model = Model::new(builder.build().unwrap(), vec![1.0, 1.0]);
        let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], -slack)]];
        let property = Property::new(1, 1, vec![Case::closed(vec![-1.0], vec![1.0], unsafe_outputs)]);
        let settings = Settings { proof: true, ..Settings::default() };
        let decision = decide(&model.network, &model.weights(), &property, &settings, &|_| ()).unwrap();
        let Outcome::Holds { proof: Some(proof) } = decision.outcome else { panic!("{:?}", decision.outcome) };
        (model, property, proof)
    }

    #[test]
    fn a_check_that_is_late_leaves_the_verdict_without_a_certificate() {
        let (model, property, proof) = proved(0.5);
        let mut verified = Verified::plain(Verdict::Holds);
        verified.certify(&model, &property, proof.clone(), Some(Instant::now())).unwrap();
        assert_eq!((verified.verdict, verified.certificate.is_none()), (Verdict::Holds, true));
        assert!(verified.remark.unwrap().contains("longer timeout"));
        let mut verified = Verified::plain(Verdict::Holds);
        verified.certify(&model, &property, proof, None).unwrap();
        assert!(verified.certificate.is_some() && verified.remark.is_none());
    }

    #[test]
    fn a_proof_that_the_checker_refuses_proves_nothing() {
        let (model, _, proof) = proved(0.5);
        // The same proof for the false statement that y ≥ 1/2.
        let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], 0.5)]];
        let property = Property::new(1, 1, vec![Case::closed(vec![-1.0], vec![1.0], unsafe_outputs)]);
        let mut verified = Verified::plain(Verdict::Holds);
        verified.certify(&model, &property, proof, None).unwrap();
        assert_eq!((verified.verdict, verified.certificate.is_none()), (Verdict::Unknown, true));
        assert!(verified.remark.unwrap().contains("does not pass the checker"));
        let verified = verify(&model, &property, &Settings::default()).unwrap();
        assert_eq!(verified.verdict, Verdict::Violated);
        assert!(verified.counterexample.unwrap().replay.confirmed);
    }
}
