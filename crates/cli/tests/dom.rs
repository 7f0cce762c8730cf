//! The report as a browser has it: headless Chromium loads the page, and what its script made is in the document.
//!
//! Needs `chromium` in the path and says when it skips; with `TIGHTROPE_REQUIRE_CHROMIUM=1` that is a failure.

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{TINY, succeeds, text};

/// The browser, if there is one.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

#[test]
fn a_browser_shows_the_page() {
    let Some(chromium) = chromium() else {
        assert!(std::env::var_os("TIGHTROPE_REQUIRE_CHROMIUM").is_none(), "no chromium is installed");
        eprintln!("SKIPPED: no chromium is installed, so no browser has looked at the report");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, method) in [("first", "ibp"), ("second", "standard")] {
        let run = path("runs").join(name);
        let train = ["train", "--out", text(&run), "--limit-train", "64", "--epochs", "2", "--method", method];
        succeeds(&[&train, &TINY[..]].concat());
        succeeds(&["certify", text(&run), "--limit", "4", "--stages", "ibp"]);
    }
    let page = path("page.html");
    succeeds(&["report", text(&path("runs")), "-o", text(&page), "--samples", "2"]);
    let profile = format!("--user-data-dir={}", path("profile").display());
    let address = format!("file://{}", page.display());
    let browser = Command::new(&chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", &profile])
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom", &address])
        .output()
        .unwrap();
    let (document, said) = (String::from_utf8_lossy(&browser.stdout), String::from_utf8_lossy(&browser.stderr));
    assert!(browser.status.success() && document.contains("</html>"), "{chromium:?}: {said}");
    // Errors of scripts and of the document are told on the console.
    assert!(!said.contains("Uncaught") && !said.contains(":ERROR:CONSOLE"), "{said}");
    for id in ["overview", "curves", "stages", "pareto", "samples", "details", "configuration", "origin"] {
        assert_eq!(document.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    // The script has put a box before every entry of the legends.
    let written = std::fs::read_to_string(&page).unwrap();
    let entries = written.matches("data-legend=").count();
    assert!(entries >= 2 && !written.contains("aria-label=\"show "), "{entries}");
    assert_eq!(document.matches("type=\"checkbox\"").count(), entries);
    for run in ["first", "second"] {
        assert!(document.contains(&format!("aria-label=\"show {run}\"")), "{run}");
    }
    // Nothing was dropped by the parser: what stands in the file stands in the document.
    for mark in ["<svg", "<table", "<tr", "<polyline", "<img"] {
        assert_eq!(document.matches(mark).count(), written.matches(mark).count(), "{mark}");
    }
}
