//! The gradient of bounds with respect to the coefficients of their specification, against central differences.

use tightrope_engine::{BoundRequest, Cotangents, Engine, Loaded, Reference, Relaxation, Spec};
use tightrope_testkit::random::{Family, Rng, Shape, network, region};

#[test]
fn coefficients_have_the_gradient_of_the_bounds() {
    for (index, family) in Family::ALL.into_iter().enumerate() {
        for (place, shape) in [Shape::Linf, Shape::L2, Shape::L1].into_iter().enumerate() {
            let rng = Rng::new((9100 + 10 * index + place) as u64);
            let (network, theta) = network(&rng, family);
            let (n, k) = (2, network.output_len());
            let region = region(&rng, shape, n, network.input_len(), 0.4);
            let matrix = rng.normals(n * 2 * k);
            let at: Box<dyn Loaded<f64>> = Reference.load(&network, &theta, &[]).unwrap();
            let spec = |matrix: &[f64]| Spec::Matrix { rows: 2, matrix: matrix.to_vec(), offset: Vec::new() };
            let g = rng.normals(2 * n);
            for relaxation in Relaxation::ALL {
                let request = BoundRequest::lower(relaxation);
                let value = |matrix: &[f64]| -> f64 {
                    let lower = at.bound(&region, &spec(matrix), request).unwrap().lower;
                    lower.iter().zip(&g).map(|(l, g)| l * g).sum()
                };
                let (_, tape) = at.bound_taped(&region, &spec(&matrix), request).unwrap();
                let gradient = at.vjp_spec(&tape, &g).unwrap();
                assert_eq!(gradient.len(), matrix.len());
                for i in 0..matrix.len() {
                    let moved = |by: f64| {
                        let mut moved = matrix.clone();
                        moved[i] += by;
                        value(&moved)
                    };
                    // Bounds are linear between kinks; the smaller step has none where the larger one does.
                    let slope = |h: f64| (moved(h) - moved(-h)) / (2.0 * h);
                    let near = |slope: f64| (slope - gradient[i]).abs() < 1e-5 * (1.0 + slope.abs());
                    let slopes = [slope(1e-5), slope(1e-7)];
                    assert!(slopes.into_iter().any(near), "{family:?} {relaxation} {i}: {} in {slopes:?}", gradient[i]);
                }
                // Bounds of the same tape have their own gradient nonetheless.
                let wants = tightrope_engine::Wants::THETA;
                assert!(at.vjp(&tape, &Cotangents::on_lower(g.clone()), wants).unwrap().theta.is_some());
            }
            let (_, clean) = at.forward_taped(&region.center).unwrap();
            assert!(at.vjp_spec(&clean, &g).is_err());
        }
    }
}
