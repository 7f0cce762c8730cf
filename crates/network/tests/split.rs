//! Networks cut in two: what each half holds of the graph and of θ, and where there is no cut.

use tightrope_network::{Activation, Conv2d, Layer, Network, NetworkBuilder, NetworkError, Preset};

/// stem → (branch + stem) → relu → conv → flatten → linear; the relu ends a residual block.
fn residual() -> Network {
    let mut builder = NetworkBuilder::new(&[2, 4, 4]).unwrap();
    let conv = |channels| Conv2d { padding: [1; 4], ..Conv2d::new(channels, [3; 2]) };
    let normalised = builder.normalise("norm", vec![2.0, 3.0], vec![0.5, 0.0], 0).unwrap();
    let stem = builder.conv2d("stem", conv([2, 3]), true, normalised).unwrap();
    let branch = builder.conv2d("branch", conv([3, 3]), false, stem).unwrap();
    let sum = builder.add("sum", Layer::Add, &[branch, stem]).unwrap();
    let relu = builder.add("relu", Layer::RELU, &[sum]).unwrap();
    let last = builder.conv2d("conv", conv([3, 1]), true, relu).unwrap();
    let tanh = builder.add("tanh", Layer::Activation(Activation::Tanh), &[last]).unwrap();
    let twice = builder.add("twice", Layer::Add, &[tanh, last]).unwrap();
    let flat = builder.add("flat", Layer::Flatten, &[twice]).unwrap();
    builder.linear("logits", 5, true, flat).unwrap();
    builder.build().unwrap()
}

/// Both halves hold their nodes, unchanged but for ids, and their tensors in the whole's order.
fn check(network: &Network, node: usize) {
    let (before, behind) = network.split_at(node).unwrap();
    assert_eq!(before.nodes(), &network.nodes()[..=node]);
    assert_eq!(behind.input_shape(), network.node(node).shape);
    assert_eq!(behind.node(0).layer, Layer::Input);
    assert_eq!(behind.nodes().len(), network.nodes().len() - node);
    let total = before.parameters().total();
    assert_eq!(total + behind.parameters().total(), network.parameters().total());
    for (id, cut) in behind.nodes().iter().enumerate().skip(1) {
        let whole = network.node(node + id);
        assert_eq!((&cut.name, &cut.shape, cut.layer.kind()), (&whole.name, &whole.shape, whole.layer.kind()));
        assert_eq!(cut.inputs.iter().map(|input| input + node).collect::<Vec<_>>(), whole.inputs);
    }
    // The same tensor by name, role and place in θ.
    for (half, first_node, first) in [(&before, 0, 0), (&behind, node, total)] {
        for (id, cut) in half.nodes().iter().enumerate().skip(1) {
            let tensors = |network: &Network, layer: &Layer, first: usize| -> Vec<_> {
                let of = |id| network.parameters().get(id);
                layer.parameters().iter().map(of).map(|i| (i.name.clone(), i.shape.clone(), i.offset + first)).collect()
            };
            let whole = &network.node(first_node + id).layer;
            assert_eq!(tensors(half, &cut.layer, first), tensors(network, whole, 0));
            assert_eq!(cut.layer.parameters().weight.is_some(), whole.parameters().weight.is_some());
        }
    }
}

#[test]
fn sequences_split_everywhere_inside() {
    for preset in [Preset::Cnn5, Preset::Mlp] {
        let network = preset.build(&[1, 16, 16], 4, None).unwrap();
        (1..network.output()).for_each(|node| check(&network, node));
    }
}

#[test]
fn residual_networks_split_where_all_paths_meet() {
    let network = residual();
    let id = |name: &str| network.nodes().iter().position(|node| node.name == name).unwrap();
    ["norm", "stem", "sum", "relu", "conv", "twice", "flat"].into_iter().for_each(|name| check(&network, id(name)));
    for (name, reader, past) in [("branch", "sum", "stem"), ("tanh", "twice", "conv")] {
        let NetworkError::Layer { layer, problem } = network.split_at(id(name)).unwrap_err() else { panic!() };
        assert_eq!(layer, name);
        assert!(problem.contains(&format!("`{reader}` reads `{past}`")), "{problem}");
    }
}

#[test]
fn halves_of_halves_are_those_of_the_whole() {
    let network = residual();
    let (_, behind) = network.split_at(2).unwrap();
    assert_eq!(behind.split_at(3).unwrap().1, network.split_at(5).unwrap().1);
    assert_eq!(network.split_at(5).unwrap().0.split_at(2).unwrap().0, network.split_at(2).unwrap().0);
}

#[test]
fn there_is_nothing_to_cut_at_the_ends() {
    let network = residual();
    for node in [0, network.output(), network.output() + 1, usize::MAX] {
        let message = network.split_at(node).unwrap_err().to_string();
        assert!(message.contains("between the input (0) and the output (10)"), "{message}");
    }
}
