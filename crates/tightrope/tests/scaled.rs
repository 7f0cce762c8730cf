//! Networks whose layers are counted in other units are certified alike by the engine that certifies by default.

use tightrope::{Config, Relaxation, Split, Stage, ThreatModel, certify, dataset, train};

#[test]
fn powers_of_two_change_no_verdict() {
    let overrides =
        ["dataset=digits", "model=cnn3-tiny", "limit_train=1024", "train.epochs=10", "train.lr=0.005", "eps=0.01"];
    let config = Config::parse("", "(test)", &overrides.map(String::from)).unwrap();
    let model = train(&config).unwrap().model;
    let threat = ThreatModel::new(config.norm(), config.eps, Some((0.0, 1.0)));
    let test = dataset("digits", Split::Test).unwrap().limit(60);
    let stages = [Stage::Pgd, Stage::Bound(Relaxation::Ibp), Stage::Bound(Relaxation::Crown), Stage::AlphaCrown];
    // A factor for each layer's weights; biases follow by the factors so far.
    let certified = |factors: &[f32]| {
        let mut scaled = model.clone();
        let infos: Vec<_> = scaled.network.parameters().iter().cloned().collect();
        let (mut layer, mut whole) = (0, 1.0);
        for info in infos {
            if info.name.ends_with("weight") {
                whole *= factors[layer];
                layer += 1;
            }
            let factor = if info.name.ends_with("weight") { factors[layer - 1] } else { whole };
            scaled.theta[info.range()].iter_mut().for_each(|value| *value *= factor);
        }
        let records = certify(&scaled, &test, threat.clone(), &stages).unwrap().records;
        records.iter().map(|record| (record.index, record.verdict)).collect::<Vec<_>>()
    };
    let layers = model.network.parameters().iter().filter(|info| info.name.ends_with("weight")).count();
    let plain = certified(&vec![1.0; layers]);
    let verified = plain.iter().filter(|(_, verdict)| *verdict == tightrope::verification::Verdict::Verified).count();
    assert!((10..60).contains(&verified), "{verified} of 60 are certified: there is nothing to tell apart");
    let (big, some) = (60_f32.exp2(), 20_f32.exp2());
    let mut inner = vec![1.0; layers];
    (inner[1], inner[2]) = (some, 1.0 / some);
    let mut outer = vec![1.0; layers];
    (outer[0], outer[layers - 1]) = (big, 1.0 / big);
    let mut rising = vec![1.0; layers];
    rising[layers - 1] = big;
    let falling: Vec<f32> = rising.iter().map(|factor| 1.0 / factor).collect();
    // No power of two: every product is rounded anew.
    let mut decimal = vec![1.0; layers];
    (decimal[0], decimal[layers - 1]) = (1e18, 1e-18);
    let mut decimal_inside = vec![1.0; layers];
    (decimal_inside[1], decimal_inside[2]) = (1e18, 1e-18);
    for factors in [inner, outer, rising, falling, decimal, decimal_inside] {
        assert_eq!(certified(&factors), plain, "{factors:?}");
    }
}
