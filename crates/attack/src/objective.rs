//! The losses an attack lowers, with their derivatives with respect to the logits.

use crate::kind::{AttackKind, Loss};
use crate::target::margin;

/// A loss of one sample's logits; it is lowest where another class wins clearly.
pub(crate) struct Objective {
    pub(crate) loss: Loss,
    /// The class each sample shall become; none for whichever rival is strongest.
    pub(crate) targets: Option<Vec<usize>>,
}

impl Objective {
    /// The loss of `kind`; of a targeted one for the rival number `round` at the clean `logits [N, K]`.
    pub(crate) fn new(kind: AttackKind, round: usize, logits: &[f32], labels: &[usize]) -> Self {
        let classes = logits.len() / labels.len().max(1);
        let rival = |(i, &label): (usize, &usize)| {
            let order = descending(&logits[i * classes..(i + 1) * classes]);
            order.into_iter().filter(|&j| j != label).nth(round).expect("a rival for each round")
        };
        let targets = kind.targeted().then(|| labels.iter().enumerate().map(rival).collect());
        Objective { loss: kind.loss(), targets }
    }

    /// The loss of `sample`, and its derivative with respect to `logits [K]` up to a positive factor: every
    /// descent normalises its steps, and the factor that is left out is what makes gradients vanish.
    pub(crate) fn evaluate(&self, sample: usize, logits: &[f32], label: usize) -> (f64, Vec<f32>) {
        let rival = self.targets.as_ref().map_or_else(|| margin(logits, label).1, |targets| targets[sample]);
        let mut cotangent = vec![0.0; logits.len()];
        let z = |j: usize| f64::from(logits[j]);
        let difference = z(label) - z(rival);
        let loss = match self.loss {
            Loss::Margin => {
                cotangent[rival] -= 1.0;
                cotangent[label] += 1.0;
                difference
            }
            // −CE = −log(1 + e^−m) rises with the soft margin m = z_y − log Σ_{j≠y} e^{z_j}, which has the same
            // direction and order but does not saturate.
            Loss::CrossEntropy => {
                let rivals = || (0..logits.len()).filter(|&j| j != label);
                let largest = rivals().map(z).fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = rivals().map(|j| (z(j) - largest).exp()).sum();
                rivals().for_each(|j| cotangent[j] = -((z(j) - largest).exp() / total) as f32);
                cotangent[label] = 1.0;
                z(label) - largest - total.ln()
            }
            // (z_y − z_r) / (z_π1 − z_π3), the targeted one with (z_π3 + z_π4)/2 in place of z_π3.
            Loss::LogitsRatio => {
                let order = descending(logits);
                let last = if self.targets.is_some() { &order[2..4] } else { &order[2..3] };
                let share = 1.0 / last.len() as f64;
                let spread = z(order[0]) - share * last.iter().map(|&j| z(j)).sum::<f64>();
                let ratio = difference / spread.max(1e-12);
                cotangent[label] += 1.0;
                cotangent[rival] -= 1.0;
                cotangent[order[0]] -= ratio as f32;
                last.iter().for_each(|&j| cotangent[j] += (share * ratio) as f32);
                ratio
            }
        };
        (loss, cotangent)
    }
}

/// The classes by falling logit, ties in order.
fn descending(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order
}

#[cfg(test)]
mod tests {
    use super::{AttackKind, Objective};

    #[test]
    fn losses_are_those_of_the_definitions() {
        let logits = [1.0, 4.0, 2.0, 3.0, 0.0];
        let loss = |kind, round, label| Objective::new(kind, round, &logits, &[label]).evaluate(0, &logits, label).0;
        assert_eq!(loss(AttackKind::Pgd, 0, 1), 1.0);
        assert_eq!(loss(AttackKind::PgdTargeted, 1, 1), 2.0);
        assert_eq!(loss(AttackKind::PgdTargeted, 3, 1), 4.0);
        assert_eq!(loss(AttackKind::ApgdDlr, 0, 1), 1.0 / 2.0);
        assert_eq!(loss(AttackKind::ApgdDlr, 0, 2), -2.0 / 2.0);
        assert_eq!(loss(AttackKind::ApgdTargeted, 2, 1), 3.0 / 2.5);
        let entropy = -(-loss(AttackKind::ApgdCe, 0, 1)).exp().ln_1p();
        let total: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
        assert!((entropy - (4.0_f64.exp() / total).ln()).abs() < 1e-12);
    }

    #[test]
    fn directions_are_those_of_the_derivatives() {
        let logits = [1.0_f32, 4.0, 2.0, 3.0, -0.5];
        for kind in AttackKind::ALL {
            // The first and the second; where the label comes third, the ratio is constant.
            for label in [1, 3] {
                let objective = Objective::new(kind, 0, &logits, &[label]);
                let cotangent = objective.evaluate(0, &logits, label).1;
                let derivative: Vec<f64> = (0..5)
                    .map(|j| {
                        let moved = |by: f32| {
                            let mut z = logits;
                            z[j] += by;
                            objective.evaluate(0, &z, label).0
                        };
                        (moved(0.0625) - moved(-0.0625)) / 0.125
                    })
                    .collect();
                let size = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
                let widened: Vec<f64> = cotangent.iter().map(|&v| f64::from(v)).collect();
                for (a, b) in derivative.iter().zip(&widened) {
                    let (a, b) = (a / size(&derivative), b / size(&widened));
                    assert!((a - b).abs() < 5e-3, "{kind}, label {label}: {derivative:?} against {widened:?}");
                }
            }
        }
    }

    /// Where f32 probabilities are exactly 0 and 1, there is still a direction.
    #[test]
    fn cross_entropy_does_not_saturate() {
        let logits = [900.0, -20.0, -30.0];
        let (loss, cotangent) = Objective::new(AttackKind::ApgdCe, 0, &logits, &[0]).evaluate(0, &logits, 0);
        assert!((loss - 920.0).abs() < 1e-3 && cotangent[0] == 1.0 && cotangent[1] < -0.99);
    }
}
