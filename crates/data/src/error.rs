//! What can be wrong with a data set's name, files or download.

use std::fmt::Display;
use std::path::PathBuf;

/// Everything the data crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No data set of that name.
    #[error("unknown data set `{name}`{hint}; known: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Comma-separated names.
        known: String,
        /// "; did you mean …?" where a known name is close, else empty.
        hint: String,
    },
    /// The data set's files are nowhere.
    #[error(
        "data set `{name}` not found; looked in {}; get it with `tightrope data fetch {name}` (or, from files you \
         have, `tightrope data fetch {name} --from FOLDER`), or name its folder with --data-dir or TIGHTROPE_DATA",
        looked.join(", ")
    )]
    Missing {
        /// The data set.
        name: String,
        /// The folders that were searched, each with a remark where it does not exist.
        looked: Vec<String>,
    },
    /// Neither a folder was given nor can the cache directory be told.
    #[error(
        "no folder for data sets: neither --data-dir nor TIGHTROPE_DATA, XDG_CACHE_HOME or HOME is set; give --data-dir D"
    )]
    NoFolder,
    /// A file is missing, damaged or could not be read or written.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// No mirror gave a file whole.
    #[error(
        "could not download {file} of `{name}`:\n  {}\ncheck the connection (HTTPS_PROXY is honoured) and try again, or \
         copy the files from elsewhere into a folder and run `tightrope data fetch {name} --from FOLDER`",
        attempts.join("\n  ")
    )]
    Download {
        /// The data set.
        name: String,
        /// The file.
        file: String,
        /// One line per mirror: its address and what went wrong.
        attempts: Vec<String>,
    },
}

impl DataError {
    pub(crate) fn file(path: impl Into<PathBuf>, problem: impl Display) -> Self {
        DataError::File { path: path.into(), problem: problem.to_string() }
    }
}
