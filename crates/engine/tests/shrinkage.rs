//! ReLU shrinkage: the upper ends of unstable ReLUs alone become smaller, and requests that contradict it are refused.

use tightrope_engine::{BoundRequest, EngineError, Norm, Reference, Region, Relaxation, Spec};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::networks::Chain;

/// z = (2x + 1, x + 2) and y = relu(z₀) − relu(z₁) over x in [−1, 1].
fn bound(shrinkage: f64, relaxation: Relaxation) -> Result<(f64, f64), EngineError> {
    let network = Chain::new(&[1]).linear(2).relu().linear(1).build();
    let theta = [2.0, 1.0, 1.0, 2.0, 1.0, -1.0, 0.0];
    let region = Region::ball(&[0.0], 1, 1.0, Norm::Inf, None).unwrap();
    let request = BoundRequest { upper: true, shrinkage, ..BoundRequest::lower(relaxation) };
    let bounds = Reference.bound(&network, &theta, &region, &Spec::Logits, request)?;
    Ok((bounds.lower[0], bounds.upper.unwrap()[0]))
}

#[test]
fn unstable_upper_ends_alone_are_shrunk() {
    // z₀ in [−1, 3] is unstable, z₁ in [1, 3] is not.
    assert_eq!(bound(1.0, Relaxation::Ibp).unwrap(), (-3.0, 2.0));
    assert_eq!(bound(0.5, Relaxation::Ibp).unwrap(), (-3.0, 0.5));
}

#[test]
fn contradictions_are_refused() {
    for shrinkage in [0.0, -1.0, 1.5, f64::NAN] {
        let message = bound(shrinkage, Relaxation::Ibp).unwrap_err().to_string();
        assert!(message.contains("above 0 and at most 1"), "{message}");
    }
    for relaxation in Relaxation::ALL.into_iter().filter(|&relaxation| relaxation != Relaxation::Ibp) {
        assert!(bound(1.0, relaxation).is_ok());
        let message = bound(0.5, relaxation).unwrap_err().to_string();
        assert!(message.contains("ask for ibp"), "{relaxation}: {message}");
    }
}
