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
    #[error("data set `{name}` not found{}; {get}{}", looked_in(looked), or_its_folder(looked))]
    Missing {
        /// The data set.
        name: String,
        /// The folders that were searched, each with a remark where it does not exist.
        looked: Vec<String>,
        /// What to run to get it.
        get: String,
    },
    /// Images that are not read from an image folder were to be resized.
    #[error("data set `{name}`: its images have one size; data.resize is for image folders, leave it out")]
    Resize {
        /// The data set.
        name: String,
    },
    /// A data set that nobody offers for download.
    #[error("data set `{name}` cannot be fetched: {get}")]
    NotOffered {
        /// The data set.
        name: String,
        /// How to get it all the same.
        get: String,
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

fn looked_in(looked: &[String]) -> String {
    if looked.is_empty() { String::new() } else { format!("; looked in {}", looked.join(", ")) }
}

fn or_its_folder(looked: &[String]) -> &'static str {
    if looked.is_empty() { "" } else { ", or name its folder with --data-dir or TIGHTROPE_DATA" }
}
