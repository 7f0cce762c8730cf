//! Seconds of one training step, loss with gradient and Adam, on made-up images; `bench/training.py` runs it beside PyTorch.
//!
//! `cargo run --release -p tightrope --example step -- MODEL METHOD CxHxW BATCH SECONDS [FOLDER]` prints one JSON line:
//! the loss of the first step, and the seconds of the fastest step of a run of so many, in processor time with
//! `TIGHTROPE_STEP_THREADS=1`, else in wall time of so many threads. Into FOLDER go θ, before the first step, and the
//! images, as raw f32, so that another tool can be fed the same numbers; labels are 0, 1, … 9, 0, ….

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use rayon::ThreadPoolBuilder;
use tightrope_engine::Engine;
use tightrope_fused::Fused;
use tightrope_noise::{Purpose, Stream};
use tightrope_testkit::clock::thread_seconds;
use tightrope_train::methods::{Minibatch, StepThreat, method};
use tightrope_train::{Config, Estimator, Optimiser, estimate};

/// Processor seconds of this thread.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    thread_seconds().ok_or("this system does not tell a thread's processor time".into())
}

fn dump(path: &Path, values: &[f32]) -> std::io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, name, shape, batch, seconds, rest @ ..] = &arguments[..] else {
        return Err("usage: step MODEL METHOD CxHxW BATCH SECONDS [FOLDER]".into());
    };
    let shape = shape.split('x').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let (batch, seconds): (usize, f64) = (batch.parse()?, seconds.parse()?);
    let threads = std::env::var("TIGHTROPE_STEP_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    // One thread, this one: its processor time is the work's.
    let pool = ThreadPoolBuilder::new().num_threads(threads);
    let pool = if threads == 1 { pool.use_current_thread() } else { pool };
    pool.build_global()?;
    let text = format!("model = \"{model}\"\neps = 0.1\nmethod.name = \"{name}\"\ninit = \"default\"\n");
    let config = Config::parse(&text, "(arguments)", &[])?;
    let network = config.network(&shape, 10)?;
    let theta = config.initialisation()?.theta(&network, 1);
    let mut images = vec![0.0; batch * network.input_len()];
    Stream::new(2, Purpose::Test, 0, 0).uniform(0, &mut images);
    if let [folder] = rest {
        dump(&Path::new(folder).join("theta"), &theta)?;
        dump(&Path::new(folder).join("images"), &images)?;
    }
    let labels: Vec<usize> = (0..batch).map(|i| i % 10).collect();
    let threat = StepThreat { epsilon: 0.1, norm: config.norm(), clip: config.clip() };
    let (engine, method) = (Fused::new()?, method(&config.method)?);
    let mut at = engine.load(&network, &theta, &network.initial_buffers())?;
    let mut sample = engine.load(&network, &theta, &network.initial_buffers())?;
    let mut optimiser = Optimiser::new(config.train.optimiser(), theta.len());
    let (smoothing, sigma) = (&config.smoothing, 0.0);
    let estimator = Estimator { smoothing, sigma, scales: None, control: None, guide: None, sam: 0.0 };
    let (begin, mut first, mut best, mut steps) = (Instant::now(), None, f64::INFINITY, 0);
    while steps < 3 || begin.elapsed().as_secs_f64() < seconds {
        let (start, before) = (Instant::now(), processor_seconds()?);
        let minibatch = Minibatch::new(&images, &labels, threat, 1.0, 0, steps);
        let step = estimate(&*method, &minibatch, &*at, &mut *sample, estimator, false)?;
        at.change(&mut |theta| optimiser.update(theta, &step.estimate.gradient, 5e-4))?;
        let used = if threads == 1 { processor_seconds()? - before } else { start.elapsed().as_secs_f64() };
        first.get_or_insert(step.estimate.loss);
        best = best.min(used);
        steps += 1;
    }
    println!("{{\"loss\": {}, \"seconds\": {best}, \"steps\": {steps}}}", first.unwrap_or(f64::NAN));
    Ok(())
}
