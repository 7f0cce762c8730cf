//! What a command writes must be neither what it reads nor what it writes elsewhere; asked before long work.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tightrope_network::{MODEL_FILE, NETWORK_FILE, output_target, remove_abandoned, temporary_path};

/// Files of a run folder that commands read, or that cannot be made again.
const RUN_FILES: [&str; 6] =
    [MODEL_FILE, NETWORK_FILE, "config.toml", "checkpoint.safetensors", "metrics.jsonl", "manifest.json"];

/// Fails if one of `outputs`, each with the option that names it, cannot be written, is one of `inputs` or belongs to
/// one (as the files of a run folder, or the description beside a .safetensors file), or stands twice.
///
/// Also removes what processes that died left of earlier files of these names.
pub fn check(outputs: &[(&str, &Path)], inputs: &[&Path]) -> anyhow::Result<()> {
    for (i, (option, output)) in outputs.iter().enumerate() {
        let named = || format!("{option} {}", output.display());
        let target = output_target(output).with_context(named)?;
        let place = place(output);
        if let Some((other, _)) = outputs[..i].iter().find(|(_, earlier)| self::place(earlier) == place) {
            bail!("{}: {other} writes the same file; name another", named());
        }
        for input in inputs {
            if files_of(input).iter().any(|file| self::place(file) == place) {
                let part = if self::place(input) == place { "is the input itself" } else { "belongs to the input" };
                bail!("{}: {part} ({}); name another file", named(), input.display());
            }
        }
        probe(&target).with_context(|| format!("{}: cannot be written; choose another path", named()))?;
        remove_abandoned(output);
    }
    Ok(())
}

/// Makes the file that `target` will be written as, and takes it away again.
fn probe(target: &Path) -> std::io::Result<()> {
    let temporary = temporary_path(target);
    std::fs::File::create(&temporary)?;
    std::fs::remove_file(&temporary)
}

/// Fails if one of `inputs` is `folder` or lies in it, whose run is about to be replaced.
pub fn outside(folder: &Path, inputs: &[&Path]) -> anyhow::Result<()> {
    let folder_place = place(folder);
    for input in inputs.iter().filter(|input| input.exists()) {
        if place(input).starts_with(&folder_place) {
            bail!(
                "{}: lies in the folder {}, whose files --overwrite removes; copy it elsewhere first, or choose another --out",
                input.display(),
                folder.display()
            );
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
        return RUN_FILES.iter().map(|name| input.join(name)).collect();
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

    use super::{check, outside};

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
            let message = format!("{:#}", check(&outputs, &inputs).unwrap_err());
            assert!(message.contains(part) && message.contains("name another"), "{message}");
        };
        refused(&["x.safetensors"], "is the input itself");
        refused(&["run/../x.safetensors"], "is the input itself");
        refused(&["x.json"], "belongs to the input");
        refused(&["run/model.safetensors"], "belongs to the input");
        refused(&["run/metrics.jsonl"], "belongs to the input");
        refused(&["new", "run/../new"], "-o writes the same file");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("x.safetensors"), path("link")).unwrap();
            refused(&["link"], "is the input itself");
        }
        check(&[("-o", &path("new")), ("-p", &path("run/model.onnx"))], &inputs).unwrap();
        assert!(outside(&path("run"), &[&path("run/model.safetensors")]).is_err());
        assert!(outside(&path("run"), &[&path("run/gone"), &path("x.json")]).is_ok());
    }
}
