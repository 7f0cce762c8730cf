//! The part of a box that linear bounds leave: an unsafe point satisfies every row, so it lies where each row's bound, a
//! linear form of the input, is not positive (clip-and-verify, arXiv 2512.11087, for boxes).

use super::combination::RowForm;

/// Times that every form is taken in anew.
const ROUNDS: usize = 2;

/// Shrinks the box [`lower`, `upper`] to what holds every point where all `forms` are at most their slack: none if there
/// is no such point. New ends are rounded outwards.
///
/// a·x + b ≤ s leaves a_i·x_i ≤ min a_i·x_i + (s − min over the box of a·x + b).
pub(super) fn clipped(forms: &[(RowForm<'_>, f64)], lower: &[f64], upper: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let d = lower.len() as f64;
    // What evaluating a form anywhere in the box, and its constant before, may be off by.
    let error = |form: &RowForm<'_>| {
        let ends = form.coefficients.iter().zip(lower.iter().zip(upper));
        let size: f64 = ends.map(|(a, (l, u))| a.abs() * l.abs().max(u.abs())).sum();
        4.0 * (d + 4.0) * f64::EPSILON * (size + form.constant.abs())
    };
    let slacks: Vec<f64> = forms.iter().map(|(form, slack)| slack + error(form)).collect();
    let (mut lower, mut upper) = (lower.to_vec(), upper.to_vec());
    for _ in 0..ROUNDS {
        for ((form, _), slack) in forms.iter().zip(&slacks) {
            let ends = || form.coefficients.iter().zip(lower.iter().zip(&upper));
            let least: f64 = ends().map(|(&a, (&l, &u))| if a >= 0.0 { a * l } else { a * u }).sum();
            let room = slack - (form.constant + least);
            if room < 0.0 {
                return None;
            }
            for (&a, (l, u)) in form.coefficients.iter().zip(lower.iter_mut().zip(&mut upper)) {
                let reach = room / a.abs();
                // Not so where nothing is known: a coefficient of 0, numbers beyond f64.
                if reach < *u - *l {
                    let beyond = 8.0 * f64::EPSILON * (l.abs().max(u.abs()) + reach) + f64::MIN_POSITIVE;
                    match a > 0.0 {
                        true => *u = u.min(*l + reach + beyond),
                        false => *l = l.max(*u - reach - beyond),
                    }
                }
            }
        }
    }
    Some((lower, upper))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::clipped;
    use crate::complete::boxes::combination::RowForm;

    fn forms<'a>(rows: &'a [(Vec<f64>, f64)]) -> Vec<(RowForm<'a>, f64)> {
        rows.iter().map(|(a, b)| (RowForm { coefficients: a, constant: *b }, 1e-9)).collect()
    }

    #[test]
    fn a_corner_is_left() {
        // x + y ≤ −1.5 in [−1, 1]².
        let rows = [(vec![1.0, 1.0], 1.5)];
        let (lower, upper) = clipped(&forms(&rows), &[-1.0; 2], &[1.0; 2]).unwrap();
        assert_eq!(lower, [-1.0; 2]);
        assert!(upper.iter().all(|u| (-0.5..-0.4999).contains(u)), "{upper:?}");
        assert!(clipped(&forms(&[(vec![1.0, 1.0], 2.5)]), &[-1.0; 2], &[1.0; 2]).is_none());
        // Nothing is known where the form is 0.
        assert_eq!(clipped(&forms(&[(vec![0.0; 2], -1.0)]), &[-1.0; 2], &[1.0; 2]).unwrap().1, [1.0; 2]);
    }

    proptest! {
        #[test]
        fn no_point_is_lost(
            rows in prop::collection::vec((prop::collection::vec(-3.0_f64..3.0, 3), -4.0_f64..4.0), 1..4),
            points in prop::collection::vec(prop::collection::vec(-1.0_f64..1.0, 3), 64),
        ) {
            let left = clipped(&forms(&rows), &[-1.0; 3], &[1.0; 3]);
            for point in points {
                let value = |(a, b): &(Vec<f64>, f64)| a.iter().zip(&point).map(|(a, x)| a * x).sum::<f64>() + b;
                if rows.iter().all(|row| value(row) <= 0.0) {
                    let (lower, upper) = left.as_ref().expect("a point is left");
                    prop_assert!(point.iter().zip(lower.iter().zip(upper)).all(|(x, (l, u))| l <= x && x <= u));
                }
            }
        }
    }
}
