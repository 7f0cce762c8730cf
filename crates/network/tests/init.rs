//! Statistics and reproducibility of fresh parameters.

use tightrope_network::{Description, Initialisation, Network, Preset};

fn deviation(values: &[f32]) -> f64 {
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn values<'a>(network: &Network, theta: &'a [f32], name: &str) -> &'a [f32] {
    &theta[network.parameters().find(name).unwrap().range()]
}

/// Standard error of the deviation of n normal values: σ/√(2n); five of them are allowed.
#[test]
fn ibp_weights_have_the_published_deviation() {
    let network = Preset::Cnn5.build(&[1, 28, 28], 10, None).unwrap();
    let theta = Initialisation::Ibp.theta(&network, 1);
    for (name, fan_in) in [("0.weight", 9), ("2.weight", 256), ("4.weight", 256), ("7.weight", 1568)] {
        let weights = values(&network, &theta, name);
        let expected = std::f64::consts::TAU.sqrt() / f64::from(fan_in);
        let allowed = 5.0 / (2.0 * weights.len() as f64).sqrt();
        assert!((deviation(weights) / expected - 1.0).abs() < allowed, "{name}: {} for {expected}", deviation(weights));
        let mean = weights.iter().map(|&v| f64::from(v)).sum::<f64>() / weights.len() as f64;
        assert!(mean.abs() < 5.0 * expected / (weights.len() as f64).sqrt(), "{name}: mean {mean}");
    }
    for name in ["0.bias", "2.bias", "4.bias", "7.bias"] {
        assert!(values(&network, &theta, name).iter().all(|&bias| bias == 0.0), "{name}");
    }
    let last = 1.0 / 512_f32.sqrt();
    let weights = values(&network, &theta, "9.weight");
    assert!(weights.iter().all(|w| w.abs() <= last), "the last layer is uniform");
    assert!((deviation(weights) / (f64::from(last) / 3_f64.sqrt()) - 1.0).abs() < 0.05);
}

#[test]
fn grouped_convolutions_count_the_inputs_they_read() {
    let text = r#"
        input = [64, 4, 4]
        layers = [
            { kind = "conv2d", out_channels = 128, kernel = 3, groups = 8 },
            { kind = "affine", scale = [1.0], weight = true, bias = true },
            { kind = "flatten" },
            { kind = "linear", out_features = 2 },
        ]
    "#;
    let network = Description::from_toml(text, "(inline)").unwrap().build().unwrap();
    let theta = Initialisation::Ibp.theta(&network, 1);
    let expected = std::f64::consts::TAU.sqrt() / 72.0;
    assert!((deviation(values(&network, &theta, "0.weight")) / expected - 1.0).abs() < 0.04);
    assert_eq!(values(&network, &theta, "1.weight"), [1.0]);
    assert_eq!(values(&network, &theta, "1.bias"), [0.0]);
}

#[test]
fn default_weights_fill_the_interval() {
    let network = Preset::Mlp.build(&[784], 10, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    for (name, fan_in) in [("1.weight", 784_f32), ("1.bias", 784.0), ("3.weight", 100.0), ("5.weight", 100.0)] {
        let (weights, bound) = (values(&network, &theta, name), 1.0 / fan_in.sqrt());
        assert!(weights.iter().all(|w| w.abs() <= bound), "{name}");
        assert!(weights.iter().any(|&w| w > 0.9 * bound) && weights.iter().any(|&w| w < -0.9 * bound), "{name}");
    }
    assert!((deviation(values(&network, &theta, "1.weight")) * 28.0 * 3_f64.sqrt() - 1.0).abs() < 0.01);
}

#[test]
fn the_seed_decides_every_bit() {
    let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, None).unwrap();
    for initialisation in [Initialisation::Default, Initialisation::Ibp] {
        let theta = initialisation.theta(&network, 5);
        assert_eq!(theta, initialisation.theta(&network, 5));
        let other = initialisation.theta(&network, 6);
        let equal = theta.iter().zip(&other).filter(|(a, b)| a == b).count();
        // The zero biases of the hidden layers (2 + 2) may agree, little else.
        assert!(equal < 10, "{equal} values agree between seeds");
    }
}
