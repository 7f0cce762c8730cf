//! The figures of cells and claims, as Markdown and LaTeX tell them.

use crate::results::{BlockResults, Results};
use crate::spread::{percent, probability, seconds};

/// A table: what stands above its columns, and its rows.
pub(crate) type Table = (Vec<String>, Vec<Vec<String>>);

/// In place of the samples of a claim whose cells were certified on other samples each.
pub(crate) const OTHER_SAMPLES: &str = "other data";

/// A row for each cell of the block; `between` stands between a mean and its deviation.
pub(crate) fn cells(block: &BlockResults, between: &str) -> Table {
    let stages = block.stages();
    let mut head: Vec<String> = ["cell", "seeds", "natural", "adversarial", "certified"].map(String::from).into();
    head.extend(stages.iter().map(|stage| format!("by {stage}")));
    head.extend(["undecided", "train s", "certify s"].map(String::from));
    let rows = block.cells.iter().map(|cell| {
        let mut row = vec![
            cell.name.clone(),
            format!("{}/{}", cell.trials.len(), cell.seeds),
            percent(cell.moments(|trial| Some(trial.natural)), between),
            percent(cell.moments(|trial| trial.adversarial), between),
            percent(cell.moments(|trial| Some(trial.certified)), between),
        ];
        row.extend(stages.iter().map(|name| {
            let share = cell.moments(|trial| {
                let found = trial.stages.iter().find(|(stage, _)| stage == name).map_or(0.0, |(_, share)| *share);
                (!trial.stages.is_empty()).then_some(found)
            });
            percent(share, between)
        }));
        row.push(cell.undecided().map_or_else(|| "–".into(), |(open, all)| format!("{open}/{all}")));
        row.push(seconds(cell.moments(|trial| trial.train_seconds), between));
        row.push(seconds(cell.moments(|trial| trial.certify_seconds), between));
        row
    });
    (head, rows.collect())
}

/// A row for each claim in each block that it is about.
pub(crate) fn claims(results: &Results, between: &str) -> Table {
    let head = ["claim", "block", "cells", "seeds", "difference", "p (seeds)", "samples", "p (samples)", "verdict"];
    let rows = results.verdicts.iter().map(|verdict| {
        let seeds = verdict.seeds.as_ref();
        let p = seeds.and_then(|seeds| {
            let above = seeds.moments.mean >= 0.0;
            if above { seeds.p_above } else { seeds.p_below() }
        });
        vec![
            verdict.claim.clone(),
            verdict.blocks(),
            verdict.cells(),
            seeds.map_or_else(|| "0".into(), |seeds| seeds.moments.count.to_string()),
            percent(seeds.map(|seeds| seeds.moments), between),
            probability(p),
            verdict
                .samples
                .map_or_else(|| OTHER_SAMPLES.into(), |samples| format!("{} : {}", samples.first, samples.second)),
            probability(seeds.and(verdict.samples).map(|samples| samples.p())),
            verdict.verdict.name().into(),
        ]
    });
    (head.map(String::from).into(), rows.collect())
}

#[cfg(test)]
mod tests {
    use tightrope_statistics::Moments;

    use super::cells;
    use crate::results::{BlockResults, CellResults, TrialResults};
    use crate::spread::percent;

    /// A cell of two seeds, of which the second is certified nowhere, and one of a seed that is certified nowhere.
    fn block() -> BlockResults {
        let trial = |seed, shares: [f64; 2], undecided| TrialResults {
            seed,
            samples: 10,
            natural: 0.5,
            adversarial: Some(0.5),
            certified: shares.iter().sum(),
            undecided,
            stages: vec![("pgd".into(), 0.0), ("ibp".into(), shares[0]), ("crown".into(), shares[1])],
            train_seconds: None,
            certify_seconds: Some(1.0),
            verified: Default::default(),
            data: None,
        };
        let cell = |name: &str, trials| CellResults {
            name: name.into(),
            row: 0,
            column: 0,
            settings: Default::default(),
            seeds: 2,
            trials,
            failures: Vec::new(),
            failed: Default::default(),
        };
        let gone = TrialResults { stages: Vec::new(), ..trial(1, [0.0, 0.0], None) };
        let study = crate::Study::load("rate", "smoke").unwrap();
        let trials = vec![trial(1, [0.4, 0.1], Some(0)), trial(2, [0.0, 0.0], Some(5))];
        BlockResults {
            name: "b".into(),
            title: "B".into(),
            column: "c".into(),
            columns: Vec::new(),
            row: "r".into(),
            rows: Vec::new(),
            certify: study.blocks[0].certify.clone(),
            cells: vec![
                cell("some", trials),
                cell("none", vec![trial(1, [0.0, 0.0], Some(3))]),
                cell("gone", vec![gone]),
            ],
            machines: Default::default(),
        }
    }

    #[test]
    fn seeds_that_certify_nothing_count_in_the_means_of_stages() {
        let (head, rows) = cells(&block(), " ± ");
        assert_eq!(head[4..8], ["certified", "by ibp", "by crown", "undecided"]);
        let mean = |shares: &[f64]| percent(Moments::of(shares), " ± ");
        assert_eq!(rows[0][4..8], [mean(&[0.5, 0.0]), mean(&[0.4, 0.0]), mean(&[0.1, 0.0]), "5/20".into()]);
        assert_eq!(rows[1][4..8], ["0.00", "0.00", "0.00", "3/10"]);
        assert_eq!(rows[2][4..8], ["0.00", "–", "–", "–"]);
    }
}
