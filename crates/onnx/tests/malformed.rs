//! Damaged files are errors, never panics.

mod common;

use common::random_model;
use tightrope_network::{Model, Normalisation, Preset};
use tightrope_onnx::{export_bytes, import_bytes};
use tightrope_testkit::random::Rng;

fn models() -> Vec<Vec<u8>> {
    let normalisation = Normalisation { mean: vec![0.5], std: vec![0.25] };
    let network = Preset::Cnn3Tiny.build(&[1, 6, 6], 3, Some(&normalisation)).unwrap();
    let theta = vec![0.5; network.parameters().total()];
    let mut models = vec![Model::new(network, theta)];
    models.extend((0..6).map(random_model));
    models.iter().map(|model| export_bytes(model).unwrap()).collect()
}

#[test]
fn truncated_files_are_refused() {
    for bytes in models() {
        for length in (0..bytes.len()).step_by(97).chain(bytes.len() - 40..bytes.len()) {
            import_bytes(&bytes[..length], "cut").expect_err("a truncated file");
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let rng = Rng::new(17);
    let (mut read, mut refused) = (0, 0);
    for bytes in models() {
        for _ in 0..4000 {
            let mut changed = bytes.clone();
            for _ in 0..rng.integer(1, 3) {
                let position = rng.integer(0, bytes.len() - 1);
                changed[position] = match rng.integer(0, 2) {
                    0 => 0xff,
                    1 => changed[position] ^ (1 << rng.integer(0, 7)),
                    _ => rng.integer(0, 255) as u8,
                };
            }
            match import_bytes(&changed, "changed") {
                Ok(model) => {
                    assert_eq!(model.theta.len(), model.network.parameters().total());
                    assert!(model.theta.iter().all(|value| value.is_finite()));
                    read += 1;
                }
                Err(error) => {
                    assert!(error.to_string().starts_with("changed: "));
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn other_files_are_refused() {
    let rng = Rng::new(3);
    for content in [&b""[..], b"\0", b"{\"a\": 1}", b"PK\x03\x04", &[0x0a; 4096], &[0xff; 64]] {
        import_bytes(content, "other").expect_err("no model");
    }
    for _ in 0..2000 {
        let noise: Vec<u8> = (0..rng.integer(1, 200)).map(|_| rng.integer(0, 255) as u8).collect();
        import_bytes(&noise, "noise").expect_err("no model");
    }
    // Groups nested deeper than any reader's stack.
    import_bytes(&[0x3b; 100_000], "deep").expect_err("no model");
}
