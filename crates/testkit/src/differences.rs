//! Adjoints against central differences in f64.

use tightrope_engine::{Bounds, Cotangents, LayerBounds, LayerCotangent};
use tightrope_network::Network;

use crate::random::Rng;

/// Step of the differences.
const STEP: f64 = 1e-6;
/// One-sided differences further apart than this, relative to the gradient's size, show a kink or a jump.
const KINK: f64 = 1e-3;
/// Agreement of adjoint and central difference, relative to the gradient's size.
const TOLERANCE: f64 = 2e-6;

/// Counts of directions compared and of those skipped at kinks: a comparison that skips too much fails.
#[derive(Default)]
pub struct Count {
    compared: usize,
    kinks: usize,
}

impl Count {
    /// Compares one directional derivative; `value(t)` is the objective at distance t along the direction.
    ///
    /// # Panics
    /// If `adjoint` is not the derivative.
    pub fn compare(&mut self, what: &str, adjoint: f64, value: impl Fn(f64) -> f64) {
        let (minus, here, plus) = (value(-STEP), value(0.0), value(STEP));
        let (left, right) = ((here - minus) / STEP, (plus - here) / STEP);
        let scale = 1.0 + adjoint.abs();
        if (left - right).abs() > KINK * scale {
            self.kinks += 1;
            return;
        }
        self.compared += 1;
        let central = (plus - minus) / (2.0 * STEP);
        // A kink too weak to notice moves the difference by at most half of what the sides differ.
        let allowed = TOLERANCE * scale + 0.5 * (left - right).abs() + 1e-9 * here.abs();
        assert!((adjoint - central).abs() <= allowed, "{what}: adjoint {adjoint}, difference {central}");
    }

    /// Ends the comparison.
    ///
    /// # Panics
    /// If fewer than `least` directions were compared, or more than one in 200 was skipped.
    pub fn finish(&self, least: usize) {
        eprintln!("{} derivatives compared, {} skipped at kinks", self.compared, self.kinks);
        assert!(self.compared >= least, "only {} compared", self.compared);
        assert!(self.kinks * 200 <= self.compared, "{} of {} skipped", self.kinks, self.compared);
    }
}

/// ⟨a, b⟩.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// point + step·direction.
pub fn moved(point: &[f64], step: f64, direction: &[f64]) -> Vec<f64> {
    point.iter().zip(direction).map(|(p, d)| p + step * d).collect()
}

/// Two random directions of unit length and some single coordinates.
pub fn directions(rng: &Rng, length: usize, coordinates: usize) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = (0..2)
        .map(|_| {
            let v = rng.normals(length);
            let norm = dot(&v, &v).sqrt();
            v.iter().map(|v| v / norm).collect()
        })
        .collect();
    for _ in 0..coordinates {
        let mut unit = vec![0.0; length];
        unit[rng.integer(0, length - 1)] = 1.0;
        all.push(unit);
    }
    all
}

/// ⟨cotangents, bounds⟩.
pub fn objective(bounds: &Bounds<f64>, cotangents: &Cotangents<f64>) -> f64 {
    let mut sum = dot(&bounds.lower, &cotangents.lower);
    if !cotangents.upper.is_empty() {
        sum += dot(bounds.upper.as_ref().unwrap(), &cotangents.upper);
    }
    for cotangent in &cotangents.layers {
        let layer = bounds.layers.iter().find(|layer| layer.node == cotangent.node).unwrap();
        sum += dot(&layer.lower, &cotangent.lower) + dot(&layer.upper, &cotangent.upper);
    }
    sum
}

/// Random cotangents on both ends of the specification and of every layer.
pub fn random_cotangents(rng: &Rng, network: &Network, bounds: &Bounds<f64>) -> Cotangents<f64> {
    let layer = |layer: &LayerBounds<f64>| LayerCotangent {
        node: layer.node,
        lower: rng.normals(layer.lower.len()),
        upper: rng.normals(layer.upper.len()),
    };
    assert_eq!(bounds.layers.len(), network.pre_activations().len());
    Cotangents {
        lower: rng.normals(bounds.lower.len()),
        upper: rng.normals(bounds.lower.len()),
        layers: bounds.layers.iter().map(layer).collect(),
        buffers: Vec::new(),
    }
}
