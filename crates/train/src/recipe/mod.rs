//! Recipes: configurations of published settings, made from one table.

mod examples;
mod published;

use std::fmt;
use std::str::FromStr;

use tightrope_engine::{Intermediate, Norm};
use tightrope_network::compared_text;

use self::examples::{EXAMPLES, Example};
use self::published::{INF, NETWORKS, PUBLISHED, Published, TUNED, Tuned};
use crate::TrainError;
use crate::config::MethodSection;
use crate::methods::{METHODS, Method, MethodInfo, method};
use crate::smoothing::SmoothingKind;

/// How much of a recipe is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Two epochs on a handful of images, of a narrower network where the whole one would take minutes or is more than its two
    /// losses (PGPE) can move: does it run?
    Smoke,
    /// A tenth of the epochs, ramps alike, on 10,000 images.
    Short,
    /// As published.
    Paper,
}

impl Profile {
    /// All, shortest first.
    pub const ALL: [Profile; 3] = [Profile::Smoke, Profile::Short, Profile::Paper];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Smoke => "smoke",
            Profile::Short => "short",
            Profile::Paper => "paper",
        }
    }

    /// `epoch` of `epochs` in this profile.
    fn epoch(self, epoch: usize, epochs: usize) -> usize {
        match self {
            Profile::Paper => epoch,
            Profile::Smoke | Profile::Short => {
                (epoch as f64 * self.epochs(epochs) as f64 / epochs as f64).round() as usize
            }
        }
    }

    fn epochs(self, epochs: usize) -> usize {
        match self {
            Profile::Smoke => 2,
            Profile::Short => epochs.div_ceil(10),
            Profile::Paper => epochs,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Profile::ALL.map(Profile::name).join(", ");
        let found = Profile::ALL.into_iter().find(|profile| profile.name() == text);
        found.ok_or_else(|| format!("unknown profile `{text}`; use one of {names}"))
    }
}

/// A configuration by name: SETTING/NETWORK/METHOD-SMOOTHING, or `example/NAME`.
#[derive(Clone)]
pub struct Recipe {
    name: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Published {
        setting: &'static Published,
        network: &'static str,
        method: &'static MethodInfo,
        smoothing: SmoothingKind,
        tuned: Option<&'static Tuned>,
    },
    Example(&'static Example),
}

/// Every recipe: settings × networks × methods × smoothings, then configurations that others have found by search, and short
/// examples. Methods that have no gradient are there under `pgpe` alone, and those that cover ℓ∞ alone not for other norms.
///
/// What takes minutes for one image, as bounds of each layer through those before it on the deepest network, says so in its file;
/// its smoke profile narrows the network.
pub fn recipes() -> Vec<Recipe> {
    let mut all = Vec::new();
    for setting in &PUBLISHED {
        for network in NETWORKS {
            for method in METHODS {
                for smoothing in PUBLISHED_KINDS.into_iter().filter(|kind| trains(method, *kind, setting)) {
                    let name = format!("{}/{network}/{}-{}", setting.name, method.name, smoothing.name());
                    all.push(Recipe {
                        name,
                        kind: Kind::Published { setting, network, method, smoothing, tuned: None },
                    });
                }
            }
        }
    }
    for tuned in &TUNED {
        let base = all.iter().find(|recipe| recipe.name == tuned.base).map(|recipe| recipe.kind.clone());
        if let Some(Kind::Published { setting, method, smoothing, .. }) = base {
            let kind = Kind::Published { setting, network: tuned.network, method, smoothing, tuned: Some(tuned) };
            all.push(Recipe { name: tuned.name.into(), kind });
        }
    }
    all.extend(EXAMPLES.iter().map(|example| Recipe { name: example.name.into(), kind: Kind::Example(example) }));
    all
}

/// The recipe called `name`; a name without a smoothing is that of plain gradients.
///
/// # Errors
/// If there is none; the message names those that begin so, or else the nearest.
pub fn recipe(name: &str) -> Result<Recipe, TrainError> {
    let all = recipes();
    let plain = format!("{name}-{}", SmoothingKind::Grad.name());
    if let Some(found) = all.iter().find(|recipe| recipe.name == name || recipe.name == plain) {
        return Ok(found.clone());
    }
    let begun: Vec<&str> = all.iter().map(Recipe::name).filter(|known| known.starts_with(name)).collect();
    let nearest = if begun.is_empty() {
        let mut known: Vec<&str> = all.iter().map(Recipe::name).collect();
        known.sort_by_key(|known| strsim::damerau_levenshtein(compared_text(name), known));
        format!("; did you mean `{}`? Others like it: {}", known[0], known[1..FEW].join(", "))
    } else {
        let more = begun.len().saturating_sub(FEW);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("; {} begin so: {}{more}", begun.len(), begun[..begun.len().min(FEW)].join(", "))
    };
    Err(TrainError::Recipe { name: name.into(), nearest })
}

/// Estimators that recipes are there for.
const PUBLISHED_KINDS: [SmoothingKind; 3] = [SmoothingKind::Grad, SmoothingKind::Rgs, SmoothingKind::Pgpe];

/// Channels of the first convolution where the smoke profile narrows a network.
const NARROW: usize = 4;

/// So many names are told where one is not found.
const FEW: usize = 5;

/// Whether a method has the gradient that a smoothing asks for, and covers the norm of a setting.
fn trains(info: &MethodInfo, smoothing: SmoothingKind, setting: &Published) -> bool {
    let norm = match setting.norm {
        "2" => Norm::L2,
        "1" => Norm::L1,
        _ => Norm::Inf,
    };
    let section = MethodSection { name: info.name.into(), ..MethodSection::default() };
    let fits = |made: Box<dyn Method>| (smoothing == SmoothingKind::Pgpe || made.differentiable()) && made.covers(norm);
    method(&section).is_ok_and(fits)
}

/// Why a step takes minutes, if it does.
fn dear(setting: &Published, network: &str, method: &MethodInfo) -> Option<&'static str> {
    match network.starts_with("cnn7") {
        true if goes_back_for_layers(method) => {
            Some("each layer is bounded through all before it, most of a minute for an image and gradient on one core")
        }
        true if setting.norm != INF => {
            Some("balls of other norms have no fast kernels, minutes for a step on one core")
        }
        _ => None,
    }
}

fn goes_back_for_layers(info: &MethodInfo) -> bool {
    let section = MethodSection { name: info.name.into(), ..MethodSection::default() };
    let backward = |relaxation: tightrope_engine::Relaxation| match relaxation.intermediate() {
        Intermediate::Interval => false,
        Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable => true,
    };
    method(&section).is_ok_and(|made| backward(made.evaluation()))
}

impl Recipe {
    /// The name, for [`recipe`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it trains, in a line.
    pub fn summary(&self) -> String {
        match &self.kind {
            Kind::Published { tuned: Some(tuned), .. } => tuned.source.into(),
            Kind::Published { method, smoothing, .. } => format!("{} under {}", method.title, smoothing.summary()),
            Kind::Example(example) => example.summary.into(),
        }
    }

    /// The configuration as a file: what differs from the defaults, with remarks.
    pub fn toml(&self, profile: Profile) -> String {
        let (lines, mut text) = match &self.kind {
            Kind::Published { setting, network, method, smoothing, tuned } => {
                let mut lines = published_keys(setting, network, method, *smoothing, profile);
                for (key, value) in tuned.map_or(&[][..], |tuned| tuned.overrides) {
                    put(&mut lines, key, (*value).into());
                }
                let mut text = format!("# {}: {}.\n", self.name, self.summary());
                if let Some(reason) = dear(setting, network, method) {
                    text.push_str(&format!("# Dear: {reason}.\n"));
                }
                (lines, text)
            }
            Kind::Example(example) => {
                let file = example.name.strip_prefix("example/").unwrap_or(example.name);
                let remark = example.remark.replace('\n', "\n# ");
                let command = format!("tightrope train recipes/{file}.toml --out runs/{file}");
                (example_keys(example, profile), format!("# {remark}\n#   {command}\n"))
            }
        };
        if profile != Profile::Paper {
            text.push_str(&format!("# Profile {profile}; `--profile paper` is the whole length.\n"));
        }
        for section in ["", "train", "warmup", "method", "smoothing"] {
            let inside = |key: &'static str| match key.split_once('.') {
                Some((name, leaf)) => (name == section).then_some(leaf),
                None => section.is_empty().then_some(key),
            };
            let of_section: Vec<(&str, &str)> =
                lines.iter().filter_map(|(key, value)| Some((inside(key)?, value.as_str()))).collect();
            if of_section.is_empty() {
                continue;
            }
            if !section.is_empty() {
                text.push_str(&format!("\n[{section}]\n"));
            }
            of_section.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        text
    }
}

/// Sets a key, in its place if it has one.
fn put(lines: &mut Vec<(&'static str, String)>, key: &'static str, value: String) {
    match lines.iter_mut().find(|(known, _)| *known == key) {
        Some((_, line)) => *line = value,
        None => lines.push((key, value)),
    }
}

/// Keys of an example, scaled to the profile.
fn example_keys(example: &Example, profile: Profile) -> Vec<(&'static str, String)> {
    let number = |key: &str| {
        let found = example.keys.iter().find(|(known, _)| *known == key);
        found.and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let mut keys: Vec<(&'static str, String)> =
        example.keys.iter().map(|(key, value)| (*key, (*value).to_string())).collect();
    let epochs = number("train.epochs").unwrap_or(1);
    let images = match profile {
        Profile::Paper => return keys,
        Profile::Smoke => 8,
        Profile::Short => 10_000,
    };
    put(&mut keys, "limit_train", images.to_string());
    put(&mut keys, "train.epochs", profile.epochs(epochs).to_string());
    if let Some(end) = number("warmup.end") {
        put(&mut keys, "warmup.end", profile.epoch(end, epochs).to_string());
    }
    if profile == Profile::Smoke {
        put(&mut keys, "train.batch", "4".into());
        put(&mut keys, "train.eval_limit", "4".into());
        put(&mut keys, "train.eval_every", "2".into());
        if number("smoothing.population").is_some() {
            put(&mut keys, "smoothing.population", "2".into());
        }
    }
    keys
}

/// Keys of a published setting with values, in the order of the file.
fn published_keys(
    setting: &'static Published,
    network: &'static str,
    method: &'static MethodInfo,
    smoothing: SmoothingKind,
    profile: Profile,
) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| format!("\"{text}\"");
    let epochs = setting.epochs;
    // Images of 64 × 64 have a network of their own.
    let model = match (setting.dataset, network) {
        ("tinyimagenet", "cnn7-bn") => "cnn7-tinyimagenet-bn",
        (_, network) => network,
    };
    // A direction from two losses moves each of millions of weights by chance, until bounds of deep networks overflow.
    let blind = smoothing == SmoothingKind::Pgpe && network != "cnn3";
    let narrow = profile == Profile::Smoke && (blind || dear(setting, network, method).is_some());
    let model = if narrow { format!("{model}:{NARROW}") } else { model.into() };
    let mut keys = vec![
        ("dataset", quoted(setting.dataset)),
        ("model", quoted(&model)),
        ("normalise", "true".into()),
        ("eps", setting.eps.into()),
    ];
    if setting.norm != INF {
        keys.push(("norm", quoted(setting.norm)));
    }
    match profile {
        Profile::Smoke => keys.push(("limit_train", "8".into())),
        Profile::Short => keys.push(("limit_train", "10000".into())),
        Profile::Paper => {}
    }
    let milestones = setting.milestones.map(|epoch| profile.epoch(epoch, epochs));
    let milestones = if milestones[0] < milestones[1] { milestones.to_vec() } else { milestones[1..].to_vec() };
    let batch = if profile == Profile::Smoke { 4 } else { setting.batch };
    keys.extend([
        ("train.epochs", profile.epochs(epochs).to_string()),
        ("train.batch", batch.to_string()),
        ("train.lr", "5e-4".into()),
        ("train.lr_decay", "0.2".into()),
        ("train.milestones", format!("{milestones:?}")),
        ("train.grad_clip", "10".into()),
    ]);
    let number = |value: f64| format!("{value:?}");
    let [ibp, sabr, taps, mtl] = setting.l1;
    let (l1, eps) = match method.name {
        "standard" | "pgd" => (0.0, None),
        "ibp" => (ibp, setting.ibp_eps),
        "sabr" => (sabr, setting.sabr_eps),
        "taps" | "staps" => (taps, None),
        "mtl-ibp" | "cc-ibp" | "exp-ibp" => (mtl, None),
        _ => (ibp, None),
    };
    keys.push(("train.l1", number(l1)));
    keys.extend(eps.map(|eps| ("train.eps", eps.into())));
    if setting.augmented {
        let pad = if setting.dataset == "tinyimagenet" { "4" } else { "2" };
        keys.extend([("train.flip", "true".into()), ("train.crop", pad.into())]);
    }
    if profile == Profile::Smoke {
        keys.extend([("train.eval_limit", "4".into()), ("train.eval_every", "2".into())]);
    }
    keys.extend([
        ("warmup.start", profile.epoch(setting.warmup[0], epochs).to_string()),
        ("warmup.end", profile.epoch(setting.warmup[1], epochs).to_string()),
        ("method.name", quoted(method.name)),
    ]);
    if method.name != "standard" {
        keys.push(("method.robust_weight", number(setting.robust_weight)));
    }
    for own in method.own() {
        let value = match own.path {
            // Published for interval bounds; deeper ones have their own.
            "method.regulariser" if !goes_back_for_layers(method) => setting.regulariser,
            "method.box_share" => setting.box_share,
            "method.shrinkage" if setting.shrinkage < 1.0 => setting.shrinkage,
            "method.alpha" => setting.alpha,
            "method.attack_eps_factor" if method.name != "pgd" => setting.attack_eps_factor,
            "method.attack_steps" | "method.attack_restarts" => {
                let (steps, restarts) = if profile == Profile::Smoke { (1, 1) } else { (setting.attack_steps, 3) };
                let count = if own.path == "method.attack_steps" { steps } else { restarts };
                keys.push((own.path, count.to_string()));
                continue;
            }
            "method.latent_steps" | "method.slope_steps" if profile == Profile::Smoke => {
                keys.push((own.path, "1".into()));
                continue;
            }
            _ => continue,
        };
        keys.push((own.path, number(value)));
    }
    if smoothing != SmoothingKind::Grad {
        keys.extend([("smoothing.kind", quoted(smoothing.name())), ("smoothing.sigma", "1e-3".into())]);
    }
    match smoothing {
        SmoothingKind::Grad => {}
        SmoothingKind::Rgs => keys.push(("smoothing.samples", "2".into())),
        SmoothingKind::Pgpe | SmoothingKind::Mixed => {
            let population = if profile == Profile::Smoke { "2" } else { "256" };
            keys.push(("smoothing.population", population.into()));
        }
    }
    keys
}
