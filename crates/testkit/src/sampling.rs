//! Points of a region, against which bounds are held: corners, extreme points and points between.

use tightrope_engine::{Norm, Region};

use crate::random::Rng;

/// True if `point` lies in the region of `sample`, up to rounding.
pub fn contains(region: &Region<f64>, sample: usize, point: &[f64]) -> bool {
    let d = region.dimension();
    let range = sample * d..(sample + 1) * d;
    let tolerance = 1e-12;
    let in_box = point
        .iter()
        .zip(&region.center[range.clone()])
        .zip(&region.radius[range.clone()])
        .all(|((p, c), r)| (p - c).abs() <= r + tolerance);
    let in_ball = region.ball.as_ref().is_none_or(|ball| {
        let offsets = point.iter().zip(&ball.center[range]).map(|(p, c)| (p - c).abs());
        let norm = match ball.norm {
            Norm::Inf => offsets.fold(0.0, f64::max),
            Norm::L2 => offsets.map(|o| o * o).sum::<f64>().sqrt(),
            Norm::L1 => offsets.sum(),
        };
        norm <= ball.epsilon + tolerance
    });
    in_box && in_ball
}

/// The point of the region that minimises ⟨gradient, x⟩ (for clipped balls: the ball's minimiser clipped).
pub fn minimiser(region: &Region<f64>, sample: usize, gradient: &[f64]) -> Vec<f64> {
    let d = region.dimension();
    let range = sample * d..(sample + 1) * d;
    let (center, radius) = (&region.center[range.clone()], &region.radius[range.clone()]);
    let Some(ball) = &region.ball else {
        return (0..d).map(|i| center[i] - radius[i] * gradient[i].signum()).collect();
    };
    let mut point = ball.center[range].to_vec();
    match ball.norm {
        Norm::L1 => {
            let peak = (0..d).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
            point[peak] -= ball.epsilon * gradient[peak].signum();
        }
        Norm::L2 => {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-300);
            point.iter_mut().zip(gradient).for_each(|(p, g)| *p -= ball.epsilon * g / norm);
        }
        Norm::Inf => unreachable!("an ℓ∞ ball is a box"),
    }
    if region.clipped {
        // Towards the box only shortens each offset, as the centre lies in the box.
        for i in 0..d {
            point[i] = point[i].clamp(center[i] - radius[i], center[i] + radius[i]);
        }
    }
    point
}

/// Random points of the region of `sample`: extreme points, and points between them and its middle.
pub fn points(rng: &Rng, region: &Region<f64>, sample: usize, count: usize) -> Vec<Vec<f64>> {
    let d = region.dimension();
    let middle = match &region.ball {
        Some(ball) => &ball.center[sample * d..(sample + 1) * d],
        None => &region.center[sample * d..(sample + 1) * d],
    };
    let point = |index: usize| {
        let extreme = minimiser(region, sample, &rng.normals(d));
        let share = if index.is_multiple_of(2) { 1.0 } else { rng.uniform() };
        middle.iter().zip(extreme).map(|(m, e)| m + share * (e - m)).collect()
    };
    (0..count).map(point).collect()
}

/// `count` points of the box, `[count, d]`: corners, points on a face and points inside in turn.
pub fn in_box(rng: &Rng, lower: &[f64], upper: &[f64], count: usize) -> Vec<f64> {
    let d = lower.len();
    let mut points = Vec::with_capacity(count * d);
    for index in 0..count {
        let face = rng.below(d);
        points.extend(rng.uniforms(d).into_iter().enumerate().map(|(i, share)| {
            let on_face = index % 3 == 0 || index % 3 == 1 && i == face;
            let share = if on_face { share.round() } else { share };
            (lower[i] + share * (upper[i] - lower[i])).clamp(lower[i], upper[i])
        }));
    }
    points
}
