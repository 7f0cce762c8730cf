//! Numbers and names as texts for readers.

use std::borrow::Cow;

/// A number of bytes, with three digits.
pub fn bytes_text(bytes: usize) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let steps = (0..units.len()).rev().find(|&steps| bytes >= 1000_usize.pow(steps as u32)).unwrap_or(0);
    let value = bytes as f64 / 1000_f64.powi(steps as i32);
    match steps {
        0 => format!("{bytes} bytes"),
        _ => format!("{value:.*} {}", if value < 10.0 { 2 } else { usize::from(value < 100.0) }, units[steps]),
    }
}

/// A number of things, with their name in the singular or the plural.
pub fn counted_text(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The shortest text that reads back as `value`: with an exponent where that is shorter.
pub fn number_text(value: f64) -> String {
    let (plain, scaled) = (value.to_string(), format!("{value:e}"));
    if scaled.len() < plain.len() { scaled } else { plain }
}

/// `value` with four significant digits, in the same form.
pub fn rounded_text(value: f64) -> String {
    number_text(format!("{value:.3e}").parse().unwrap_or(value))
}

/// Characters that messages quote of texts from files.
const QUOTED: usize = 120;

/// What a message quotes of a text from a file, which may be of any length: its beginning.
pub fn quoted_text(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Characters by which names are compared; a text from a file may be of any length.
const COMPARED: usize = 64;

/// The beginning of a name, by which it is compared with others.
pub fn compared_text(name: &str) -> &str {
    name.char_indices().nth(COMPARED).map_or(name, |(end, _)| &name[..end])
}

/// The one of `known` that `name` differs least from, counted in typing errors (Damerau and Levenshtein), unless it differs
/// from all of them by more than half of its length.
pub fn nearest_name<S: AsRef<str>>(name: &str, known: impl IntoIterator<Item = S>) -> Option<S> {
    let name = compared_text(name);
    let scored =
        known.into_iter().map(|known| (strsim::damerau_levenshtein(name, compared_text(known.as_ref())), known));
    let (distance, nearest) = scored.min_by_key(|(distance, _)| *distance)?;
    (2 * distance <= name.chars().count()).then_some(nearest)
}

/// Characters of the beginning and of the end that are kept of a longer text.
const KEPT: (usize, usize) = (1600, 400);
/// Lines that a screen holds.
const LINES: usize = 24;

/// `text` if it fits a screen, else its beginning and its end with what was left out told.
pub fn screen_text(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let by_lines = if lines.len() > LINES {
        let (first, last) = (LINES * 2 / 3, LINES / 3);
        let between = format!("… ({} lines left out) …", lines.len() - first - last);
        [&lines[..first], &[between.as_str()], &lines[lines.len() - last..]].concat().join("\n")
    } else {
        text.to_string()
    };
    let characters: Vec<char> = by_lines.chars().collect();
    let (first, last) = KEPT;
    if characters.len() <= first + last {
        return by_lines;
    }
    let part = |range: &[char]| range.iter().collect::<String>();
    let (begin, end) = (&characters[..first], &characters[characters.len() - last..]);
    format!("{} … ({} characters left out) … {}", part(begin), characters.len() - first - last, part(end))
}

/// Names as a choice: "a, b or c".
pub fn choice_text<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<S> = names.into_iter().collect();
    let last = names.len().saturating_sub(1);
    let mut text = String::new();
    for (i, name) in names.iter().enumerate() {
        text.push_str(match i {
            0 => "",
            i if i == last => " or ",
            _ => ", ",
        });
        text.push_str(name.as_ref());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        bytes_text, choice_text, compared_text, nearest_name, number_text, quoted_text, rounded_text, screen_text,
    };

    #[test]
    fn one_thing_has_another_name_than_many() {
        assert_eq!([0, 1, 2].map(|n| super::counted_text(n, "run", "runs")), ["0 runs", "1 run", "2 runs"]);
    }

    #[test]
    fn short_texts_stay_and_long_ones_keep_both_ends() {
        assert_eq!(screen_text("what, where\nand how"), "what, where\nand how");
        let wide = format!("begin {} end", "ä".repeat(100_000));
        let short = screen_text(&wide);
        assert!(short.starts_with("begin ä") && short.ends_with("ä end") && short.chars().count() < 2100);
        assert!(short.contains("98010 characters left out"), "{short}");
        let long: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        let short = screen_text(&long);
        assert!(short.lines().count() <= 25 && short.contains("line 0\n") && short.ends_with("line 999"), "{short}");
    }

    #[test]
    fn long_texts_are_quoted_by_their_beginning() {
        assert_eq!(quoted_text("eps"), "eps");
        let long = "ä".repeat(1000);
        assert_eq!(quoted_text(&long), format!("{}…", "ä".repeat(120)));
    }

    #[test]
    fn names_are_compared_by_their_beginning() {
        let known = ["crown", "crown-ibp", "ibp"];
        assert_eq!(nearest_name("corwn", known), Some("crown"));
        assert_eq!([nearest_name("zzz", known), nearest_name("", known)], [None, None]);
        let long = format!("crown{}", "ä".repeat(1 << 20));
        assert_eq!(compared_text(&long).chars().count(), 64);
        assert_eq!(nearest_name(&long, known), None);
    }

    #[test]
    fn choices_end_with_or() {
        assert_eq!(choice_text(["a", "b", "c"]), "a, b or c");
        assert_eq!([choice_text(["a", "b"]), choice_text(["a"])], ["a or b", "a"]);
    }

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 999, 1234, 45_600, 789_000_000].map(bytes_text);
        assert_eq!(sizes, ["0 bytes", "999 bytes", "1.23 kB", "45.6 kB", "789 MB"]);
    }

    #[test]
    fn numbers_are_short_and_read_back() {
        for value in [0.1, 1e-10, 8.0 / 255.0, 1e300, 0.0, -2.5, 123456.0, 1e21, 5e-324] {
            assert_eq!(number_text(value).parse(), Ok(value));
        }
        assert_eq!([0.1, 1e-10, 1e300, 20.0].map(number_text), ["0.1", "1e-10", "1e300", "20"]);
    }

    #[test]
    fn rounded_numbers_have_four_digits() {
        assert_eq!([8.0 / 255.0, 0.00012345678, 1.0].map(rounded_text), ["0.03137", "1.235e-4", "1"]);
    }
}
