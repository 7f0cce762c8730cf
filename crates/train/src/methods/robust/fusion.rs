//! Loss fusion: the cross-entropy itself bounded by one linear form of the logits, in place of each margin (Xu et al. 2020).
//!
//! With d_j = z_j − z_y ∈ [l_j, u_j] by interval arithmetic, exp(d_j) lies below its chord s_j·d_j + t_j, so that
//! CE = log(1 + Σ_j exp d_j) ≤ log(1 + Σ_j t_j + max Σ_j s_j·d_j): one back-substitution for all classes.

use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Gradients, LayerBounds, LayerCotangent, Loaded, Region, Relaxation, Spec, Tape,
    Wants,
};

use crate::TrainError;
use crate::methods::Minibatch;

/// The fused loss of a minibatch with what its gradient needs.
pub(super) struct Fused {
    /// Upper bounds of the cross-entropy `[N]`.
    pub(super) per_sample: Vec<f32>,
    /// Interval margins and their tape.
    intervals: (Bounds<f32>, Option<Tape>),
    /// The tape of the one form.
    form: Option<Tape>,
    samples: Vec<Sample>,
    labels: Vec<usize>,
}

/// The chords of one sample, all exponentials divided by e^shift.
struct Sample {
    /// By class; none at the label.
    chords: Vec<Option<Chord>>,
    /// e^−shift·(1 + Σ t + max Σ s·d).
    sum: f64,
}

/// s·d + t above exp(d − shift) on [l, u], with its derivatives.
#[derive(Clone, Copy)]
struct Chord {
    slope: f64,
    intercept: f64,
    /// ∂s/∂l, ∂s/∂u.
    on_slope: [f64; 2],
    /// ∂t/∂l, ∂t/∂u.
    on_intercept: [f64; 2],
}

/// Width below which a chord is a tangent.
const NARROW: f64 = 1e-6;

impl Chord {
    fn new(l: f64, u: f64, shift: f64) -> Self {
        let (low, high, width) = ((l - shift).exp(), (u - shift).exp(), u - l);
        let (slope, on_slope) = if width < NARROW {
            (high, [0.5 * high; 2])
        } else {
            let slope = (high - low) / width;
            (slope, [(slope - low) / width, (high - slope) / width])
        };
        // Through the end that is the larger one: rounding there is the smaller.
        Chord {
            slope,
            intercept: high - slope * u,
            on_slope,
            on_intercept: [-u * on_slope[0], high - slope - u * on_slope[1]],
        }
    }
}

impl Fused {
    /// The loss over `region` at the numbers of `at`, with bounds of the layers if wanted, and with tapes if `taped`.
    pub(super) fn new(
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        region: &Region<f32>,
        layers: bool,
        taped: bool,
    ) -> Result<Self, TrainError> {
        let bound = |spec: &Spec<f32>, request| -> Result<(Bounds<f32>, Option<Tape>), TrainError> {
            if !taped {
                return Ok((at.bound(region, spec, request)?, None));
            }
            let (bounds, tape) = at.bound_taped(region, spec, request)?;
            Ok((bounds, Some(tape)))
        };
        let classes = at.network().output_len();
        let request = BoundRequest { upper: true, layers, ..BoundRequest::lower(Relaxation::Ibp) };
        let intervals = bound(&Spec::Margins { labels: batch.labels.to_vec() }, request)?;
        let upper = intervals.0.upper.as_deref().unwrap_or_default();
        let ends = intervals.0.lower.chunks_exact(classes).zip(upper.chunks_exact(classes)).zip(batch.labels);
        let mut matrix = Vec::with_capacity(intervals.0.lower.len());
        let mut samples = Vec::with_capacity(batch.labels.len());
        let mut shifts = Vec::with_capacity(batch.labels.len());
        for ((lower, upper), &label) in ends {
            // d_j = −m_j; the largest exponential is 1.
            let rivals = || (0..classes).filter(move |&j| j != label);
            let shift = rivals().map(|j| f64::from(-lower[j])).fold(0.0, f64::max);
            let chord = |j: usize| Chord::new(f64::from(-upper[j]), f64::from(-lower[j]), shift);
            let chords: Vec<Option<Chord>> = (0..classes).map(|j| (j != label).then(|| chord(j))).collect();
            let slope = |j: usize| chords[j].map_or(0.0, |chord| chord.slope);
            let total: f64 = rivals().map(slope).sum();
            // The form Σ s·m, whose least value is wanted.
            matrix.extend((0..classes).map(|j| if j == label { total } else { -slope(j) } as f32));
            samples.push(Sample { chords, sum: 0.0 });
            shifts.push(shift);
        }
        let (form, tape) =
            bound(&Spec::Matrix { rows: 1, matrix, offset: Vec::new() }, BoundRequest::lower(Relaxation::CrownIbp))?;
        let mut per_sample = Vec::with_capacity(samples.len());
        for ((sample, &least), shift) in samples.iter_mut().zip(&form.lower).zip(shifts) {
            let intercepts: f64 = sample.chords.iter().flatten().map(|chord| chord.intercept).sum();
            // Exact sums are above e^−shift; rounding may take them below.
            sample.sum = ((-shift).exp() + intercepts - f64::from(least)).max((-shift).exp());
            per_sample.push((shift + sample.sum.ln()) as f32);
        }
        Ok(Fused { per_sample, intervals, form: tape, samples, labels: batch.labels.to_vec() })
    }

    /// The bounds of the layers, if they were wanted.
    pub(super) fn layers(&self) -> &[LayerBounds<f32>] {
        &self.intervals.0.layers
    }

    /// Gradients of `weight` times the mean loss, and of cotangents on the bounds of layers.
    pub(super) fn pull(
        &self,
        at: &dyn Loaded<f32>,
        weight: f64,
        layers: Vec<LayerCotangent<f32>>,
        wants: Wants,
    ) -> Result<Vec<Gradients<f32>>, TrainError> {
        let (Some(form), Some(intervals)) = (&self.form, &self.intervals.1) else { return Ok(Vec::new()) };
        let count = self.samples.len().max(1) as f64;
        let on_sums: Vec<f64> = self.samples.iter().map(|sample| weight / count / sample.sum).collect();
        let on_form: Vec<f32> = on_sums.iter().map(|&g| -g as f32).collect();
        let on_matrix = at.vjp_spec(form, &on_form)?;
        let classes = at.network().output_len();
        let mut on_margins = Cotangents { layers, ..Cotangents::on_lower(Vec::new()) };
        for (((sample, &on_sum), row), &label) in
            self.samples.iter().zip(&on_sums).zip(on_matrix.chunks_exact(classes)).zip(&self.labels)
        {
            for (j, chord) in sample.chords.iter().enumerate() {
                let [mut on_l, mut on_u] = [0.0; 2];
                if let Some(chord) = chord {
                    // The slope stands in the label's column and, negated, in its own.
                    let on_slope = f64::from(row[label]) - f64::from(row[j]);
                    [on_l, on_u] = [0, 1].map(|end| on_slope * chord.on_slope[end] + on_sum * chord.on_intercept[end]);
                }
                // l = −(upper margin), u = −(lower margin).
                on_margins.lower.push(-on_u as f32);
                on_margins.upper.push(-on_l as f32);
            }
        }
        let first = at.vjp(intervals, &on_margins, wants)?;
        Ok(vec![first, at.vjp(form, &Cotangents::on_lower(on_form), wants)?])
    }
}

#[cfg(test)]
mod tests {
    use super::Chord;

    #[test]
    fn chords_lie_above_the_exponential_and_have_its_derivatives() {
        for (l, u) in [(-3.0, 2.0), (-0.5, -0.25), (1.0, 1.0 + 1e-9), (4.0, 9.0)] {
            let chord = Chord::new(l, u, 2.0);
            for i in 0..=10 {
                let d: f64 = l + (u - l) * f64::from(i) / 10.0;
                let height = chord.slope * d + chord.intercept;
                assert!(height >= (d - 2.0).exp() * (1.0 - 1e-9), "{l} {u}: {height} at {d}");
            }
            if u - l < 1e-3 {
                continue;
            }
            for end in 0..2 {
                let moved = |by: f64| if end == 0 { Chord::new(l + by, u, 2.0) } else { Chord::new(l, u + by, 2.0) };
                let (high, low) = (moved(1e-5), moved(-1e-5));
                let slope = (high.slope - low.slope) / 2e-5;
                let intercept = (high.intercept - low.intercept) / 2e-5;
                let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * (1.0 + a.abs());
                assert!(near(slope, chord.on_slope[end]) && near(intercept, chord.on_intercept[end]), "{l} {u} {end}");
            }
        }
    }
}
