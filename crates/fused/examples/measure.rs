//! Best-of-many times per image of the main kernels as JSON lines: processor time of one core, or wall time
//! of `TIGHTROPE_MEASURE_THREADS` threads.
//!
//! `cargo run --release -p tightrope-fused --example measure [PART OF A NAME]`; a name ends in `$`. `peak` measures one
//! core's multiply–adds instead, against which the kernels can be held. A run lasts `TIGHTROPE_MEASURE_SECONDS`, .1 unless
//! told, which a profiler wants longer, and takes `TIGHTROPE_MEASURE_BATCH` images at once instead of a batch that suits the
//! network. Rows with a gradient change θ where it lies each time, as a training step does; the
//! others find it in place, as an evaluation does. With `TIGHTROPE_MEASURE_DUMP=FOLDER` it measures nothing and writes parameters,
//! inputs and margins instead, as raw f32, so that another tool can be fed the same numbers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tightrope_engine::{
    BoundRequest, Cotangents, Engine, MemberOutput, MemberRequest, Norm, Perturbation, Region, Relaxation, SlopeAscent,
    Spec, Wants,
};
use tightrope_fused::{Fused, Operands, peak};
use tightrope_network::{Initialisation, Network, Preset};
use tightrope_noise::{Purpose, Stream};
use tightrope_testkit::clock::thread_seconds;

/// True to measure wall time.
static WALL: AtomicBool = AtomicBool::new(false);

/// Processor seconds of this thread where the system tells them, so that a busy machine does not matter.
fn processor_seconds() -> Option<f64> {
    if WALL.load(Ordering::Relaxed) { None } else { thread_seconds() }
}

/// Seconds of the fastest of several runs.
fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    let seconds = std::env::var("TIGHTROPE_MEASURE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.1);
    (0..runs.max(2)).fold(f64::INFINITY, |best, _| {
        let (start, before) = (Instant::now(), processor_seconds());
        let mut times = 0;
        while start.elapsed().as_secs_f64() < seconds {
            work();
            times += 1;
        }
        let used = match (before, processor_seconds()) {
            (Some(before), Some(after)) => after - before,
            _ => start.elapsed().as_secs_f64(),
        };
        best.min(used / f64::from(times))
    })
}

/// The network's initial parameters; with `stable`, biases moved away from 0 so that few neurons are unstable.
fn parameters(network: &Network, stable: bool) -> Vec<f32> {
    let mut theta = Initialisation::Default.theta(network, 1);
    if stable {
        for info in network.parameters().iter().filter(|info| info.shape.len() == 1) {
            for (i, value) in theta[info.range()].iter_mut().enumerate() {
                *value += if i % 2 == 0 { 1.0 } else { -1.0 };
            }
        }
    }
    theta
}

/// Writes numbers to FOLDER/NAME as little-endian f32.
fn dump(folder: &Path, name: &str, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.join(name), bytes).expect("the folder can be written to");
}

/// What is measured of a network; none is the clean pass. One network shows zonotopes.
fn relaxations(preset: Preset) -> Vec<Option<Relaxation>> {
    let mut all = vec![None, Some(Relaxation::Ibp), Some(Relaxation::CrownIbp), Some(Relaxation::Crown)];
    if preset == Preset::Cnn3 {
        all.extend([Some(Relaxation::Zonotope), Some(Relaxation::Hbox)]);
    }
    all
}

/// Networks whose every bound takes little time.
fn small(preset: Preset) -> bool {
    matches!(preset, Preset::Cnn3Tiny | Preset::Cnn3)
}

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let threads: usize = std::env::var("TIGHTROPE_MEASURE_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    // One thread, this one: its processor time is the work's. Several: wall time.
    let pool = if threads == 1 { pool.use_current_thread() } else { pool };
    pool.build_global().expect("the first pool");
    WALL.store(threads > 1, Ordering::Relaxed);
    let dump_to = std::env::var_os("TIGHTROPE_MEASURE_DUMP").map(PathBuf::from);
    let images: Option<usize> = std::env::var("TIGHTROPE_MEASURE_BATCH").ok().and_then(|n| n.parse().ok());
    let engine = Fused::new().expect("TIGHTROPE_ISA names no usable instruction set");
    let measure = |name: &str, images: usize, runs: usize, work: &mut dyn FnMut()| {
        if dump_to.is_none() && format!("{name}$").contains(&only) {
            let seconds = best(runs, work);
            println!("{{\"name\": \"{name}\", \"ms_per_image\": {:.5}}}", seconds * 1e3 / images as f64);
        }
    };
    if only.starts_with("peak") {
        for operands in Operands::ALL {
            let rate = peak(engine.isa(), operands);
            println!("{{\"name\": \"peak {}\", \"gflop_per_s\": {rate:.1}}}", operands.name());
        }
        return;
    }
    for (preset, shape) in [
        (Preset::Cnn3Tiny, [1, 28, 28]),
        (Preset::Cnn3, [1, 28, 28]),
        (Preset::Cnn5, [1, 28, 28]),
        (Preset::Cnn5, [3, 32, 32]),
        (Preset::Cnn5L, [3, 32, 32]),
        (Preset::Cnn7, [3, 32, 32]),
    ] {
        let network = preset.build(&shape, 10, None).expect("presets fit these shapes");
        let d = network.input_len();
        for stable in [false, true] {
            let theta = parameters(&network, stable);
            let at = engine.load(&network, &theta, &[]).expect("θ fits");
            let mut moving = engine.load(&network, &theta, &[]).expect("θ fits");
            for relaxation in relaxations(preset) {
                let label = relaxation.map_or("clean", Relaxation::name);
                let kind = if stable { "stable" } else { "random" };
                let name = format!("{}-{} {label} {kind}", preset.name(), shape[0]);
                let heavy = relaxation == Some(Relaxation::Crown) && !small(preset);
                let batch = match preset {
                    _ if images.is_some() => images.unwrap_or_default(),
                    _ if relaxation.is_none() => 64,
                    Preset::Cnn3Tiny | Preset::Cnn3 => 128,
                    Preset::Cnn7 if heavy => 1,
                    _ => 16,
                };
                let runs = if heavy { 3 } else { 20 };
                let mut x = vec![0.0; batch * d];
                Stream::new(2, Purpose::Test, 0, 0).uniform(0, &mut x);
                let Some(relaxation) = relaxation else {
                    measure(&name, batch, runs, &mut || drop(at.forward(&x).unwrap()));
                    measure(&format!("{name} + gradient"), batch, runs, &mut || {
                        moving.change(&mut |theta| theta[0] += 0.0).unwrap();
                        let (logits, tape) = moving.forward_taped(&x).unwrap();
                        drop(moving.vjp(&tape, &Cotangents::on_lower(logits), Wants::THETA).unwrap());
                    });
                    continue;
                };
                let region = Region::ball(&x, d, 0.1, Norm::Inf, None).unwrap();
                let spec = Spec::Margins { labels: (0..batch).map(|i| i % 10).collect() };
                let request = BoundRequest::lower(relaxation);
                if let Some(folder) = &dump_to
                    && shape[0] == 1
                {
                    let few = Region::ball(&x[..4 * d], d, 0.1, Norm::Inf, None).expect("a ball");
                    let spec = Spec::Margins { labels: (0..4).collect() };
                    let bounds = at.bound(&few, &spec, request).expect("bounds");
                    let files = [("theta", &theta[..]), ("x", &x[..4 * d]), (label, &bounds.lower)];
                    for (what, values) in files {
                        dump(folder, &format!("{}-{}-{kind}-{what}.f32", preset.name(), shape[0]), values);
                    }
                }
                let bound = &mut || drop(at.bound(&region, &spec, request).unwrap());
                measure(&name, batch, runs, bound);
                measure(&format!("{name} + gradient"), batch, runs, &mut || {
                    moving.change(&mut |theta| theta[0] += 0.0).unwrap();
                    let (bounds, tape) = moving.bound_taped(&region, &spec, request).unwrap();
                    let g = Cotangents::on_lower(bounds.lower);
                    drop(moving.vjp(&tape, &g, Wants::THETA).unwrap());
                });
                let climbing = BoundRequest { ascent: Some(SlopeAscent { steps: 5, rate: 0.25 }), ..request };
                for (what, request) in match relaxation {
                    Relaxation::Ibp => vec![("ibp", request)],
                    Relaxation::CrownIbp if small(preset) => vec![("alpha-crown over ibp", climbing)],
                    Relaxation::Crown if small(preset) => vec![("crown", request), ("alpha-crown", climbing)],
                    _ => Vec::new(),
                } {
                    let members = MemberRequest { inputs: None, bounds: Some((&region, &spec, request)) };
                    let noise = Perturbation::new(1, 2, 1e-3);
                    let name = format!("{}-{} population {what} {kind}", preset.name(), shape[0]);
                    let loss = |output: MemberOutput<'_, f32>| {
                        output
                            .bounds
                            .map_or(0.0, |bounds| bounds.lower.iter().map(|&m| f64::from(-m).exp().ln_1p()).sum())
                    };
                    let losses = &mut || drop(at.members(noise, 0..4, &members, &loss).unwrap());
                    measure(&name, 8 * batch, 5, losses);
                }
            }
        }
    }
}
