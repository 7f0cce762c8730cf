//! The concrete replay of a property's counterexample, by the reference engine in f32 and f64.

use tightrope_engine::{Engine, EngineError, Real, Reference};
use tightrope_network::Network;
use tightrope_vnnlib::{Constraint, Property};

use crate::VerifyError;

/// The f64 output at `input` if it is a counterexample: `input` lies in the exact box of a case, and the network's
/// output there, computed alone in f32 and in f64, satisfies one and the same conjunction of that case.
///
/// # Errors
/// If θ or the input does not fit the network.
pub fn replay_counterexample(
    network: &Network,
    theta: &[f32],
    property: &Property,
    input: &[f32],
) -> Result<Option<Vec<f64>>, VerifyError> {
    let single = logits::<f32>(network, theta, input)?;
    let double = logits::<f64>(network, theta, input)?;
    let satisfied =
        |row: &Constraint, y: &[f64]| row.coefficients.iter().zip(y).map(|(c, y)| c * y).sum::<f64>() <= row.bound;
    let inside = |lower: &[f64], upper: &[f64]| {
        input.iter().zip(lower.iter().zip(upper)).all(|(&x, (&l, &u))| (l..=u).contains(&f64::from(x)))
    };
    let confirmed = property.cases.iter().filter(|case| inside(&case.lower, &case.upper)).any(|case| {
        case.unsafe_outputs.iter().any(|rows| rows.iter().all(|row| satisfied(row, &single) && satisfied(row, &double)))
    });
    Ok(confirmed.then_some(double))
}

/// The network's output in precision `T`, widened.
fn logits<T: Real>(network: &Network, theta: &[f32], input: &[f32]) -> Result<Vec<f64>, EngineError>
where
    Reference: Engine<T>,
{
    let widen = |values: &[f32]| -> Vec<T> { values.iter().map(|&value| T::from_f32(value)).collect() };
    let logits = Reference.forward(network, &widen(theta), &widen(input))?;
    Ok(logits.into_iter().map(Real::to_f64).collect())
}

#[cfg(test)]
mod tests {
    use tightrope_network::NetworkBuilder;
    use tightrope_vnnlib::{Case, Constraint, Property};

    use super::replay_counterexample;

    #[test]
    fn only_points_of_the_box_with_unsafe_outputs_count() {
        let mut builder = NetworkBuilder::new(&[1]).unwrap();
        builder.linear("linear", 1, true, builder.input()).unwrap();
        let network = builder.build().unwrap();
        let row = |sign: f64, bound: f64| Constraint { coefficients: vec![sign], bound };
        // y = 2x + 1 in [2, 3] for x in [0, 1], or anything at x = 4.
        let cases = vec![
            Case { lower: vec![0.0], upper: vec![1.0], unsafe_outputs: vec![vec![row(1.0, 3.0), row(-1.0, -2.0)]] },
            Case { lower: vec![4.0], upper: vec![4.0], unsafe_outputs: vec![vec![]] },
        ];
        let property = Property { inputs: 1, outputs: 1, cases };
        let replay = |x: f32| replay_counterexample(&network, &[2.0, 1.0], &property, &[x]).unwrap();
        assert_eq!(replay(0.75), Some(vec![2.5]));
        assert_eq!(replay(1.0), Some(vec![3.0]));
        assert_eq!(replay(4.0), Some(vec![9.0]));
        for outside in [0.25, 1.5, -1.0, f32::NAN] {
            assert_eq!(replay(outside), None, "{outside}");
        }
        assert!(replay_counterexample(&network, &[2.0], &property, &[0.5]).is_err());
    }
}
