//! What is written must be neither what is read nor what is written elsewhere; asked before long work.

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};

use tightrope_network::{MODEL_FILE, NETWORK_FILE, output_target, remove_abandoned, temporary_path};
use tightrope_vnnlib::Verdict;

use crate::Error;

/// Files of a run's, sweep's or study's folder that commands read, or that cannot be made again.
const RUN_FILES: [&str; 11] = [
    MODEL_FILE,
    NETWORK_FILE,
    "config.toml",
    "checkpoint.safetensors",
    "metrics.jsonl",
    "manifest.json",
    "landscape/landscape.json",
    "journal.jsonl",
    "results.jsonl",
    "results.csv",
    "study.json",
];

/// Looks whether `outputs`, each with the option or argument that names it, can be written as they are asked for. Also
/// removes what processes that died left of earlier files of these names.
///
/// # Errors
/// If one of them cannot be written, is one of `inputs` or belongs to one (as the files of a run folder, or the
/// description beside a .safetensors file), stands twice, or would replace a record of long work: the log of a certification,
/// the results of a list, the journal of a sweep.
pub fn check_outputs(outputs: &[(&str, &Path)], inputs: &[&Path]) -> Result<(), Error> {
    for (option, output) in outputs {
        if let Some(what) = record(output) {
            let name = format!("{option} {}", output.display());
            return Err(Error::Output {
                name,
                problem: format!("holds {what}; name another file, or remove it first"),
            });
        }
    }
    check_records(outputs, inputs)
}

/// The same for the records themselves, which the commands that write them take care of.
///
/// # Errors
/// As [`check_outputs`] otherwise.
pub fn check_records(outputs: &[(&str, &Path)], inputs: &[&Path]) -> Result<(), Error> {
    for (i, (option, output)) in outputs.iter().enumerate() {
        let refused = |problem: &dyn Display| Error::Output {
            name: format!("{option} {}", output.display()),
            problem: problem.to_string(),
        };
        let target = output_target(output).map_err(|problem| refused(&problem))?;
        let place = place(output);
        if let Some((other, _)) = outputs[..i].iter().find(|(_, earlier)| self::place(earlier) == place) {
            return Err(refused(&format_args!("{other} writes the same file; name another")));
        }
        for input in inputs {
            if files_of(input).iter().any(|file| self::place(file) == place) {
                let part = if self::place(input) == place { "is the input itself" } else { "belongs to the input" };
                return Err(refused(&format_args!("{part} ({}); name another file", input.display())));
            }
        }
        probe(&target)
            .map_err(|problem| refused(&format_args!("cannot be written; choose another path: {problem}")))?;
        remove_abandoned(output);
    }
    Ok(())
}

/// Which record of long work a file is, by its beginning.
fn record(path: &Path) -> Option<&'static str> {
    // Reading from a pipe would wait for what is yet to be written.
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(RECORD_BEGINS_WITHIN).read_to_end(&mut start).ok()?;
    let first = String::from_utf8_lossy(start.split(|&byte| byte == b'\n').next()?);
    if first.starts_with("{\"certify_log\":") {
        return Some("the log of a certification");
    }
    if first.starts_with("{\"sweep_journal\":") {
        return Some("the journal of a sweep");
    }
    // benchmark, network, property, seconds, verdict, seconds
    let fields: Vec<&str> = first.split(',').collect();
    let listed = fields.len() >= 6 && Verdict::from_result(fields[fields.len() - 2]).is_some();
    listed.then_some("the results of a list")
}

/// Bytes of a file by which [`record`] knows it.
const RECORD_BEGINS_WITHIN: u64 = 4096;

/// Makes the file that `target` will be written as, and takes it away again.
fn probe(target: &Path) -> std::io::Result<()> {
    let temporary = temporary_path(target);
    std::fs::File::create(&temporary)?;
    std::fs::remove_file(&temporary)
}

/// Looks whether `inputs` outlive the replacement of the run in `folder`.
///
/// # Errors
/// If one of them is the folder or lies in it.
pub fn check_outside(folder: &Path, inputs: &[&Path]) -> Result<(), Error> {
    let folder_place = place(folder);
    for input in inputs.iter().filter(|input| input.exists()) {
        if place(input).starts_with(&folder_place) {
            let problem = format!(
                "lies in the folder {}, whose files --overwrite removes; copy it elsewhere first, or choose another --out",
                folder.display()
            );
            return Err(Error::Output { name: input.display().to_string(), problem });
        }
    }
    Ok(())
}

/// One spelling of a path, whether or not its file exists.
fn place(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().or_else(|_| std::path::absolute(folder)).unwrap_or_else(|_| folder.into());
    path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
}

/// The files that are read as `input`.
fn files_of(input: &Path) -> Vec<PathBuf> {
    if input.is_dir() {
        let mut files: Vec<PathBuf> = RUN_FILES.iter().map(|name| input.join(name)).collect();
        // Journals of parts of a sweep have names of their own.
        let names = std::fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let journals = names.filter(|name| name.starts_with("journal-") && name.ends_with(".jsonl"));
        files.extend(journals.map(|name| input.join(name)));
        return files;
    }
    let mut files = vec![input.to_path_buf()];
    if input.extension().is_some_and(|extension| extension == "safetensors") {
        let beside = [input.with_extension("json"), input.with_extension("toml"), input.with_file_name(NETWORK_FILE)];
        files.extend(beside.into_iter().find(|file| file.is_file()));
    }
    files
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_outputs, check_outside, check_records};

    #[test]
    fn inputs_and_other_outputs_are_refused_in_every_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("run")).unwrap();
        for name in ["x.safetensors", "x.json", "run/model.safetensors"] {
            std::fs::write(path(name), b"").unwrap();
        }
        let inputs = [path("x.safetensors"), path("run")];
        let inputs: Vec<&Path> = inputs.iter().map(|path| &**path).collect();
        let refused = |outputs: &[&str], part: &str| {
            let outputs: Vec<_> = outputs.iter().map(|name| path(name)).collect();
            let outputs: Vec<(&str, &Path)> = outputs.iter().map(|path| ("-o", &**path)).collect();
            let message = check_outputs(&outputs, &inputs).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("name another"), "{message}");
        };
        refused(&["x.safetensors"], "is the input itself");
        refused(&["run/../x.safetensors"], "is the input itself");
        refused(&["x.json"], "belongs to the input");
        refused(&["run/model.safetensors"], "belongs to the input");
        refused(&["run/metrics.jsonl"], "belongs to the input");
        refused(&["new", "run/../new"], "-o writes the same file");
        refused(&["new", "other", "run/../new"], "-o writes the same file");
        for (record, what) in [
            (r#"{"certify_log":1,"settings":{}}"#, "the log of a certification"),
            (r#"{"sweep_journal":1}"#, "the journal of a sweep"),
            ("acasxu,\"net,1.onnx\",prop.vnnlib,0.010,unsat,1.234", "the results of a list"),
        ] {
            std::fs::write(path("record"), format!("{record}\n")).unwrap();
            refused(&["record"], what);
            check_records(&[("--out", &path("record"))], &inputs).unwrap();
        }
        std::fs::write(path("record"), "unsat\n").unwrap();
        check_outputs(&[("-o", &path("record"))], &inputs).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("x.safetensors"), path("link")).unwrap();
            refused(&["link"], "is the input itself");
        }
        check_outputs(&[("-o", &path("new")), ("-p", &path("run/model.onnx"))], &inputs).unwrap();
        assert!(check_outside(&path("run"), &[&path("run/model.safetensors")]).is_err());
        assert!(check_outside(&path("run"), &[&path("run/gone"), &path("x.json")]).is_ok());
    }
}
