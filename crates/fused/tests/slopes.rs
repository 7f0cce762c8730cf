//! Lower slopes from outside, and gradients with respect to slopes, against the reference engine in double precision.

mod common;

use common::{Case, Slopes, engines, networks};
use tightrope_engine::{
    BoundRequest, Cotangents, Engine, LayerSlopes, Norm, Reference, Region, Relaxation, Spec, Wants,
};
use tightrope_fused::Fused;
use tightrope_network::Preset;
use tightrope_testkit::networks::dense;
use tightrope_testkit::random::{draws, uniform};

const TOLERANCE: f64 = 1e-4;

/// Those with slopes but `crown-meet-ibp`: a row with a single live input has the same bound from both sides, and either may
/// give the gradient.
const SLOPED: [Relaxation; 3] = [Relaxation::CrownIbp, Relaxation::Crown, Relaxation::CrownSkipIbp];

/// Given slopes and the relaxation's own, margins and both bounds of everything, few images and many.
#[test]
fn bounds_and_gradients() {
    for (name, network) in networks() {
        for relaxation in SLOPED {
            for slopes in [Slopes::Own, Slopes::Given] {
                for engine in engines() {
                    let theta = uniform(&network, 12, 0.0);
                    let margins = Case::new(name, &network, theta.clone(), 17, 0.03, relaxation);
                    Case { slopes, ..margins }.check(&engine, TOLERANCE);
                    for (norm, clip) in [(Norm::Inf, Some((0.0, 1.0))), (Norm::L2, None)] {
                        let all = Case::new(name, &network, theta.clone(), 2, 0.05, relaxation);
                        let name = format!("{} {slopes:?} {norm:?} {clip:?}", all.name);
                        let all =
                            Case { name, spec: Spec::Logits, upper: true, layers: true, slopes, norm, clip, ..all };
                        all.check(&engine, TOLERANCE);
                    }
                }
            }
        }
    }
}

/// `crown-meet-ibp` where every row has many inputs.
#[test]
fn intersections() {
    let network = dense(&[40, 40, 48, 33, 7]);
    for seed in 0..20 {
        for slopes in [Slopes::Own, Slopes::Given] {
            for engine in engines() {
                let theta = uniform(&network, 200 + seed, 0.0);
                let case = Case::new("dense", &network, theta, 3, 0.03, Relaxation::CrownMeetIbp);
                let case = Case { spec: Spec::Logits, upper: true, layers: true, slopes, ..case };
                case.check(&engine, TOLERANCE);
            }
        }
    }
}

/// Projected gradient ascent on the slopes raises the margins' bounds above CROWN's, and stays below the margins of the
/// points themselves.
#[test]
fn ascent_tightens() {
    let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, None).unwrap();
    let theta = uniform(&network, 13, 0.0);
    let engine = Fused::new().unwrap();
    let (batch, d) = (4, network.input_len());
    let x = draws(14, 0, batch * d, 0.0, 1.0);
    let region = Region::ball(&x, d, 0.05, Norm::Inf, None).unwrap();
    let spec = Spec::Margins { labels: vec![3, 1, 4, 1] };
    let request = BoundRequest { layers: true, ..BoundRequest::lower(Relaxation::Crown) };
    let (crown, tape) = engine.bound_taped(&network, &theta, &region, &spec, request).unwrap();
    let up = Cotangents::on_lower(vec![1.0; crown.lower.len()]);
    let adaptive = |l: f32, u: f32| if u > -l { 1.0 } else { 0.0 };
    let mut slopes: Vec<_> = crown
        .layers
        .iter()
        .map(|layer| {
            let lower = layer.lower.iter().zip(&layer.upper).map(|(&l, &u)| adaptive(l, u)).collect();
            LayerSlopes { node: layer.node, lower }
        })
        .collect();
    let mut gradient = engine.vjp(&network, &theta, &tape, &up, Wants::SLOPES).unwrap().slopes.unwrap();
    let mut best = crown.lower.clone();
    for _ in 0..20 {
        for (layer, g) in slopes.iter_mut().zip(&gradient) {
            for (slope, &g) in layer.lower.iter_mut().zip(&g.lower) {
                *slope = (*slope + 0.1 * if g == 0.0 { 0.0 } else { g.signum() }).clamp(0.0, 1.0);
            }
        }
        let (bounds, tape) = engine.bound_with_slopes(&network, &theta, &region, &spec, request, &slopes).unwrap();
        best.iter_mut().zip(&bounds.lower).for_each(|(best, &bound)| *best = best.max(bound));
        gradient = engine.vjp(&network, &theta, &tape, &up, Wants::SLOPES).unwrap().slopes.unwrap();
    }
    let gain: f32 = best.iter().zip(&crown.lower).map(|(best, crown)| best - crown).sum();
    let logits = Reference.forward(&network, &theta, &x).unwrap();
    let rows = best.iter().zip(&crown.lower).enumerate();
    let slack: f32 = rows
        .map(|(i, (&best, &crown))| {
            let Spec::Margins { labels } = &spec else { unreachable!() };
            let image = &logits[i / 10 * 10..][..10];
            let margin = image[labels[i / 10]] - image[i % 10];
            assert!(best <= margin + 1e-4, "bound {i} is {best}, the margin {margin}");
            margin - crown
        })
        .sum();
    assert!(gain > 0.02 * slack, "the bounds gained {gain}, CROWN's slack is {slack}");
}
