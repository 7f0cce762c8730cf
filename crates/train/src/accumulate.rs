//! The mean over the micro-batches of one optimiser step.

use crate::estimate::StepEstimate;
use crate::smoothing::Signal;
use crate::state::Tally;

/// What the micro-batches so far have given.
#[derive(Debug, Default)]
pub(crate) struct Accumulated {
    /// The first one's as it came; from the second on sums weighted by samples.
    sum: Option<Sum>,
    samples: usize,
    /// Signal and variance of the gradients, where they are known, weighted by samples.
    signal: Option<Signal>,
    /// Sums over all of them.
    pub(crate) tally: Tally,
    /// Statistics in batch norms, with the samples they are of.
    pub(crate) statistics: Vec<(Vec<f32>, usize)>,
}

#[derive(Debug)]
enum Sum {
    One { loss: f64, gradient: Vec<f32> },
    Many { loss: f64, gradient: Vec<f64> },
}

impl Accumulated {
    /// Adds what a micro-batch of so many `samples` has given.
    pub(crate) fn add(&mut self, step: StepEstimate, samples: usize) {
        let StepEstimate { estimate, signal, tally, statistics } = step;
        let weight = samples as f64;
        if let Some(Signal { square, variance }) = signal {
            let sum = self.signal.get_or_insert_default();
            sum.square += weight * square;
            sum.variance += weight * variance;
        }
        self.sum = Some(match self.sum.take() {
            None => Sum::One { loss: estimate.loss, gradient: estimate.gradient },
            Some(sum) => {
                let (mut loss, mut gradient) = match sum {
                    Sum::One { loss, gradient } => {
                        let before = self.samples as f64;
                        (before * loss, gradient.iter().map(|&g| before * f64::from(g)).collect())
                    }
                    Sum::Many { loss, gradient } => (loss, gradient),
                };
                loss += weight * estimate.loss;
                gradient.iter_mut().zip(&estimate.gradient).for_each(|(sum, &g)| *sum += weight * f64::from(g));
                Sum::Many { loss, gradient }
            }
        });
        self.samples += samples;
        self.tally.add(&tally);
        self.statistics.push((statistics, samples));
    }

    /// Samples in all.
    pub(crate) fn samples(&self) -> usize {
        self.samples
    }

    /// Signal and variance of the gradient of a micro-batch, in the mean; the noise on θ is the same in all, so that the mean
    /// over them has hardly less.
    pub(crate) fn signal(&self) -> Option<Signal> {
        let samples = self.samples as f64;
        self.signal.map(|sum| Signal { square: sum.square / samples, variance: sum.variance / samples })
    }

    /// Takes out the mean loss and gradient over all samples: those of the one large batch, but for rounding and batch
    /// norms. A single micro-batch's come out with the bits they came with; none gives nothing.
    pub(crate) fn mean(&mut self) -> (f64, Vec<f32>) {
        let samples = self.samples as f64;
        match self.sum.take() {
            None => (0.0, Vec::new()),
            Some(Sum::One { loss, gradient }) => (loss, gradient),
            Some(Sum::Many { loss, gradient }) => {
                (loss / samples, gradient.iter().map(|sum| (sum / samples) as f32).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Accumulated;
    use crate::estimate::StepEstimate;
    use crate::smoothing::{Estimate, Signal};
    use crate::state::Tally;

    fn step(loss: f64, gradient: &[f32], samples: u64) -> StepEstimate {
        StepEstimate {
            estimate: Estimate { loss, gradient: gradient.to_vec() },
            signal: Some(Signal { square: 8.0 * loss, variance: 4.0 }),
            tally: Tally { samples, loss: loss * samples as f64, ..Tally::default() },
            statistics: vec![samples as f32],
        }
    }

    #[test]
    fn one_comes_out_as_it_is_and_several_as_their_weighted_mean() {
        let mut one = Accumulated::default();
        one.add(step(0.1, &[0.3, -0.0], 3), 3);
        let (loss, gradient) = one.mean();
        assert_eq!(
            (loss, gradient[0].to_bits(), gradient[1].to_bits()),
            (0.1, 0.3_f32.to_bits(), (-0.0_f32).to_bits())
        );
        let mut three = Accumulated::default();
        for (loss, gradient, samples) in [(1.0, [2.0, 0.0], 2), (4.0, [-1.0, 8.0], 1), (0.0, [3.0, -4.0], 5)] {
            three.add(step(loss, &gradient, samples), samples as usize);
        }
        assert_eq!(three.mean(), (0.75, vec![2.25, -1.5]));
        assert_eq!((three.samples(), three.tally.samples, three.tally.loss), (8, 8, 6.0));
        assert_eq!(three.signal(), Some(Signal { square: 6.0, variance: 4.0 }));
        assert_eq!(three.statistics, [(vec![2.0], 2), (vec![1.0], 1), (vec![5.0], 5)]);
    }
}
