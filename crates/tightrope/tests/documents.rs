//! The documents speak of files that exist, and of every crate.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// Names of the entries of a folder, sorted.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Targets of the inline links of a Markdown text that name files.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).filter_map(|target| target.split('#').next()).collect()
}

#[test]
fn links_lead_to_files() {
    let root = root();
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)).into();
    documents.extend(entries(&root.join("docs")).iter().map(|name| root.join("docs").join(name)));
    documents.extend(entries(&root.join("crates")).iter().map(|name| root.join("crates").join(name).join("README.md")));
    let mut seen = 0;
    for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = read(document);
        for target in links(&text).into_iter().filter(|target| !target.is_empty()) {
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{} links {target}, which does not exist", document.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} links were found: the search for them is broken");
}

#[test]
fn the_architecture_lists_every_crate_once_and_in_layers() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let rows: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| [`")?.split('`').next()).collect();
    let mut sorted: Vec<String> = rows.iter().map(|&row| row.to_string()).collect();
    sorted.sort();
    assert_eq!(sorted, entries(&root().join("crates")), "rows of the table and folders under crates/");
    // Each crate knows only those above it.
    for (place, row) in rows.iter().enumerate() {
        let manifest = read(&root().join("crates").join(row).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("tightrope")) {
            let name = line.split('.').next().unwrap_or_default();
            let other = name.strip_prefix("tightrope-").unwrap_or("tightrope");
            // The test kit stands last: only tests use it.
            let above = rows[..place].contains(&other) || *row == "testkit";
            assert!(above, "{row} depends on {other}, which does not stand above it");
        }
    }
}
