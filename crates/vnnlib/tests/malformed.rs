//! Texts that are no properties: an error with its place, never a panic, and soon.

use std::fmt::Write;

use proptest::prelude::*;
use tightrope_vnnlib::{Instance, Property, VnnlibError};

const HEAD: &str = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n";
const BOX: &str = "(assert (<= 0 X_0 1))\n";

fn error(text: &str) -> String {
    match Property::parse(text.as_bytes(), "p.vnnlib") {
        Ok(_) => panic!("accepted: {}", &text[..text.len().min(2000)]),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_error_says_where_and_how_to_mend_it() {
    // The text after HEAD, the place, and what the message must hold.
    let cases = [
        ("(assert (<= X_0 1)", "line 4, column 1", "close every `(`"),
        ("(assert (<= X_0 1)))", "line 3, column 20", "to begin a command"),
        ("assert", "line 3, column 1", "found `assert`"),
        ("(asert (<= X_0 1))", "line 3, column 2", "unknown command `asert`"),
        ("(assert (<= X_0))", "line 3, column 16", "expected a number or a variable, found `)`"),
        ("(assert (=< X_0 1))", "line 3, column 10", "use and, or, <=, >="),
        ("(assert (nor (<= X_0 1)))", "line 3, column 10", "`nor` is no constraint"),
        ("(assert (not))", "line 3, column 13", "to begin a constraint"),
        ("(assert (not (<= X_0 1) (<= X_0 1)))", "line 3, column 25", "to end (not …)"),
        ("(assert (=> (<= X_0 1)))", "line 3, column 10", "needs 2 constraints"),
        ("(assert (or maybe))", "line 3, column 10", "without constraints"),
        ("(assert (ite (<= X_0 1) (<= Y_0 1) (<= Y_0 2)))", "line 3, column 10", "(=> condition first)"),
        ("(assert (!= X_0 1 2))", "line 3, column 19", "compares two values"),
        ("(assert (and))", "line 3, column 10", "without constraints"),
        ("(assert (<= X_1 1))", "line 3, column 13", "add (declare-const X_1 Real)"),
        ("(assert (<= X 1))", "line 3, column 13", "neither a number nor a variable"),
        ("(assert (<= X_00 1))", "line 3, column 13", "neither a number nor a variable"),
        ("(assert (<= X_0 inf))", "line 3, column 17", "neither a number"),
        ("(assert (<= X_0 NaN))", "line 3, column 17", "neither a number"),
        ("(assert (<= X_0 1e999))", "line 3, column 17", "too large"),
        ("(assert (<= X_0 1.2.3))", "line 3, column 17", "`1.2.3` is a malformed number, neither a number"),
        ("(assert (<= X_0 1e))", "line 3, column 17", "`1e` is a malformed number"),
        ("(assert (<= X_0 --1))", "line 3, column 17", "`--1` is a malformed number"),
        ("(assert (<= X_0 0x1p3))", "line 3, column 17", "`0x1p3` is a malformed number"),
        ("(assert (<= (* 1/3 X_0) 1))", "line 3, column 16", "quotients as (/ 1 3)"),
        ("(assert (<= Y_0\n  (+ Y_0 -.5e+1.)))", "line 4, column 10", "`-.5e+1.` is a malformed number"),
        ("(assert (<= (* 1e200 (* 1e200 Y_0)) 1))", "line 3, column 14", "overflows"),
        ("(assert (<= (* Y_0 X_0) 1))", "line 3, column 20", "not linear"),
        ("(assert (<= (/ 1 Y_0) 1))", "line 3, column 18", "divisor"),
        ("(assert (<= (/ Y_0 0) 1))", "line 3, column 20", "divisor"),
        ("(assert (<= (^ Y_0 2) 1))", "line 3, column 14", "use +, -, *"),
        ("(assert (<= X_0 Y_0))", "line 1, column 16", "X_0 has no lower bound"),
        ("(assert (<= X_0[0] 1))", "line 3, column 13", "not a tensor"),
        ("(declare-const X_0 Real)", "line 3, column 16", "declared twice"),
        ("(declare-const Z_0 Real)", "line 3, column 16", "inputs are X_0"),
        ("(declare-const X_99999999 Real)", "line 3, column 16", "at most 4194303"),
        ("(declare-const X_2 Real)", "line 3, column 16", "X_1 is not"),
        ("(declare-const X_1 Int)", "line 3, column 20", "use Real"),
        ("(declare-network f)", "line 3, column 2", "(vnnlib-version <2.0>)"),
        ("", "line 1, column 16", "X_0 has no lower bound"),
        ("(assert (<= 0 X_0))", "line 1, column 16", "X_0 has no upper bound"),
        ("(assert (or (<= 0 X_0 1) (<= Y_0 0)))", "line 1, column 16", "no lower bound in some case"),
        ("(set-logic QF_LRA", "line 3, column 2", "does not end"),
        ("; only a comment\n(check-sat) \"text", "line 4, column 13", "no closing"),
    ];
    for (text, place, part) in cases {
        let message = error(&format!("{HEAD}{text}\n"));
        assert!(message.starts_with(&format!("p.vnnlib, {place}: ")), "{text}: {message}");
        assert!(message.contains(part), "{text}: `{part}` is missing in: {message}");
    }
    assert!(error("").contains("add (declare-const X_0 Real)"));
    assert!(error("(declare-const X_0 Real)").contains("add (declare-const Y_0 Real)"));
    assert!(Property::parse(b"\x1f\x8b\x08\x00", "p").unwrap_err().to_string().contains("unpacked"));
    let second = "(vnnlib-version <2.0>)\n";
    let network = |inside: &str| error(&format!("{second}(declare-network f {inside})"));
    assert!(network("(declare-input X Real [2])").contains("no output tensor"));
    assert!(network("(declare-input X Real [99999999,99999999])").contains("elements"));
    // So few bytes must not claim gigabytes.
    assert!(network("(declare-input X int8 [4194305])").contains("between 1 and 4194304 elements"));
    for (element, part) in [("complex64", "use float32"), ("string", "use float32"), ("float8", "is unknown")] {
        let message = network(&format!("(declare-input X {element} [2])"));
        assert!(message.starts_with("p.vnnlib, line 2, column 37: ") && message.contains(part), "{message}");
    }
    assert!(network("(declare-noise X Real [2])").contains("no part of a network"));
    assert!(network("(isomorphic-to g)").contains("one network"));
    assert!(network("(declare-hidden X Real [2] \"h\") (declare-input X Real [2])").contains("declared twice"));
    let whole = "(declare-input X Real [1]) (declare-output Y Real [1])";
    assert!(network(&format!("{whole}) (declare-network g {whole}")).contains("a second network"));
    let hidden = format!("{whole} (declare-hidden H Real [2] \"h\")) (assert (<= H[0] 1)");
    assert!(network(&hidden).contains("`H` is a hidden tensor"));
    assert!(error("(vnnlib-version <3.0>)").contains("use <2.0>"));
    assert!(network("(declare-input X Real [2]) (declare-input Z Real [2])").contains("second input"));
    let element = "(declare-network f (declare-input X Real [2]) (declare-output Y Real [1]))(assert (<= X[2] 0))";
    assert!(error(&format!("{second}{element}")).contains("no element of a tensor of shape [2]"));
}

#[test]
fn large_expansions_are_refused_before_they_are_made() {
    let mut text = format!("{HEAD}{BOX}");
    for _ in 0..200 {
        text.push_str("(assert (or (<= Y_0 1) (<= Y_0 2) (>= Y_0 3)))\n");
    }
    let message = error(&text);
    assert!(message.contains("line 4") && message.contains("split the property"), "{message}");
    // Few conjunctions, each of them long.
    let mut text = format!("{HEAD}{BOX}(assert (or ");
    text.push_str(&"(<= Y_0 1)".repeat(5000));
    text.push_str("))(assert (or (and ");
    text.push_str(&"(<= Y_0 1)".repeat(5000));
    text.push_str(") (<= Y_0 1)))");
    assert!(error(&text).contains("split the property"));
    // Few inequalities, many inputs.
    let mut text = "(declare-const Y_0 Real)".to_string();
    let mut choice = String::new();
    for i in 0..10_000 {
        write!(text, "(declare-const X_{i} Real)(assert (<= 0 X_{i} 1))").unwrap();
        write!(choice, "(<= X_{i} 0.5)").unwrap();
    }
    text.push_str(&format!("(assert (or {choice}))"));
    assert!(error(&text).contains("numbers; split the property"));
}

/// Alternatives that are negated multiply like any others, and are counted before.
#[test]
fn hostile_negations_and_sums_are_refused() {
    let mut text = format!("{HEAD}{BOX}");
    for _ in 0..200 {
        text.push_str("(assert (not (and (<= Y_0 1) (<= Y_0 2) (=> (>= Y_0 3) false))))\n");
    }
    assert!(error(&text).contains("split the property"));
    let mut text = format!("{HEAD}{BOX}(assert (or ");
    (0..2000).for_each(|i| write!(text, "(<= (+ Y_0 (* {i}.5 X_0)) 1)").unwrap());
    text.push_str("))");
    assert!(error(&text).contains("more than 1024 different linear combinations of inputs; split the property"));
}

#[test]
fn packed_files_are_read_and_bombs_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let packed = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let text = format!("{HEAD}{BOX}(assert (<= Y_0 0))");
    let plain = Property::parse(text.as_bytes(), "p").unwrap();
    // Two members are one file.
    let (first, second) = text.split_at(30);
    let members = [packed(first.as_bytes()), packed(second.as_bytes())].concat();
    write("a.vnnlib.gz", &packed(text.as_bytes()));
    write("b.vnnlib", text.as_bytes());
    write("c.vnnlib", &members);
    write("d.vnnlib.gz", text.as_bytes());
    let read = |name: &str| Property::read(&folder.path().join(name));
    for name in ["a.vnnlib.gz", "a.vnnlib", "b.vnnlib", "b.vnnlib.gz", "c.vnnlib", "d.vnnlib.gz", "d.vnnlib"] {
        assert_eq!(read(name).unwrap(), plain, "{name}");
    }
    let message = |name: &str| read(name).unwrap_err().to_string();
    write("torn.vnnlib.gz", &packed(text.as_bytes())[..40]);
    assert!(message("torn.vnnlib.gz").contains("torn.vnnlib.gz: cannot be unpacked"));
    write("wrong.vnnlib.gz", &packed(b"(assert (<= X_0 1.2.3))"));
    assert!(message("wrong.vnnlib").contains("wrong.vnnlib, line 1, column 13: "), "{}", message("wrong.vnnlib"));
    write("bomb.vnnlib.gz", &packed(&vec![b' '; (tightrope_vnnlib::MAX_BYTES + 1) as usize]));
    assert!(message("bomb.vnnlib.gz").contains("unpacked; give a VNN-LIB property"));
    assert!(message("none.vnnlib").contains("none.vnnlib: cannot be read"));
    write("list.csv.gz", &packed(b"n.onnx,p.vnnlib,1\n"));
    assert_eq!(Instance::read_list(&folder.path().join("list.csv")).unwrap().len(), 1);
}

#[test]
fn reading_ends_with_the_time() {
    let mut text = format!("{HEAD}{BOX}(assert (or ");
    text.push_str(&"(<= Y_0 1)".repeat(100_000));
    text.push_str("))");
    let start = std::time::Instant::now();
    let late = Property::parse_until(text.as_bytes(), "p.vnnlib", Some(start)).unwrap_err();
    assert!(matches!(late, VnnlibError::Late { .. }) && late.to_string().contains("allow more time"), "{late}");
    let later = Some(start + std::time::Duration::from_secs(3600));
    assert_eq!(
        Property::parse_until(text.as_bytes(), "p.vnnlib", later).unwrap().cases[0].unsafe_outputs.len(),
        100_000
    );
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("(and ", ")"), ("(or ", ")"), ("(not ", ")"), ("(=> true ", ")")] {
        let text = format!("{HEAD}(assert {}(<= X_0 1){})", open.repeat(1_000_000), close.repeat(1_000_000));
        assert!(error(&text).contains("nested more than 200 deep"));
    }
    let text = format!("{HEAD}(assert (<= {}X_0{} 1))", "(- ".repeat(1_000_000), ")".repeat(1_000_000));
    assert!(error(&text).contains("nested more than 200 deep"));
    let text = format!("{HEAD}(set-info {}", "(".repeat(1_000_000));
    assert!(error(&text).contains("does not end"));
}

#[test]
fn instance_lists() {
    let list =
        Instance::parse_list(b"a/b.onnx , p.vnnlib, 116\n\n\"with, comma.onnx\",q.vnnlib,0.5\r\n", "i.csv").unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!((list[0].network.as_str(), list[0].property.as_str(), list[0].timeout), ("a/b.onnx", "p.vnnlib", 116.0));
    assert_eq!((list[1].network.as_str(), list[1].timeout), ("with, comma.onnx", 0.5));
    assert!(Instance::parse_list(b"", "i.csv").unwrap().is_empty());
    assert!(Instance::parse_list(b"  \n\t\n", "i.csv").unwrap().is_empty());
    let cases: [(&[u8], &str); 9] = [
        (b"a.onnx,p.vnnlib,1\n,,\n", "line 2, column 1: names no network"),
        (
            b"a.onnx,p.vnnlib,1\n\"b.onnx,p.vnnlib,1\n\"b.onnx,p.vnnlib,1\n",
            "line 2, column 1: has a field with a line break",
        ),
        (b"a.onnx,p.vnnlib,1\nb.onnx,p.vnnlib\n", "i.csv, line 2, column 1: has 2 fields"),
        (b"a.onnx,p.vnnlib,1,2\n", "line 1, column 1: has 4 fields"),
        (b"a.onnx,p.vnnlib,fast\n", "`fast` is no number"),
        (b"a.onnx,p.vnnlib,-1\n", "`-1` is no number"),
        (b"a.onnx,p.vnnlib,inf\n", "`inf` is no number"),
        (b",p.vnnlib,1\n", "names no network"),
        (b"a.onnx,\xff,1\n", "UTF-8"),
    ];
    for (text, part) in cases {
        let message = Instance::parse_list(text, "i.csv").unwrap_err().to_string();
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    let missing = Instance::read_list(std::path::Path::new("/nowhere/i.csv")).unwrap_err();
    assert!(matches!(missing, VnnlibError::File { .. }), "{missing}");
}

/// Pieces that make texts close to properties.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "(",
        ")",
        "(assert ",
        "(and ",
        "(or ",
        "(<= ",
        "(>= ",
        "(= ",
        "(not ",
        "(=> ",
        "(!= ",
        "true",
        "(* ",
        "(- ",
        "X_0",
        "X_1",
        "Y_0",
        "1.5",
        "-1e3",
        "1e400",
        "[",
        "]",
        ",",
        ";",
        "\n",
        "|",
        "\"",
        "(declare-const ",
        "Real",
        "(vnnlib-version <2.0>)",
        "(declare-network f ",
        "(declare-input X Real [2])",
        "(declare-input X int8 [2])",
        "(declare-hidden H Real [2] \"h\")",
        "(declare-output Y Real [1])",
        "X[1]",
        "é",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_text_panics(text in fragments(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Property::parse(text.as_bytes(), "p");
        let _ = Property::parse(format!("{HEAD}{BOX}{text}").as_bytes(), "p");
        let _ = Property::parse(&bytes, "p");
        let _ = Instance::parse_list(text.as_bytes(), "i");
        let _ = Instance::parse_list(&bytes, "i");
    }

    /// A property cut short or with one byte changed is refused or read, never a crash.
    #[test]
    fn no_damage_panics(cut in 0_usize..400, position in 0_usize..400, byte: u8) {
        let whole = format!("{HEAD}{BOX}(assert (or (and (<= Y_0 X_0) (>= (* 2 Y_0) 1e-3)) (<= (- Y_0) (+ 1 Y_0))))");
        let mut bytes = whole.into_bytes();
        let position = position % bytes.len();
        let _ = Property::parse(&bytes[..cut.min(bytes.len())], "p");
        bytes[position] = byte;
        let _ = Property::parse(&bytes, "p");
    }
}
