//! Random specifications.

use tightrope_engine::Spec;

use super::rng::Rng;

/// Logits, margins, or rows shared by the `batch` samples or of each sample.
pub fn specification(rng: &Rng, batch: usize, classes: usize) -> Spec<f64> {
    let rows = rng.integer(1, 4);
    match rng.integer(0, 3) {
        0 => Spec::Logits,
        1 => Spec::Margins { labels: (0..batch).map(|_| rng.integer(0, classes - 1)).collect() },
        2 => Spec::Matrix { rows, matrix: rng.normals(rows * classes), offset: rng.normals(rows) },
        _ => Spec::Matrix { rows, matrix: rng.normals(batch * rows * classes), offset: Vec::new() },
    }
}
