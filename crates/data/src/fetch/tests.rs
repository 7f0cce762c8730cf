//! Fetching from a server in the test itself and from folders.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Fetched, Origin, copy_files, fetch_files};
use crate::{Check, DataError, Packing, PublishedFile, Split, Verified};

const FIRST: &[u8] = b"the first file's content, the first file's content";
const SECOND: &[u8] = b"second";

/// Two small files; the hashes are those of `FIRST` and `SECOND`.
const FILES: [PublishedFile; 2] = [
    PublishedFile {
        name: "first",
        alias: "first.dat",
        split: Some(Split::Train),
        packing: Packing::Gzip,
        bytes: 50,
        check: Check::PlainSha256("7454069db76355268991f37ea89359d621188cb82b6bf14ff4caf93748222017"),
        remote: "first.gz",
    },
    PublishedFile {
        name: "second",
        alias: "second.dat",
        split: Some(Split::Test),
        packing: Packing::Gzip,
        bytes: 6,
        check: Check::PlainSha256("16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"),
        remote: "second.gz",
    },
];

/// What the server does with a path.
#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    /// Promises the whole body, sends this much of it and hangs up.
    Cut(Vec<u8>, usize),
    /// Sends without a promised length.
    Unsized(Vec<u8>),
}

/// A server on this machine; paths without an answer give 404. It ends with the test process.
struct Server {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(answers: &[(&str, Answer)]) -> Server {
    let answers: HashMap<String, Answer> =
        answers.iter().map(|(path, answer)| (format!("/{path}"), answer.clone())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            // The rest of the request is read so that hanging up does not reset the connection.
            lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
            let path = request.split(' ').nth(1).unwrap().to_string();
            log.lock().unwrap().push(path.clone());
            let (head, body) = match answers.get(&path) {
                None => ("404 Not Found\r\nContent-Length: 4".into(), b"gone".to_vec()),
                Some(Answer::Whole(body)) => (format!("200 OK\r\nContent-Length: {}", body.len()), body.clone()),
                Some(Answer::Cut(body, sent)) => {
                    (format!("200 OK\r\nContent-Length: {}", body.len()), body[..*sent].to_vec())
                }
                Some(Answer::Unsized(body)) => ("200 OK".into(), body.clone()),
            };
            // The client may hang up first when it has seen enough.
            let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
            let _ = stream.write_all(&body);
        }
    });
    Server { base, asked }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn good() -> [(&'static str, Answer); 2] {
    [("first.gz", Answer::Whole(gzip(FIRST))), ("second.gz", Answer::Whole(gzip(SECOND)))]
}

fn fetch(mirrors: &[&Server], dir: &Path) -> Result<Fetched, DataError> {
    let bases: Vec<&str> = mirrors.iter().map(|server| server.base.as_str()).collect();
    fetch_files("pair", &FILES, &bases, Some(dir), &mut |_, _, _| {})
}

/// Names in `dir`/pair, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.join("pair"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_good_mirror_gives_every_file_and_reports_progress() {
    let (server, dir) = (serve(&good()), tempfile::tempdir().unwrap());
    let mut seen = Vec::new();
    let fetched = fetch_files("pair", &FILES, &[&server.base], Some(dir.path()), &mut |file, done, total| {
        seen.push((file.to_string(), done, total));
    })
    .unwrap();
    assert_eq!(fetched.folder.as_deref(), Some(dir.path().join("pair").as_path()));
    assert_eq!(fetched.files[0].origin, Origin::Downloaded(format!("{}first.gz", server.base)));
    assert_eq!(names(dir.path()), ["first.gz", "second.gz"]);
    assert_eq!(std::fs::read(&fetched.files[1].path).unwrap(), gzip(SECOND));
    let size = gzip(SECOND).len() as u64;
    assert_eq!(seen.last(), Some(&("second.gz".into(), size, Some(size))));
}

#[test]
fn verified_files_are_kept_and_damaged_ones_replaced() {
    let (server, dir) = (serve(&good()), tempfile::tempdir().unwrap());
    fetch(&[&server], dir.path()).unwrap();
    std::fs::write(dir.path().join("pair/second.gz"), gzip(b"secund")).unwrap();
    let fetched = fetch(&[&server], dir.path()).unwrap();
    assert_eq!(fetched.files[0].origin, Origin::Kept);
    assert!(matches!(fetched.files[1].origin, Origin::Downloaded(_)));
    assert_eq!(std::fs::read(dir.path().join("pair/second.gz")).unwrap(), gzip(SECOND));
    assert_eq!(*server.asked.lock().unwrap(), ["/first.gz", "/second.gz", "/second.gz"]);
}

#[test]
fn a_plain_file_that_verifies_is_kept() {
    let (server, dir) = (serve(&good()[1..]), tempfile::tempdir().unwrap());
    std::fs::create_dir(dir.path().join("pair")).unwrap();
    std::fs::write(dir.path().join("pair/first.dat"), FIRST).unwrap();
    let fetched = fetch(&[&server], dir.path()).unwrap();
    assert_eq!(fetched.files[0].path, dir.path().join("pair/first.dat"));
    assert_eq!(fetched.files[0].origin, Origin::Kept);
}

#[test]
fn the_second_mirror_stands_in_for_the_first() {
    let failing = [
        vec![],
        vec![("first.gz", Answer::Cut(gzip(FIRST), 10)), ("second.gz", Answer::Cut(gzip(SECOND), 0))],
        vec![("first.gz", Answer::Whole(gzip(b"other"))), ("second.gz", Answer::Whole(b"not gzip".to_vec()))],
    ];
    for answers in failing {
        let (bad, server, dir) = (serve(&answers), serve(&good()), tempfile::tempdir().unwrap());
        let fetched = fetch(&[&bad, &server], dir.path()).unwrap();
        for (file, published) in fetched.files.iter().zip(&FILES) {
            assert_eq!(file.origin, Origin::Downloaded(format!("{}{}", server.base, published.remote)));
        }
        assert_eq!(bad.asked.lock().unwrap().len(), 2);
        assert_eq!(names(dir.path()), ["first.gz", "second.gz"]);
    }
}

/// Fetches `first.gz` when it is answered so; the error must name the mirror and the reason, and nothing may be left.
#[track_caller]
fn fails(answer: Option<Answer>, reason: &str) {
    let answers: Vec<_> = answer.map(|answer| ("first.gz", answer)).into_iter().collect();
    let (server, dir) = (serve(&answers), tempfile::tempdir().unwrap());
    let message = fetch(&[&server], dir.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("{}first.gz: ", server.base)), "{message}");
    assert!(message.contains(reason), "{message}");
    assert!(message.contains("tightrope data fetch pair --from FOLDER"), "{message}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn bad_answers_are_named_and_leave_nothing() {
    fails(None, "404");
    fails(Some(Answer::Cut(gzip(FIRST), 10)), "disconnected");
    fails(Some(Answer::Unsized(gzip(FIRST)[..20].to_vec())), "damaged");
    fails(Some(Answer::Whole(gzip(&FIRST[1..]))), "holds 49 bytes, the published file 50");
    fails(Some(Answer::Whole(gzip(&[0; 1 << 20]))), "holds more than the published 50 bytes");
    fails(Some(Answer::Whole(gzip(&[b'x'; 50]))), "has SHA-256");
    fails(Some(Answer::Whole(vec![0; 5000])), "offers 5000 bytes, more than the 1074");
    fails(Some(Answer::Unsized(vec![0; 5000])), "sends more than the 1074 bytes");
}

#[test]
fn every_mirror_is_listed_when_none_is_reached() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (server, dir) = (serve(&[]), tempfile::tempdir().unwrap());
    let mirrors = [format!("http://{closed}/"), server.base.clone()];
    let mirrors = [mirrors[0].as_str(), mirrors[1].as_str()];
    let error = fetch_files("pair", &FILES, &mirrors, Some(dir.path()), &mut |_, _, _| {}).unwrap_err();
    let DataError::Download { attempts, .. } = &error else { panic!("{error}") };
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().zip(mirrors).all(|(attempt, mirror)| attempt.starts_with(mirror)), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (server, dir) = (serve(&good()), tempfile::tempdir().unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = fetch(&[&server], &file).unwrap_err().to_string();
    assert!(message.contains("cannot be written") && message.contains("--data-dir"), "{message}");
    assert!(server.asked.lock().unwrap().is_empty());
}

#[test]
fn folders_give_plain_and_compressed_files() {
    let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("first"), FIRST).unwrap();
    std::fs::create_dir(source.path().join("pair")).unwrap();
    std::fs::write(source.path().join("pair/second.dat.gz"), gzip(SECOND)).unwrap();
    let fetched = copy_files("pair", &FILES, source.path(), Some(dir.path())).unwrap();
    assert_eq!(fetched.files[0].origin, Origin::Copied(source.path().join("first")));
    assert_eq!(names(dir.path()), ["first.gz", "second.gz"]);
    // What was stored verifies, whichever form it came in.
    let again = copy_files("pair", &FILES, Path::new("nowhere"), Some(dir.path())).unwrap();
    assert!(again.files.iter().all(|file| file.origin == Origin::Kept));
}

#[test]
fn folders_with_missing_or_other_files_are_refused() {
    let (source, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copy = || copy_files("pair", &FILES, source.path(), Some(dir.path())).unwrap_err().to_string();
    assert!(copy().contains("holds no first"), "{}", copy());
    std::fs::write(source.path().join("first.gz"), gzip(b"other")).unwrap();
    assert!(copy().contains("first.gz: holds 5 bytes, the published file 50"), "{}", copy());
    let absent = copy_files("pair", &FILES, &source.path().join("absent"), Some(dir.path())).unwrap_err().to_string();
    assert!(absent.contains("absent: is no folder that exists"), "{absent}");
    // Not even the folder is made.
    assert!(!dir.path().join("pair").exists());
}

const ARCHIVE: &[u8] = b"an archive, of both splits";

/// A file that is published in one form only, with its MD5.
const ONLY: [PublishedFile; 1] = [PublishedFile {
    name: "both.tar.gz",
    alias: "pair.tar.gz",
    split: None,
    packing: Packing::Only,
    bytes: 26,
    check: Check::Md5("b642efd8cc40962189db41ac8d156a7b"),
    remote: "both.tar.gz",
}];

#[test]
fn an_archive_is_kept_as_it_is_offered() {
    let dir = tempfile::tempdir().unwrap();
    let fetch = |answer: Vec<u8>| {
        let server = serve(&[("both.tar.gz", Answer::Whole(answer))]);
        fetch_files("pair", &ONLY, &[&server.base], Some(dir.path()), &mut |_, _, _| {})
    };
    let message = fetch(ARCHIVE[1..].to_vec()).unwrap_err().to_string();
    assert!(message.contains("holds 25 bytes, the published file 26"), "{message}");
    let message = fetch([&ARCHIVE[..25], b"!"].concat()).unwrap_err().to_string();
    assert!(message.contains("has MD5 ") && message.contains("b642efd8cc40962189db41ac8d156a7b"), "{message}");
    let fetched = fetch(ARCHIVE.to_vec()).unwrap();
    assert_eq!((names(dir.path()), fetched.files[0].verified), (vec!["both.tar.gz".into()], Verified::Checksum));
    assert_eq!(std::fs::read(&fetched.files[0].path).unwrap(), ARCHIVE);

    let (source, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("pair.tar.gz"), ARCHIVE).unwrap();
    copy_files("pair", &ONLY, source.path(), Some(other.path())).unwrap();
    assert_eq!(names(other.path()), ["both.tar.gz"]);
}

/// What is known of a compressed file by its MD5 says nothing of an unpacked copy, whose size must do.
#[test]
fn a_plain_copy_of_what_has_an_md5_is_taken_by_its_size() {
    let packed = gzip(FIRST);
    let digits: String = {
        let mut hasher = crate::checksum::Md5Hex::default();
        hasher.update(&packed);
        hasher.finish()
    };
    let file = PublishedFile { check: Check::Md5(digits.leak()), packing: Packing::Gzip, ..FILES[0] };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first");
    let verified = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        file.verify(&path)
    };
    assert_eq!(verified(&packed), Ok(Verified::Checksum));
    assert_eq!(verified(FIRST), Ok(Verified::Size));
    assert!(verified(&FIRST[1..]).unwrap_err().contains("holds 49 bytes"));
    let other = gzip(&FIRST[1..]);
    assert!(verified(&other).unwrap_err().contains("has MD5"));
}
