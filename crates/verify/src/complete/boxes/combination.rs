//! The weights of a conjunction's rows with which their linear forms refute it best over a box.

/// A form a·x + b that is not above a row anywhere in the box.
#[derive(Clone, Copy)]
pub(super) struct RowForm<'a> {
    pub coefficients: &'a [f64],
    pub constant: f64,
}

/// Halvings of the interval in which the share of a row is looked for.
const HALVINGS: usize = 40;
/// Times that every row is taken in anew.
const ROUNDS: usize = 3;

/// Weights ≥ 0 that sum to 1 and make min over the box of Σ w·form large, and that minimum.
///
/// One row after the other is mixed into the best one in the share that is best for it: for two rows that is the
/// optimum, since the minimum is a concave function of the share.
pub(super) fn best_weights(forms: &[RowForm<'_>], lower: &[f64], upper: &[f64]) -> (Vec<f32>, f64) {
    let d = lower.len();
    let minimum = |a: &[f64], b: f64| {
        let ends = a.iter().zip(lower.iter().zip(upper));
        b + ends.map(|(a, (l, u))| if *a >= 0.0 { a * l } else { a * u }).sum::<f64>()
    };
    let best_row = (0..forms.len())
        .max_by(|&a, &b| {
            let of = |r: usize| minimum(forms[r].coefficients, forms[r].constant);
            of(a).total_cmp(&of(b))
        })
        .unwrap_or_default();
    let mut weights = vec![0.0; forms.len()];
    weights[best_row] = 1.0;
    let mut a = forms[best_row].coefficients.to_vec();
    let mut b = forms[best_row].constant;
    let mut value = minimum(&a, b);
    let mut mixed = vec![0.0; d];
    for _ in 0..ROUNDS {
        let before = value;
        for (r, form) in forms.iter().enumerate() {
            let mut at = |share: f64| {
                let pairs = a.iter().zip(form.coefficients);
                mixed.iter_mut().zip(pairs).for_each(|(m, (a, c))| *m = (1.0 - share) * a + share * c);
                minimum(&mixed, (1.0 - share) * b + share * form.constant)
            };
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..HALVINGS {
                let (left, right) = (low + 0.382 * (high - low), low + 0.618 * (high - low));
                if at(left) < at(right) { low = left } else { high = right }
            }
            let share = 0.5 * (low + high);
            let found = at(share);
            if found > value {
                value = found;
                a.clone_from(&mixed);
                b = (1.0 - share) * b + share * form.constant;
                weights.iter_mut().for_each(|w| *w *= 1.0 - share);
                weights[r] += share;
            }
        }
        if value <= before {
            break;
        }
    }
    (weights.iter().map(|&w| w as f32).collect(), value)
}

#[cfg(test)]
mod tests {
    use super::{RowForm, best_weights};

    #[test]
    fn rows_that_contradict_each_other_refute_together() {
        // x ≤ −0.01 and −2x ≤ −0.02 nowhere: 2(x + 0.01) + (−2x + 0.02) = 0.04.
        let rows = [([1.0, 0.0], 0.01), ([-2.0, 0.0], 0.02), ([0.0, 1.0], -3.0)];
        let forms: Vec<RowForm<'_>> = rows.iter().map(|(a, b)| RowForm { coefficients: a, constant: *b }).collect();
        let (weights, value) = best_weights(&forms, &[-1.0, -1.0], &[1.0, 1.0]);
        assert!((value - 0.04 / 3.0).abs() < 1e-6, "{value} {weights:?}");
        assert!((weights[0] - 2.0 / 3.0).abs() < 1e-6 && (weights[1] - 1.0 / 3.0).abs() < 1e-6 && weights[2] == 0.0);
    }
}
