//! Verdicts against exact truths: random small networks, as files, with properties whose truth over the real numbers is
//! computed in rational arithmetic.
//!
//! `TIGHTROPE_EXACT_CASES` is the number of examples over all kinds of networks (1000), `TIGHTROPE_EXACT_ONLY` the index
//! of a single one of each kind, `TIGHTROPE_EXACT_SECONDS` the time limit of each (20).

#[path = "exact/adaptor.rs"]
mod adaptor;
#[path = "exact/compare.rs"]
mod compare;
#[path = "exact/encode.rs"]
mod encode;
#[path = "exact/examples.rs"]
mod examples;
#[path = "exact/messages.rs"]
mod messages;
#[path = "exact/model.rs"]
mod model;
#[path = "exact/net.rs"]
mod net;
#[path = "exact/networks.rs"]
mod networks;
#[path = "exact/number.rs"]
mod number;
#[path = "exact/oracle_tests.rs"]
mod oracle_tests;
#[path = "exact/partition.rs"]
mod partition;
#[path = "exact/polygon.rs"]
mod polygon;
#[path = "exact/properties.rs"]
mod properties;
#[path = "exact/property.rs"]
mod property;
#[path = "exact/random.rs"]
mod random;
#[path = "exact/text.rs"]
mod text;
#[path = "exact/truth.rs"]
mod truth;

use compare::compare;
use networks::Kind;

#[test]
fn networks_of_doubles() {
    compare(Kind::Doubles);
}

#[test]
fn networks_of_single_precision() {
    compare(Kind::Singles);
}

#[test]
fn networks_of_coarse_numbers() {
    compare(Kind::Coarse);
}

#[test]
fn layers_with_factors() {
    compare(Kind::Gemm);
}

#[test]
fn normalised_inputs() {
    compare(Kind::Normalised);
}

#[test]
fn chains_of_constants() {
    compare(Kind::Chains);
}

#[test]
fn batch_normalisation_with_rational_roots() {
    compare(Kind::SquareNormalisation);
}

#[test]
fn batch_normalisation() {
    compare(Kind::BatchNormalisation);
}

#[test]
fn extreme_numbers() {
    compare(Kind::Extreme);
}

#[test]
fn residual_networks() {
    compare(Kind::Residual);
}

#[test]
fn convolutions() {
    compare(Kind::Convolution);
}
