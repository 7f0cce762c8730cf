//! Documents that tell of methods and networks are those that the program's own lists give.
//!
//! `TIGHTROPE_BLESS=1 cargo test -p tightrope-train --test documents` writes docs/methods.md and docs/networks.md anew.

use std::fs;
use std::path::PathBuf;

use tightrope_engine::Relaxation;
use tightrope_network::{Architecture, Initialisation, Preset};
use tightrope_train::methods::{METHODS, MethodInfo, method};
use tightrope_train::{Config, Key, MethodSection, OptimiserKind, SmoothingKind};

const BLESS: &str = "TIGHTROPE_BLESS=1 cargo test -p tightrope-train --test documents";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `text` in lines of at most 120 characters.
fn filled(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 120 {
            lines.push_str(&line);
            lines.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + &line + "\n"
}

fn key_table(keys: &[Key]) -> String {
    let mut text = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        text.push_str(&format!("| `{}` | {} | {} | {} |\n", key.path, key.values(), key.default, key.about));
    }
    text
}

fn section(prefix: &str) -> String {
    let keys: Vec<Key> = Config::keys().iter().filter(|key| key.path.starts_with(prefix)).cloned().collect();
    key_table(&keys)
}

fn method_text(info: &MethodInfo) -> String {
    let made = method(&MethodSection { name: info.name.into(), ..MethodSection::default() }).unwrap();
    let initialisation = match made.initialisation() {
        Initialisation::Default => "default",
        Initialisation::Ibp => "ibp",
    };
    let names: Vec<String> = [info.name].iter().chain(info.aliases).map(|name| format!("`{name}`")).collect();
    let keys = match &info.keys().unwrap()[..] {
        [] => String::from("No keys of its own.\n"),
        keys => key_table(keys),
    };
    format!(
        "### {}: {}\n\n{}\n{}\n{}\n{keys}\n",
        info.title,
        names.join(", "),
        filled(info.description),
        filled(&format!("Source: {}.", info.source)),
        filled(&format!(
            "Evaluated by `{}` and initialised by `{initialisation}` unless `train.eval_relaxation` and `init` say \
             otherwise.",
            made.evaluation()
        )),
    )
}

fn document() -> String {
    let mut text = format!(
        "# Training methods\n\n{}\n{}\n| method | trains with |\n|---|---|\n",
        filled(&format!(
            "Everything here is written by the program's own lists; `{BLESS}` writes it anew after one of them changed."
        )),
        filled(
            "A method is the loss L(θ) of a minibatch; a smoothing estimator turns it into a gradient of the smoothed loss \
             L_σ(θ) = E L(θ+δ), δ ~ N(0, σ²I). Both are chosen independently: `--method NAME --smoothing KIND`. Notation: \
             network f_θ, input x with label y, radius ε, perturbations B(x) = {x' : ‖x'−x‖ ≤ ε}, clipped to the data \
             range unless `clip` says otherwise."
        ),
    );
    for info in METHODS {
        text.push_str(&format!("| `{}` | {} |\n", info.name, info.summary));
    }
    text.push_str("\nWhat they reach on MNIST: [results/methods.md](results/methods.md).\n");
    text.push_str(&format!("\n## Keys of all methods\n\n{}\n## Methods\n\n", section("method.")));
    METHODS.iter().for_each(|info| text.push_str(&method_text(info)));
    text.push_str("## Smoothing estimators\n\n");
    for kind in SmoothingKind::ALL {
        text.push_str(&format!("### `{}`: {}\n\n{}\n", kind.name(), kind.summary(), filled(kind.description())));
    }
    text.push_str(&section("smoothing."));
    text.push_str("\n## Optimisers\n\n");
    text.push_str(&filled(
        "What takes a step along the gradient g, after ℓ1 and clipping (`train.optimiser`); η is the learning rate, λ \
         `train.weight_decay`.",
    ));
    text.push_str("\n| optimiser | step |\n|---|---|\n");
    for kind in OptimiserKind::ALL {
        text.push_str(&format!("| `{}` | {} |\n", kind.name(), kind.description()));
    }
    text.push_str("\n## Relaxations\n\n");
    text.push_str(&filled(
        "How bounds are computed, for `train.eval_relaxation`, `bounds --method` and `certify --stages`; loosest first.",
    ));
    text.push_str("\n| relaxation | what it is |\n|---|---|\n");
    for relaxation in Relaxation::ALL {
        text.push_str(&format!("| `{}` | {} |\n", relaxation.listed(), relaxation.summary()));
    }
    text
}

fn networks() -> String {
    let mut text = format!(
        "# Networks\n\n{}\n{}\n| preset | w | layers | parameters for MNIST | for CIFAR-10 | source |\n|---|---|---|---|---|---|\n",
        filled(&format!(
            "The presets of `--model`. This is written by the program's own table; `{BLESS}` writes it anew after that \
             changed."
        )),
        filled(
            "`NAME-bn` has a batch norm after every convolution and linear layer but the last, before the ReLU; in residual \
             networks, as published, after convolutions alone, the shortcuts included. `NAME:W` has the width w = W \
             instead of the one in the table, `NAME-bn:W` both: `cnn5-bn:64`. K is the number of classes. Every layer but \
             the last is followed by a ReLU. Block(c, stride s) is ReLU(Conv(c, 3×3, stride 1, padding 1) after ReLU after \
             Conv(c, 3×3, stride s, padding 1), plus the shortcut), whose shortcut is Conv(c, 1×1, stride s) where the \
             shape changes and the block's input elsewhere. Padding \"same\" makes the side ⌈side / stride⌉, the odd row \
             at the bottom and the odd column at the right."
        ),
    );
    for preset in Preset::ALL {
        let parameters = [[1, 28, 28], [3, 32, 32]]
            .map(|input| preset.build(&input, 10, None).unwrap().parameters().total().to_string());
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            preset.name(),
            preset.width(),
            preset.layers(),
            parameters.join(" | "),
            preset.source()
        ));
    }
    text
}

/// Compares the file `name` with what it should hold, or writes it.
fn check(name: &str, document: &str) {
    let path = root().join(name);
    if std::env::var_os("TIGHTROPE_BLESS").is_some() {
        fs::write(&path, document).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (found, expected))) =
        found.lines().chain([""]).zip(document.lines().chain([""])).enumerate().find(|(_, (a, b))| a != b)
    {
        panic!("{name}, line {}:\n{found}\nshould be\n{expected}\nrun {BLESS}", line + 1);
    }
    assert_eq!(found, document, "{name}; run {BLESS}");
}

#[test]
fn the_document_of_methods_is_that_of_the_lists() {
    check("docs/methods.md", &document());
}

#[test]
fn the_document_of_networks_is_that_of_the_table() {
    check("docs/networks.md", &networks());
}

/// The table of the front page names every method, every estimator and every preset.
#[test]
fn the_front_page_names_all_choices() {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let methods: Vec<String> = METHODS.iter().map(|info| format!("`{}`", info.name)).collect();
    let kinds: Vec<String> =
        SmoothingKind::ALL.iter().map(|kind| format!("`{}` ({})", kind.name(), kind.summary())).collect();
    let presets: Vec<String> = Preset::ALL.iter().map(|preset| format!("`{}`", preset.name())).collect();
    let wide = Architecture { batch_norm: true, width: 64, ..Preset::Cnn5.into() };
    for row in [
        format!("| `--method` | {} |", methods.join(", ")),
        format!("| `--smoothing` | {} |", kinds.join(", ")),
        format!(
            "| `--model` | {}, each also with batch norms and at other widths (`{wide}`), or a `.toml`/`.json` description |",
            presets.join(", ")
        ),
    ] {
        assert!(page.lines().any(|line| line == row), "README.md should have the row\n{row}");
    }
}
