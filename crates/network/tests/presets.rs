//! Shapes and sizes of the named architectures, and the names of their parameters.

use tightrope_network::{NetworkError, Normalisation, Preset};

fn shapes(preset: Preset, input: &[usize], classes: usize) -> Vec<(String, Vec<usize>)> {
    let network = preset.build(input, classes, None).unwrap();
    network.parameters().iter().map(|info| (info.name.clone(), info.shape.clone())).collect()
}

fn named(list: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    list.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect()
}

#[test]
fn cnn3_tiny() {
    let expected: &[(&str, &[usize])] = &[
        ("0.weight", &[2, 1, 5, 5]),
        ("0.bias", &[2]),
        ("2.weight", &[2, 2, 4, 4]),
        ("2.bias", &[2]),
        ("5.weight", &[10, 98]),
        ("5.bias", &[10]),
    ];
    assert_eq!(shapes(Preset::Cnn3Tiny, &[1, 28, 28], 10), named(expected));
}

#[test]
fn cnn3() {
    let expected: &[(&str, &[usize])] = &[
        ("0.weight", &[16, 3, 5, 5]),
        ("0.bias", &[16]),
        ("2.weight", &[32, 16, 4, 4]),
        ("2.bias", &[32]),
        ("5.weight", &[10, 2048]),
        ("5.bias", &[10]),
    ];
    assert_eq!(shapes(Preset::Cnn3, &[3, 32, 32], 10), named(expected));
}

#[test]
fn cnn5_and_its_wide_form() {
    for (preset, width) in [(Preset::Cnn5, 16), (Preset::Cnn5L, 32)] {
        let expected: &[(&str, &[usize])] = &[
            ("0.weight", &[width, 1, 3, 3]),
            ("0.bias", &[width]),
            ("2.weight", &[width, width, 4, 4]),
            ("2.bias", &[width]),
            ("4.weight", &[2 * width, width, 4, 4]),
            ("4.bias", &[2 * width]),
            ("7.weight", &[512, 98 * width]),
            ("7.bias", &[512]),
            ("9.weight", &[10, 512]),
            ("9.bias", &[10]),
        ];
        assert_eq!(shapes(preset, &[1, 28, 28], 10), named(expected));
    }
}

#[test]
fn cnn7() {
    let expected: &[(&str, &[usize])] = &[
        ("0.weight", &[64, 3, 3, 3]),
        ("0.bias", &[64]),
        ("2.weight", &[64, 64, 3, 3]),
        ("2.bias", &[64]),
        ("4.weight", &[128, 64, 3, 3]),
        ("4.bias", &[128]),
        ("6.weight", &[128, 128, 3, 3]),
        ("6.bias", &[128]),
        ("8.weight", &[128, 128, 3, 3]),
        ("8.bias", &[128]),
        ("11.weight", &[512, 32768]),
        ("11.bias", &[512]),
        ("13.weight", &[10, 512]),
        ("13.bias", &[10]),
    ];
    assert_eq!(shapes(Preset::Cnn7, &[3, 32, 32], 10), named(expected));
}

#[test]
fn mlp() {
    let expected: &[(&str, &[usize])] = &[
        ("1.weight", &[100, 784]),
        ("1.bias", &[100]),
        ("3.weight", &[100, 100]),
        ("3.bias", &[100]),
        ("5.weight", &[7, 100]),
        ("5.bias", &[7]),
    ];
    assert_eq!(shapes(Preset::Mlp, &[1, 28, 28], 7), named(expected));
    assert_eq!(shapes(Preset::Mlp, &[784], 7), named(expected), "a flat input is as good");
}

#[test]
fn theta_has_no_gaps_and_the_relus_are_found() {
    for (preset, count, pre_activations) in [
        (Preset::Cnn3Tiny, 1108, vec![1, 3]),
        (Preset::Cnn3, 24_330, vec![1, 3]),
        (Preset::Cnn5, 820_954, vec![1, 3, 5, 8]),
        (Preset::Mlp, 89_610, vec![2, 4]),
    ] {
        let network = preset.build(&[1, 28, 28], 10, None).unwrap();
        let mut next = 0;
        for info in network.parameters().iter() {
            assert_eq!((info.offset, info.range().start), (next, next));
            next = info.range().end;
        }
        assert_eq!((next, network.parameters().total()), (count, count), "{}", preset.name());
        assert_eq!(network.pre_activations(), pre_activations);
        assert_eq!((network.input_len(), network.output_len()), (784, 10));
    }
}

#[test]
fn normalisation_shifts_the_names_by_one() {
    let normalisation = Normalisation { mean: vec![0.5, 0.25, 0.0], std: vec![0.5, 0.25, 1.0] };
    let network = Preset::Cnn3.build(&[3, 8, 8], 10, Some(&normalisation)).unwrap();
    let names: Vec<&str> = network.parameters().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["1.weight", "1.bias", "3.weight", "3.bias", "6.weight", "6.bias"]);
    match &network.node(1).layer {
        tightrope_network::Layer::Affine(affine) => {
            assert_eq!((affine.inner, &affine.scale), (64, &vec![2.0, 4.0, 1.0]));
            assert_eq!(affine.shift, [-1.0, -1.0, 0.0]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_go_both_ways() {
    for preset in Preset::ALL {
        assert_eq!(Preset::from_name(preset.name()).unwrap(), preset);
    }
    let message = Preset::from_name("cnn4").unwrap_err().to_string();
    assert!(message.contains("unknown network `cnn4`") && message.contains("cnn3-tiny, cnn3, cnn5"), "{message}");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let refused = |preset: Preset, input: &[usize], mean: &[f64], std: &[f64], part: &str| {
        let normalisation = Normalisation { mean: mean.to_vec(), std: std.to_vec() };
        let error: NetworkError = preset.build(input, 10, Some(&normalisation)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(Preset::Cnn3, &[784], &[0.0], &[1.0], "needs an input [channels, height, width], got [784]");
    refused(Preset::Cnn3, &[1, 1, 1], &[0.0], &[1.0], "does not fit an input of 1×1");
    refused(Preset::Cnn3, &[1, 0, 28], &[0.0], &[1.0], "input shape [1, 0, 28]");
    refused(Preset::Cnn3, &[usize::MAX, 28, 28], &[0.0], &[1.0], "must have between 1 and 2³¹ elements");
    for (mean, std) in [
        (&[0.0, 0.0][..], &[1.0][..]),
        (&[0.0], &[0.0]),
        (&[0.0], &[-1.0]),
        (&[0.0], &[f64::NAN]),
        (&[0.0; 6], &[1.0; 6]),
        (&[], &[]),
    ] {
        refused(Preset::Cnn3, &[3, 28, 28], mean, std, "normalisation needs one mean and one positive std");
    }
    refused(Preset::Cnn3, &[1, 28, 28], &[f64::INFINITY], &[1.0], "not finite");
    assert!(Preset::Mlp.build(&[784], 0, None).unwrap_err().to_string().contains("impossible"));
}
