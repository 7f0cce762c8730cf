//! Results as LaTeX tables for the package booktabs.

use std::fmt::Write as _;

use crate::results::Results;
use crate::spread::percent;

/// One table for each block: certified accuracy by row and column.
pub(crate) fn document(results: &Results) -> String {
    let mut text = format!("% {}, profile {}; needs \\usepackage{{booktabs}}.\n", results.study, results.profile);
    for block in &results.blocks {
        let columns = "c".repeat(block.columns.len());
        let _ = writeln!(text, "\\begin{{table}}\n\\centering\n\\caption{{{}}}", escape(&block.title));
        let _ = writeln!(text, "\\begin{{tabular}}{{l{columns}}}\n\\toprule");
        let names = block.columns.iter().map(|column| escape(&column.name));
        let _ = writeln!(text, "{} & {} \\\\\n\\midrule", escape(&block.row), names.collect::<Vec<_>>().join(" & "));
        for (r, row) in block.rows.iter().enumerate() {
            let cells = (0..block.columns.len()).map(|c| {
                let certified = block.at(r, c).and_then(|cell| cell.moments(|trial| Some(trial.certified)));
                match percent(certified, " \\pm ").as_str() {
                    "–" => "--".into(),
                    figure => format!("${figure}$"),
                }
            });
            let _ = writeln!(text, "{} & {} \\\\", escape(&row.name), cells.collect::<Vec<String>>().join(" & "));
        }
        text.push_str("\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    }
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            'ε' => escaped.push_str("$\\varepsilon$"),
            'σ' => escaped.push_str("$\\sigma$"),
            'ℓ' => escaped.push_str("$\\ell$"),
            '×' => escaped.push_str("$\\times$"),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' | '^' => {
                escaped.extend(['\\', c]);
                escaped.push_str("{}");
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn special_characters() {
        assert_eq!(escape("ε = 50 % of {a_b}"), "$\\varepsilon$ = 50 \\% of \\{a\\_b\\}");
        assert_eq!(escape("a\\b^2"), "a\\textbackslash{}b\\^{}2");
    }
}
