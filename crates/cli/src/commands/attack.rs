//! `tightrope attack`: gradient attacks on a data set or a batch from a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::json;
use tightrope_attack::{Attack, AttackKind, AttackOutcome, AttackPlan, Samples, Target};
use tightrope_network::Network;
use tightrope_statistics::Proportion;
use tightrope_verify::Cascade;

use crate::context::Context;
use crate::dataset::SampleOptions;
use crate::engines::{EngineChoice, Precision};
use crate::origin::Origin;
use crate::progress::Bar;
use crate::table;
use crate::tensors::{TensorShape, TensorWriter};
use crate::values::{self, Perturbation, threat_text};

/// Settings of the attack, as `attack` and `certify` offer them.
#[derive(Clone, Debug, Args)]
pub struct AttackOptions {
    /// Gradient steps of each restart.
    #[arg(long, value_name = "N", default_value = "40", value_parser = values::count)]
    pub steps: usize,
    /// Random starts of the attack.
    #[arg(long, value_name = "N", default_value = "3", value_parser = values::count)]
    pub restarts: usize,
}

impl AttackOptions {
    /// The attack with these settings and `seed`.
    pub fn attack(&self, seed: u64) -> anyhow::Result<Attack> {
        anyhow::ensure!(self.restarts > 0, "--restarts 0: an attack needs at least one start");
        anyhow::ensure!(self.steps > 0, "--steps 0: an attack needs at least one gradient step");
        Ok(Attack { steps: self.steps, restarts: self.restarts, seed, ..Attack::default() })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope attack runs/mnist --limit 1000 -o adversarial.safetensors\n  \
        tightrope attack model.onnx --inputs x.safetensors --eps 8/255 --attack all --steps 100 --restarts 1")]
pub struct Options {
    /// Run folder, .onnx, or .safetensors with its description beside it.
    model: PathBuf,
    #[command(flatten)]
    samples: SampleOptions,
    #[command(flatten)]
    perturbation: Perturbation,
    /// What to attack with.
    #[arg(long = "attack", value_name = "KIND", default_value = "pgd", value_parser = choice())]
    kind: Choice,
    #[command(flatten)]
    attack: AttackOptions,
    /// Most target classes of a targeted attack, strongest rivals first; each gets all restarts.
    #[arg(long, value_name = "N", default_value = "9", value_parser = values::count)]
    targets: usize,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Write the worst inputs found: `x`, `y`, and `margin` [N].
    #[arg(short, long, value_name = "ADV.safetensors")]
    output: Option<PathBuf>,
}

/// What `--attack` names.
#[derive(Clone, Copy, Debug)]
enum Choice {
    One(AttackKind),
    All,
}

/// The name of [`Choice::All`].
const ALL: &str = "all";

/// Parses a [`Choice`] and lists what there is.
fn choice() -> impl TypedValueParser<Value = Choice> {
    let help = |kind| match kind {
        AttackKind::Pgd => "projected gradient descent on the margin",
        AttackKind::PgdTargeted => "the same to one target class after the other",
        AttackKind::ApgdCe => "Auto-PGD on the cross-entropy",
        AttackKind::ApgdDlr => "Auto-PGD on the difference of logits ratio",
        AttackKind::ApgdTargeted => "the same to one target class after the other",
    };
    let one = AttackKind::ALL.map(|kind| PossibleValue::new(kind.name()).help(help(kind)));
    let all = PossibleValue::new(ALL).help("pgd, then AutoAttack's white-box part: the three of Auto-PGD");
    PossibleValuesParser::new(one.into_iter().chain([all])).map(|name| name.parse().map_or(Choice::All, Choice::One))
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut origin = Origin::of(&options.model)?;
    if let Some(path) = &options.output {
        let inputs: Vec<&Path> =
            [Some(&*options.model), options.samples.inputs.as_deref()].into_iter().flatten().collect();
        tightrope::check_outputs(&[("-o", path)], &inputs)?;
    }
    let threat = origin.threat(&options.perturbation)?;
    anyhow::ensure!(options.targets > 0, "--targets 0: a targeted attack needs at least one class to aim at");
    let attack = options.attack.attack(context.seed.unwrap_or(0))?;
    let (engine, exact) = (f32::engine(options.engine)?, f64::engine(EngineChoice::Auto)?);
    let model = tightrope::load(&options.model)?;
    values::check_radius(&threat, &model.network)?;
    let samples = options.samples.load(&mut origin, &model.network, context)?;
    let (inputs, name) = (&samples.set, &samples.title);
    let kinds = match options.kind {
        Choice::One(kind) => vec![kind],
        Choice::All => AttackKind::sequence(model.network.output_len()),
    };
    let plan = AttackPlan { kinds, attack, targets: options.targets };
    let writer = options.output.as_ref().map(|path| Adversarial::create(path, inputs.len(), &model.network));
    let mut writer = writer.transpose()?;

    let target = Target::new(&model, &*engine, &*exact)?;
    let bar = Bar::new(context, "attack", inputs.len());
    let (mut correct, mut robust) = (0, 0);
    let mut broken_by = vec![0; plan.kinds.len()];
    for (part, labels) in inputs.labels.chunks(Cascade::BATCH).enumerate() {
        let first = part * Cascade::BATCH;
        let indices: Vec<u64> = (first as u64..(first + labels.len()) as u64).collect();
        let x = &*inputs.range(first..first + labels.len());
        let outcome = plan.run(&target, &threat, &Samples { indices: &indices, inputs: x, labels })?;
        correct += tightrope_train::cross_entropy(&target.logits(x)?, labels).correct;
        robust += outcome.broken.iter().filter(|&&broken| !broken).count();
        for (count, &kind) in broken_by.iter_mut().zip(&plan.kinds) {
            *count += outcome.broken_by.iter().filter(|&&by| by == Some(kind)).count();
        }
        if let Some(writer) = &mut writer {
            writer.write(first, labels, &outcome)?;
        }
        bar.advance(labels.len());
    }
    bar.finish();
    if let Some(writer) = writer {
        writer.0.finish()?;
    }
    let (natural, adversarial) = (Proportion::new(correct, inputs.len()), Proportion::new(robust, inputs.len()));
    let document = json!({
        "data": name,
        "samples": inputs.len(),
        "samples_in_split": samples.all,
        "perturbation": threat_text(&threat),
        "eps": tightrope::radius_value(&threat.epsilon),
        "norm": values::norm_name(threat.norm),
        "clip": threat.clip.map(|(low, high)| [low, high]),
        "from_run": origin.document(),
        "attacks": plan.kinds.iter().zip(&broken_by).map(|(kind, broken)| json!({
            "attack": kind.name(),
            "broken": broken,
        })).collect::<Vec<_>>(),
        "steps": attack.steps,
        "restarts": attack.restarts,
        "seed": attack.seed,
        "natural": natural,
        "adversarial": adversarial,
        "output": options.output.as_ref().map(|path| path.display().to_string()),
        "seconds": start.elapsed().as_secs_f64(),
    });
    let part = inputs.len() < samples.all;
    let rows =
        [("natural", natural), ("adversarial", adversarial)].map(|(title, p)| values::accuracy_row(title, p, part));
    let broken = plan.kinds.iter().zip(&broken_by).map(|(kind, broken)| format!("{kind} {broken}"));
    let broken = broken.collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "{name}, {}, {}\n{}broken by {broken}\n{}",
        samples.portion(inputs.len()),
        threat_text(&threat),
        table::render(&rows),
        origin.text()
    );
    if let Some(path) = &options.output {
        text.push_str(&format!("worst inputs written to {}\n", path.display()));
    }
    context.print(&document, &text)
}

/// The file of worst inputs.
struct Adversarial(TensorWriter);

impl Adversarial {
    fn create(path: &Path, samples: usize, network: &Network) -> anyhow::Result<Self> {
        let shape = [&[samples], network.input_shape()].concat();
        let tensors = [
            TensorShape::new::<f32>("x", &shape),
            TensorShape::new::<i64>("y", &[samples]),
            TensorShape::new::<f32>("margin", &[samples]),
        ];
        TensorWriter::create(path, &tensors, &[]).map(Adversarial)
    }

    fn write(&mut self, first: usize, labels: &[usize], outcome: &AttackOutcome) -> anyhow::Result<()> {
        let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
        self.0.write("x", first, &outcome.adversarial)?;
        self.0.write("y", first, &labels)?;
        self.0.write("margin", first, &outcome.margins)
    }
}
