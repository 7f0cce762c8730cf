//! Rows of the output specification merged into the last stage ("elision"), sixteen at a time.

use tightrope_engine::Spec;

use crate::net::gradients::StageGradient;
use crate::net::plan::Plan;
use crate::net::weights::{StageWeights, Weights, padded};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// The specification of a batch against one network's last stage.
#[derive(Clone, Copy)]
pub struct Specification<'a> {
    pub spec: &'a Spec<f32>,
    pub last: &'a StageWeights,
    /// Inputs of the last stage.
    pub elements: usize,
    pub classes: usize,
}

impl<'a> Specification<'a> {
    /// `spec` against the last stage of `plan`, packed in `weights`.
    pub fn new(spec: &'a Spec<f32>, plan: &Plan, weights: &'a Weights) -> Self {
        let last = plan.hidden();
        let elements = plan.stages[last].input.len();
        Specification { spec, last: &weights.signed[last], elements, classes: plan.classes }
    }

    /// Rows per sample.
    pub fn rows(&self) -> usize {
        self.spec.rows(self.classes)
    }

    /// Tiles of sixteen rows.
    pub fn tiles(&self) -> usize {
        self.rows().div_ceil(WIDTH)
    }

    /// Rows `16·tile..` of sample `sample`: coefficients into `target` (`[element][16]`), constants returned.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn fill<S: Lanes>(&self, sample: usize, tile: usize, target: &mut Buffer) -> [f32; WIDTH] {
        let (stride, start) = (padded(self.classes), tile * WIDTH);
        let target = target.at_least(self.elements * WIDTH).as_mut_ptr();
        let weights = self.last.forward.as_ptr();
        let bias = &self.last.bias;
        let mut constants = [0.0; WIDTH];
        // SAFETY: weights are `[element][stride]` and `start` is below the padded number of classes.
        unsafe {
            match self.spec {
                Spec::Logits => {
                    S::run(|| {
                        for e in 0..self.elements {
                            S::store(target.add(e * WIDTH), S::load(weights.add(e * stride + start)));
                        }
                    });
                    constants.copy_from_slice(&bias[start..start + WIDTH]);
                }
                Spec::Margins { labels } => {
                    let label = labels[sample];
                    S::run(|| {
                        for e in 0..self.elements {
                            let row = weights.add(e * stride);
                            let value = S::sub(S::splat(*row.add(label)), S::load(row.add(start)));
                            S::store(target.add(e * WIDTH), value);
                        }
                    });
                    constants.iter_mut().zip(&bias[start..]).for_each(|(t, b)| *t = bias[label] - b);
                }
                Spec::Matrix { .. } => {
                    let columns = self.columns(sample, start);
                    S::run(|| {
                        for e in 0..self.elements {
                            let mut sum = S::zero();
                            for (k, column) in columns.iter().enumerate() {
                                sum = S::fma(S::load_any(column.as_ptr()), S::splat(*weights.add(e * stride + k)), sum);
                            }
                            S::store(target.add(e * WIDTH), sum);
                        }
                    });
                    for (k, column) in columns.iter().enumerate() {
                        constants.iter_mut().zip(column).for_each(|(t, c)| *t += c * bias[k]);
                    }
                    let offset = self.spec.offset_of(self.classes);
                    constants.iter_mut().zip(&offset[start..]).for_each(|(t, o)| *t += o);
                }
            }
        }
        constants
    }

    /// Columns of C with rows `start..` in lanes.
    fn columns(&self, sample: usize, start: usize) -> Vec<[f32; WIDTH]> {
        let matrix = self.spec.matrix_of(sample, self.classes);
        let mut columns = vec![[0.0; WIDTH]; self.classes];
        for lane in 0..WIDTH.min(self.rows() - start) {
            for (k, column) in columns.iter_mut().enumerate() {
                column[lane] = matrix[(start + lane) * self.classes + k];
            }
        }
        columns
    }

    /// The adjoint of [`Specification::fill`]: carries cotangents of the rows and constants to the last stage.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn adjoint<S: Lanes>(
        &self,
        sample: usize,
        tile: usize,
        rows: &Buffer,
        constants: &[f32; WIDTH],
        sums: &mut StageGradient,
    ) {
        let (stride, start) = (padded(self.classes), tile * WIDTH);
        let (signed, bias) = (sums.signed.as_mut_ptr(), &mut sums.bias);
        // SAFETY: as in `fill`.
        unsafe {
            match self.spec {
                Spec::Logits => {
                    S::run(|| {
                        for e in 0..self.elements {
                            let place = signed.add(e * stride + start);
                            S::store(place, S::add(S::load(place), S::load(rows.as_ptr().add(e * WIDTH))));
                        }
                    });
                    bias[start..].iter_mut().zip(constants).for_each(|(t, g)| *t += g);
                }
                Spec::Margins { labels } => {
                    let label = labels[sample];
                    S::run(|| {
                        for e in 0..self.elements {
                            let place = signed.add(e * stride + start);
                            let g = S::load(rows.as_ptr().add(e * WIDTH));
                            S::store(place, S::sub(S::load(place), g));
                            *signed.add(e * stride + label) += S::sum(g);
                        }
                    });
                    bias[start..].iter_mut().zip(constants).for_each(|(t, g)| *t -= g);
                    bias[label] += constants.iter().sum::<f32>();
                }
                Spec::Matrix { .. } => {
                    let columns = self.columns(sample, start);
                    S::run(|| {
                        for e in 0..self.elements {
                            let g = S::load(rows.as_ptr().add(e * WIDTH));
                            for (k, column) in columns.iter().enumerate() {
                                *signed.add(e * stride + k) += S::sum(S::mul(g, S::load_any(column.as_ptr())));
                            }
                        }
                    });
                    for (k, column) in columns.iter().enumerate() {
                        bias[k] += column.iter().zip(constants).map(|(c, g)| c * g).sum::<f32>();
                    }
                }
            }
        }
    }
}
