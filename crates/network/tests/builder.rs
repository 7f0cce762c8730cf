//! What the builder refuses.

use tightrope_network::{
    Affine, AvgPool2d, Conv2d, Layer, Linear, MaxPool2d, NetworkBuilder, NetworkError, NodeId, ParameterId,
};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, NetworkError>, part: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(part), "`{part}` is not in: {message}");
}

fn conv(in_channels: usize, out_channels: usize, kernel: usize) -> Conv2d {
    Conv2d::new([in_channels, out_channels], [kernel; 2])
}

fn image() -> NetworkBuilder {
    NetworkBuilder::new(&[2, 6, 5]).unwrap()
}

#[test]
fn output_shapes_follow_the_windows() {
    let shape = |change: &dyn Fn(&mut Conv2d)| {
        let mut builder = image();
        let mut layer = conv(2, 4, 3);
        change(&mut layer);
        let id = builder.conv2d("c", layer, true, builder.input()).unwrap();
        builder.shape(id).to_vec()
    };
    assert_eq!(shape(&|_| ()), [4, 4, 3]);
    assert_eq!(shape(&|c| c.stride = [2, 1]), [4, 2, 3]);
    assert_eq!(shape(&|c| c.padding = [1, 0, 2, 4]), [4, 7, 7]);
    assert_eq!(shape(&|c| c.dilation = [2, 2]), [4, 2, 1]);
    assert_eq!(shape(&|c| (c.groups, c.stride) = (2, [4, 3])), [4, 1, 1]);
    let mut builder = image();
    let pool = AvgPool2d { kernel: [2, 3], stride: [2, 2], padding: [1, 0, 0, 1], count_include_pad: true };
    let id = builder.avg_pool2d("p", pool, builder.input()).unwrap();
    assert_eq!(builder.shape(id), [2, 3, 2]);
}

#[test]
fn products_have_two_halves() {
    let mut builder = image();
    let id = builder.add("p", Layer::Product, &[builder.input()]).unwrap();
    assert_eq!(builder.shape(id), [1, 6, 5]);
    refused(builder.add("q", Layer::Product, &[id]), "layer `q`: multiplies the two halves of its input");
    let mut builder = NetworkBuilder::new(&[6]).unwrap();
    let id = builder.add("p", Layer::Product, &[builder.input()]).unwrap();
    assert_eq!(builder.shape(id), [3]);
    refused(builder.add("q", Layer::Product, &[id, id]), "cannot have 2 inputs");
}

#[test]
fn windows_that_do_not_fit() {
    let attempt = |change: &dyn Fn(&mut Conv2d)| {
        let mut builder = image();
        let mut layer = conv(2, 4, 3);
        change(&mut layer);
        builder.conv2d("c", layer, true, builder.input())
    };
    refused(attempt(&|c| c.kernel = [7, 3]), "layer `c`: a 7×3 window");
    refused(attempt(&|c| c.dilation = [1, 3]), "does not fit an input of 6×5");
    refused(attempt(&|c| c.stride = [0, 1]), "does not fit");
    refused(attempt(&|c| c.dilation = [0, 1]), "does not fit");
    refused(attempt(&|c| c.kernel = [0, 1]), "impossible shape");
    refused(attempt(&|c| c.padding = [usize::MAX; 4]), "does not fit");
    refused(attempt(&|c| c.padding = [1 << 40, 0, 0, 1 << 40]), "impossible");
    refused(attempt(&|c| c.groups = 0), "groups = 0 does not divide 2 channels");
    refused(attempt(&|c| c.groups = 3), "groups = 3 does not divide 2 channels");
    refused(attempt(&|c| (c.groups, c.out_channels) = (2, 3)), "groups = 2 does not divide the channels 2 and 3");
    refused(attempt(&|c| c.in_channels = 3), "weight takes 3 channels, the input has 2");
    refused(attempt(&|c| c.out_channels = 0), "impossible shape");
    refused(attempt(&|c| c.out_channels = usize::MAX), "impossible shape");
    let pool = |kernel, stride, padding| {
        let mut builder = image();
        builder.avg_pool2d("p", AvgPool2d { kernel, stride, padding, count_include_pad: true }, 0)
    };
    refused(pool([2, 2], [1, 1], [2, 0, 0, 0]), "as large as the window");
    refused(pool([2, 9], [1, 1], [0; 4]), "does not fit");
    refused(pool([2, 2], [0, 1], [0; 4]), "does not fit");
    refused(pool([0, 2], [1, 1], [0; 4]), "as large as the window");
}

#[test]
fn layers_that_do_not_follow_their_inputs() {
    let mut builder = image();
    refused(builder.linear("l", 3, true, 0), "put a flatten before it");
    let mut builder = image();
    refused(builder.add("a", Layer::Add, &[0]), "a layer of kind `add` cannot have 1 input; give it at least two");
    refused(builder.add("r", Layer::RELU, &[0, 0]), "a layer of kind `relu` cannot have 2 inputs; give it one");
    refused(builder.add("r", Layer::RELU, &[4]), "reads node 4, which does not exist yet");
    refused(builder.add("i", Layer::Input, &[]), "stands only at the start");
    refused(builder.add("input", Layer::RELU, &[0]), "two layers have this name");
    let flat = builder.add("f", Layer::Flatten, &[0]).unwrap();
    refused(builder.add("s", Layer::Add, &[0, flat]), "adds shapes [2, 6, 5] and [60], which differ");
    refused(builder.conv2d("c", conv(2, 1, 1), false, flat), "needs an input [channels, height, width], got [60]");
    let pool = AvgPool2d { kernel: [1; 2], stride: [1; 2], padding: [0; 4], count_include_pad: true };
    refused(builder.avg_pool2d("p", pool, flat), "pooling needs an input [channels, height, width]");
    let affine = |inner, scale: Vec<f64>, shift: Vec<f64>| {
        let layer = Layer::Affine(Affine { inner, scale, shift, weight: None, bias: None });
        image().add("a", layer, &[0])
    };
    refused(affine(7, vec![1.0; 2], vec![0.0; 2]), "2 channels of 7 elements do not cover");
    refused(affine(30, vec![1.0; 2], vec![0.0; 3]), "do not cover");
    refused(affine(0, vec![], vec![]), "do not cover");
    refused(affine(1 << 63, vec![1.0; 2], vec![0.0; 2]), "do not cover");
    refused(affine(30, vec![1.0, f64::NAN], vec![0.0; 2]), "not finite");
    refused(affine(30, vec![1.0; 2], vec![0.0, f64::INFINITY]), "not finite");
}

#[test]
fn parameters_that_do_not_fit() {
    let mut builder = NetworkBuilder::new(&[4]).unwrap();
    let weight = builder.parameter("w", &[3, 5]).unwrap();
    refused(builder.parameter("w", &[3]), "two parameters are called `w`");
    refused(builder.parameter("v", &[0, 3]), "impossible shape");
    refused(builder.parameter("v", &[usize::MAX, 3]), "impossible shape");
    let linear = |in_features, weight, bias| Layer::Linear(Linear { in_features, out_features: 3, weight, bias });
    refused(builder.add("l", linear(4, weight, None), &[0]), "`w` has shape [3, 5], the layer needs [3, 4]");
    refused(builder.add("l", linear(5, weight, None), &[0]), "weight takes 5 features, the input has 4");
    refused(builder.add("l", linear(4, ParameterId(9), None), &[0]), "parameter number 9 does not exist");
    let fitting = builder.parameter("fitting", &[3, 4]).unwrap();
    refused(builder.add("l", linear(4, fitting, Some(weight)), &[0]), "`w` has shape [3, 5], the layer needs [3]");
}

/// θ's layout is the layers' order; a file could not say anything else.
#[test]
fn parameters_out_of_turn() {
    let linear = |weight, bias| Layer::Linear(Linear { in_features: 2, out_features: 2, weight, bias });
    let build = |layers: &[(usize, Option<usize>)], parameters: &[&[usize]]| {
        let mut builder = NetworkBuilder::new(&[2])?;
        for (index, shape) in parameters.iter().enumerate() {
            builder.parameter(format!("p{index}"), shape)?;
        }
        for (index, &(weight, bias)) in layers.iter().enumerate() {
            builder.add(format!("l{index}"), linear(ParameterId(weight), bias.map(ParameterId)), &[index])?;
        }
        builder.build()
    };
    let (matrix, vector): (&[usize], &[usize]) = (&[2, 2], &[2]);
    assert!(build(&[(0, Some(1)), (2, None)], &[matrix, vector, matrix]).is_ok());
    refused(build(&[(1, Some(0))], &[vector, matrix]), "layer `l0`: parameter `p1` is out of turn");
    refused(build(&[(1, None), (0, None)], &[matrix, matrix]), "layer `l0`: parameter `p1` is out of turn");
    refused(build(&[(0, None), (0, None)], &[matrix]), "layer `l1`: parameter `p0` is out of turn");
    refused(build(&[(0, None)], &[matrix, vector]), "no layer uses the parameter `p1`");
}

#[test]
fn whole_networks_that_are_none() {
    refused(NetworkBuilder::new(&[2]).unwrap().build(), "needs at least one layer");
    let mut builder = image();
    builder.add("r", Layer::RELU, &[0]).unwrap();
    refused(builder.build(), "layer `r`: the output must be a flat vector of logits, got [2, 6, 5]");
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let unread: NodeId = builder.add("unread", Layer::RELU, &[0]).unwrap();
    assert_eq!(unread, 1);
    builder.add("last", Layer::RELU, &[0]).unwrap();
    refused(builder.build(), "layer `unread`: nothing reads this layer");
}

#[test]
fn networks_too_large_for_memory_are_refused() {
    let mut builder = NetworkBuilder::new(&[1 << 25]).unwrap();
    let input = builder.input();
    let relu = builder.add("r", Layer::RELU, &[input]).unwrap();
    refused(builder.add("s", Layer::RELU, &[relu]), "more than 2²⁶ values");
    // Padding makes a huge image from a small one.
    let mut layer = conv(2, 16, 3);
    layer.padding = [2000; 4];
    let mut builder = image();
    refused(builder.conv2d("c", layer, false, 0), "more than 2²⁶ values");
    // Few values, each of a window that covers a quarter of a large image.
    let mut builder = NetworkBuilder::new(&[1, 4000, 4000]).unwrap();
    let pool = MaxPool2d { kernel: [1000; 2], stride: [1; 2], padding: [0; 4] };
    refused(builder.add("p", Layer::MaxPool2d(pool), &[0]), "read 1000000 values");
    let pool = MaxPool2d { kernel: [1000; 2], stride: [1000; 2], padding: [0; 4] };
    assert!(builder.add("p", Layer::MaxPool2d(pool), &[0]).is_ok());
}
