//! A list of instances, each with its own time limit; the results file survives a kill.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use serde_json::json;
use tightrope_vnnlib::{Instance, Verdict};

use super::results::{ResultsFile, Row};
use super::{Job, Options};
use crate::context::{Context, complain};
use crate::interruption::Interruption;
use crate::progress::Bar;
use crate::values::counted;
use crate::{shell, table};

/// Verifies every instance of the list.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<ExitCode> {
    ensure!(options.witness.is_none(), "--witness is for one property; a list has many: verify that one by itself");
    ensure!(
        options.certificate.is_none(),
        "--certificate is for one property; a list has many: verify that one by itself"
    );
    ensure!(
        !options.resume || options.results_file.is_some(),
        "--resume continues a results file; name it with --results-file FILE"
    );
    let interruption = Interruption::watch()?;
    let list = &options.model;
    let instances = Instance::read_list(list)?;
    ensure!(!instances.is_empty(), "{}: holds no instances; write lines network,property,seconds", list.display());
    let instances: Vec<Instance> = match options.shard {
        Some(shard) => (0..).zip(instances).filter(|(place, _)| shard.has(*place)).map(|(_, own)| own).collect(),
        None => instances,
    };
    let folder = list.parent().unwrap_or(Path::new(""));
    let category =
        list.canonicalize()?.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let category = category.unwrap_or_default();
    let mut file = match &options.results_file {
        Some(path) => {
            let named = instances.iter().flat_map(|instance| [&instance.network, &instance.property]);
            let read: Vec<PathBuf> = std::iter::once(list.clone()).chain(named.map(|name| folder.join(name))).collect();
            tightrope::check_records(
                &[("--results-file", path)],
                &read.iter().map(|path| &**path).collect::<Vec<_>>(),
            )?;
            Some(ResultsFile::open(path, options.resume, &category, &instances)?)
        }
        None => None,
    };
    let mut rows = file.as_mut().map(|file| std::mem::take(&mut file.done)).unwrap_or_default();
    if !rows.is_empty() {
        let again = rows.iter().filter(|row| options.retry.is_some_and(|retry| retry.takes(row.verdict))).count();
        let again = if again > 0 { format!(", {again} to be tried again") } else { String::new() };
        context.note(&format!("{} of {} instances are done already{again}", rows.len(), instances.len()));
    }
    let bar = Bar::new(context, "verify", instances.len());
    bar.place(rows.len() as u64);
    let done = Arc::new(AtomicUsize::new(rows.len()));
    let advice = {
        let (all, done, results) = (instances.len(), Arc::clone(&done), options.results_file.clone());
        move || {
            let done = done.load(Ordering::Relaxed);
            match &results {
                Some(path) => {
                    let again = shell::this_command(&[], &["--resume"]);
                    format!("{done} of {all} instances are in {}; go on with: {again}", path.display())
                }
                None => format!("{done} of {all} instances were decided; what is to go on needs --results-file FILE"),
            }
        }
    };
    interruption.end_soon(advice.clone());
    let verify = |instance: &Instance| -> anyhow::Result<Row> {
        let own = Duration::from_secs_f64(instance.timeout.min(1e9));
        let timeout = options.timeout.map_or(own, |limit| limit.min(own));
        let job = Job::new(options, context, timeout, false)?;
        let start = Instant::now();
        let (network, property) = (folder.join(&instance.network), folder.join(&instance.property));
        // One bad instance must not take the others with it.
        let answer = catch_unwind(AssertUnwindSafe(|| job.verify(&network, &property)))
            .unwrap_or_else(|_| Err(anyhow!("{}: internal error", network.display())));
        let (verdict, preparation, seconds) = match &answer {
            Ok(answer) => (answer.found.verdict, answer.preparation, answer.seconds),
            Err(error) => {
                complain(&format!("error: {error:#}"));
                (Verdict::Error, 0.0, start.elapsed().as_secs_f64())
            }
        };
        let row = Row {
            category: category.clone(),
            network: instance.network.clone(),
            property: instance.property.clone(),
            preparation,
            verdict,
            seconds,
        };
        if !context.bars {
            context.note(&format!("{} {} {verdict} {seconds:.2} s", row.network, row.property));
        }
        Ok(row)
    };
    if let (Some(retry), Some(file)) = (options.retry, &mut file) {
        for (place, instance) in instances.iter().enumerate().take(rows.len()) {
            if retry.takes(rows[place].verdict) {
                rows[place] = verify(instance)?;
                file.rewrite(&rows)?;
            }
            interruption.check(&advice)?;
        }
    }
    for instance in &instances[rows.len()..] {
        let row = verify(instance)?;
        if let Some(file) = &mut file {
            file.append(&row)?;
        }
        bar.advance(1);
        rows.push(row);
        done.store(rows.len(), Ordering::Relaxed);
        if rows.len() < instances.len() {
            interruption.check(&advice)?;
        }
    }
    bar.finish();
    report(options, context, &rows)?;
    let failed = rows.iter().any(|row| row.verdict == Verdict::Error);
    Ok(if failed { ExitCode::from(crate::FAILURE) } else { ExitCode::SUCCESS })
}

fn report(options: &Options, context: &Context, rows: &[Row]) -> anyhow::Result<()> {
    let count = |verdict: Verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let counts: BTreeMap<&str, usize> = Verdict::ALL.iter().map(|&verdict| (verdict.name(), count(verdict))).collect();
    let document = json!({
        "instances": rows.iter().map(|row| json!({
            "network": row.network,
            "property": row.property,
            "verdict": row.verdict.name(),
            "preparation_seconds": row.preparation,
            "seconds": row.seconds,
        })).collect::<Vec<_>>(),
        "counts": counts,
        "results_file": options.results_file.as_ref().map(|path| path.display().to_string()),
        "seconds": rows.iter().map(|row| row.seconds).sum::<f64>(),
    });
    let line = |row: &Row| {
        vec![row.network.clone(), row.property.clone(), row.verdict.name().to_string(), format!("{:.2} s", row.seconds)]
    };
    let mut text = table::render(&rows.iter().map(line).collect::<Vec<_>>());
    let tally =
        Verdict::ALL.iter().map(|&verdict| format!("{} {verdict}", count(verdict))).collect::<Vec<_>>().join(", ");
    text.push_str(&format!("\n{}: {tally}\n", counted(rows.len(), "instance", "instances")));
    context.print(&document, &text)
}
