//! Steps of `torch.optim` (PyTorch 2.15) to compare with: eight gradients for three parameters, the learning rate falling.

const GRADIENTS: [[f32; 3]; 8] = [
    [0.5, -0.3, 1e-3],
    [-0.2, 0.8, 2e-3],
    [0.0, -1.2, -5e-4],
    [1.5, 0.1, 1e-3],
    [-0.7, 0.4, 0.0],
    [0.3, 2.0, 3e-3],
    [0.9, -0.6, -1e-3],
    [-1.1, 0.2, 4e-3],
];

/// Takes the steps with `update` and holds θ after some of them, counted from 1, against `expected`.
pub(super) fn compare(mut update: impl FnMut(&mut [f32], &[f32], f64), expected: &[(usize, [f64; 3])]) {
    let mut theta = [1.5_f32, -0.25, 0.03];
    for (i, gradient) in GRADIENTS.iter().enumerate() {
        update(&mut theta, gradient, 0.01 / (1.0 + 0.25 * i as f64));
        if let Some((step, expected)) = expected.iter().find(|(step, _)| *step == i + 1) {
            for (&found, expected) in theta.iter().zip(expected) {
                assert!((f64::from(found) - expected).abs() < 5e-7, "step {step}: {found} against {expected}");
            }
        }
    }
}
