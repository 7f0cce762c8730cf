//! Shapes and sizes of the named architectures, and the names of their parameters.

use tightrope_network::{Architecture, Layer, NetworkError, Normalisation, Preset};

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

/// Neurons before a ReLU and parameters.
fn sizes(name: &str, input: &[usize]) -> (usize, usize) {
    let network = Architecture::from_name(name).unwrap().build(input, 10, None).unwrap();
    let neurons = network.pre_activations().iter().map(|&id| network.node(id).len()).sum();
    (neurons, network.parameters().total())
}

/// Gowal et al.'s table for CIFAR-10: 8.3K, 47K and 230K neurons, 471K, 1.2M and 17M parameters.
#[test]
fn the_networks_of_gowal_have_the_published_sizes() {
    assert_eq!(sizes("small", &[3, 32, 32]), (8_308, 470_918));
    assert_eq!(sizes("medium", &[3, 32, 32]), (46_912, 1_188_906));
    assert_eq!(sizes("large", &[3, 32, 32]), (229_888, 17_190_602));
}

/// Where sides are even, the stride of `large` pads at the bottom and at the right alone.
#[test]
fn same_padding_keeps_the_side() {
    let padding = |side: usize| {
        let network = Preset::Large.build(&[1, side, side], 10, None).unwrap();
        let convs = network.nodes().iter().filter_map(|node| match &node.layer {
            Layer::Conv2d(conv) => Some((conv.padding, node.shape[1])),
            _ => None,
        });
        convs.collect::<Vec<_>>()
    };
    assert_eq!(padding(28)[1..3], [([1; 4], 28), ([0, 0, 1, 1], 14)]);
    assert_eq!(padding(27)[1..3], [([1; 4], 27), ([1; 4], 14)]);
}

/// The ReLUs that VNN-COMP 2021 tells of its networks.
#[test]
fn residual_networks_have_the_published_relus() {
    let linear = |inputs: usize, outputs: usize| inputs * outputs + outputs;
    let block = |from: usize, to: usize| linear(9 * from, to) + linear(9 * to, to);
    let parameters_2b = linear(27, 8) + block(8, 16) + linear(8, 16) + block(16, 16);
    let dense = linear(1024, 100) + linear(100, 10);
    assert_eq!(sizes("resnet-2b", &[3, 32, 32]), (6_244, parameters_2b + dense));
    let stage = |from: usize| block(from, 32) + linear(from, 32) + block(32, 32);
    let dense = linear(512, 100) + linear(100, 10);
    assert_eq!(sizes("resnet-4b", &[3, 32, 32]), (14_436, linear(27, 16) + stage(16) + stage(32) + dense));
}

#[test]
fn residual_networks_are_named_as_published() {
    let expected: &[(&str, &[usize])] = &[
        ("conv1.weight", &[8, 3, 3, 3]),
        ("conv1.bias", &[8]),
        ("layer1.0.conv1.weight", &[16, 8, 3, 3]),
        ("layer1.0.conv1.bias", &[16]),
        ("layer1.0.conv2.weight", &[16, 16, 3, 3]),
        ("layer1.0.conv2.bias", &[16]),
        ("layer1.0.shortcut.0.weight", &[16, 8, 1, 1]),
        ("layer1.0.shortcut.0.bias", &[16]),
        ("layer1.1.conv1.weight", &[16, 16, 3, 3]),
        ("layer1.1.conv1.bias", &[16]),
        ("layer1.1.conv2.weight", &[16, 16, 3, 3]),
        ("layer1.1.conv2.bias", &[16]),
        ("linear1.weight", &[100, 1024]),
        ("linear1.bias", &[100]),
        ("linear2.weight", &[10, 100]),
        ("linear2.bias", &[10]),
    ];
    assert_eq!(shapes(Preset::ResNet2B, &[3, 32, 32], 10), named(expected));
    let with = Architecture { batch_norm: true, ..Preset::ResNet4B.into() };
    let network = with.build(&[3, 32, 32], 10, None).unwrap();
    let names: Vec<&str> = network.parameters().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names[..4], ["conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight"]);
    assert!(names.contains(&"layer2.0.shortcut.1.bias") && !names.contains(&"layer2.1.shortcut.0.weight"), "{names:?}");
    assert_eq!(network.batch_norms().count(), 1 + 4 * 2 + 2);
}

/// Where the shape stays, the shortcut is the block's input.
#[test]
fn a_block_adds_its_shortcut() {
    let network = Preset::ResNet2B.build(&[3, 32, 32], 10, None).unwrap();
    let sums: Vec<(&str, Vec<&str>)> = network
        .nodes()
        .iter()
        .filter(|node| matches!(node.layer, Layer::Add))
        .map(|node| (&node.name[..], node.inputs.iter().map(|&id| &network.node(id).name[..]).collect()))
        .collect();
    let expected = [
        ("layer1.0.add", vec!["layer1.0.conv2", "layer1.0.shortcut.0"]),
        ("layer1.1.add", vec!["layer1.1.conv2", "layer1.0.relu2"]),
    ];
    assert_eq!(sums, expected);
}

#[test]
fn batch_norms_stand_before_every_relu() {
    for preset in [Preset::Cnn3, Preset::Cnn5L, Preset::Cnn7, Preset::Medium, Preset::Mlp] {
        let plain = preset.build(&[1, 28, 28], 10, None).unwrap();
        let network = Architecture { batch_norm: true, ..preset.into() }.build(&[1, 28, 28], 10, None).unwrap();
        let before: Vec<_> = network.pre_activations().iter().map(|&id| network.node(id).layer.kind()).collect();
        assert_eq!(before, vec!["batchnorm"; plain.pre_activations().len()], "{}", preset.name());
        assert_eq!(network.batch_norms().count(), before.len());
        let scales: usize = network.batch_norms().map(|(_, norm)| 2 * norm.channels).sum();
        assert_eq!(network.parameters().total(), plain.parameters().total() + scales);
    }
}

#[test]
fn widths_scale_convolutions_and_leave_published_linear_layers() {
    let of = |name: &str| {
        let network = Architecture::from_name(name).unwrap().build(&[3, 32, 32], 10, None).unwrap();
        network.parameters().iter().map(|info| (info.name.clone(), info.shape.clone())).collect::<Vec<_>>()
    };
    // CNN5 as CTRAIN has it.
    let expected: &[(&str, &[usize])] = &[
        ("0.weight", &[64, 3, 3, 3]),
        ("0.bias", &[64]),
        ("1.weight", &[64]),
        ("1.bias", &[64]),
        ("3.weight", &[64, 64, 4, 4]),
        ("3.bias", &[64]),
        ("4.weight", &[64]),
        ("4.bias", &[64]),
        ("6.weight", &[128, 64, 4, 4]),
        ("6.bias", &[128]),
        ("7.weight", &[128]),
        ("7.bias", &[128]),
        ("10.weight", &[512, 8192]),
        ("10.bias", &[512]),
        ("11.weight", &[512]),
        ("11.bias", &[512]),
        ("13.weight", &[10, 512]),
        ("13.bias", &[10]),
    ];
    assert_eq!(of("cnn5-bn:64"), named(expected));
    assert_eq!(of("cnn5:32"), of("cnn5-l"));
    assert_eq!(of("mlp:7")[2], ("3.weight".into(), vec![7, 7]));
    assert_eq!(of("resnet-2b:4")[2], ("layer1.0.conv1.weight".into(), vec![8, 4, 3, 3]));
}

#[test]
fn cnn7_of_tiny_imagenet_ends_on_16_by_16() {
    let shapes = shapes(Preset::Cnn7TinyImageNet, &[3, 64, 64], 200);
    assert_eq!(shapes[10], ("11.weight".into(), vec![512, 128 * 16 * 16]));
}

#[test]
fn names_go_both_ways() {
    for preset in Preset::ALL {
        for (suffix, batch_norm) in [("", false), ("-bn", true)] {
            for (end, width) in [("", preset.width()), (":48", 48)] {
                let name = format!("{}{suffix}{end}", preset.name());
                let architecture = Architecture::from_name(&name).unwrap();
                assert_eq!(architecture, Architecture { preset, batch_norm, width });
                assert_eq!(architecture.to_string(), name);
            }
        }
    }
    let refusal = |name: &str| Architecture::from_name(name).unwrap_err().to_string();
    let message = refusal("cnn4");
    assert!(message.contains("unknown network `cnn4`") && message.contains("cnn3-tiny, cnn3, cnn5"), "{message}");
    for (name, nearest) in [("cnn5-nb:64", "cnn5-bn:64"), ("resnet2b", "resnet-2b"), ("cnn7bn", "cnn7-bn")] {
        let message = refusal(name);
        assert!(message.contains(&format!("did you mean `{nearest}`")), "{message}");
    }
    assert!(!refusal("transformer").contains("did you mean"));
    for name in ["cnn5:0", "cnn5:", "cnn5:-3", "cnn5:2.5", "cnn5-bn:99999"] {
        let message = refusal(name);
        assert!(message.contains(name) && message.contains("from 1 to 4096"), "{message}");
    }
}

#[test]
fn the_layers_are_told_from_the_table() {
    let text = Preset::Small.layers();
    let expected =
        "Conv(w, 4×4, stride 2, padding 0), Conv(2w, 4×4, stride 1, padding 0), Flatten, Linear(100), Linear(K)";
    assert_eq!(text, expected);
    assert!(Preset::ResNet4B.layers().contains("Block(2w, stride 2), Block(2w, stride 1), Block(2w, stride 2)"));
    assert!(Preset::Large.layers().contains("padding same") && Preset::Mlp.layers().contains("Linear(w)"));
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
