//! The embedded set by its public name.

use std::path::Path;

use tightrope_data::{Split, fetch, info, load};

#[test]
fn the_embedded_set_needs_no_folder() {
    let known = info("digits").unwrap();
    for split in [Split::Train, Split::Test] {
        let set = load("digits", split, Some(Path::new("no such folder"))).unwrap();
        assert_eq!((set.name.as_str(), set.split, set.len()), ("digits", split, known.count(split).unwrap()));
        assert!(set.canonical);
    }
}

#[test]
fn fetching_the_embedded_set_does_nothing() {
    let fetched = fetch("digits", Some(Path::new("no such folder")), &mut |_, _, _| {}).unwrap();
    assert_eq!((fetched.folder, fetched.files.len()), (None, 0));
    assert!(!Path::new("no such folder").exists());
}
