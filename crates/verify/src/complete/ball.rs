//! An ℓ2 or ℓ1 ball that cuts the box of a case: its points, exactly, and descents that stay in it.

use tightrope_attack::search::FeasibleSet;
use tightrope_attack::{Feasible, InputBox};
use tightrope_engine::{Ball, Norm};
use tightrope_exact::Dyadic;

/// Whether `input` lies in the ball; both are exact numbers.
pub(crate) fn contains(ball: &Ball<f64>, input: &[f64]) -> bool {
    let radius = Dyadic::from(ball.epsilon);
    let mut distance = Dyadic::from(0.0);
    for (&x, &c) in input.iter().zip(&ball.center) {
        let difference = &Dyadic::from(x) - &Dyadic::from(c);
        match ball.norm {
            Norm::L1 => distance.add_product(&difference.abs(), &Dyadic::one()),
            Norm::L2 | Norm::Inf => distance.add_product(&difference, &difference),
        }
    }
    match ball.norm {
        Norm::L1 => distance <= radius,
        Norm::L2 | Norm::Inf => distance <= &radius * &radius,
    }
}

/// The f32 points of a case: of its box, cut by the ball if there is one.
pub(crate) struct CaseSet<'a> {
    pub sides: InputBox<f32>,
    pub ball: Option<&'a Ball<f64>>,
    /// The ball's centre in f32.
    center: Vec<f32>,
}

impl<'a> CaseSet<'a> {
    pub(crate) fn new(sides: InputBox<f32>, ball: Option<&'a Ball<f64>>) -> Self {
        let center = ball.map_or_else(Vec::new, |ball| ball.center.iter().map(|&c| c as f32).collect());
        CaseSet { sides, ball, center }
    }

    /// The points of a case that a ball cuts.
    fn cut(&self, ball: &Ball<f64>) -> Feasible<'_> {
        Feasible::cut_by(ball.norm, ball.epsilon, &self.center, &self.sides)
    }
}

/// Steps are measured in the widths of the box or in that of the ball.
impl FeasibleSet<f32> for CaseSet<'_> {
    fn step(&self, point: &mut [f32], gradient: &[f32], size: f64) {
        match self.ball {
            None => self.sides.step(point, gradient, size),
            Some(ball) => self.cut(ball).step(point, gradient, 2.0 * size),
        }
    }

    fn project(&self, point: &mut [f32]) {
        match self.ball {
            None => self.sides.project(point),
            Some(ball) => self.cut(ball).project(point),
        }
    }
}

/// Part of the radius that rounding may take from a point that is drawn in.
const INSIDE: f64 = 1.0 - 1e-9;

/// The point on the way from the centre where the ball ends, if `point` lies beyond.
pub(crate) fn drawn_in(ball: &Ball<f64>, point: &mut [f64]) {
    let differences = || point.iter().zip(&ball.center).map(|(x, c)| (x - c).abs());
    let distance = match ball.norm {
        Norm::L1 => differences().sum::<f64>(),
        Norm::L2 | Norm::Inf => differences().map(|d| d * d).sum::<f64>().sqrt(),
    };
    let share = ball.epsilon * INSIDE / distance;
    if share < 1.0 {
        point.iter_mut().zip(&ball.center).for_each(|(x, c)| *x = c + share * (*x - c));
    }
}

#[cfg(test)]
mod tests {
    use tightrope_engine::{Ball, Norm};

    use super::{contains, drawn_in};

    #[test]
    fn membership_is_exact() {
        let ball = |norm, epsilon| Ball { norm, center: vec![1.0, -1.0], epsilon };
        assert!(contains(&ball(Norm::L2, 5.0), &[4.0, 3.0]));
        assert!(!contains(&ball(Norm::L2, 5.0), &[4.0, 3.0_f64.next_up()]));
        assert!(contains(&ball(Norm::L1, 7.0), &[4.0, 3.0]));
        assert!(!contains(&ball(Norm::L1, 7.0), &[4.0, 3.0_f64.next_up()]));
        // In floating point the squares add up to that of the radius.
        assert!(!contains(&ball(Norm::L2, 1.0), &[2.0, -1.0 + 1e-12]));
    }

    #[test]
    fn points_beyond_are_drawn_in() {
        for norm in [Norm::L1, Norm::L2] {
            let ball = Ball { norm, center: vec![1.0, -1.0], epsilon: 0.5 };
            let mut point = [4.0, 3.0];
            drawn_in(&ball, &mut point);
            assert!(contains(&ball, &point) && point[0] > 1.1, "{point:?}");
            let mut inside = [1.1, -0.9];
            drawn_in(&ball, &mut inside);
            assert_eq!(inside, [1.1, -0.9]);
        }
    }
}
