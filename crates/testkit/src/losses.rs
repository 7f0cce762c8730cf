//! Cross-entropies as they are defined, a sample at a time, for tests of engines, which know no losses.

/// −log softmax(z)_label of the logits of one sample, and its derivative by each logit.
pub fn cross_entropy(logits: &[f32], label: usize) -> (f32, Vec<f32>) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|z| (z - largest).exp()).sum();
    let on = |(j, z): (usize, &f32)| (z - largest).exp() / total - if j == label { 1.0 } else { 0.0 };
    (total.ln() + largest - logits[label], logits.iter().enumerate().map(on).collect())
}

/// The same of the worst-case logits −m_j for lower bounds m_j of the margins of one sample, of which the label's own is 0, and
/// its derivative by each margin but that.
pub fn certified_cross_entropy(margins: &[f32], label: usize) -> (f32, Vec<f32>) {
    let worst: Vec<f32> = margins.iter().enumerate().map(|(j, m)| if j == label { 0.0 } else { -m }).collect();
    let (loss, gradient) = cross_entropy(&worst, label);
    (loss, gradient.iter().enumerate().map(|(j, g)| if j == label { 0.0 } else { -g }).collect())
}

/// The mean of a loss over the samples whose `rows` (logits or margins) lie one after the other, and its derivative.
pub fn mean(loss: fn(&[f32], usize) -> (f32, Vec<f32>), rows: &[f32], labels: &[usize]) -> (f64, Vec<f32>) {
    let classes = rows.len() / labels.len();
    let share = 1.0 / labels.len() as f32;
    let (mut total, mut gradient) = (0.0, Vec::with_capacity(rows.len()));
    for (row, &label) in rows.chunks_exact(classes).zip(labels) {
        let (value, derivatives) = loss(row, label);
        total += f64::from(value);
        gradient.extend(derivatives.iter().map(|g| g * share));
    }
    (total / labels.len() as f64, gradient)
}
