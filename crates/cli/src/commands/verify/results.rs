//! The results file of a list in VNN-COMP's columns, append-only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use tightrope_network::{bytes_text, output_target, temporary_path, write_atomically};
use tightrope_vnnlib::{Instance, Verdict};

use crate::values::counted;

/// One line.
pub struct Row {
    /// The benchmark: the name of the list's folder.
    pub category: String,
    /// As the list writes it.
    pub network: String,
    /// As the list writes it.
    pub property: String,
    /// Seconds to read the files.
    pub preparation: f64,
    /// The verdict; written as the competition words it.
    pub verdict: Verdict,
    /// Seconds after that.
    pub seconds: f64,
}

/// The file, open for more lines.
pub struct ResultsFile {
    file: File,
    /// The one that was rewritten, held until the end: whoever opened it before finds it locked.
    _replaced: Option<File>,
    path: PathBuf,
    /// The rows it held when opened.
    pub done: Vec<Row>,
}

impl ResultsFile {
    /// Opens the file; with `resume`, keeps its whole lines, which must be those of the first `instances` of `category`.
    pub fn open(path: &Path, resume: bool, category: &str, instances: &[Instance]) -> anyhow::Result<Self> {
        let place = || format!("--results-file {}", path.display());
        let path = output_target(path).with_context(place)?;
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).with_context(place)?;
        lock(&file).with_context(place)?;
        let text = std::fs::read(&path).with_context(place)?;
        if !text.is_empty() && !resume {
            bail!("{}: exists already; continue it with --resume, or name another file", place());
        }
        // A line that a kill cut short has no line break.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let done = rows(&text[..whole], instances).with_context(place)?;
        check_torn(&text[whole..], category, instances.get(done.len()))
            .with_context(|| format!("{}: row {} is no result; name another file", place(), done.len() + 1))?;
        file.set_len(whole as u64).with_context(place)?;
        Ok(ResultsFile { file, _replaced: None, path, done })
    }

    /// Adds a line, which is on disk when this returns.
    pub fn append(&mut self, row: &Row) -> anyhow::Result<()> {
        let line = lines(std::slice::from_ref(row))?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        let size = || bytes_text(line.len());
        written.with_context(|| {
            format!("cannot write {} to {}; free some space and --resume", size(), self.path.display())
        })
    }

    /// Replaces all lines, all or none of them.
    pub fn rewrite(&mut self, rows: &[Row]) -> anyhow::Result<()> {
        let lines = lines(rows)?;
        let place = || format!("cannot write {} to {}", bytes_text(lines.len()), self.path.display());
        let target = output_target(&self.path).with_context(place)?;
        let temporary = temporary_path(&target);
        // Locked before it has its name: at no moment can another process take it.
        let write = || -> anyhow::Result<File> {
            let mut file = OpenOptions::new().append(true).create_new(true).open(&temporary)?;
            lock(&file)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &target)?;
            Ok(file)
        };
        let file = write().inspect_err(|_| drop(std::fs::remove_file(&temporary))).with_context(place)?;
        self._replaced = Some(std::mem::replace(&mut self.file, file));
        Ok(())
    }
}

/// Writes the results of a whole list from those of its parts, given in order, as `--shard` divides it; the number of rows.
pub fn merge_results(parts: &[PathBuf], output: &Path) -> anyhow::Result<usize> {
    let mut all: Vec<Vec<Row>> = Vec::new();
    for part in parts {
        let place = || part.display().to_string();
        let text = std::fs::read(part).with_context(place)?;
        ensure!(
            text.is_empty() || text.ends_with(b"\n"),
            "{}: is not finished, its last row is torn; go on with --resume",
            place()
        );
        let mut rows = Vec::new();
        for (i, row) in parsed(&text).enumerate() {
            rows.push(row.with_context(|| format!("{}: row {} is no result of a list", place(), i + 1))?);
        }
        all.push(rows);
    }
    // Part i has rows i, i + n, i + 2n, …: each as many as the first, or, from some part on, one less.
    let longest = all.first().map_or(0, Vec::len);
    ensure!(longest > 0, "{}: holds no results; give all parts in their order", parts[0].display());
    let mut shorter = false;
    for (rows, part) in all.iter().zip(parts) {
        shorter |= rows.len() + 1 == longest;
        ensure!(
            rows.len() + usize::from(shorter) == longest,
            "{}: has {} where {} has {longest}; give all parts in their order, each finished (--resume goes on with one)",
            part.display(),
            counted(rows.len(), "row", "rows"),
            parts[0].display()
        );
    }
    let mut columns: Vec<_> = all.into_iter().map(Vec::into_iter).collect();
    let mut rows: Vec<Row> = Vec::new();
    while let Some(row) = {
        let place = rows.len() % columns.len();
        columns[place].next()
    } {
        rows.push(row);
    }
    write_atomically(output, &lines(&rows)?).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(rows.len())
}

/// Holds the file until it is closed, so that no two processes write to it.
fn lock(file: &File) -> anyhow::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("another process writes to this file; wait for it, stop it, or name another file")
        }
        // Some network file systems have no locks; there the user must take care.
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => Err(error.into()),
        _ => Ok(()),
    }
}

/// Rows as the file holds them.
fn lines(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for row in rows {
        let seconds = [row.preparation, row.seconds].map(|seconds| format!("{seconds:.3}"));
        writer.write_record([
            &row.category,
            &row.network,
            &row.property,
            &seconds[0],
            row.verdict.result(),
            &seconds[1],
        ])?;
    }
    Ok(writer.into_inner()?)
}

/// The rows of a results file.
fn rows(text: &[u8], instances: &[Instance]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (i, row) in parsed(text).enumerate() {
        let row = row.with_context(|| format!("row {} is no result; name another file", i + 1))?;
        let same = instances.get(i).is_some_and(|o| (&o.network, &o.property) == (&row.network, &row.property));
        ensure!(same, "row {} belongs to another list; name another file", i + 1);
        rows.push(row);
    }
    Ok(rows)
}

/// Every row; none for what is no result.
fn parsed(text: &[u8]) -> impl Iterator<Item = Option<Row>> + '_ {
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    reader.into_records().map(|record| record.ok().and_then(|record| parse(&record)))
}

/// Fails if what stands behind the last line break is not what a kill leaves of the row of `next`: it belongs to somebody,
/// and is not to be cut off.
fn check_torn(text: &[u8], category: &str, next: Option<&Instance>) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let next = next.context("it stands behind the results of the whole list")?;
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record([category, &next.network, &next.property, ""])?;
    let mut begin = writer.into_inner()?;
    begin.pop();
    ensure!(begin.starts_with(text) || text.starts_with(&begin), "it is not the beginning of the list's next row");
    Ok(())
}

fn parse(record: &csv::StringRecord) -> Option<Row> {
    let [category, network, property, preparation, result, seconds] = record.iter().collect::<Vec<_>>()[..] else {
        return None;
    };
    Some(Row {
        category: category.into(),
        network: network.into(),
        property: property.into(),
        preparation: preparation.parse().ok()?,
        verdict: Verdict::from_result(result)?,
        seconds: seconds.parse().ok()?,
    })
}
