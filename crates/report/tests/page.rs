//! The page as a document: its sections, and what hostile or damaged files make of it.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;
use tightrope_report::{Report, Sample, Samples, read_runs};

const SECTIONS: [&str; 8] = ["overview", "curves", "stages", "pareto", "samples", "details", "configuration", "origin"];

fn write(folder: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

fn report(folder: &Path) -> Report {
    Report { runs: read_runs(&[folder.into()]).unwrap(), ..Report::default() }
}

/// Parses the page as XML, which fails for anything that is not closed, quoted or escaped.
fn parsed(html: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(html, options).unwrap_or_else(|problem| panic!("{problem}: {html}"))
}

fn with_id<'a>(page: &'a Document<'a>, id: &str) -> Node<'a, 'a> {
    let mut found = page.descendants().filter(|node| node.attribute("id") == Some(id));
    let node = found.next().unwrap_or_else(|| panic!("no element {id}"));
    assert!(found.next().is_none(), "two elements {id}");
    node
}

fn text(node: Node) -> String {
    node.descendants().filter_map(|node| if node.is_text() { node.text() } else { None }).collect()
}

fn elements<'a>(node: Node<'a, 'a>, name: &str) -> Vec<Node<'a, 'a>> {
    node.descendants().filter(|node| node.has_tag_name(name) || node.tag_name().name() == name).collect()
}

/// The cells of a table, row by row.
fn cells<'a>(table: Node<'a, 'a>) -> Vec<Vec<String>> {
    let rows = elements(elements(table, "tbody")[0], "tr");
    rows.iter().map(|row| row.children().filter(Node::is_element).map(text).collect()).collect()
}

/// The data in the page.
fn data(page: &Document) -> Value {
    serde_json::from_str(&text(with_id(page, "report-data"))).unwrap()
}

/// What must hold for every page, whatever it was made from.
fn check(page: &Document) {
    for id in SECTIONS {
        let section = with_id(page, id);
        assert!(elements(section, "h2").len() == 1, "{id}");
    }
    for svg in elements(page.root(), "svg") {
        let children: Vec<&str> = svg.children().filter(Node::is_element).map(|node| node.tag_name().name()).collect();
        assert_eq!(children[..2], ["title", "desc"]);
        let named: Vec<&str> = svg.attribute("aria-labelledby").unwrap().split(' ').collect();
        named.iter().for_each(|id| assert!(!text(with_id(page, id)).trim().is_empty(), "{id}"));
        for shape in svg.descendants().filter(Node::is_element) {
            for attribute in shape.attributes() {
                let value = attribute.value();
                assert!(attribute.name() == "id" || !(value.contains("NaN") || value.contains("inf")), "{shape:?}");
            }
        }
    }
    for table in elements(page.root(), "table") {
        assert_eq!(elements(table, "caption").len(), 1);
        let columns = elements(table, "thead").iter().flat_map(|head| elements(*head, "th")).count();
        for row in elements(table, "tbody").iter().flat_map(|body| elements(*body, "tr")) {
            let cells: Vec<Node> = row.children().filter(Node::is_element).collect();
            assert_eq!(cells.len(), columns, "{}", text(row));
            assert_eq!(cells[0].attribute("scope"), Some("row"));
        }
    }
    // Nothing is fetched from anywhere; the only scripts are ours and the data.
    for node in page.descendants().filter(Node::is_element) {
        for name in ["src", "href"] {
            let address = node.attribute(name).unwrap_or("#");
            assert!(address.starts_with('#') || address.starts_with("data:image/png;base64,"), "{address}");
        }
        assert!(!node.attributes().any(|attribute| attribute.name().starts_with("on")), "{node:?}");
    }
    let scripts = elements(page.root(), "script");
    assert_eq!(scripts.len(), 2);
    assert_eq!(text(scripts[1]).trim(), include_str!("../src/page/script.js").trim());
    assert!(!text(elements(page.root(), "style")[0]).contains("url("));
}

const CONFIG: &str = "dataset = \"digits\"\neps = 0.1\nmodel = \"cnn3\"\nnorm = \"inf\"\n[method]\nname = \"ibp\"\n\
                      [train]\nlr = 2e-3\n[smoothing]\nkind = \"grad\"\n";
const METRICS: &str = r#"{"epoch":1,"step":2,"time":1.0,"loss":2.0,"train_natural_accuracy":0.5,"train_certified_accuracy":0.25,"lr":0.002,"eps":0.05,"sigma":0.0,"robust_weight":1.0,"images_per_second":10.0,"seconds":3.0,"test":{"samples":100,"eps":0.1,"relaxation":"ibp","natural_accuracy":0.8,"certified_accuracy":0.5,"natural_loss":1.0,"certified_loss":2.0,"seconds":0.1}}
{"epoch":2,"step":4,"time":2.0,"loss":1.0,"train_natural_accuracy":0.6,"train_certified_accuracy":0.5,"lr":0.0004,"eps":0.1,"sigma":0.0,"robust_weight":1.0,"images_per_second":10.0,"seconds":4.0,"test":{"samples":100,"eps":0.1,"relaxation":"ibp","natural_accuracy":0.9,"certified_accuracy":0.6,"natural_loss":1.0,"certified_loss":2.0,"seconds":0.1}}
"#;
const CERTIFY: &str = r#"{"certify_log":1,"settings":{"clip":[0.0,1.0],"data":"ef56","dataset":"digits","engine":"fused","eps":0.1,"model":"cd34","norm":"inf","split":"test","stages":"pgd,ibp","timeout":5.0}}
{"index":0,"label":3,"prediction":7,"natural_correct":false,"verdict":"falsified","stage":"natural","margin_lower":null,"margin_attack":null,"seconds":0.0,"stage_seconds":{}}
{"index":1,"label":4,"prediction":4,"natural_correct":true,"verdict":"verified","stage":"ibp","margin_lower":0.75,"margin_attack":2.0,"seconds":0.5,"stage_seconds":{"pgd":0.375,"ibp":0.125}}
{"index":2,"label":5,"prediction":5,"natural_correct":true,"verdict":"unknown","stage":null,"margin_lower":-0.5,"margin_attack":0.25,"seconds":1.5,"stage_seconds":{"pgd":1.0,"ibp":0.5}}
{"index":3,"label":6,"prediction":6,"natural_correct":true,"verdict":"falsified","stage":"pgd","margin_lower":null,"margin_attack":-0.125,"seconds":0.25,"stage_seconds":{"pgd":0.25}}
"#;
const MANIFEST: &str = r#"{"program":"tightrope","version":"0.1.0","engine":"fused","seed":0,"machine":{"cpu":"X","cores":2},"data":[{"name":"digits","split":"test","samples":100,"sha256":"ef56"}],"sessions":[{"command":["tightrope","train"],"version":"0.1.0","first_step":0,"started":"2026-01-01T00:00:00Z","finished":null}]}"#;

#[test]
fn a_page_tells_everything_about_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let files =
        [("config.toml", CONFIG), ("metrics.jsonl", METRICS), ("certify.jsonl", CERTIFY), ("manifest.json", MANIFEST)];
    write(&folder.path().join("first"), &files);
    let other = CONFIG.replace("\"ibp\"", "\"deeppoly\"").replace("grad", "rgs");
    write(
        &folder.path().join("second"),
        &[("config.toml", &other), ("metrics.jsonl", METRICS), ("manifest.json", MANIFEST)],
    );
    let mut report = report(folder.path());
    let sample =
        |index, radius| Sample { index, shape: [1, 2, 2], pixels: vec![0.5; 4], label: 3, prediction: 4, radius };
    report.samples.push(Samples {
        run: 0,
        method: "ℓ∞ by crown".into(),
        samples: vec![sample(7, Some(0.125)), sample(8, None), sample(9, Some(0.031389))],
        remark: None,
    });
    assert_eq!(report.all_remarks(), [] as [String; 0]);
    let html = report.html();
    let page = parsed(&html);
    check(&page);
    let says = |id: &str, parts: &[&str]| {
        let text = text(with_id(&page, id));
        parts.iter().for_each(|part| assert!(text.contains(part), "{id}: `{part}` is missing in {text}"));
    };
    // Of four samples three are classified correctly, one is proved and two are broken: Wilson intervals.
    says(
        "overview",
        &["first", "second", "75.00 % [30.06, 95.44]", "25.00 % [4.56, 69.94]", "90.00 %", "60.00 %", "7.0 s"],
    );
    says("curves", &["of test samples", "Training loss", "Natural accuracy", "Learning rate", "Radius ε", "σ"]);
    says("stages", &["pgd", "ibp", "1.6 s", "625 ms", "not falsified after natural: 75.00 %"]);
    // The cascade's (75, 25) of the first run is dominated by (90, 60) of the second one's evaluation.
    says("pareto", &["digits, ℓ∞, ε = 0.1", "2 runs; hypervolume 5400.0 %²", "cascade", "training"]);
    says("details", &["1 undecided", "1 misclassified", "−0.5".replace('−', "-").as_str(), "0.25", "unknown"]);
    // A radius is claimed no larger than it is.
    says("samples", &["ε ≥ 0.125", "ε ≥ 0.03138", "predicted 4", "ℓ∞ by crown"]);
    assert_eq!(elements(with_id(&page, "samples"), "img").len(), 3);
    let differences = elements(with_id(&page, "configuration"), "table")[0];
    assert_eq!(differences.attribute("class"), Some("differs"));
    let rows: Vec<String> = elements(elements(differences, "tbody")[0], "tr").into_iter().map(text).collect();
    assert_eq!(rows, ["method.name\"ibp\"\"deeppoly\"", "smoothing.kind\"grad\"\"rgs\""]);
    says("origin", &["machine.cpu", "data.test.sha256", "ef56", "tightrope train", "not finished"]);

    let data = data(&page);
    assert_eq!(data["runs"][0]["epochs"][1]["test"]["certified_accuracy"], 0.6);
    assert_eq!(data["runs"][0]["certification"]["certified"]["count"], 1);
    assert_eq!(data["runs"][1]["certification"], Value::Null);
    assert_eq!(data["fronts"][0]["hypervolume"], 5400.0);
    assert_eq!(data["samples"][0]["samples"][0]["certified_radius"], 0.125);
    assert!(!html.contains("curve-snr") && !html.contains("curve-population"));
    // The same files give the same bytes.
    assert_eq!(html, report.html());
}

/// Figures of validation samples are called so, and have a front of their own.
#[test]
fn validation_samples_are_no_test_samples() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = METRICS.replace("\"test\":{", "\"test\":{\"split\":\"validation\",");
    write(&folder.path().join("first"), &[("config.toml", CONFIG), ("metrics.jsonl", METRICS)]);
    write(&folder.path().join("second"), &[("config.toml", CONFIG), ("metrics.jsonl", &metrics)]);
    let certify = CERTIFY.replace("\"split\":\"test\"", "\"split\":\"validation\"");
    write(&folder.path().join("third"), &[("config.toml", CONFIG), ("certify.jsonl", &certify)]);
    let html = report(folder.path()).html();
    let page = parsed(&html);
    check(&page);
    let curves = text(with_id(&page, "curves"));
    assert!(curves.contains("of test or validation samples") && curves.contains("second, validation"), "{curves}");
    let tables = elements(with_id(&page, "overview"), "table");
    let (training, cascade) = (cells(tables[0]), cells(tables[1]));
    assert_eq!(training.iter().map(|row| &row[9][..]).collect::<Vec<_>>(), ["test", "validation", "–"]);
    assert_eq!(cascade[0][..3], ["third", "validation", "4"]);
    let fronts = &data(&page)["fronts"];
    assert_eq!(fronts[0]["problem"], "digits, ℓ∞, ε = 0.1");
    assert_eq!(fronts[1]["problem"], "digits validation, ℓ∞, ε = 0.1");
    let outcomes = fronts[1]["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.iter().map(|outcome| outcome["run"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(text(with_id(&page, "pareto")).contains("1 run; hypervolume"));
}

/// A certification and a landscape of an earlier model are shown as such and stay out of the front.
#[test]
fn results_of_an_earlier_model_are_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    write(&run.join("landscape"), &[("landscape.json", "{\"model\":\"cd34\"}")]);
    let files =
        [("config.toml", CONFIG), ("metrics.jsonl", METRICS), ("certify.jsonl", CERTIFY), ("manifest.json", MANIFEST)];
    write(&run, &files);
    let page_of = |model: &str| {
        let mut report = report(folder.path());
        report.runs[0].compare_model(&[model.to_string()]);
        report.html()
    };
    let html = page_of("cd34");
    let page = parsed(&html);
    check(&page);
    assert!(!html.contains("of an earlier model"));
    assert_eq!(data(&page)["fronts"][0]["outcomes"][0]["cascade"], true);
    let html = page_of("ef56");
    let page = parsed(&html);
    check(&page);
    for id in ["overview", "stages", "landscapes", "details"] {
        let section = text(with_id(&page, id));
        assert!(section.contains("of an earlier model"), "{id}: {section}");
    }
    let document = data(&page);
    assert_eq!(document["runs"][0]["certification"]["earlier_model"], true);
    assert_eq!(document["runs"][0]["landscape"]["earlier_model"], true);
    // The run's own evaluation takes the certification's place.
    let outcome = &document["fronts"][0]["outcomes"][0];
    assert_eq!((&outcome["cascade"], &outcome["certified"]["count"]), (&false.into(), &60.into()));
    let remarks = document["remarks"].as_array().unwrap();
    assert!(remarks.len() == 2 && remarks[0].as_str().unwrap().starts_with("run, certify.jsonl: is of an earlier"));
}

/// What an estimator that looks at its own noise does is drawn, beside runs that have none.
#[test]
fn noise_and_members_are_drawn_where_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let adaptive = METRICS.replace("\"sigma\":0.0", "\"sigma\":0.01,\"population\":64,\"snr\":0.25");
    write(&folder.path().join("first"), &[("config.toml", CONFIG), ("metrics.jsonl", METRICS)]);
    write(&folder.path().join("second"), &[("config.toml", CONFIG), ("metrics.jsonl", &adaptive)]);
    let report = report(folder.path());
    let (html, epochs) = (report.html(), &report.runs[1].epochs);
    let page = parsed(&html);
    check(&page);
    let curves = text(with_id(&page, "curves"));
    for heading in ["Signal-to-noise ratio of the gradients", "Members of the smoothing"] {
        assert!(curves.contains(heading), "{curves}");
    }
    assert_eq!((epochs[0].population, epochs[0].snr), (Some(64.0), Some(0.25)));
}

/// docs/formats.md names the fields of the embedded data, and no others.
#[test]
fn the_embedded_data_are_documented() {
    let folder = tempfile::tempdir().unwrap();
    let files =
        [("config.toml", CONFIG), ("metrics.jsonl", METRICS), ("certify.jsonl", CERTIFY), ("manifest.json", MANIFEST)];
    write(&folder.path().join("run"), &files);
    let mut report = report(folder.path());
    let sample = Sample { index: 0, shape: [1, 1, 1], pixels: vec![0.5], label: 3, prediction: 3, radius: Some(0.1) };
    report.samples.push(Samples { samples: vec![sample], ..Samples::default() });
    let data = report.document();
    let mut found = std::collections::BTreeSet::new();
    let mut names = |prefix: &str, value: &Value| {
        found.extend(value.as_object().unwrap().keys().map(|key| format!("{prefix}{key}")));
    };
    names("", &data);
    for list in ["runs", "fronts", "samples"] {
        names(&format!("{list}."), &data[list][0]);
    }
    names("fronts.outcomes.", &data["fronts"][0]["outcomes"][0]);
    names("samples.samples.", &data["samples"][0]["samples"][0]);
    let certification = &data["runs"][0]["certification"];
    names("runs.certification.", certification);
    names("runs.certification.stages.", &certification["stages"][0]);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let document = std::fs::read_to_string(document).unwrap();
    let section = document.split("\n## ").find(|section| section.starts_with("Reports\n")).expect("a section Reports");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.map(String::from).collect::<std::collections::BTreeSet<_>>(), found);
}

#[test]
fn markup_in_files_and_names_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\\\" onload=\\\"x ]]> &amp; \\u0000";
    let name = "<script>alert(1)<'\"&\u{202e}";
    let plain = evil.replace("\\\"", "'").replace("\\u0000", "");
    let config = format!("model = '''{}'''\n\"{}\" = 1\n", plain.replace('\'', ""), plain.replace(['\\', '"'], ""));
    let metrics = METRICS.replace("\"relaxation\":\"ibp\"", &format!("\"relaxation\":\"{evil}\""));
    let certify = CERTIFY.replace("\"digits\"", &format!("\"{evil}\"")).replace("\"ibp\"", &format!("\"{evil}\""));
    let manifest = MANIFEST.replace("\"X\"", &format!("\"{evil}\"")).replace("\"train\"", &format!("\"{evil}\""));
    let files = [
        ("config.toml", &*config),
        ("metrics.jsonl", &*metrics),
        ("certify.jsonl", &*certify),
        ("manifest.json", &*manifest),
    ];
    write(&folder.path().join(name), &files);
    let mut report = report(folder.path());
    assert_eq!(report.all_remarks(), [] as [String; 0]);
    report.remarks.push(plain.clone());
    report.samples.push(Samples { run: 0, method: plain.clone(), remark: Some(plain), ..Samples::default() });
    let html = report.html();
    let page = parsed(&html);
    check(&page);
    assert!(elements(page.root(), "img").is_empty());
    assert!(!html.contains('\u{0}') && !text(with_id(&page, "overview")).contains('\u{202e}'));
    assert!(text(with_id(&page, "overview")).contains("<img src=x onerror=alert(1)>"));
    let expected: Value = serde_json::from_str(&format!("\"{evil}\"")).unwrap();
    assert_eq!(data(&page)["runs"][0]["certification"]["settings"]["dataset"], expected);
}

#[test]
fn damage_is_told_and_the_rest_shown() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = "{\"epoch\":1,\"loss\":null,\"lr\":-1e300,\"eps\":1e308,\"sigma\":1e-320,\"seconds\":-1,\
                   \"train_natural_accuracy\":1e-300,\"test\":{\"samples\":0,\"eps\":null,\"natural_accuracy\":1,\"certified_accuracy\":-0.0}}\n\
                   {\"epoch\":18446744073709551615,\"loss\":1e308,\"lr\":1e300,\"eps\":-1e308,\"sigma\":0}\n\
                   {\"epoch\":2,\"loss\":NaN}\n{\"loss\":1}\ntorn";
    let certify = CERTIFY.replace("\"seconds\":0.5", "\"seconds\":-1e300").replace("0.375", "\"much\"")
        + "garbage\n{\"index\":9}\n\u{1}";
    write(
        &folder.path().join("numbers"),
        &[("config.toml", "= 1"), ("metrics.jsonl", numbers), ("certify.jsonl", &certify), ("manifest.json", "{")],
    );
    write(
        &folder.path().join("empty"),
        &[("config.toml", ""), ("metrics.jsonl", ""), ("certify.jsonl", ""), ("manifest.json", "{}")],
    );
    write(&folder.path().join("headless"), &[("certify.jsonl", CERTIFY.split_once('\n').unwrap().1)]);
    std::fs::write(folder.path().join("empty/metrics.jsonl"), b"\xff\xfe\n\0\0\n").unwrap();
    let report = report(folder.path());
    let html = report.html();
    let page = parsed(&html);
    check(&page);
    let remarks = report.all_remarks();
    let box_text = text(page.descendants().find(|node| node.attribute("class") == Some("remarks")).unwrap());
    for part in [
        "numbers, config.toml: is no configuration",
        "numbers, metrics.jsonl: the last line is not complete",
        "numbers, metrics.jsonl: 2 damaged and left out: lines 3, 4",
        "numbers, certify.jsonl: 2 damaged and left out: lines 6, 7",
        "numbers, manifest.json: is no manifest",
        "empty, metrics.jsonl: 2 damaged and left out: lines 1, 2",
        "empty, certify.jsonl: the header is missing",
        "headless, config.toml: is not there",
        "headless, certify.jsonl: the header is missing",
    ] {
        assert!(remarks.iter().any(|remark| remark.starts_with(part)), "`{part}` is missing in {remarks:?}");
        assert!(box_text.contains(part), "{box_text}");
    }
    assert_eq!(data(&page)["runs"][2]["certification"]["natural"]["total"], 4);
}

#[test]
fn many_runs_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..30 {
        let metrics = METRICS.replace("0.9", &format!("0.{}", 50 + run));
        write(&folder.path().join(format!("run{run:02}")), &[("config.toml", CONFIG), ("metrics.jsonl", &metrics)]);
    }
    let html = report(folder.path()).html();
    let page = parsed(&html);
    check(&page);
    // Colour and dashes together tell runs apart.
    let mut looks = std::collections::BTreeSet::new();
    let legend = page.descendants().find(|node| node.attribute("class") == Some("legend")).unwrap();
    for entry in elements(legend, "li") {
        let line = elements(entry, "polyline")[0];
        looks.insert((entry.attribute("class"), line.attribute("stroke-dasharray")));
    }
    assert_eq!(looks.len(), 28);
    let style = text(elements(page.root(), "style")[0]);
    for (class, _) in looks {
        assert!(style.contains(&format!(".{} {{ color", class.unwrap())), "{class:?} has no colour");
    }
}

/// What no run writes is left out and told: shares beyond 1, classes that the data do not have, empty and endless files.
#[test]
fn what_no_run_writes_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = MANIFEST.replace("\"samples\":100", "\"classes\":[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\"]");
    let certify = CERTIFY.replace("\"label\":5,\"prediction\":5", "\"label\":77,\"prediction\":77");
    let metrics = METRICS.replace("\"natural_accuracy\":0.8", "\"natural_accuracy\":80.0");
    let files = [
        ("config.toml", CONFIG),
        ("metrics.jsonl", &metrics),
        ("certify.jsonl", &certify),
        ("manifest.json", &manifest),
    ];
    write(&folder.path().join("run"), &files);
    write(&folder.path().join("begun"), &[("config.toml", CONFIG), ("metrics.jsonl", ""), ("manifest.json", MANIFEST)]);
    #[cfg(unix)]
    {
        write(&folder.path().join("endless"), &[("config.toml", CONFIG), ("manifest.json", MANIFEST)]);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless/metrics.jsonl")).unwrap();
    }
    let report = report(folder.path());
    let told = report.all_remarks().join("\n");
    let mut parts =
        vec!["natural_accuracy is 80", "1 left out, whose label or prediction is none of the 8 classes", "is empty"];
    if cfg!(unix) {
        parts.push("no regular file");
    }
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    let run = report.runs.iter().find(|run| run.name == "run").unwrap();
    assert_eq!((run.epochs.len(), run.certification.as_ref().unwrap().records.len()), (1, 3));
    check(&parsed(&report.html()));
}
