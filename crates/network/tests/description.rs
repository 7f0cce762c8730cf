//! Networks as text: every kind goes both ways, and mistakes are named.

use tightrope_network::{
    Activation, Affine, AvgPool2d, Conv2d, Description, Layer, MaxPool2d, Network, NetworkBuilder, ParameterId, Preset,
};

const EVERY_KIND: &str = r#"
    version = 1
    input = [4, 9, 8]

    [[layers]]
    kind = "affine"
    mean = [0.1, 0.2, 0.3, 0.4]
    std = [0.5, 0.6, 0.7, 0.8]

    [[layers]]
    name = "stem"
    kind = "conv2d"
    out_channels = 6
    kernel = [3, 2]
    stride = [2, 1]
    padding = [1, 0, 2, 1]
    dilation = [1, 2]
    groups = 2
    bias = false

    [[layers]]
    kind = "affine"
    scale = [0.3333333333333333, 1.1, 1.7976931348623157e308, 5e-324, -2.0, 0.1]
    shift = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    weight = true
    bias = "norm.beta"

    [[layers]]
    name = "on"
    kind = "relu"

    [[layers]]
    name = "branch"
    kind = "conv2d"
    out_channels = 6
    kernel = 3
    padding = [1, 1]
    weight = "branch.kernel"

    [[layers]]
    name = "sum"
    kind = "add"
    inputs = ["branch", "on", "stem"]

    [[layers]]
    kind = "product"

    [[layers]]
    kind = "avgpool2d"
    kernel = 2
    padding = 1
    count_include_pad = false

    [[layers]]
    kind = "leaky_relu"

    [[layers]]
    kind = "maxpool2d"
    kernel = [2, 3]
    padding = [1, 0, 0, 2]

    [[layers]]
    kind = "clip"
    lower = -0.5
    upper = 6.0

    [[layers]]
    kind = "sigmoid"

    [[layers]]
    kind = "tanh"

    [[layers]]
    kind = "exp"

    [[layers]]
    kind = "softplus"

    [[layers]]
    kind = "reciprocal"

    [[layers]]
    kind = "power"
    exponent = 3

    [[layers]]
    kind = "leaky_relu"
    slope = 0.25

    [[layers]]
    kind = "flatten"

    [[layers]]
    kind = "gather"
    shape = [2, 2]
    sources = [0, 1, 11, 5]
    counts = [2, 1, 0, 1]

    [[layers]]
    kind = "flatten"

    [[layers]]
    kind = "linear"
    out_features = 5
    bias = "last"
"#;

fn every_kind() -> Network {
    Description::from_toml(EVERY_KIND, "(inline)").unwrap().build().unwrap()
}

#[test]
fn text_says_what_the_layers_are() {
    let network = every_kind();
    let names: Vec<&str> = network.parameters().iter().map(|info| info.name.as_str()).collect();
    let expected = ["stem.weight", "2.weight", "norm.beta", "branch.kernel", "branch.bias", "21.weight", "last"];
    assert_eq!(names, expected);
    let kinds: Vec<&str> = network.nodes().iter().map(|node| node.layer.kind()).collect();
    let expected = [
        "input",
        "affine",
        "conv2d",
        "affine",
        "relu",
        "conv2d",
        "add",
        "product",
        "avgpool2d",
        "leaky_relu",
        "maxpool2d",
        "clip",
        "sigmoid",
        "tanh",
        "exp",
        "softplus",
        "reciprocal",
        "power",
        "leaky_relu",
        "flatten",
        "gather",
        "flatten",
        "linear",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(network.node(6).inputs, [5, 4, 2]);
    let conv = Conv2d {
        in_channels: 4,
        out_channels: 6,
        kernel: [3, 2],
        stride: [2, 1],
        padding: [1, 0, 2, 1],
        dilation: [1, 2],
        groups: 2,
        weight: ParameterId(0),
        bias: None,
    };
    assert_eq!(network.node(2).layer, Layer::Conv2d(conv));
    assert_eq!(network.node(2).shape, [6, 5, 7]);
    let pool = AvgPool2d { kernel: [2; 2], stride: [2; 2], padding: [1; 4], count_include_pad: false };
    assert_eq!(network.node(8).layer, Layer::AvgPool2d(pool));
    assert_eq!(network.node(9).layer, Layer::Activation(Activation::LeakyRelu { slope: 0.01 }));
    let pool = MaxPool2d { kernel: [2, 3], stride: [2, 3], padding: [1, 0, 0, 2] };
    assert_eq!(network.node(10).layer, Layer::MaxPool2d(pool));
    assert_eq!((&network.node(8).shape[..], &network.node(10).shape[..]), (&[3, 3, 4][..], &[3, 2, 2][..]));
    assert_eq!(network.node(11).layer, Layer::Activation(Activation::Clip { lower: -0.5, upper: 6.0 }));
    assert_eq!(network.node(17).layer, Layer::Activation(Activation::Power { exponent: 3 }));
    assert_eq!(network.node(18).layer, Layer::Activation(Activation::LeakyRelu { slope: 0.25 }));
    let Layer::Gather(gather) = &network.node(20).layer else { panic!("{:?}", network.node(20)) };
    let sources: Vec<&[u32]> = (0..4).map(|i| gather.sources(i)).collect();
    assert_eq!((gather.shape(), sources), (&[2, 2][..], vec![&[0, 1][..], &[11], &[], &[5]]));
    let Layer::Affine(first) = &network.node(1).layer else { panic!("{:?}", network.node(1)) };
    assert_eq!((first.inner, first.scale[0], first.shift[1]), (72, 2.0, -0.2 * (1.0 / 0.6)));
}

#[test]
fn descriptions_of_networks_build_the_same_networks() {
    let mut networks = vec![every_kind()];
    for preset in Preset::ALL {
        networks.push(preset.build(&[3, 16, 16], 10, None).unwrap());
    }
    let mut builder = NetworkBuilder::new(&[2, 3]).unwrap();
    let affine = Affine { inner: 1, scale: vec![0.1; 6], shift: vec![1.0 / 3.0; 6], weight: None, bias: None };
    let affine = builder.add("per element", Layer::Affine(affine), &[0]).unwrap();
    builder.add("flat", Layer::Flatten, &[affine]).unwrap();
    networks.push(builder.build().unwrap());
    for network in networks {
        let description = Description::of(&network);
        assert_eq!(description.build().unwrap(), network);
        let json = serde_json::to_string(&description).unwrap();
        assert_eq!(Description::from_json(&json, "j").unwrap(), description);
        assert_eq!(Description::from_json(&json, "j").unwrap().build().unwrap(), network);
        let toml = toml::to_string(&description).unwrap();
        assert_eq!(Description::from_toml(&toml, "t").unwrap(), description);
    }
}

/// Constants come back to the last bit, whatever they are.
#[test]
fn constants_keep_every_bit() {
    let stream = tightrope_noise::Stream::new(3, tightrope_noise::Purpose::Test, 0, 0);
    let scale: Vec<f64> = (0..2000)
        .map(|block| {
            let words = stream.words(block);
            let value = f64::from_bits(u64::from(words[0]) << 32 | u64::from(words[1]));
            if value.is_finite() { value } else { 1.5 }
        })
        .collect();
    let mut builder = NetworkBuilder::new(&[2000]).unwrap();
    builder.normalise("n", scale.clone(), scale, 0).unwrap();
    let network = builder.build().unwrap();
    let json = serde_json::to_string_pretty(&Description::of(&network)).unwrap();
    assert_eq!(Description::from_json(&json, "j").unwrap().build().unwrap(), network);
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let message = match Description::from_toml(text, "net.toml") {
        Err(error) => error.to_string(),
        Ok(description) => description.build().unwrap_err().to_string(),
    };
    parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
}

#[test]
fn unknown_keys_and_kinds_name_the_nearest() {
    let layer = |line: &str| format!("input = [4]\n[[layers]]\n{line}\n");
    refused(
        &layer("kind = \"linear\"\nout_feature = 3"),
        &["net.toml", "line 4", "unknown field `out_feature`", "did you mean `out_features`?"],
    );
    refused(&layer("kind = \"conv\""), &["line 3", "unknown variant `conv`", "did you mean `conv2d`?"]);
    refused("imput = [4]\nlayers = []", &["line 1", "did you mean `input`?"]);
    let message = Description::from_toml(&layer("kind = \"relu\"\nzzz = 1"), "net.toml").unwrap_err().to_string();
    assert!(message.contains("unknown field `zzz`") && !message.contains("did you mean"), "{message}");
    let message = Description::from_json(r#"{"input": [4], "layer": []}"#, "net.json").unwrap_err().to_string();
    assert!(message.contains("net.json") && message.contains("did you mean `layers`?"), "{message}");
}

#[test]
fn descriptions_that_make_no_network() {
    let layers = |lines: &str| format!("input = [2, 6, 6]\nlayers = [{lines}]");
    refused("input = [4]", &["missing field `layers`"]);
    refused("input = [4", &["net.toml", "line 1"]);
    refused("input = [-4]\nlayers = []", &["line 1"]);
    refused("input = [4]\nlayers = []", &["needs at least one layer"]);
    refused("version = 2\ninput = [4]\nlayers = []", &["version 2", "reads version 1"]);
    refused(&layers("{ out_features = 3 }"), &["missing field `kind`"]);
    refused(&layers("{ kind = \"linear\", out_features = 3 }"), &["layer `0`", "put a flatten before it"]);
    refused(&layers("{ kind = \"flatten\" }, { kind = \"linear\" }"), &["layer `1`", "`out_features` is missing"]);
    refused(&layers("{ kind = \"conv2d\", out_channels = 3 }"), &["layer `0`", "`kernel` is missing"]);
    refused(&layers("{ kind = \"conv2d\", kernel = 3 }"), &["`out_channels` is missing"]);
    refused(&layers("{ kind = \"relu\", kernel = 3 }"), &["`kernel` means nothing for this kind of layer"]);
    refused(&layers("{ kind = \"leaky_relu\", slope = 1.0 }"), &["layer `0`", "slope 1 is not in [0, 1)"]);
    refused(&layers("{ kind = \"leaky_relu\", slope = nan }"), &["slope NaN is not in"]);
    refused(&layers("{ kind = \"relu\", slope = 0.1 }"), &["`slope` means nothing"]);
    refused(&layers("{ kind = \"clip\", lower = 1.0 }"), &["`upper` is missing"]);
    refused(&layers("{ kind = \"clip\", upper = 1.0 }"), &["`lower` is missing"]);
    refused(&layers("{ kind = \"clip\", lower = 1.0, upper = 1.0 }"), &["lower < upper"]);
    refused(&layers("{ kind = \"clip\", lower = -inf, upper = 1.0 }"), &["finite ends"]);
    refused(&layers("{ kind = \"power\" }"), &["`exponent` is missing"]);
    for exponent in [0, 1, 17] {
        refused(&layers(&format!("{{ kind = \"power\", exponent = {exponent} }}")), &["from 2 to 16"]);
    }
    refused(&layers("{ kind = \"exp\", exponent = 2 }"), &["`exponent` means nothing"]);
    refused(&layers("{ kind = \"maxpool2d\", kernel = 2, padding = 2 }"), &["as large as the window"]);
    refused(&layers("{ kind = \"maxpool2d\", kernel = 2, count_include_pad = true }"), &["`count_include_pad` means"]);
    refused(&layers("{ kind = \"flatten\" }, { kind = \"maxpool2d\", kernel = 2 }"), &["pooling needs an input"]);
    let gather = |keys: &str| layers(&format!("{{ kind = \"gather\", {keys} }}"));
    refused(&gather("sources = [0]"), &["layer `0`", "`shape` is missing"]);
    refused(&gather("shape = [2]"), &["`sources` is missing"]);
    refused(&gather("shape = [2], sources = [0]"), &["sources for 1 outputs, not for the shape [2]"]);
    refused(&gather("shape = [1], sources = [1000]"), &["reads element 1000 of an input of"]);
    refused(&gather("shape = [1], sources = [0, 1], counts = [3]"), &["counts do not add up to its 2 sources"]);
    refused(&gather("shape = [1], sources = [1, 1], counts = [2]"), &["output 0 are not in increasing order"]);
    refused(&layers("{ kind = \"flatten\", scale = [1.0] }"), &["`scale` means nothing"]);
    refused(
        &layers("{ kind = \"conv2d\", out_channels = 3, kernel = [1, 2, 3] }"),
        &["`kernel` must be one number or"],
    );
    refused(
        &layers("{ kind = \"conv2d\", out_channels = 3, kernel = 1, padding = [1, 2, 3] }"),
        &["`padding` must be"],
    );
    refused(&layers("{ kind = \"conv2d\", out_channels = 3, kernel = 1, groups = 3 }"), &["in 3 groups", "[2, 6, 6]"]);
    refused(&layers("{ kind = \"conv2d\", out_channels = 3, kernel = 1, groups = 0 }"), &["in 0 groups"]);
    refused(&layers("{ kind = \"conv2d\", out_channels = 2, kernel = 1, weight = false }"), &["needs its weight"]);
    refused(
        &layers("{ kind = \"flatten\" }, { kind = \"linear\", out_features = 2, weight = false }"),
        &["its weight"],
    );
    refused(&layers("{ kind = \"flatten\" }, { kind = \"conv2d\", out_channels = 3, kernel = 1 }"), &["shape [72]"]);
    refused(&layers("{ kind = \"affine\" }"), &["needs `scale`"]);
    refused(&layers("{ kind = \"affine\", mean = [0.0], std = [0.0] }"), &["positive `std`"]);
    refused(&layers("{ kind = \"affine\", mean = [0.0], std = [1.0, 1.0] }"), &["of equal length"]);
    refused(&layers("{ kind = \"affine\", scale = [] }"), &["do not cover"]);
    refused(&layers("{ kind = \"affine\", scale = [nan] }"), &["not finite"]);
    refused(&layers("{ kind = \"affine\", scale = [1.0, 1.0], inner = 9223372036854775807 }"), &["do not cover"]);
    refused(&layers("{ kind = \"relu\", inputs = [\"later\"] }"), &["reads `later`, which is no earlier layer"]);
    refused(&layers("{ kind = \"relu\", inputs = [] }"), &["cannot have 0 inputs"]);
    refused(&layers("{ kind = \"conv2d\", out_channels = 2, kernel = 1, inputs = [] }"), &["layer `0`"]);
    refused(&layers("{ kind = \"relu\", name = \"a\" }, { kind = \"relu\", name = \"a\" }"), &["layer `a`", "unique"]);
    refused(&layers("{ kind = \"relu\", name = \"1\" }, { kind = \"relu\" }"), &["layer `1`", "unique"]);
    refused(&layers("{ kind = \"relu\", name = \"input\" }"), &["layer `input`", "unique"]);
    let twice = "{ kind = \"conv2d\", out_channels = 2, kernel = 1, weight = \"w\" }";
    refused(&layers(&format!("{twice}, {twice}")), &["two parameters are called `w`"]);
    let huge = "{ kind = \"flatten\" }, { kind = \"linear\", out_features = 9223372036854775807 }";
    refused(&layers(huge), &["`1.weight` has the impossible shape"]);
}
