//! The replay of a property's counterexample: in exact arithmetic, and as f64 and f32 programs would run it.

use std::sync::OnceLock;

use tightrope_certificate::Statement;
use tightrope_engine::{Engine, EngineError, Real, Reference};
use tightrope_network::{Model, Network, Weights};
use tightrope_vnnlib::{Constraint, Property};

use crate::VerifyError;
use crate::complete::{Handle, Judge, check_kinds};

/// What became of a counterexample that was replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Whether it is one in exact arithmetic: it lies in the box of a case, ends that do not belong to it left out, and
    /// the real-valued network's output there satisfies every constraint of one of the case's conjunctions.
    pub confirmed: bool,
    /// The output of the reference engine in f64 there.
    pub output: Vec<f64>,
    /// Whether that output satisfies such a conjunction, too.
    pub in_double: bool,
    /// The nearest f32 point.
    pub single: Vec<f32>,
    /// How far outside the box it lies, at most.
    pub outside: f64,
    /// Whether the reference engine's output in f32 there satisfies such a conjunction; none if a weight is beyond f32.
    pub in_single: Option<bool>,
}

/// Replays `input` by itself.
///
/// # Errors
/// If the network has layers of a kind that is not covered, or the weights or the input do not fit it.
pub fn replay_counterexample(model: &Model, property: &Property, input: &[f64]) -> Result<Replay, VerifyError> {
    let whole = !property.whole || input.iter().all(|x| x.fract() == 0.0);
    let mut replay = match statement(&model.network, &model.weights(), property)? {
        Some(Statement { network, weights, property }) => {
            replay_outputs(&Model::with_weights(network, weights), &property, input)?
        }
        None => replay_outputs(model, property, input)?,
    };
    replay.output.truncate(property.outputs);
    replay.confirmed &= whole;
    replay.in_double &= whole;
    Ok(replay)
}

/// The property of outputs alone that `property` comes to, if it has sums of inputs.
pub(crate) fn statement(
    network: &Network,
    weights: &Weights,
    property: &Property,
) -> Result<Option<Statement>, VerifyError> {
    Statement::of(network, weights, property).map_err(|e| VerifyError::Usage(e.to_string()))
}

/// [`replay_counterexample`] for a property of outputs alone.
fn replay_outputs(model: &Model, property: &Property, input: &[f64]) -> Result<Replay, VerifyError> {
    let (network, weights) = (&model.network, model.weights());
    check_kinds(network)?;
    let output = logits::<f64>(network, weights.theta(), input)?;
    let single: Vec<f32> = input.iter().map(|&x| x as f32).collect();
    let single_output = match network.check_theta(&model.theta) {
        Ok(()) => {
            let widened: Vec<f64> = single.iter().map(|&x| f64::from(x)).collect();
            let theta: Vec<f64> = model.theta.iter().map(|&value| f64::from(value)).collect();
            Some(logits::<f32>(network, &theta, &widened)?)
        }
        Err(_) => None,
    };
    let program = Handle::<f64>::new(network, &weights);
    let exact = OnceLock::new();
    let satisfied = |row: &Constraint, y: &[f64]| {
        let value = row.coefficients.iter().zip(y).map(|(c, y)| c * y).sum::<f64>();
        if row.strict { value < row.bound } else { value <= row.bound }
    };
    let mut replay = Replay {
        confirmed: false,
        output: output.clone(),
        in_double: false,
        single,
        outside: f64::INFINITY,
        in_single: single_output.as_ref().map(|_| false),
    };
    let mut outside = f64::INFINITY;
    for case in &property.cases {
        let near = |x: &[f64]| {
            let ends = x.iter().zip(case.lower.iter().zip(&case.upper));
            ends.map(|(x, (l, u))| (l - x).max(x - u).max(0.0)).fold(0.0, f64::max)
        };
        let is_inside = case.contains(input);
        let judge = Judge { program: &program, weights: &weights, exact: &exact, case, ball: None };
        for rows in &case.unsafe_outputs {
            let meets = |y: &[f64]| rows.iter().all(|row| satisfied(row, y));
            if is_inside {
                replay.confirmed |= judge.confirm(input, rows).is_some();
                replay.in_double |= meets(&output);
            }
            if is_inside || near(input) <= f64::EPSILON {
                let widened: Vec<f64> = replay.single.iter().map(|&x| f64::from(x)).collect();
                outside = outside.min(near(&widened));
                if let (Some(seen), Some(y)) = (&mut replay.in_single, &single_output) {
                    *seen |= meets(y);
                }
            }
        }
    }
    replay.outside = outside;
    Ok(replay)
}

/// The network's output in precision `T`, widened.
fn logits<T: Real>(network: &Network, theta: &[f64], input: &[f64]) -> Result<Vec<f64>, EngineError>
where
    Reference: Engine<T>,
{
    let narrow = |values: &[f64]| -> Vec<T> { values.iter().map(|&value| T::from_f64(value)).collect() };
    let logits = Reference.load(network, &narrow(theta), &[])?.forward(&narrow(input))?;
    Ok(logits.into_iter().map(Real::to_f64).collect())
}

#[cfg(test)]
mod tests {
    use tightrope_network::{Model, NetworkBuilder, Weights};
    use tightrope_vnnlib::{Case, Constraint, Property};

    use super::replay_counterexample;

    fn line(theta: Vec<f64>) -> Model {
        let mut builder = NetworkBuilder::new(&[1]).unwrap();
        builder.linear("linear", 1, true, builder.input()).unwrap();
        Model::with_weights(builder.build().unwrap(), Weights::new(theta))
    }

    #[test]
    fn only_points_of_the_box_with_unsafe_outputs_count() {
        let model = line(vec![2.0, 1.0]);
        let row = |sign: f64, bound: f64| Constraint::at_most(vec![sign], bound);
        // y = 2x + 1 in [2, 3] for x in [0, 1], or anything at x = 4.
        let cases = vec![
            Case::closed(vec![0.0], vec![1.0], vec![vec![row(1.0, 3.0), row(-1.0, -2.0)]]),
            Case::closed(vec![4.0], vec![4.0], vec![vec![]]),
        ];
        let property = Property::new(1, 1, cases);
        let replay = |x: f64| replay_counterexample(&model, &property, &[x]).unwrap();
        for (x, y) in [(0.75, 2.5), (1.0, 3.0), (4.0, 9.0)] {
            let found = replay(x);
            assert!(found.confirmed && found.in_double && found.in_single == Some(true), "{found:?}");
            assert_eq!((found.output[0], found.outside), (y, 0.0));
        }
        for outside in [0.25, 1.5, -1.0, f64::NAN] {
            let found = replay(outside);
            assert!(!found.confirmed && !found.in_double, "{outside}");
        }
        assert!(replay_counterexample(&line(vec![2.0]), &property, &[0.5]).is_err());
    }

    #[test]
    fn ends_that_are_left_out_and_strict_rows_count_as_they_are_written() {
        let model = line(vec![1.0, 0.0]);
        let mut case = Case::closed(vec![0.0], vec![1.0], vec![vec![Constraint::at_most(vec![-1.0], -1.0)]]);
        let confirmed = |case: &Case, x: f64| {
            replay_counterexample(&model, &Property::new(1, 1, vec![case.clone()]), &[x]).unwrap().confirmed
        };
        assert!(confirmed(&case, 1.0));
        case.open_upper = vec![0];
        assert!(!confirmed(&case, 1.0));
        let strict = Case::closed(vec![0.0], vec![1.0], vec![vec![Constraint::below(vec![-1.0], -1.0)]]);
        assert!(!confirmed(&strict, 1.0));
        let below = 1.0_f64.next_down();
        let strict = Case::closed(vec![0.0], vec![1.0], vec![vec![Constraint::below(vec![-1.0], -below)]]);
        assert!(confirmed(&strict, 1.0) && !confirmed(&strict, below));
    }

    /// The real value is 1e-20 above the bound, which f64 arithmetic loses.
    #[test]
    fn exact_arithmetic_decides() {
        let model = line(vec![1.0, 1e-20]);
        let case = |bound: f64| Case::closed(vec![1.0], vec![1.0], vec![vec![Constraint::below(vec![-1.0], bound)]]);
        let replay =
            |bound: f64| replay_counterexample(&model, &Property::new(1, 1, vec![case(bound)]), &[1.0]).unwrap();
        let found = replay(-1.0);
        assert!(found.confirmed && !found.in_double && found.in_single == Some(false));
        assert!(!replay(-1.0_f64.next_up()).confirmed);
    }
}
