//! Boxes of inputs, tightened by the linear constraints over inputs alone.

use tightrope_exact::Dyadic;

use crate::linear::{End, Row};

/// Most passes over the constraints.
const PASSES: usize = 4;

/// Replaces ends of the box that `rows`, which are about inputs alone, rule out.
///
/// `ends` gives an input's present ends, `replace` takes better ones. New ends are closed and rounded outwards, so that
/// no point of the box is lost that satisfies the rows.
pub(crate) fn tighten<B>(
    rows: &[&Row],
    state: &mut B,
    ends: impl Fn(&B, u32) -> [End; 2],
    replace: impl Fn(&mut B, u32, [End; 2]),
) {
    for _ in 0..PASSES {
        let mut changed = false;
        for row in rows {
            // The least value of each term, and of all that are finite together.
            let least = |state: &B, &(index, factor): &(u32, f64)| {
                let [lower, upper] = ends(state, index).map(|end| end.value);
                let end = if factor > 0.0 { lower } else { upper };
                end.is_finite().then(|| &Dyadic::from(factor) * &Dyadic::from(end))
            };
            let terms: Vec<Option<Dyadic>> = row.inputs.iter().map(|term| least(state, term)).collect();
            let unbounded = terms.iter().filter(|term| term.is_none()).count();
            if unbounded > 1 {
                continue;
            }
            let mut room = Dyadic::from(row.bound);
            terms.iter().flatten().for_each(|term| room = &room - term);
            for (&(index, factor), term) in row.inputs.iter().zip(&terms) {
                let own = match term {
                    Some(term) if unbounded == 0 => &room + term,
                    None => room.clone(),
                    Some(_) => continue,
                };
                // factor·x ≤ own.
                let Some(limit) = farthest(&own, factor) else { continue };
                let [mut lower, mut upper] = ends(state, index);
                let end = End { value: limit, open: false, rounded: false };
                let better = if factor > 0.0 { limit < upper.value } else { limit > lower.value };
                if better {
                    if factor > 0.0 {
                        upper = end
                    } else {
                        lower = end
                    }
                    replace(state, index, [lower, upper]);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
}

/// An f64 at or beyond own / factor, above it for a factor > 0 and below it otherwise; none if that is not finite.
fn farthest(own: &Dyadic, factor: f64) -> Option<f64> {
    let (value, error) = own.quotient(&Dyadic::from(factor), 80)?;
    let nearest = |number: &Dyadic| Some(number.to_f64()).filter(|value| value.is_finite());
    match factor > 0.0 {
        true => nearest(&(&value + &error)).map(|value| value.next_up() + 0.0),
        false => nearest(&(&value - &error)).map(|value| value.next_down() + 0.0),
    }
    .filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tightrope_exact::Dyadic;

    use super::{farthest, tighten};
    use crate::linear::{End, Row};

    fn end(value: f64) -> End {
        End { value, open: false, rounded: false }
    }

    fn row(inputs: &[(u32, f64)], bound: f64) -> Row {
        Row { outputs: Vec::new(), inputs: inputs.to_vec(), bound, strict: false }
    }

    fn tightened(rows: &[Row], mut ends: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
        let rows: Vec<&Row> = rows.iter().collect();
        tighten(
            &rows,
            &mut ends,
            |ends, i| ends[i as usize].map(end),
            |ends, i, new| ends[i as usize] = new.map(|end| end.value),
        );
        ends
    }

    #[test]
    fn chains_of_constraints_reach_inputs_without_bounds() {
        let infinite = [f64::NEG_INFINITY, f64::INFINITY];
        // x1 = 2·x0 and x2 = x1 − 1.
        let rows = [
            row(&[(0, 2.0), (1, -1.0)], 0.0),
            row(&[(0, -2.0), (1, 1.0)], 0.0),
            row(&[(1, 1.0), (2, -1.0)], 1.0),
            row(&[(1, -1.0), (2, 1.0)], -1.0),
        ];
        let found = tightened(&rows, vec![[0.0, 1.0], infinite, infinite]);
        for (found, expected) in found.iter().zip([[0.0, 1.0], [0.0, 2.0], [-1.0, 1.0]]) {
            assert!(found[0] <= expected[0] && found[0] > expected[0] - 1e-12, "{found:?}");
            assert!(found[1] >= expected[1] && found[1] < expected[1] + 1e-12, "{found:?}");
        }
        // Nothing follows for two inputs without bounds.
        assert_eq!(tightened(&rows[..1], vec![infinite, infinite, infinite]), vec![infinite; 3]);
    }

    proptest! {
        #[test]
        fn no_point_is_lost(
            points in prop::collection::vec(prop::array::uniform3(-1.0_f64..1.0), 16),
            factors in prop::collection::vec(prop::array::uniform3(-3_i32..=3), 1..5),
            bounds in prop::collection::vec(-2.0_f64..2.0, 5),
        ) {
            let rows: Vec<Row> = factors
                .iter()
                .zip(bounds)
                .map(|(factors, bound)| {
                    let terms: Vec<(u32, f64)> = (0..).zip(factors.map(f64::from)).filter(|(_, f)| *f != 0.0).collect();
                    row(&terms, bound)
                })
                .collect();
            let found = tightened(&rows, vec![[-1.0, 1.0]; 3]);
            for point in points {
                let meets = |row: &Row| {
                    let mut sum = Dyadic::zero();
                    row.inputs.iter().for_each(|&(i, f)| sum.add_product(&f.into(), &point[i as usize].into()));
                    sum <= Dyadic::from(row.bound)
                };
                if rows.iter().all(meets) {
                    prop_assert!(found.iter().zip(point).all(|(end, x)| end[0] <= x && x <= end[1]), "{found:?}");
                }
            }
        }

        #[test]
        fn quotients_are_rounded_outwards(own in any::<f64>(), factor in any::<f64>()) {
            prop_assume!(own.is_finite() && factor.is_finite() && factor != 0.0);
            let number = Dyadic::from(own);
            if let Some(limit) = farthest(&number, factor) {
                // factor·x ≤ own holds of no x beyond the limit.
                prop_assert!(&Dyadic::from(factor) * &Dyadic::from(limit) >= number);
            }
        }
    }
}
