//! Drawings as files of their own.

use super::{COLOURS_STYLE, MARKS_STYLE};

/// `drawing` with its size, the colours of light pages and a background, so that any viewer shows it as a page would.
///
/// Colours are put in by value: few viewers other than browsers know style variables.
pub fn standalone(drawing: &str) -> String {
    let Some((root, rest)) = drawing.split_once('>') else { return drawing.into() };
    let size = root.split("viewBox=\"").nth(1).and_then(|box_| box_.split('"').next()).unwrap_or_default();
    let size: Vec<&str> = size.split(' ').collect();
    let (width, height) = match *size {
        [_, _, width, height] => (width, height),
        _ => ("100%", "100%"),
    };
    let (head, body) = match rest.split_once("</desc>\n") {
        Some((head, body)) => (format!("{head}</desc>\n"), body),
        None => (String::new(), rest),
    };
    format!(
        "{root} width=\"{width}\" height=\"{height}\">{head}<style>\n{}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n{body}",
        with_colours(MARKS_STYLE),
        with_colours("var(--page)")
    )
}

/// `rules` with the light colours in place of their names.
fn with_colours(rules: &str) -> String {
    let light = COLOURS_STYLE.split('}').next().unwrap_or_default();
    let mut text = rules.to_string();
    for declaration in light.split(['{', ';']) {
        if let Some((name, value)) = declaration.split_once(':')
            && name.trim().starts_with("--")
        {
            text = text.replace(&format!("var({})", name.trim()), value.trim());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::standalone;
    use crate::svg::{Band, BandChart};

    #[test]
    fn a_file_has_size_style_and_background() {
        let band = |place: usize, half: f64| Band {
            name: format!("σ = {place}"),
            place,
            faint: false,
            points: vec![(-1.0, 1.0, half), (0.0, 0.5, half), (1.0, f64::NAN, half), (2.0, 2.0, half)],
        };
        let chart = BandChart {
            id: "c",
            title: "L <σ>",
            description: "d",
            axes: ("t", "loss"),
            logarithmic: (false, false),
            curves: vec![band(0, 0.0), band(1, 0.25), band(2, f64::NAN), band(3, 1e9)],
        };
        let file = standalone(&chart.draw());
        let page = roxmltree::Document::parse(&file).unwrap();
        let root = page.root_element();
        assert_eq!((root.attribute("width"), root.attribute("height")), (Some("480"), Some("326")));
        assert!(!file.contains("var(") && file.contains("#0072b2") && file.contains("fill=\"#ffffff\""), "{file}");
        // The gap at the third point cuts the first two curves and that with the huge band in two; no value, no curve.
        let count = |class: &str| page.descendants().filter(|node| node.attribute("class") == Some(class)).count();
        assert_eq!((count("band"), count("curve")), (4, 6 + 4));
    }
}
