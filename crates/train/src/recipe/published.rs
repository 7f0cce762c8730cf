//! The settings under which certified training is published: data set, radius, schedule, and what the methods take there.

/// One data set and radius.
pub(super) struct Published {
    /// The first part of a recipe's name.
    pub(super) name: &'static str,
    pub(super) dataset: &'static str,
    /// Norm of the perturbations, as configurations write it.
    pub(super) norm: &'static str,
    /// Radius, as configurations write it.
    pub(super) eps: &'static str,
    /// Radius that interval bounds are trained with, where it is another.
    pub(super) ibp_eps: Option<&'static str>,
    /// Radius that SABR is trained with, where it is another.
    pub(super) sabr_eps: Option<&'static str>,
    pub(super) epochs: usize,
    /// Epochs at which ε begins to rise and has risen.
    pub(super) warmup: [usize; 2],
    /// Epochs at which the learning rate falls.
    pub(super) milestones: [usize; 2],
    pub(super) batch: usize,
    /// Weight of the robust loss.
    pub(super) robust_weight: f64,
    /// Random flips and padded crops.
    pub(super) augmented: bool,
    /// Weight of the warm-up regularisers.
    pub(super) regulariser: f64,
    /// ℓ1 of IBP, SABR, TAPS and MTL-IBP; relatives take their nearest one's.
    pub(super) l1: [f64; 4],
    /// λ of SABR.
    pub(super) box_share: f64,
    /// Factor on the upper bounds of unstable ReLUs in SABR's boxes.
    pub(super) shrinkage: f64,
    /// α of MTL-IBP.
    pub(super) alpha: f64,
    pub(super) attack_steps: usize,
    /// Radius of MTL-IBP's attack as a multiple of ε.
    pub(super) attack_eps_factor: f64,
}

/// ℓ∞.
pub(super) const INF: &str = "inf";

/// ℓ2 and ℓ1 balls on MNIST: radii of Croce and Hein 2020 (arXiv 1905.11213), the rest as for ℓ∞.
const MNIST_BALLS: Published = Published {
    name: "mnist-l2-0.3",
    dataset: "mnist",
    norm: "2",
    eps: "0.3",
    ibp_eps: None,
    sabr_eps: None,
    epochs: 70,
    warmup: [0, 20],
    milestones: [50, 60],
    batch: 256,
    robust_weight: 1.0,
    augmented: false,
    // Its ratios of widths are those of boxes.
    regulariser: 0.0,
    l1: [2e-6, 1e-6, 2e-6, 1e-5],
    box_share: 1.0,
    shrinkage: 1.0,
    alpha: 0.02,
    attack_steps: 10,
    attack_eps_factor: 1.0,
};

/// The same on CIFAR-10.
const CIFAR10_BALLS: Published = Published {
    name: "cifar10-l2-0.1",
    dataset: "cifar10",
    eps: "0.1",
    epochs: 160,
    warmup: [1, 81],
    milestones: [120, 140],
    batch: 128,
    augmented: true,
    l1: [1e-6, 1e-6, 2e-6, 3e-6],
    alpha: 0.01,
    attack_steps: 8,
    ..MNIST_BALLS
};

/// The benchmark settings of certified training, after "CTBench" (arXiv 2406.04848) and the papers that it collects, and
/// those over balls of other norms.
pub(super) static PUBLISHED: [Published; 9] = [
    Published {
        name: "mnist-0.1",
        dataset: "mnist",
        norm: INF,
        eps: "0.1",
        ibp_eps: Some("0.2"),
        sabr_eps: None,
        epochs: 70,
        warmup: [0, 20],
        milestones: [50, 60],
        batch: 256,
        robust_weight: 0.7,
        augmented: false,
        regulariser: 0.5,
        l1: [2e-6, 1e-6, 2e-6, 1e-5],
        box_share: 0.4,
        shrinkage: 1.0,
        alpha: 0.02,
        attack_steps: 10,
        attack_eps_factor: 1.0,
    },
    Published {
        name: "mnist-0.3",
        dataset: "mnist",
        norm: INF,
        eps: "0.3",
        ibp_eps: None,
        sabr_eps: None,
        epochs: 70,
        warmup: [0, 20],
        milestones: [50, 60],
        batch: 256,
        robust_weight: 1.0,
        augmented: false,
        regulariser: 0.5,
        l1: [2e-6, 2e-6, 0.0, 1e-6],
        box_share: 0.9,
        shrinkage: 1.0,
        alpha: 0.5,
        attack_steps: 5,
        attack_eps_factor: 1.0,
    },
    Published {
        name: "cifar10-2_255",
        dataset: "cifar10",
        norm: INF,
        eps: "\"2/255\"",
        ibp_eps: None,
        sabr_eps: Some("\"3/255\""),
        epochs: 160,
        warmup: [1, 81],
        milestones: [120, 140],
        batch: 128,
        robust_weight: 1.0,
        augmented: true,
        regulariser: 0.5,
        l1: [1e-6, 1e-6, 2e-6, 3e-6],
        box_share: 0.1,
        shrinkage: 0.8,
        alpha: 0.01,
        attack_steps: 8,
        attack_eps_factor: 2.0,
    },
    Published {
        name: "cifar10-8_255",
        dataset: "cifar10",
        norm: INF,
        eps: "\"8/255\"",
        ibp_eps: None,
        sabr_eps: None,
        epochs: 240,
        warmup: [1, 121],
        milestones: [200, 220],
        batch: 128,
        robust_weight: 1.0,
        augmented: true,
        regulariser: 0.5,
        l1: [0.0; 4],
        box_share: 0.9,
        shrinkage: 1.0,
        alpha: 0.6,
        attack_steps: 10,
        attack_eps_factor: 1.0,
    },
    Published {
        name: "tinyimagenet-1_255",
        dataset: "tinyimagenet",
        norm: INF,
        eps: "\"1/255\"",
        ibp_eps: None,
        sabr_eps: None,
        epochs: 160,
        warmup: [1, 81],
        milestones: [120, 140],
        batch: 128,
        robust_weight: 1.0,
        augmented: true,
        regulariser: 0.2,
        l1: [1e-5, 5e-5, 5e-5, 5e-5],
        box_share: 0.4,
        shrinkage: 1.0,
        alpha: 0.05,
        attack_steps: 1,
        attack_eps_factor: 1.5,
    },
    MNIST_BALLS,
    Published { name: "mnist-l1-1", norm: "1", eps: "1", ..MNIST_BALLS },
    CIFAR10_BALLS,
    Published { name: "cifar10-l1-2", norm: "1", eps: "2", ..CIFAR10_BALLS },
];

/// The networks of recipes.
pub(super) const NETWORKS: [&str; 3] = ["cnn3", "cnn5", "cnn7-bn"];

/// A configuration that others have found by search.
pub(super) struct Tuned {
    /// The whole name of the recipe.
    pub(super) name: &'static str,
    /// The recipe that it starts from.
    pub(super) base: &'static str,
    pub(super) network: &'static str,
    pub(super) source: &'static str,
    /// Keys with values.
    pub(super) overrides: &'static [(&'static str, &'static str)],
}

/// Points of published fronts whose settings are known.
pub(super) static TUNED: [Tuned; 1] = [Tuned {
    name: "cifar10-2_255/cnn5-bn:64/mtl-ibp-ctrain",
    base: "cifar10-2_255/cnn5/mtl-ibp-grad",
    network: "cnn5-bn:64",
    source: "CTRAIN (arXiv 2606.02134): the best MTL-IBP of CNN5 at 2/255 found by two-objective search",
    overrides: &[
        ("train.optimiser", "\"radam\""),
        ("train.lr", "2.7e-3"),
        ("train.l1", "3e-6"),
        // 1.26 times 2/255.
        ("train.eps", "\"2.52/255\""),
        ("method.alpha", "0.0025"),
        ("method.attack_steps", "8"),
        // The attack's radius is 2.24 times 2/255, a multiple of the radius trained with.
        ("method.attack_eps_factor", "1.7778"),
    ],
}];
