//! How the margins of a certified and of an adversarial part become one loss.

use crate::loss::{CertifiedLoss, certified_cross_entropy, is_certified};

/// The loss of a sample from its certified margins m̲ and its adversarial ones m̂ (or a latent part's), with
/// CE(m) = log(1 + Σ_{j≠y} exp(−m_j)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::methods) enum Combination {
    /// CE(m̲).
    Certified,
    /// 1 where a margin m̲ is not positive, else 0: no loss for gradients.
    CertifiedError,
    /// CE(m̂).
    Adversarial,
    /// α·CE(m̲) + (1−α)·CE(m̂) (MTL-IBP).
    Losses(f64),
    /// CE(α·m̲ + (1−α)·m̂) (CC-IBP).
    Margins(f64),
    /// CE(m̲)^α · CE(m̂)^(1−α) (Exp-IBP).
    Product(f64),
    /// CE(m̲)·CE(m̂), of which the gradient through m̂ counts 2·share and that through m̲ 2·(1−share) (TAPS).
    Latent {
        /// Share of the gradient through m̂.
        share: f64,
    },
}

/// Losses and derivatives; those of parts that do not count are empty.
#[derive(Default)]
pub(super) struct Combined {
    /// `[N]`.
    pub(super) per_sample: Vec<f32>,
    /// d(mean loss)/dm̲, `[N, K]`.
    pub(super) certified: Vec<f32>,
    /// d(mean loss)/dm̂, `[N, K]`.
    pub(super) adversarial: Vec<f32>,
}

/// Losses below it count as it where a power of them is taken.
const LEAST_LOSS: f64 = 1e-12;

impl Combination {
    /// True if certified margins count.
    pub(super) fn takes_certified(self) -> bool {
        match self {
            Combination::Certified | Combination::CertifiedError | Combination::Latent { .. } => true,
            Combination::Adversarial => false,
            Combination::Losses(alpha) | Combination::Margins(alpha) | Combination::Product(alpha) => alpha > 0.0,
        }
    }

    /// True if the other margins count.
    pub(super) fn takes_adversarial(self) -> bool {
        match self {
            Combination::Certified | Combination::CertifiedError => false,
            Combination::Adversarial | Combination::Latent { .. } => true,
            Combination::Losses(alpha) | Combination::Margins(alpha) | Combination::Product(alpha) => alpha < 1.0,
        }
    }

    /// True if the other margins are those of a latent part.
    pub(super) fn is_latent(self) -> bool {
        matches!(self, Combination::Latent { .. })
    }

    /// True if the loss has a gradient of use.
    pub(super) fn differentiable(self) -> bool {
        self != Combination::CertifiedError
    }

    /// The losses of margins `[N, K]`, 0 at the label, empty for a part that does not count.
    pub(super) fn of(self, certified: &[f32], adversarial: &[f32], labels: &[usize]) -> Combined {
        let (low, high) = (self.takes_certified(), self.takes_adversarial());
        let alone = |loss: CertifiedLoss<f32>| match low {
            true => Combined { per_sample: loss.per_sample, certified: loss.cotangent, adversarial: Vec::new() },
            false => Combined { per_sample: loss.per_sample, certified: Vec::new(), adversarial: loss.cotangent },
        };
        if self == Combination::CertifiedError {
            let classes = certified.len() / labels.len().max(1);
            let error = |(row, &label): (&[f32], &usize)| f32::from(u8::from(!is_certified(row, label)));
            let per_sample = certified.chunks(classes.max(1)).zip(labels).map(error).collect();
            return Combined { per_sample, certified: vec![0.0; certified.len()], adversarial: Vec::new() };
        }
        if !(low && high) {
            return alone(certified_cross_entropy(if low { certified } else { adversarial }, labels));
        }
        if let Combination::Margins(alpha) = self {
            let alpha = alpha as f32;
            let mixed: Vec<f32> =
                certified.iter().zip(adversarial).map(|(&c, &a)| alpha * c + (1.0 - alpha) * a).collect();
            let loss = certified_cross_entropy(&mixed, labels);
            let part = |weight: f32| loss.cotangent.iter().map(|&c| weight * c).collect();
            return Combined { certified: part(alpha), adversarial: part(1.0 - alpha), per_sample: loss.per_sample };
        }
        let below = certified_cross_entropy(certified, labels);
        let other = certified_cross_entropy(adversarial, labels);
        let mut combined = Combined {
            per_sample: Vec::with_capacity(labels.len()),
            certified: below.cotangent,
            adversarial: other.cotangent,
        };
        let classes = certified.len() / labels.len().max(1);
        for (i, (&c, &a)) in below.per_sample.iter().zip(&other.per_sample).enumerate() {
            let (value, on_certified, on_other) = self.pair(f64::from(c), f64::from(a));
            combined.per_sample.push(value as f32);
            let row = i * classes..(i + 1) * classes;
            combined.certified[row.clone()].iter_mut().for_each(|g| *g *= on_certified as f32);
            combined.adversarial[row].iter_mut().for_each(|g| *g *= on_other as f32);
        }
        combined
    }

    /// The loss of a sample from its two cross-entropies, and its derivatives.
    fn pair(self, certified: f64, other: f64) -> (f64, f64, f64) {
        match self {
            Combination::Losses(alpha) => (alpha * certified + (1.0 - alpha) * other, alpha, 1.0 - alpha),
            Combination::Product(alpha) => {
                let (c, a) = (certified.max(LEAST_LOSS), other.max(LEAST_LOSS));
                let value = (alpha * c.ln() + (1.0 - alpha) * a.ln()).exp();
                (value, alpha * value / c, (1.0 - alpha) * value / a)
            }
            Combination::Latent { share } => (certified * other, 2.0 * (1.0 - share) * other, 2.0 * share * certified),
            // Each of one part alone, or mixed before the loss.
            Combination::Certified
            | Combination::CertifiedError
            | Combination::Adversarial
            | Combination::Margins(_) => (0.0, 0.0, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Combination;

    const LABELS: [usize; 2] = [1, 0];
    const CERTIFIED: [f32; 6] = [-0.5, 0.0, 1.0, 0.0, -2.0, 0.25];
    const ADVERSARIAL: [f32; 6] = [0.5, 0.0, 1.5, 0.0, -1.0, 2.25];

    /// Mean loss in f64 of f32 values, for differences.
    fn mean(kind: Combination, certified: &[f32], adversarial: &[f32]) -> f64 {
        kind.of(certified, adversarial, &LABELS).per_sample.iter().map(|&loss| f64::from(loss)).sum::<f64>() / 2.0
    }

    #[test]
    fn derivatives_are_those_of_the_mean_loss() {
        for kind in [
            Combination::Certified,
            Combination::Adversarial,
            Combination::Losses(0.3),
            Combination::Margins(0.3),
            Combination::Product(0.3),
        ] {
            let found = kind.of(&CERTIFIED, &ADVERSARIAL, &LABELS);
            for part in 0..2 {
                let cotangent = [&found.certified, &found.adversarial][part];
                for i in 0..6 {
                    let moved = |by: f32| {
                        let (mut c, mut a) = (CERTIFIED, ADVERSARIAL);
                        if part == 0 {
                            c[i] += by
                        } else {
                            a[i] += by
                        }
                        mean(kind, &c, &a)
                    };
                    let label = i % 3 == LABELS[i / 3];
                    let slope = if label { 0.0 } else { (moved(0.01) - moved(-0.01)) / 0.02 };
                    let claimed = cotangent.get(i).map_or(0.0, |&c| f64::from(c));
                    assert!((slope - claimed).abs() < 1e-4, "{kind:?}, part {part}, {i}: {slope} against {claimed}");
                }
            }
        }
    }

    #[test]
    fn the_ends_are_the_parts_themselves() {
        let certified = Combination::Certified.of(&CERTIFIED, &[], &LABELS);
        let adversarial = Combination::Adversarial.of(&[], &ADVERSARIAL, &LABELS);
        for kind in [Combination::Losses, Combination::Margins, Combination::Product] {
            assert_eq!(kind(1.0).of(&CERTIFIED, &[], &LABELS).per_sample, certified.per_sample);
            assert_eq!(kind(1.0).of(&CERTIFIED, &[], &LABELS).certified, certified.certified);
            assert_eq!(kind(0.0).of(&[], &ADVERSARIAL, &LABELS).adversarial, adversarial.adversarial);
        }
    }

    #[test]
    fn a_vanishing_loss_leaves_a_product_finite() {
        let found = Combination::Product(0.5).of(&[0.0, 900.0], &[0.0, 900.0], &[0]);
        assert!(found.per_sample[0] <= 1e-6 && found.certified.iter().chain(&found.adversarial).all(|g| g.is_finite()));
    }

    #[test]
    fn certified_error_counts_samples() {
        assert_eq!(Combination::CertifiedError.of(&CERTIFIED, &[], &LABELS).per_sample, [1.0, 1.0]);
        assert_eq!(Combination::CertifiedError.of(&[0.5, 0.0, 1.0], &[], &[1]).per_sample, [0.0]);
    }

    /// The gradient of TAPS is not that of its product: the two parts are weighted.
    #[test]
    fn latent_gradients_are_shared_out() {
        let equal = Combination::Latent { share: 0.5 }.of(&CERTIFIED, &ADVERSARIAL, &LABELS);
        let found = Combination::Latent { share: 0.75 }.of(&CERTIFIED, &ADVERSARIAL, &LABELS);
        assert_eq!(found.per_sample, equal.per_sample);
        let scaled = |values: &[f32], by: f32| values.iter().map(|v| by * v).collect::<Vec<f32>>();
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&found.certified, &scaled(&equal.certified, 0.5)));
        assert!(near(&found.adversarial, &scaled(&equal.adversarial, 1.5)));
    }
}
