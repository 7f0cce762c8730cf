//! Minimum of linear forms over a region: A x₀ − ε‖A‖_q for balls, A c − |A| r for boxes, and the adjoint.

use crate::reference::lanes::{dot, sum2, sum3};
use crate::{Norm, Real, Region};

/// The set a linear form is minimised over, for one image.
pub(in crate::reference) struct Set<'a, T> {
    center: &'a [T],
    radius: &'a [T],
    ball: Option<SetBall<'a, T>>,
    clipped: bool,
}

struct SetBall<'a, T> {
    norm: Norm,
    center: &'a [T],
    epsilon: T,
}

/// Which concretisation gave the minimum.
#[derive(Clone, Copy, PartialEq)]
enum Active {
    Box,
    Ball,
}

impl<'a, T: Real> Set<'a, T> {
    /// The region of sample `sample`.
    pub(in crate::reference) fn of_region(region: &'a Region<T>, sample: usize) -> Self {
        let range = sample * region.dimension()..(sample + 1) * region.dimension();
        Set {
            center: &region.center[range.clone()],
            radius: &region.radius[range.clone()],
            ball: region.ball.as_ref().map(|ball| SetBall {
                norm: ball.norm,
                center: &ball.center[range],
                epsilon: ball.epsilon,
            }),
            clipped: region.clipped,
        }
    }

    /// The box {center ± radius}.
    pub(in crate::reference) fn of_box(center: &'a [T], radius: &'a [T]) -> Self {
        Set { center, radius, ball: None, clipped: false }
    }

    /// Elements of a point of the set.
    pub(super) fn dimension(&self) -> usize {
        self.center.len()
    }

    fn box_minimum(&self, row: &[T]) -> T {
        sum3(row, self.center, self.radius, |a, c, r| a * c - a.abs() * r)
    }

    fn ball_minimum(ball: &SetBall<'_, T>, row: &[T]) -> T {
        dot(row, ball.center) - ball.epsilon * dual_norm(ball.norm, row)
    }

    fn minimum_of(&self, row: &[T]) -> (T, Active) {
        match &self.ball {
            None => (self.box_minimum(row), Active::Box),
            Some(ball) => {
                let value = Self::ball_minimum(ball, row);
                if self.clipped {
                    let boxed = self.box_minimum(row);
                    if boxed > value {
                        return (boxed, Active::Box);
                    }
                }
                (value, Active::Ball)
            }
        }
    }

    /// A sound lower bound (exact for a box or an unclipped ball) of ⟨row, x⟩ over the set for each row.
    pub(super) fn minimum(&self, rows: &[T], values: &mut [T]) {
        for (row, value) in rows.chunks_exact(self.dimension()).zip(values) {
            *value += self.minimum_of(row).0;
        }
    }

    /// The adjoint: returns the cotangent of `rows`, and adds the set's own cotangents to `set_cotangent`.
    pub(super) fn adjoint(&self, rows: &[T], g: &[T], mut set_cotangent: Option<(&mut [T], &mut [T])>) -> Vec<T> {
        let n = self.dimension();
        let mut g_rows = vec![T::ZERO; rows.len()];
        for ((row, g_row), &g) in rows.chunks_exact(n).zip(g_rows.chunks_exact_mut(n)).zip(g) {
            match (self.minimum_of(row).1, &self.ball) {
                (Active::Ball, Some(ball)) => {
                    let norm = dual_norm(ball.norm, row);
                    let peak = row.iter().position(|a| a.abs() == norm);
                    for (i, (g_a, &a)) in g_row.iter_mut().zip(row).enumerate() {
                        let direction = match ball.norm {
                            Norm::L2 if norm > T::ZERO => a / norm,
                            Norm::L1 if Some(i) == peak => a.signum0(),
                            Norm::Inf => a.signum0(),
                            _ => T::ZERO,
                        };
                        *g_a = g * (ball.center[i] - ball.epsilon * direction);
                    }
                    if let Some((center, radius)) = &mut set_cotangent {
                        center.iter_mut().zip(row).for_each(|(c, &a)| *c += g * a);
                        radius[0] += -g * norm;
                    }
                }
                _ => {
                    for (i, (g_a, &a)) in g_row.iter_mut().zip(row).enumerate() {
                        *g_a = g * (self.center[i] - self.radius[i] * a.signum0());
                    }
                    if let Some((center, radius)) = &mut set_cotangent {
                        center.iter_mut().zip(row).for_each(|(c, &a)| *c += g * a);
                        radius.iter_mut().zip(row).for_each(|(r, &a)| *r += -g * a.abs());
                    }
                }
            }
        }
        g_rows
    }
}

/// ‖row‖_q with 1/p + 1/q = 1.
fn dual_norm<T: Real>(norm: Norm, row: &[T]) -> T {
    match norm {
        Norm::Inf => sum2(row, row, |a, _| a.abs()),
        Norm::L2 => dot(row, row).sqrt(),
        Norm::L1 => row.iter().fold(T::ZERO, |m, a| m.max(a.abs())),
    }
}
