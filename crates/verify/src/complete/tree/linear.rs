//! The largest of some linear forms, made as small as possible over the unit box, with the weights that prove it.

use std::time::Instant;

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettingsBuilder, DefaultSolver, IPSolver, NonnegativeConeT};

/// A form a·y + b on the unit box.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// a.
    pub coefficients: Vec<f64>,
    /// b.
    pub constant: f64,
}

/// Where the largest form is smallest, and how much each form counts there.
#[derive(Clone, Debug)]
pub(crate) struct Saddle {
    /// The point, in the unit box.
    pub point: Vec<f64>,
    /// Weights ≥ 0: no point has a weighted sum of the forms below that at `point`, but for the solver's accuracy.
    pub weights: Vec<f64>,
}

/// min over y in [0, 1]^d of max over the forms, as a linear program: min t such that every form is ≤ t.
///
/// None if the solver gives nothing; its answer is never trusted, only tried.
pub(crate) fn saddle(forms: &[Form], deadline: Instant) -> Option<Saddle> {
    let d = forms.first()?.coefficients.len();
    // Forms of like size are solved more exactly; the factors go into the weights.
    let size = |form: &Form| form.coefficients.iter().fold(form.constant.abs(), |m, a| m.max(a.abs()));
    let scales: Vec<f64> = forms.iter().map(|form| 1.0 / size(form).max(f64::MIN_POSITIVE)).collect();
    if scales.iter().any(|s| !s.is_finite()) {
        return None;
    }
    // Columns y then t; rows: the forms, −y ≤ 0, y ≤ 1.
    let (mut starts, mut rows, mut values) = (vec![0], Vec::new(), Vec::new());
    let mut entry = |row: usize, value: f64| {
        rows.push(row);
        values.push(value);
    };
    let mut filled = 0;
    for i in 0..d {
        for (r, (form, scale)) in forms.iter().zip(&scales).enumerate().filter(|(_, (f, _))| f.coefficients[i] != 0.0) {
            entry(r, scale * form.coefficients[i]);
            filled += 1;
        }
        entry(forms.len() + i, -1.0);
        entry(forms.len() + d + i, 1.0);
        filled += 2;
        starts.push(filled);
    }
    (0..forms.len()).for_each(|r| entry(r, -1.0));
    starts.push(filled + forms.len());
    let count = forms.len() + 2 * d;
    let matrix = CscMatrix::new(count, d + 1, starts, rows, values);
    let mut bounds: Vec<f64> = forms.iter().zip(&scales).map(|(form, scale)| -scale * form.constant).collect();
    bounds.resize(forms.len() + d, 0.0);
    bounds.resize(count, 1.0);
    let mut objective = vec![0.0; d];
    objective.push(1.0);
    let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
    let settings = DefaultSettingsBuilder::default().verbose(false).time_limit(left).build().ok()?;
    let quadratic = CscMatrix::zeros((d + 1, d + 1));
    let cones = [NonnegativeConeT(count)];
    let mut solver = DefaultSolver::new(&quadratic, &objective, &matrix, &bounds, &cones, settings).ok()?;
    solver.solve();
    let (x, z) = (&solver.solution.x, &solver.solution.z);
    if x.iter().chain(z).any(|v| !v.is_finite()) {
        return None;
    }
    Some(Saddle {
        point: x[..d].iter().map(|y| y.clamp(0.0, 1.0)).collect(),
        weights: z.iter().zip(&scales).map(|(z, scale)| z.max(0.0) * scale).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Form, saddle};

    /// max(y0 − y1, y1 − 0.25, −y0 + 0.5) is smallest, 1/12, where all three are equal.
    #[test]
    fn three_forms_balance() {
        let form = |a: [f64; 2], constant: f64| Form { coefficients: a.to_vec(), constant };
        let forms = [form([1.0, -1.0], 0.0), form([0.0, 1.0], -0.25), form([-1.0, 0.0], 0.5)];
        let found = saddle(&forms, Instant::now() + Duration::from_secs(20)).unwrap();
        let value = |f: &Form| f.coefficients.iter().zip(&found.point).map(|(a, y)| a * y).sum::<f64>() + f.constant;
        for f in &forms {
            assert!((value(f) - 1.0 / 12.0).abs() < 1e-6, "{found:?}");
        }
        let sum: f64 = found.weights.iter().sum();
        let weighted =
            |i: usize| forms.iter().zip(&found.weights).map(|(f, w)| w / sum * f.coefficients[i]).sum::<f64>();
        let constant: f64 = forms.iter().zip(&found.weights).map(|(f, w)| w / sum * f.constant).sum();
        let least = constant + weighted(0).min(0.0) + weighted(1).min(0.0);
        assert!((least - 1.0 / 12.0).abs() < 1e-6, "the weights prove only {least}");
    }
}
