//! Texts and numbers as the page shows them.

use std::fmt::Write as _;

use tightrope_network::{number_text, rounded_text};

/// `text` as HTML and XML content or attribute value. Control characters, and those that turn the direction of writing
/// and so can make one name look like another, become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(letter),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A JSON document as the content of a script element: no `<`, `>` or `&` that a parser could take for markup.
pub fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// `value` with four significant digits, a dash where there is none.
pub fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() => rounded_text(value),
        Some(_) | None => "–".into(),
    }
}

/// `value` rounded down to four significant digits, for what is known to hold up to it: the text, read again, is never
/// more. A dash for what is no number from 0 on.
pub fn number_below(value: f64) -> String {
    if !(value.is_finite() && value >= 0.0) {
        return "–".into();
    }
    // All digits, so that those cut off only make it less.
    let scaled = format!("{value:e}");
    let (digits, exponent) = scaled.split_once('e').unwrap_or((scaled.as_str(), "0"));
    let kept = digits.get(..5).unwrap_or(digits);
    number_text(format!("{kept}e{exponent}").parse().unwrap_or(0.0))
}

/// A share as a percentage.
pub fn percent(share: Option<f64>) -> String {
    match share {
        Some(share) if share.is_finite() => format!("{:.2} %", 100.0 * share),
        Some(_) | None => "–".into(),
    }
}

/// The end of an interval in per cent, without the unit.
pub fn bare_percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// Seconds; below one, milliseconds.
pub fn seconds(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0} s"),
        value if value >= 1.0 => format!("{value:.1} s"),
        value if value >= 0.01 => format!("{:.0} ms", 1e3 * value),
        value if value > 0.0 => format!("{} ms", number_text(format!("{:.1e}", 1e3 * value).parse().unwrap_or(value))),
        _ => "0 s".into(),
    }
}

/// A tick of an axis: the steps have one or two digits, so that rounding only removes what binary fractions leave.
pub fn tick(value: f64) -> String {
    let text = number_text(format!("{value:.10e}").parse().unwrap_or(value));
    // A typographic minus is as wide as a digit.
    text.replace('-', "−")
}

/// Line numbers as "line 3" or "lines 3, 5, 8 and 12 more".
pub fn lines(numbers: &[usize]) -> String {
    const SHOWN: usize = 5;
    let mut text = String::from(if numbers.len() == 1 { "line " } else { "lines " });
    for (i, number) in numbers.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{}{number}", if i == 0 { "" } else { ", " });
    }
    if numbers.len() > SHOWN {
        let _ = write!(text, " and {} more", numbers.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{escape, lines, number, number_below, script_safe, seconds, tick};

    #[test]
    fn markup_and_control_characters_are_escaped() {
        assert_eq!(escape("<b a=\"x\" c='y'>&"), "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;");
        assert_eq!(escape("a\u{0}b\u{1b}c\u{202e}d"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
        let json = script_safe("{\"a\":\"</script>&\"}");
        assert!(!json.contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["a"], "</script>&");
    }

    #[test]
    fn numbers_have_units_and_few_digits() {
        assert_eq!([number(Some(0.123456)), number(None), number(Some(f64::NAN))], ["0.1235", "–", "–"]);
        assert_eq!([0.0, 0.00012345, 0.8115].map(seconds), ["0 s", "0.12 ms", "812 ms"]);
        assert_eq!([2.0, 1234.5, f64::NAN].map(seconds), ["2.0 s", "1234 s", "0 s"]);
        assert_eq!([0.1 + 0.2, -0.5, 0.0].map(tick), ["0.3", "−0.5", "0"]);
    }

    #[test]
    fn what_is_known_up_to_a_number_is_rounded_down() {
        let texts = [0.031389, 8.0 / 255.0, 2.0 / 3.0, 0.99999, 1234.9, 9.9999e-7].map(number_below);
        assert_eq!(texts, ["0.03138", "0.03137", "0.6666", "0.9999", "1234", "9.999e-7"]);
        assert_eq!([0.125, 0.1, 0.3, 2.0, 0.0].map(number_below), ["0.125", "0.1", "0.3", "2", "0"]);
        assert_eq!([f64::NAN, f64::INFINITY, -1.0].map(number_below), ["–"; 3]);
        for step in 1..2000 {
            let value = f64::from(step) / 1999.0 * 0.3;
            let (below, nearest) = (number_below(value).parse::<f64>().unwrap(), number(Some(value)));
            assert!(below <= value && value - below <= 1e-3 * value, "{value}: {below}");
            assert!(below <= nearest.parse::<f64>().unwrap(), "{value}: {below}");
        }
    }

    #[test]
    fn many_lines_are_counted() {
        assert_eq!([lines(&[3]), lines(&[1, 2])], ["line 3", "lines 1, 2"]);
        assert_eq!(lines(&[1, 2, 3, 4, 5, 6, 7]), "lines 1, 2, 3, 4, 5 and 2 more");
    }
}
