//! Directional derivatives of a smoothed function, estimated sample by sample, so that their errors are known.

use std::error::Error;

use tightrope_engine::Perturbation;
use tightrope_landscape::Value;
use tightrope_statistics::Moments;
use tightrope_train::smoothing::Noise;

/// A function of some numbers with the gradient that backpropagation gives.
pub trait Function {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Its value at `theta`.
    fn value(&mut self, theta: &[f32]) -> Result<f64, Box<dyn Error>>;

    /// Its value and gradient at `theta`, the latter where it is differentiable, which is almost everywhere.
    fn gradient(&mut self, theta: &[f32]) -> Result<(f64, Vec<f32>), Box<dyn Error>>;
}

/// How much noise, and how many samples of it.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Standard deviation.
    pub sigma: f64,
    /// Samples.
    pub samples: u64,
}

impl Settings {
    fn noise(self) -> Perturbation<'static> {
        Perturbation::new(0, 0, self.sigma as f32)
    }
}

/// E f(θ+δ).
pub fn smoothed(function: &mut dyn Function, theta: &[f32], settings: Settings) -> Result<Value, Box<dyn Error>> {
    over_pairs(theta, settings, |_, plus, minus| Ok(0.5 * (function.value(plus)? + function.value(minus)?)))
}

/// (f(θ+hd) − f(θ−hd))/2h of f or, with `settings`, of E f(·+δ) by the same noise at both ends.
pub fn differences(
    function: &mut dyn Function,
    theta: &[f32],
    direction: &[f32],
    h: f64,
    settings: Option<Settings>,
) -> Result<Value, Box<dyn Error>> {
    let moved = |theta: &[f32], t: f64| -> Vec<f32> {
        theta.iter().zip(direction).map(|(&p, &d)| (f64::from(p) + t * f64::from(d)) as f32).collect()
    };
    let mut difference = |theta: &[f32]| -> Result<f64, Box<dyn Error>> {
        Ok((function.value(&moved(theta, h))? - function.value(&moved(theta, -h))?) / (2.0 * h))
    };
    match settings {
        None => Ok(Value { mean: difference(theta)?, standard_error: 0.0 }),
        Some(settings) => {
            over_pairs(theta, settings, |_, plus, minus| Ok(0.5 * (difference(plus)? + difference(minus)?)))
        }
    }
}

/// RGS: the mean of d·∇f(θ+δ).
pub fn rgs(
    function: &mut dyn Function,
    theta: &[f32],
    direction: &[f32],
    settings: Settings,
) -> Result<Value, Box<dyn Error>> {
    let mut sample = theta.to_vec();
    let mut values = Vec::new();
    for member in 0..settings.samples {
        settings.noise().perturb(theta, member, 1.0, &mut sample);
        values.push(product(&function.gradient(&sample)?.1, direction));
    }
    Ok(value(&values))
}

/// PGPE: the mean of d·δ (f(θ+δ) − f(θ−δ))/2σ².
pub fn pgpe(
    function: &mut dyn Function,
    theta: &[f32],
    direction: &[f32],
    settings: Settings,
) -> Result<Value, Box<dyn Error>> {
    over_pairs(theta, settings, |delta, plus, minus| {
        let difference = function.value(plus)? - function.value(minus)?;
        Ok(product(delta, direction) * difference / (2.0 * settings.sigma * settings.sigma))
    })
}

/// The mean over members of what `sample` makes of δ, θ+δ and θ−δ.
fn over_pairs(
    theta: &[f32],
    settings: Settings,
    mut sample: impl FnMut(&[f32], &[f32], &[f32]) -> Result<f64, Box<dyn Error>>,
) -> Result<Value, Box<dyn Error>> {
    let (mut delta, mut plus, mut minus) = (theta.to_vec(), theta.to_vec(), theta.to_vec());
    let mut values = Vec::new();
    for member in 0..settings.samples {
        let noise = settings.noise();
        noise.fill(member, 0, &mut delta);
        noise.perturb(theta, member, 1.0, &mut plus);
        noise.perturb(theta, member, -1.0, &mut minus);
        values.push(sample(&delta, &plus, &minus)?);
    }
    Ok(value(&values))
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn value(samples: &[f64]) -> Value {
    let error = |moments: Moments| Some(moments.std? / (moments.count as f64).sqrt());
    let moments = Moments::of(samples);
    Value {
        mean: moments.map_or(f64::NAN, |moments| moments.mean),
        standard_error: moments.and_then(error).unwrap_or(f64::NAN),
    }
}
