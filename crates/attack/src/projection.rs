//! Random starts, steepest-descent steps and projections for the norm balls of an attack.

use std::borrow::Cow;

use tightrope_engine::Norm;
use tightrope_noise::Stream;

use crate::search::FeasibleSet;
use crate::{InputBox, Radius, ThreatModel};

/// One sample's feasible set in f32, rounded inwards so that every point produced lies in the exact set.
pub struct Feasible<'a> {
    norm: Norm,
    radius: Cow<'a, Radius>,
    x: &'a [f32],
    /// What is left of each coordinate alone.
    sides: Cow<'a, InputBox<f32>>,
}

impl<'a> Feasible<'a> {
    /// The perturbations of the sample `x [d]`.
    pub fn new(threat: &'a ThreatModel, x: &'a [f32]) -> Self {
        // A side is empty only where the data range lies within one rounding step; membership is checked at the end.
        let sides = InputBox::inside(threat.sides(x));
        Feasible { norm: threat.norm, radius: Cow::Borrowed(&threat.epsilon), x, sides: Cow::Owned(sides) }
    }

    /// The points of `sides` that the ball of radius `epsilon` around `x [d]` holds.
    pub fn cut_by(norm: Norm, epsilon: f64, x: &'a [f32], sides: &'a InputBox<f32>) -> Self {
        Feasible { norm, radius: Cow::Owned(epsilon.into()), x, sides: Cow::Borrowed(sides) }
    }

    /// A random point: uniform in the box (ℓ∞), uniform in the ball (ℓ2, ℓ1), cut to the data range.
    pub fn random(&self, stream: Stream) -> Vec<f32> {
        let d = self.x.len();
        let mut draws = vec![0.0; d + 1];
        match self.norm {
            Norm::Inf => {
                stream.uniform(0, &mut draws);
                self.sides.point_at(&draws[..d])
            }
            Norm::L2 => {
                stream.gaussian(0, &mut draws[..d]);
                stream.uniform(d as u64, &mut draws[d..]);
                let norm = draws[..d].iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                let radius = self.epsilon() * f64::from(draws[d]).powf(1.0 / d as f64);
                self.shifted(&draws[..d], radius / norm)
            }
            Norm::L1 => {
                // Signed exponentials over their sum (d + 1 of them) are uniform in the ℓ1 ball.
                stream.uniform(0, &mut draws);
                let sizes: Vec<f64> = draws.iter().map(|&u| -(1.0 - f64::from(u)).ln()).collect();
                let total = sizes.iter().sum::<f64>().max(f64::MIN_POSITIVE);
                let mut signs = vec![0.0; d];
                stream.uniform(d as u64 + 1, &mut signs);
                let direction: Vec<f32> =
                    signs.iter().zip(&sizes).map(|(&s, &e)| if s < 0.5 { e as f32 } else { -e as f32 }).collect();
                self.shifted(&direction, self.epsilon() / total)
            }
        }
    }

    /// The radius of a ball that is no box, which is one for all inputs.
    fn epsilon(&self) -> f64 {
        self.radius.largest()
    }

    /// The 1 % of the coordinates (at least one) with the largest |gradient| among those that can still move
    /// (sparse ℓ1 descent, Tramèr & Boneh 2019).
    fn steepest_coordinates(&self, point: &[f32], gradient: &[f32]) -> Vec<usize> {
        let (low, high) = (&self.sides.low, &self.sides.high);
        let mut free: Vec<usize> = (0..point.len())
            .filter(|&i| gradient[i] > 0.0 && point[i] > low[i] || gradient[i] < 0.0 && point[i] < high[i])
            .collect();
        free.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()).then(a.cmp(&b)));
        free.truncate((point.len() / 100).max(1));
        free
    }

    /// x + scale·direction, back in the set.
    fn shifted(&self, direction: &[f32], scale: f64) -> Vec<f32> {
        let shifted = self.x.iter().zip(direction).map(|(&x, &v)| (f64::from(x) + scale * f64::from(v)) as f32);
        let mut shifted: Vec<f32> = shifted.collect();
        self.project(&mut shifted);
        shifted
    }
}

/// Steps are measured in ε.
impl FeasibleSet<f32> for Feasible<'_> {
    /// Steepest descent in the ball's norm: along the signs (ℓ∞), the gradient (ℓ2), or the steepest coordinates (ℓ1).
    fn step(&self, point: &mut [f32], gradient: &[f32], size: f64) {
        if let Radius::Channels(_) = *self.radius {
            let lengths: Vec<f32> = self.radius.each(point.len()).map(|epsilon| (epsilon * size) as f32).collect();
            return self.sides.signed_step(point, gradient, |i, _, _| lengths[i]);
        }
        let size = self.epsilon() * size;
        match self.norm {
            Norm::Inf => return self.sides.signed_step(point, gradient, |_, _, _| size as f32),
            Norm::L2 => {
                let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let scale = if norm > 0.0 { (size / norm) as f32 } else { 0.0 };
                point.iter_mut().zip(gradient).for_each(|(p, &g)| *p -= scale * g);
            }
            Norm::L1 => {
                let chosen = self.steepest_coordinates(point, gradient);
                let each = (size / chosen.len().max(1) as f64) as f32;
                chosen.into_iter().for_each(|i| point[i] -= each.copysign(gradient[i]));
            }
        }
        self.project(point);
    }

    /// Into the ball, then into the box. The box contains the centre, so the second keeps the first.
    fn project(&self, point: &mut [f32]) {
        if self.norm != Norm::Inf {
            let offset: Vec<f64> = point.iter().zip(self.x).map(|(&p, &x)| f64::from(p) - f64::from(x)).collect();
            // A hair inside, so that the f64 sums of the membership test cannot exceed ε by rounding.
            let epsilon = self.epsilon() * (1.0 - 1e-12);
            let projected = match self.norm {
                Norm::L1 => onto_l1_ball(&offset, epsilon),
                _ => onto_l2_ball(&offset, epsilon),
            };
            point.iter_mut().zip(projected.iter().zip(self.x)).for_each(|(p, (&o, &x))| *p = towards(x, o));
        }
        self.sides.cut(point);
    }
}

/// x + offset in f32, rounded towards x, so that no coordinate moves further than its offset.
fn towards(x: f32, offset: f64) -> f32 {
    let point = (f64::from(x) + offset) as f32;
    let moved = f64::from(point) - f64::from(x);
    match moved.abs() > offset.abs() {
        true if moved > 0.0 => point.next_down(),
        true => point.next_up(),
        false => point,
    }
}

fn onto_l2_ball(offset: &[f64], epsilon: f64) -> Vec<f64> {
    let norm = offset.iter().map(|v| v * v).sum::<f64>().sqrt();
    let scale = if norm > epsilon { epsilon / norm } else { 1.0 };
    offset.iter().map(|v| v * scale).collect()
}

/// Euclidean projection by soft thresholding (Duchi et al. 2008).
fn onto_l1_ball(offset: &[f64], epsilon: f64) -> Vec<f64> {
    if offset.iter().map(|v| v.abs()).sum::<f64>() <= epsilon {
        return offset.to_vec();
    }
    let mut sizes: Vec<f64> = offset.iter().map(|v| v.abs()).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    let mut threshold = 0.0;
    for (i, &size) in sizes.iter().enumerate() {
        sum += size;
        let candidate = (sum - epsilon) / (i + 1) as f64;
        if size <= candidate {
            break;
        }
        threshold = candidate;
    }
    offset.iter().map(|v| v.signum() * (v.abs() - threshold).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tightrope_engine::Norm;
    use tightrope_noise::{Purpose, Stream};

    use super::{Feasible, onto_l1_ball};
    use crate::search::FeasibleSet;
    use crate::{Radius, ThreatModel};

    proptest! {
        /// Whatever an attack does, it stays in the exact set.
        #[test]
        fn starts_and_steps_stay_inside(
            x in prop::collection::vec(0.0_f32..=1.0, 12),
            gradient in prop::collection::vec(-1.0_f32..1.0, 12),
            epsilon in 0.0_f64..1.5,
            size in 0.0_f64..2.0,
            clipped: bool,
            norm in prop::sample::select(vec![Norm::Inf, Norm::L2, Norm::L1]),
            seed: u64,
        ) {
            let threat = ThreatModel::new(norm, epsilon, clipped.then_some((0.0, 1.0)));
            let feasible = Feasible::new(&threat, &x);
            let start = feasible.random(Stream::new(seed, Purpose::Attack, 0, 0));
            prop_assert!(threat.contains(&x, &start));
            let mut point = start;
            feasible.step(&mut point, &gradient, size);
            prop_assert!(threat.contains(&x, &point), "{point:?}");
            point.iter_mut().zip(&gradient).for_each(|(p, g)| *p += 3.0 * g);
            feasible.project(&mut point);
            prop_assert!(threat.contains(&x, &point), "{point:?}");
        }
    }

    #[test]
    fn channels_are_searched_by_their_own_radii() {
        let threat = ThreatModel::new(Norm::Inf, Radius::Channels(vec![0.5, 0.125]), Some((0.0, 1.0)));
        let x = [0.25, 0.5, 0.5, 1.0];
        let feasible = Feasible::new(&threat, &x);
        let start = feasible.random(Stream::new(3, Purpose::Attack, 0, 0));
        assert!(threat.contains(&x, &start));
        let mut point = x.to_vec();
        feasible.step(&mut point, &[1.0, -1.0, 1.0, -1.0], 0.5);
        assert_eq!(point, [0.0, 0.75, 0.4375, 1.0]);
        feasible.step(&mut point, &[-1.0, -1.0, 1.0, 1.0], 4.0);
        assert_eq!(point, [0.75, 1.0, 0.375, 0.875]);
    }

    #[test]
    fn steps_go_down_the_gradient_and_use_the_whole_ball() {
        for norm in [Norm::Inf, Norm::L2, Norm::L1] {
            let threat = ThreatModel::new(norm, 0.5, None);
            let x = [0.0, 0.0, 0.0];
            let mut point = x.to_vec();
            for _ in 0..4 {
                Feasible::new(&threat, &x).step(&mut point, &[1.0, -0.25, 0.0], 0.5);
            }
            let expected = match norm {
                Norm::Inf => [-0.5, 0.5, 0.0],
                Norm::L2 => [-0.485_07, 0.121_27, 0.0],
                Norm::L1 => [-0.5, 0.0, 0.0],
            };
            for (p, e) in point.iter().zip(expected) {
                assert!((p - e).abs() < 1e-4, "{norm:?}: {point:?}");
            }
        }
    }

    #[test]
    fn projection_onto_the_l1_ball_is_the_nearest_point() {
        assert_eq!(onto_l1_ball(&[3.0, -1.0, 0.5], 2.0), [2.0, -0.0, 0.0]);
        assert_eq!(onto_l1_ball(&[2.0, -1.0, 0.5], 2.0), [1.5, -0.5, 0.0]);
        assert_eq!(onto_l1_ball(&[0.5, -0.5], 2.0), [0.5, -0.5]);
    }
}
