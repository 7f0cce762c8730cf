//! Elements that several parts of the page are made of.

use std::fmt::Write as _;

use crate::text::escape;

/// What stands in a cell, as HTML.
pub enum Cell {
    /// A number or short word, to the right.
    Number(String),
    /// A text, to the left, which may be broken into lines.
    Text(String),
}

impl Cell {
    /// A number or short word that is not HTML yet.
    pub fn number(text: &str) -> Self {
        Cell::Number(escape(text))
    }

    /// A text that is not HTML yet.
    pub fn text(text: &str) -> Self {
        Cell::Text(escape(text))
    }
}

/// One row of a table: its head, then the cells.
pub struct TableRow {
    /// HTML of the row's head.
    pub head: String,
    /// The run that the row tells about and is hidden with.
    pub run: Option<usize>,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// A table with heads for columns and rows. `caption`, `columns` and the class are not HTML yet; the first column is that
/// of the row heads.
pub fn table(class: &str, caption: &str, columns: &[String], rows: &[TableRow]) -> String {
    let mut html = String::new();
    let _ = write!(
        html,
        "<div class=\"scroll\"><table class=\"{class}\">\n<caption>{}</caption>\n<thead><tr>",
        escape(caption)
    );
    for (place, column) in columns.iter().enumerate() {
        let text =
            place == 0 || rows.first().is_some_and(|row| matches!(row.cells.get(place - 1), Some(Cell::Text(_))));
        let class = if text { " class=\"text\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(column));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let run = row.run.map_or_else(String::new, |run| format!(" data-run=\"{run}\""));
        let _ = write!(html, "<tr{run}><th scope=\"row\">{}</th>", row.head);
        for cell in &row.cells {
            let _ = match cell {
                Cell::Number(inner) => write!(html, "<td>{inner}</td>"),
                Cell::Text(inner) => write!(html, "<td class=\"text\">{inner}</td>"),
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

/// Column heads from plain texts.
pub fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

/// A section of the page with its heading.
pub fn section(id: &str, heading: &str, inner: &str) -> String {
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{}</h2>\n{inner}</section>\n",
        escape(heading)
    )
}

/// A chart with a heading above and words below; `inner` is SVG.
pub fn figure(heading: &str, inner: &str, caption: &str) -> String {
    let caption =
        if caption.is_empty() { String::new() } else { format!("<figcaption>{}</figcaption>", escape(caption)) };
    format!("<figure>\n<h4>{}</h4>\n{inner}{caption}</figure>\n", escape(heading))
}

/// A paragraph of plain text.
pub fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}
