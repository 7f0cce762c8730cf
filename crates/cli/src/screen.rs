//! Error texts that fit a screen.

/// Characters of the beginning and of the end that are kept of a longer text.
const KEPT: (usize, usize) = (1600, 400);
/// Lines that a screen holds.
const LINES: usize = 24;

/// `text` if it fits a screen, else its beginning and its end with what was left out told.
pub fn cut(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn short_texts_stay_and_long_ones_keep_both_ends() {
        assert_eq!(cut("what, where\nand how"), "what, where\nand how");
        let wide = format!("begin {} end", "ä".repeat(100_000));
        let short = cut(&wide);
        assert!(short.starts_with("begin ä") && short.ends_with("ä end") && short.chars().count() < 2100);
        assert!(short.contains("98010 characters left out"), "{short}");
        let long: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        let short = cut(&long);
        assert!(short.lines().count() <= 25 && short.contains("line 0\n") && short.ends_with("line 999"), "{short}");
    }
}
