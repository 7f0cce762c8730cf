//! Recipes of some minutes on a laptop, which also lie in the folder `recipes` of the repository.

/// A short recipe, key by key.
pub(super) struct Example {
    /// The whole name of the recipe, `example/` and the name of its file.
    pub(super) name: &'static str,
    /// What it is, in a line.
    pub(super) summary: &'static str,
    /// The same for the file, in lines.
    pub(super) remark: &'static str,
    /// Keys with values, in the order of the file.
    pub(super) keys: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(super) static EXAMPLES: [Example; 3] = [
    Example {
        name: "example/mnist-ibp",
        summary: "CNN3 by interval bounds and plain gradients, a few minutes on two cores",
        remark: "CNN3 on MNIST at ε = 0.1 by interval bounds and plain gradients: the baseline, a few minutes on two cores.",
        keys: &[
            ("dataset", "\"mnist\""),
            ("model", "\"cnn3\""),
            ("eps", "0.1"),
            ("train.epochs", "10"),
            ("train.batch", "128"),
            ("train.lr", "2e-3"),
            ("method.name", "\"ibp\""),
        ],
    },
    Example {
        name: "example/mnist-ibp-pgpe",
        summary: "CNN3 by interval bounds and loss values alone, some minutes on two cores",
        remark: "CNN3 on MNIST at ε = 0.1 by interval bounds and loss values alone (PGPE, 32 antithetic pairs a step), on a third of\n\
                 the training set: some minutes on two cores. Small batches and a slow start of ε matter: with few members the estimate\n\
                 is noisy, and many small steps average it.",
        keys: &[
            ("dataset", "\"mnist\""),
            ("model", "\"cnn3\""),
            ("eps", "0.1"),
            ("limit_train", "20000"),
            ("train.epochs", "12"),
            ("train.batch", "32"),
            ("train.lr", "2e-3"),
            ("warmup.end", "4"),
            ("method.name", "\"ibp\""),
            ("smoothing.kind", "\"pgpe\""),
            ("smoothing.sigma", "1e-3"),
            ("smoothing.population", "64"),
        ],
    },
    Example {
        name: "example/mnist-deeppoly-rgs",
        summary: "CNN3 by DeepPoly under smoothed gradients, some minutes on two cores",
        remark: "CNN3 on MNIST at ε = 0.1 by DeepPoly bounds under Gaussian loss smoothing (RGS, two gradients a step), on a third of\n\
                 the training set: some minutes on two cores.",
        keys: &[
            ("dataset", "\"mnist\""),
            ("model", "\"cnn3\""),
            ("eps", "0.1"),
            ("limit_train", "20000"),
            ("train.epochs", "6"),
            ("train.batch", "128"),
            ("train.lr", "2e-3"),
            ("method.name", "\"deeppoly\""),
            ("smoothing.kind", "\"rgs\""),
            ("smoothing.sigma", "1e-3"),
            ("smoothing.samples", "2"),
        ],
    },
];
