//! α-CROWN as a bound of its own: slopes optimised per neuron and per output row, intermediate layers included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use tightrope_engine::{Ball, SlopeAscent};
use tightrope_network::{Network, Weights};

use super::ascent::{Ascent, Start, Variables};
use super::prepared::{Learned, Prepared, RowSlopes};
use super::root::{Root, Setting, chunk_rows, doubles};
use crate::VerifyError;

/// How [`AlphaCrown`] optimises; the defaults are those of Xu et al. 2021.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaSettings {
    /// Adam steps on the slopes of each bound; with 0 the slopes of CROWN stay.
    pub iterations: usize,
    /// First learning rate of the slopes.
    pub rate: f64,
    /// Factor of the learning rate from step to step.
    pub decay: f64,
    /// Time after which the best bounds so far are taken; three fifths of it are for the intermediate layers.
    pub timeout: Option<Duration>,
    /// An output row whose bound exceeds it is optimised no further.
    pub goal: f64,
}

impl Default for AlphaSettings {
    fn default() -> Self {
        AlphaSettings { iterations: 20, rate: 0.1, decay: SlopeAscent::DECAY, timeout: None, goal: f64::INFINITY }
    }
}

/// What [`AlphaCrown::bound`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct AlphaBounds {
    /// Lower bound of each output row.
    pub rows: Vec<f64>,
    /// Lower bounds of the pre-activation layers in network order.
    pub layer_lower: Vec<Vec<f64>>,
    /// Upper bounds; neurons that are proved stable are optimised no further.
    pub layer_upper: Vec<Vec<f64>>,
}

/// A network made ready for α-CROWN (Xu et al. 2021) over input boxes, cut by ℓ2 or ℓ1 balls or not.
///
/// Every intermediate bound starts as CROWN met with IBP and is optimised where its neuron is unstable; the best bound
/// met counts. Bounds are evaluated in f64 and lowered by the rigorous margin for rounding errors of complete verification.
pub struct AlphaCrown<'a> {
    pub(crate) prepared: Prepared<'a>,
}

impl<'a> AlphaCrown<'a> {
    /// # Errors
    /// If θ does not fit the network, or the network has layers of a kind that is not covered.
    pub fn new(network: &'a Network, weights: &'a Weights) -> Result<Self, VerifyError> {
        Ok(AlphaCrown { prepared: Prepared::new(network, weights)? })
    }

    /// Number K of outputs.
    pub fn outputs(&self) -> usize {
        self.prepared.network.output_len()
    }

    /// Lower bounds of `rows` (`[R, K]` over the logits) over the box [`lower`, `upper`] (`[d]` each), or the part of it that
    /// lies in the `ball`.
    ///
    /// # Errors
    /// If lengths do not fit the network, or [lower, upper] is no box and the ball none of finite numbers.
    pub fn bound(
        &self,
        ends: (&[f64], &[f64]),
        ball: Option<&Ball<f64>>,
        rows: &[f32],
        settings: &AlphaSettings,
    ) -> Result<AlphaBounds, VerifyError> {
        Ok(self.learn(ends, ball, rows, settings)?.0)
    }

    /// [`Self::bound`], and what a search over the same set can go on from.
    pub(crate) fn learn(
        &self,
        (lower, upper): (&[f64], &[f64]),
        ball: Option<&Ball<f64>>,
        rows: &[f32],
        settings: &AlphaSettings,
    ) -> Result<(AlphaBounds, Learned), VerifyError> {
        let (d, k) = (self.prepared.network.input_len(), self.outputs());
        if lower.len() != d || upper.len() != d || !rows.len().is_multiple_of(k) {
            return Err(VerifyError::Usage(format!(
                "box of {} and {} ends and {} coefficients do not fit {d} inputs and {k} outputs",
                lower.len(),
                upper.len(),
                rows.len()
            )));
        }
        if let Some(i) = (0..d).find(|&i| !(lower[i].is_finite() && upper[i].is_finite() && lower[i] <= upper[i])) {
            return Err(VerifyError::Usage(format!("input {i}: [{}, {}] is no interval", lower[i], upper[i])));
        }
        if let Some(ball) = ball {
            let radius = ball.epsilon >= 0.0 && ball.epsilon.is_finite();
            if ball.center.len() != d || !radius || ball.center.iter().any(|c| !c.is_finite()) {
                let problem =
                    "the ball needs a finite centre with a value for each input and a finite radius of at least 0";
                return Err(VerifyError::Usage(problem.into()));
            }
        }
        let start = Instant::now();
        // Longer than any run lasts.
        let timeout = settings.timeout.unwrap_or(Duration::MAX).min(Duration::from_secs(1 << 32));
        let ascent = Ascent {
            iterations: settings.iterations,
            slope_rate: settings.rate as f32,
            multiplier_rate: 0.0,
            decay: settings.decay as f32,
            deadline: start + timeout,
        };
        let setting = Setting::new(&self.prepared.fast, &self.prepared.exact, (lower, upper), ball, true);
        let root = setting.root(&ascent, start + timeout.mul_f64(0.6));
        let (bounds, slopes) = self.rows(&setting, &root, &ascent, rows, settings.goal as f32);
        // Not those of nodes that only max poolings read.
        let positions =
            self.prepared.network.pre_activations().into_iter().filter_map(|id| self.prepared.exact.position[id]);
        let ends = |position: usize| (root.layers.lower[position].clone(), root.layers.upper[position].clone());
        let (layer_lower, layer_upper) = positions.map(ends).unzip();
        let rows = rows.chunks(k).map(<[f32]>::to_vec).zip(slopes).collect();
        Ok((AlphaBounds { rows: bounds, layer_lower, layer_upper }, Learned { root: Arc::new(root), rows }))
    }

    /// Bounds of output rows, and the slopes of each by position.
    fn rows(
        &self,
        setting: &Setting<'_>,
        root: &Root,
        ascent: &Ascent,
        rows: &[f32],
        goal: f32,
    ) -> (Vec<f64>, Vec<RowSlopes>) {
        let Prepared { fast, exact, .. } = &self.prepared;
        let (output, k) = (fast.network.output(), self.outputs());
        let relaxation = setting.relaxation(output, &root.lines32, false);
        let size = chunk_rows(fast, output) / 2 + 1;
        let chunks: Vec<(Vec<f64>, Vec<RowSlopes>)> = rows
            .par_chunks(size * k)
            .map(|chunk| {
                let count = chunk.len() / k;
                let variables =
                    Variables { slopes: fast.repeated_shares(&root.lines32, count), ..Variables::default() };
                let reached = ascent.run(relaxation, Start::Rows(chunk), variables, goal);
                let slopes = doubles(&reached.variables.slopes);
                let domain = setting.domain(&root.lines, Some(&slopes), None);
                let wide: Vec<f64> = chunk.iter().map(|&c| f64::from(c)).collect();
                let (values, errors) =
                    exact.at.substitute(&domain, output, wide.clone(), count, None, Some(&root.rounding));
                let of_row = |row: usize| {
                    let of = |(position, all): (usize, &Vec<f32>)| {
                        let n = fast.width(position);
                        all[row * n..(row + 1) * n].to_vec()
                    };
                    reached.variables.slopes.iter().enumerate().map(of).collect()
                };
                let mut bounds = setting.lowered(values, &errors);
                if fast.has_shared_positions() {
                    // One share cannot give several activations their lines of least area.
                    let domain = setting.domain(&root.lines, None, None);
                    let rounding = Some(&root.rounding);
                    let (values, errors) = exact.at.substitute(&domain, output, wide, count, None, rounding);
                    bounds.iter_mut().zip(setting.lowered(values, &errors)).for_each(|(b, other)| *b = b.max(other));
                }
                (bounds, (0..count).map(of_row).collect())
            })
            .collect();
        let (bounds, slopes): (Vec<_>, Vec<_>) = chunks.into_iter().unzip();
        (bounds.concat(), slopes.concat())
    }
}

#[cfg(test)]
mod tests {
    use tightrope_engine::OutwardInterval;
    use tightrope_network::{Initialisation, Preset, Weights};

    use super::{AlphaCrown, AlphaSettings};

    #[test]
    fn more_steps_never_loosen_and_no_point_leaves_the_bounds() {
        let network = Preset::Cnn3Tiny.build(&[1, 8, 8], 4, None).unwrap();
        let theta: Vec<f32> = Initialisation::Default.theta(&network, 5).iter().map(|v| 3.0 * v).collect();
        let weights = Weights::from_single(&theta);
        let alpha = AlphaCrown::new(&network, &weights).unwrap();
        let rows = [1.0, -1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.5, 0.0, 0.0, -2.0];
        let (lower, upper) = (vec![0.3; 64], vec![0.5; 64]);
        let bound = |iterations| {
            let settings = AlphaSettings { iterations, ..AlphaSettings::default() };
            alpha.bound((&lower, &upper), None, &rows, &settings).unwrap()
        };
        let (still, climbed) = (bound(0), bound(20));
        for (position, (a, b)) in still.layer_lower.iter().zip(&climbed.layer_lower).enumerate() {
            assert!(a.iter().zip(b).all(|(a, b)| b >= a), "layer {position}");
        }
        assert!(climbed.rows.iter().zip(&still.rows).all(|(c, s)| c > s), "{:?} from {:?}", climbed.rows, still.rows);
        for corner in 0..200_u64 {
            let bit = |i: usize| corner.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32) & 1 == 1;
            let x: Vec<f64> = (0..64).map(|i| if bit(i) { upper[i] } else { lower[i] }).collect();
            let y = alpha.prepared.exact.outputs(&x);
            for (row, bound) in rows.chunks(4).zip(&climbed.rows) {
                let value: f64 = row.iter().zip(&y).map(|(&c, y)| f64::from(c) * y).sum();
                assert!(value >= *bound, "{value} below {bound}");
            }
            // The box of one point: its values, enclosed.
            let mut values = vec![OutwardInterval { lower: x.clone(), upper: x, reach: vec![0.0; 64] }];
            (1..network.nodes().len()).for_each(|id| values.push(alpha.prepared.exact.at.enclose(id, &values, 1)));
            for (position, &node) in alpha.prepared.exact.pre.iter().enumerate() {
                let (l, u) = (&climbed.layer_lower[position], &climbed.layer_upper[position]);
                let (low, high) = (&values[node].lower, &values[node].upper);
                assert!((0..l.len()).all(|i| high[i] >= l[i] && low[i] <= u[i]), "layer {position}");
            }
        }
    }

    #[test]
    fn boxes_and_rows_that_do_not_fit_are_refused() {
        let network = Preset::Cnn3Tiny.build(&[1, 8, 8], 4, None).unwrap();
        let theta = Initialisation::Default.theta(&network, 5);
        let weights = Weights::from_single(&theta);
        let alpha = AlphaCrown::new(&network, &weights).unwrap();
        let bound = |lower: &[f64], upper: &[f64], rows: &[f32]| {
            alpha.bound((lower, upper), None, rows, &AlphaSettings::default()).unwrap_err().to_string()
        };
        assert!(bound(&[0.0; 63], &[1.0; 64], &[0.0; 4]).contains("63"));
        assert!(bound(&[0.0; 64], &[1.0; 64], &[0.0; 5]).contains("5 coefficients"));
        assert!(bound(&[2.0; 64], &[1.0; 64], &[0.0; 4]).contains("no interval"));
        assert!(bound(&[f64::NAN; 64], &[1.0; 64], &[0.0; 4]).contains("no interval"));
        assert!(AlphaCrown::new(&network, &Weights::from_single(&theta[1..])).is_err());
    }
}
