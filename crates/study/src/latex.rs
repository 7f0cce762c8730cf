//! Results as LaTeX tables for the package booktabs.

use std::fmt::Write as _;

use crate::figures;
use crate::results::Results;
use crate::spread::percent;

/// Between a mean and its deviation.
const BETWEEN: &str = " \\pm ";

/// The verdicts as comments, and two tables for each block: certified accuracy by row and column, and all figures by cell.
pub(crate) fn document(results: &Results) -> String {
    let mut text = format!("% {}, profile {}; needs \\usepackage{{booktabs}}.\n", results.study, results.profile);
    if !results.verdicts.is_empty() {
        let (head, rows) = figures::claims(results, " ± ");
        for row in std::iter::once(&head).chain(&rows) {
            // A comment ends with its line.
            let _ = writeln!(text, "% {}", row.join(" | ").split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    for block in &results.blocks {
        let names = block.columns.iter().map(|column| column.name.clone());
        let head: Vec<String> = std::iter::once(block.row.clone()).chain(names).collect();
        let rows = block.rows.iter().enumerate().map(|(r, row)| {
            let cells = (0..block.columns.len()).map(|c| {
                let certified = block.at(r, c).and_then(|cell| cell.moments(|trial| Some(trial.certified)));
                percent(certified, BETWEEN)
            });
            std::iter::once(row.name.clone()).chain(cells).collect::<Vec<String>>()
        });
        table(&block.title, &head, rows.collect(), &mut text);
        let (head, rows) = figures::cells(block, BETWEEN);
        table(&format!("{}: all figures", block.title), &head, rows, &mut text);
    }
    text
}

/// A table whose first column has names and whose others have figures.
fn table(title: &str, head: &[String], rows: Vec<Vec<String>>, text: &mut String) {
    let columns = "c".repeat(head.len().saturating_sub(1));
    let _ = writeln!(text, "\\begin{{table}}\n\\centering\n\\caption{{{}}}", escape(title));
    let _ = writeln!(text, "\\begin{{tabular}}{{l{columns}}}\n\\toprule");
    let _ = writeln!(text, "{} \\\\\n\\midrule", head.iter().map(|name| escape(name)).collect::<Vec<_>>().join(" & "));
    for row in rows {
        let cells = row.iter().enumerate().map(|(place, cell)| match cell.as_str() {
            name if place == 0 => escape(name),
            "–" => "--".into(),
            figure => format!("${figure}$"),
        });
        let _ = writeln!(text, "{} \\\\", cells.collect::<Vec<String>>().join(" & "));
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n\\end{table}\n");
}

/// `text` with what LaTeX has commands for; all else stays as it is.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' | '^' => {
                escaped.extend(['\\', c]);
                escaped.push_str("{}");
            }
            _ => match SYMBOLS.iter().find(|(symbol, _)| *symbol == c) {
                Some((_, command)) => {
                    let _ = write!(escaped, "$\\{command}$");
                }
                None => escaped.push(c),
            },
        }
    }
    escaped
}

/// Symbols of titles and names, with their commands in mathematics.
const SYMBOLS: [(char, &str); 21] = [
    ('α', "alpha"),
    ('β', "beta"),
    ('δ', "delta"),
    ('ε', "varepsilon"),
    ('η', "eta"),
    ('θ', "theta"),
    ('κ', "kappa"),
    ('λ', "lambda"),
    ('μ', "mu"),
    ('ρ', "rho"),
    ('σ', "sigma"),
    ('τ', "tau"),
    ('ℓ', "ell"),
    ('∞', "infty"),
    ('×', "times"),
    ('±', "pm"),
    ('·', "cdot"),
    ('→', "to"),
    ('≤', "le"),
    ('≥', "ge"),
    ('≈', "approx"),
];

#[cfg(test)]
mod tests {
    use super::{escape, table};

    #[test]
    fn special_characters() {
        assert_eq!(escape("ε = 50 % of {a_b}"), "$\\varepsilon$ = 50 \\% of \\{a\\_b\\}");
        assert_eq!(escape("a\\b^2"), "a\\textbackslash{}b\\^{}2");
        assert_eq!(escape("α ε → 4×4 é"), "$\\alpha$ $\\varepsilon$ $\\to$ 4$\\times$4 é");
    }

    #[test]
    fn figures_are_mathematics_and_names_are_not() {
        let mut text = String::new();
        let words = |row: &[&str]| row.iter().map(ToString::to_string).collect::<Vec<_>>();
        table("T", &words(&["cell", "by ibp"]), vec![words(&["a_b", "1.00 \\pm 0.50"]), words(&["c", "–"])], &mut text);
        assert!(text.contains("{lc}\n\\toprule\ncell & by ibp \\\\\n\\midrule\n"), "{text}");
        assert!(text.contains("a\\_b & $1.00 \\pm 0.50$ \\\\\nc & -- \\\\\n\\bottomrule"), "{text}");
    }
}
