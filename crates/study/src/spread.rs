//! Means with their spread, in words.

use tightrope_statistics::Moments;

/// A share in percent, `72.45 ± 1.30`; a dash for none.
pub(crate) fn percent(moments: Option<Moments>, between: &str) -> String {
    with_digits(moments, 100.0, 2, between)
}

/// Seconds, `7.3 ± 0.2`; a dash for none.
pub(crate) fn seconds(moments: Option<Moments>, between: &str) -> String {
    with_digits(moments, 1.0, 1, between)
}

fn with_digits(moments: Option<Moments>, scale: f64, digits: usize, between: &str) -> String {
    let Some(Moments { mean, std, .. }) = moments else { return "–".into() };
    let spread = std.map_or_else(String::new, |std| format!("{between}{:.digits$}", scale * std));
    format!("{:.digits$}{spread}", scale * mean)
}

/// A probability to two digits.
pub(crate) fn probability(p: Option<f64>) -> String {
    match p {
        None => "–".into(),
        Some(p) if p < 1e-4 => "< 0.0001".into(),
        Some(p) => format!("{p:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use tightrope_statistics::Moments;

    use super::{percent, probability, seconds};

    #[test]
    fn figures() {
        assert_eq!(percent(Moments::of(&[0.5, 0.7]), " ± "), "60.00 ± 14.14");
        assert_eq!(percent(Moments::of(&[0.72451]), " ± "), "72.45");
        assert_eq!((percent(None, " ± "), seconds(Moments::of(&[7.25]), " ± ")), ("–".into(), "7.2".into()));
        assert_eq!([probability(None), probability(Some(1e-9)), probability(Some(0.5))], ["–", "< 0.0001", "0.5000"]);
    }
}
