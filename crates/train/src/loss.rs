//! Cross-entropy on logits and on certified margins.

use tightrope_engine::Real;

/// Mean natural cross-entropy and its cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct NaturalLoss<T> {
    /// −log softmax(z)_y per sample.
    pub per_sample: Vec<T>,
    /// d(mean loss)/dz, `[N, K]`.
    pub cotangent: Vec<T>,
    /// Samples whose largest logit is their label's.
    pub correct: usize,
}

/// Mean certified cross-entropy and its cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct CertifiedLoss<T> {
    /// log(1 + Σ_{j≠y} exp(−m_j)) per sample, m the lower margins.
    pub per_sample: Vec<T>,
    /// d(mean loss)/dm, `[N, K]`, 0 at the label.
    pub cotangent: Vec<T>,
    /// Samples whose margins are all > 0.
    pub certified: usize,
}

/// Cross-entropy of `logits [N, K]` against `labels`.
pub fn cross_entropy<T: Real>(logits: &[T], labels: &[usize]) -> NaturalLoss<T> {
    let classes = logits.len() / labels.len().max(1);
    let scale = T::ONE / T::from_f64(labels.len() as f64);
    let mut result = NaturalLoss { per_sample: Vec::new(), cotangent: vec![T::ZERO; logits.len()], correct: 0 };
    for (i, &label) in labels.iter().enumerate() {
        let row = &logits[i * classes..(i + 1) * classes];
        let (loss, weights) = softmax_loss(row, label);
        result.per_sample.push(loss);
        result.correct += usize::from(row.iter().enumerate().all(|(j, &z)| j == label || z < row[label]));
        for (j, weight) in weights.into_iter().enumerate() {
            let target = if j == label { T::ONE } else { T::ZERO };
            result.cotangent[i * classes + j] = (weight - target) * scale;
        }
    }
    result
}

/// Cross-entropy of the worst-case logits (0 at y, −m_j elsewhere) for lower `margins [N, K]` (0 at the label).
pub fn certified_cross_entropy<T: Real>(margins: &[T], labels: &[usize]) -> CertifiedLoss<T> {
    let classes = margins.len() / labels.len().max(1);
    let scale = T::ONE / T::from_f64(labels.len() as f64);
    let mut result = CertifiedLoss { per_sample: Vec::new(), cotangent: vec![T::ZERO; margins.len()], certified: 0 };
    for (i, &label) in labels.iter().enumerate() {
        let row = &margins[i * classes..(i + 1) * classes];
        let worst: Vec<T> = row.iter().enumerate().map(|(j, &m)| if j == label { T::ZERO } else { -m }).collect();
        let (loss, weights) = softmax_loss(&worst, label);
        result.per_sample.push(loss);
        result.certified += usize::from(is_certified(row, label));
        for (j, weight) in weights.into_iter().enumerate().filter(|(j, _)| *j != label) {
            result.cotangent[i * classes + j] = -weight * scale;
        }
    }
    result
}

/// True if every margin of a row but the label's own is > 0.
pub(crate) fn is_certified<T: Real>(row: &[T], label: usize) -> bool {
    row.iter().enumerate().all(|(j, &m)| j == label || m > T::ZERO)
}

/// −log softmax(z)_label and softmax(z), shifted by the maximum against overflow.
fn softmax_loss<T: Real>(logits: &[T], label: usize) -> (T, Vec<T>) {
    let largest = logits.iter().fold(-T::INFINITY, |a, &b| a.max(b));
    let mut weights: Vec<T> = logits.iter().map(|&z| (z - largest).exp()).collect();
    let total: T = weights.iter().copied().sum();
    weights.iter_mut().for_each(|w| *w /= total);
    (total.ln() + largest - logits[label], weights)
}
