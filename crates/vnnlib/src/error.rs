//! What can be wrong with a property or a list of instances.

use std::path::PathBuf;

/// Everything the crate can refuse; each message says what was wrong, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VnnlibError {
    /// A file could not be read.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// The time was out before the text was read to its end.
    #[error("{origin}: the time was out before the property was read; allow more time")]
    Late {
        /// File name or "(inline)".
        origin: String,
    },
    /// The text is no property that can be read.
    #[error("{origin}, line {line}, column {column}: {problem}")]
    Text {
        /// File name or "(inline)".
        origin: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong and how to mend it.
        problem: String,
    },
}

impl VnnlibError {
    /// An error at byte `offset` of `text`.
    pub(crate) fn at(origin: &str, text: &[u8], offset: usize, problem: String) -> Self {
        let before = &text[..offset.min(text.len())];
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        VnnlibError::Text {
            origin: origin.into(),
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[start..]).chars().count() + 1,
            problem,
        }
    }
}
