//! Commands as a user would type them.

use std::path::Path;

/// `words` as one line for a POSIX shell.
pub fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The command that this process runs, without `dropped` options (that take no value) and with `added` ones.
pub fn this_command(dropped: &[&str], added: &[&str]) -> String {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let kept = words.iter().map(String::as_str).filter(|word| !dropped.contains(word) && !added.contains(word));
    line(["tightrope"].into_iter().chain(kept).chain(added.iter().copied()))
}

/// A path as a word.
pub fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn words_that_a_shell_would_change_are_quoted() {
        assert_eq!(
            line(["certify", "runs/a b", "it's", "", "x=[5, 8]"]),
            r"certify 'runs/a b' 'it'\''s' '' 'x=[5, 8]'"
        );
    }
}
