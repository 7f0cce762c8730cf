//! `cargo bench -p tightrope-fused`: one group per row of the performance table.

use divan::Bencher;
use tightrope_engine::{
    BoundRequest, Cotangents, Engine, Loaded, MemberOutput, MemberRequest, Norm, Perturbation, Region, Relaxation,
    Spec, Wants,
};
use tightrope_fused::Fused;
use tightrope_network::{Initialisation, Preset};
use tightrope_noise::{Purpose, Stream};

fn main() {
    divan::main();
}

/// Everything one row needs.
struct Setup {
    at: Box<dyn Loaded<f32>>,
    x: Vec<f32>,
    region: Region<f32>,
    labels: Vec<usize>,
}

fn setup(preset: Preset, batch: usize, stable: bool) -> Setup {
    let network = preset.build(&[1, 28, 28], 10, None).expect("presets fit MNIST");
    let mut theta = Initialisation::Default.theta(&network, 1);
    for info in network.parameters().iter().filter(|info| stable && info.shape.len() == 1) {
        theta[info.range()].iter_mut().enumerate().for_each(|(i, b)| *b += if i % 2 == 0 { 1.0 } else { -1.0 });
    }
    let d = network.input_len();
    let mut x = vec![0.0; batch * d];
    Stream::new(2, Purpose::Test, 0, 0).uniform(0, &mut x);
    let region = Region::ball(&x, d, 0.1, Norm::Inf, None).expect("a ball");
    let labels = (0..batch).map(|i| i % 10).collect();
    let engine = Fused::new().expect("an instruction set");
    Setup { at: engine.load(&network, &theta, &[]).expect("θ fits"), x, region, labels }
}

impl Setup {
    fn bounds(&self, relaxation: Relaxation) {
        let spec = Spec::Margins { labels: self.labels.clone() };
        let request = BoundRequest::lower(relaxation);
        divan::black_box(self.at.bound(&self.region, &spec, request).expect("bounds"));
    }

    fn gradient(&self, relaxation: Relaxation) {
        let spec = Spec::Margins { labels: self.labels.clone() };
        let request = BoundRequest::lower(relaxation);
        let (bounds, tape) = self.at.bound_taped(&self.region, &spec, request).expect("bounds");
        let g = Cotangents::on_lower(bounds.lower);
        divan::black_box(self.at.vjp(&tape, &g, Wants::THETA).expect("a gradient"));
    }
}

macro_rules! rows {
    ($($group:ident: $preset:ident, $batch:expr, $stable:expr, $relaxation:ident;)*) => {
        $(#[divan::bench_group(sample_count = 10)]
        mod $group {
            use super::*;
            #[divan::bench]
            fn bounds(bencher: Bencher<'_, '_>) {
                let setup = setup(Preset::$preset, $batch, $stable);
                bencher.counter(divan::counter::ItemsCount::new($batch as usize)).bench(|| setup.bounds(Relaxation::$relaxation));
            }
            #[divan::bench]
            fn bounds_and_gradient(bencher: Bencher<'_, '_>) {
                let setup = setup(Preset::$preset, $batch, $stable);
                bencher.counter(divan::counter::ItemsCount::new($batch as usize)).bench(|| setup.gradient(Relaxation::$relaxation));
            }
        })*
    };
}

rows! {
    cnn3_crown_random: Cnn3, 128, false, Crown;
    cnn3_crown_stable: Cnn3, 128, true, Crown;
    cnn5_crown_random: Cnn5, 16, false, Crown;
    cnn5_crown_stable: Cnn5, 16, true, Crown;
    cnn3_ibp: Cnn3, 128, false, Ibp;
    cnn3_crown_ibp: Cnn3, 128, false, CrownIbp;
}

#[divan::bench(sample_count = 10)]
fn population_ibp(bencher: Bencher<'_, '_>) {
    let s = setup(Preset::Cnn3, 128, false);
    let noise = Perturbation::new(1, 2, 1e-3);
    bencher.counter(divan::counter::ItemsCount::new(8 * 128_usize)).bench(|| {
        let spec = Spec::Margins { labels: s.labels.clone() };
        let bounds = Some((&s.region, &spec, BoundRequest::lower(Relaxation::Ibp)));
        let loss = |output: MemberOutput<'_, f32>| output.bounds.map_or(0.0, |bounds| f64::from(bounds.lower[1]));
        s.at.members(noise, 0..4, &MemberRequest { inputs: None, bounds }, &loss).expect("losses")
    });
}

#[divan::bench(sample_count = 10)]
fn clean_cnn5_forward_and_backward(bencher: Bencher<'_, '_>) {
    let s = setup(Preset::Cnn5, 64, false);
    bencher.counter(divan::counter::ItemsCount::new(64_usize)).bench(|| {
        let (logits, tape) = s.at.forward_taped(&s.x).expect("logits");
        s.at.vjp(&tape, &Cotangents::on_lower(logits), Wants::THETA).expect("a gradient")
    });
}
