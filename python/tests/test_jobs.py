"""Training, certification, attacks, verification and certificates."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tightrope
import tightrope.data
from tightrope import Network

SMALL = {"dataset": "digits", "model": "mlp", "limit_train": 256, "eps": 0.02, "train": {"epochs": 2, "eval_limit": 64}}


@pytest.fixture(scope="module")
def trained():
    return tightrope.train(SMALL)


def test_training_tells_what_happens(trained):
    events = []
    again = tightrope.train(SMALL, progress=lambda kind, event: events.append((kind, event)))
    assert again.metrics[-1]["loss"] == trained.metrics[-1]["loss"]
    kinds = [kind for kind, _ in events]
    assert (
        kinds[0] == "started"
        and kinds.count("epoch") == 2
        and kinds.count("step") == events[0][1]["steps_per_epoch"] * 2
    )
    assert trained.finished and len(trained.rows) == 2 and "test_certified_accuracy" in trained.rows[1]
    assert trained.to_dict()["metrics"] == trained.metrics and "<table>" in trained._repr_html_()


def test_a_callback_ends_training_by_false_or_by_raising():
    stopped = tightrope.train(SMALL, progress=lambda kind, event: kind != "step")
    assert not stopped.finished and stopped.metrics == []

    def fail(kind, event):
        raise KeyError(kind)

    with pytest.raises(KeyError, match="started"):
        tightrope.train(SMALL, progress=fail)


def test_run_folders_are_the_commands_and_resume(tmp_path, trained):
    folder = tmp_path / "run"
    stop = lambda kind, event: not (kind == "step" and event["step"] >= 3)
    first = tightrope.train(SMALL, out=folder, progress=stop)
    assert not first.finished
    with pytest.raises(tightrope.TrainingError, match="not empty"):
        tightrope.train(SMALL, out=folder)
    second = tightrope.train(SMALL, out=folder, resume=True)
    assert second.finished and second.network.checksum == trained.network.checksum
    assert Network.from_file(folder).checksum == trained.network.checksum
    assert {"config.toml", "manifest.json", "metrics.jsonl", "model.onnx"} <= set(os.listdir(folder))


def test_arrays_loaders_and_names_are_the_same_data(trained):
    digits = tightrope.data.load("digits", "train", limit=256)
    loader = [(digits.x[i : i + 50], digits.y[i : i + 50]) for i in range(0, 256, 50)]
    test = tightrope.data.load("digits", limit=64)
    config = {key: value for key, value in SMALL.items() if key != "dataset"}
    for data in ((digits.x, digits.y), digits, loader):
        run = tightrope.train(config, data=data, test_data=test)
        assert run.network.checksum == trained.network.checksum
    options = {"stages": ["pgd", "ibp", "crown"], "limit": 40}
    named = tightrope.certify(trained.network, "digits", 0.02, **options)
    held = tightrope.certify(trained.network, tightrope.data.load("digits"), 0.02, **options)
    verdicts = lambda found: [(r["verdict"], r["stage"], r["margin_lower"]) for r in found.records]
    assert verdicts(named) == verdicts(held) and named.samples == 40
    assert named.certified <= named.adversarial <= named.natural
    assert named.intervals["certified"][0] <= named.certified <= named.intervals["certified"][1]


def test_training_goes_on_from_a_network(trained):
    further = tightrope.train(SMALL, start=trained.network, train__epochs=1)
    assert further.metrics[0]["loss"] < trained.metrics[0]["loss"]


def test_recipes_are_configurations():
    assert "mnist-0.1/cnn3/ibp-grad" in tightrope.recipes()
    assert 'name = "ibp"' in tightrope.recipe("mnist-0.1/cnn3/ibp", "smoke")
    run = tightrope.train("mnist-0.1/cnn3/ibp", profile="smoke", dataset="digits", model="mlp", limit_train=64,
                          train__epochs=1, train__batch=32, train__eval_limit=32, progress=None)  # fmt: skip
    assert run.finished
    with pytest.raises(tightrope.ConfigError, match="no recipe is called `mnits`.*did you mean"):
        tightrope.train("mnits")


@pytest.mark.parametrize(
    "error, change, mend",
    [
        (tightrope.ConfigError, {"train": {"epoch": 1}}, "unknown key `train.epoch`; did you mean `train.epochs`"),
        (tightrope.ConfigError, {"eps": -1}, "eps"),
        (tightrope.ModelError, {"model": "cnn33"}, "did you mean `cnn3`"),
        (tightrope.ConfigError, {"seed": object()}, "a configuration holds numbers"),
        (tightrope.DataError, {"dataset": "nmist"}, "mnist"),
    ],
)
def test_bad_configurations_are_told_as_by_the_command(error, change, mend):
    with pytest.raises(error, match=mend):
        tightrope.train(SMALL | change)


def test_certifications_are_logged_and_resumed(tmp_path, trained):
    log, options = tmp_path / "certify.jsonl", {"stages": ["pgd", "crown"], "limit": 300}
    seen = []
    stopped = tightrope.certify(
        trained.network, "digits", 0.02, log=log, progress=lambda k, e: seen.append(e) or False, **options
    )
    assert stopped is None and 0 < seen[0]["decided"] < 300
    with pytest.raises(tightrope.VerificationError):
        tightrope.certify(trained.network, "digits", 0.03, log=log, resume=True, **options)
    resumed = tightrope.certify(trained.network, "digits", 0.02, log=log, resume=True, **options)
    assert len(resumed.records) == 300 == len(log.read_text().splitlines()) - 1
    assert resumed.rows == resumed.records and "<table>" in resumed._repr_html_()
    with pytest.raises(tightrope.ConfigError, match="stages"):
        tightrope.certify(trained.network, "digits", 0.02, stages=["crwn"])
    with pytest.raises(tightrope.DataError, match="give the data set the model was trained on"):
        tightrope.certify(trained.network, (np.zeros((2, 5), "f4"), [0, 1]), 0.02)


def test_attacks_find_what_they_claim(trained):
    found = tightrope.attack(trained.network, "digits", 0.3, kind="all", steps=10, restarts=1, limit=50)
    data = tightrope.data.load("digits", limit=50)
    assert found.broken.any() and found.adversarial < found.natural and found.attacks[0] == "pgd"
    assert (np.abs(found.x - data.x) <= 0.3 + 1e-6).all() and len(found.rows) == 50
    predictions = trained.network(found.x).argmax(1)
    assert (predictions[found.broken] != data.y[found.broken]).all()
    with pytest.raises(tightrope.ConfigError, match="apgd-ce"):
        tightrope.attack(trained.network, "digits", 0.3, kind="fgsm")


def test_channels_have_radii_of_their_own(trained):
    net, one = trained.network, dict(limit=40, stages="ibp,crown", timeout=5)
    same = tightrope.certify(net, "digits", 0.05, **one)
    assert tightrope.certify(net, "digits", [0.05], **one).certified == same.certified
    layers = [("linear", np.float32([[1, -1, 0, 0], [0, 0, 1, -1]]), None)]
    pairs = Network.from_layers((2, 1, 2), ["flatten", *layers])
    x, y = np.float32([[[[0.6, 0.2]], [[0.5, 0.4]]]]), [0]
    # The margin is x₀ − x₁ − x₂ + x₃ = 0.3; the first channel may move it by 2 · 0.1, the second by 2 · ε.
    assert tightrope.certify(pairs, (x, y), np.array([0.1, 0.04])).certified == 1
    assert tightrope.certify(pairs, (x, y), (0.1, 0.06)).certified == 0
    # Unbroken, so that the attack goes as far as it may.
    moved = np.abs(tightrope.attack(pairs, (x, y), ["1/10", 0.04]).x - x)
    assert np.allclose(moved, [[[[0.1, 0.1]], [[0.04, 0.04]]]], atol=1e-6)
    with pytest.raises(tightrope.InputError, match="3 radii"):
        tightrope.certify(pairs, (x, y), [0.1, 0.1, 0.1])
    with pytest.raises(tightrope.InputError, match="inf alone"):
        tightrope.attack(pairs, (x, y), [0.1, 0.1], norm=2)


PROPERTY = """
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(assert (>= X_0 {low}))
(assert (<= X_0 1.0))
(assert (>= X_1 -1.0))
(assert (<= X_1 1.0))
(assert (<= Y_0 {bound}))
"""


@pytest.fixture
def absolute():
    """|x₀| + |x₁|."""
    weights = np.float32([[1, 0], [-1, 0], [0, 1], [0, -1]])
    return Network.from_layers((2,), [("linear", weights, None), "relu", ("linear", np.ones((1, 4)), None)])


def test_properties_are_decided_and_certified(tmp_path, absolute):
    path, certificate = tmp_path / "p.vnnlib", tmp_path / "p.cert"
    path.write_text(PROPERTY.format(low=0.5, bound=0.4))
    found = tightrope.verify(absolute, path, certificate=certificate)
    assert found.holds and found.certificate == str(certificate)
    assert tightrope.check(certificate, absolute, path).verdict == "holds"
    other = tmp_path / "other.vnnlib"
    other.write_text(PROPERTY.format(low=0.5, bound=0.45))
    with pytest.raises(tightrope.CertificateError):
        tightrope.check(certificate, absolute, other)
    path.write_text(PROPERTY.format(low=-1.0, bound=0.25))
    found = tightrope.verify(absolute, path)
    point = np.float64([found.counterexample["input"]])
    assert found.verdict == "violated" and not found.holds and absolute(point)[0, 0] <= 0.25
    tightrope.verify(absolute, path, certificate=certificate)
    assert not certificate.exists(), "an earlier proof is not left beside another verdict"
    kept = path.read_text()
    with pytest.raises(tightrope.InputError, match="is the input itself"):
        tightrope.verify(absolute, path, certificate=tmp_path / "." / path.name)
    absolute.to_onnx(tmp_path / "net.onnx")
    with pytest.raises(tightrope.InputError, match="is the input itself"):
        tightrope.verify(tmp_path / "net.onnx", path, certificate=tmp_path / "net.onnx")
    assert path.read_text() == kept
    path.write_text("(assert (<= X_0")
    with pytest.raises(tightrope.PropertyError):
        tightrope.verify(absolute, path)


def test_the_time_limit_of_a_verification_is_one_of_all_its_parts(tmp_path, absolute):
    path, certificate = tmp_path / "p.vnnlib", tmp_path / "p.cert"
    path.write_text(PROPERTY.format(low=-1.0, bound=-1e-3))
    found = tightrope.verify(absolute, path, timeout=1e-9, certificate=certificate)
    assert found.verdict == "timeout" and found.certificate is None and not certificate.exists()
    found = tightrope.verify(absolute, path, certificate=certificate)
    assert found.holds and found.remark is None and certificate.exists()


JOBS = {
    "train": "tightrope.train({'dataset': 'digits', 'model': 'cnn5', 'method': {'name': 'crown'}, 'train': {'epochs': 500}})",
    "bounds": "[net.bounds(x, .1, 'alpha-crown', alpha_steps=10**6) for _ in range(10**6)]",
    "certify": "tightrope.certify(net, 'digits', 1e-5, stages=['pgd'], steps=10**6, timeout=None)",
}


def seconds_to_stop(job, folder):
    program = textwrap.dedent(f"""
        import os, time, numpy as np, tightrope, tightrope.data
        net = tightrope.train({{'dataset': 'digits', 'model': 'mlp', 'limit_train': 64, 'train': {{'epochs': 1}}}}).network
        x = tightrope.data.load('digits', limit=64).x
        print('ready', flush=True)
        try:
            {JOBS[job]}
        except KeyboardInterrupt:
            print(time.time(), flush=True)
            os._exit(0)
    """)

    def heed():
        # Shells have what they start in the background ignore Ctrl-C, and it would go on to ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, preexec_fn=heed)
    watch = threading.Timer(120, process.kill)
    watch.start()
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.5)
        assert process.poll() is None
        sent = time.time()
        process.send_signal(signal.SIGINT)
        stopped = float(process.stdout.readline() or "inf")
        process.wait(timeout=30)
    finally:
        watch.cancel()
        process.kill()
    return stopped - sent


@pytest.mark.parametrize("job", JOBS)
def test_ctrl_c_stops_within_a_fraction_of_a_second(job, tmp_path):
    # The best of three: on a busy machine the process waits for its turn as well.
    for _ in range(3):
        seconds = seconds_to_stop(job, tmp_path)
        if seconds < 0.2 * max(1.0, os.getloadavg()[0] / os.cpu_count()):
            return
    raise AssertionError(f"{job} stopped {seconds} s after Ctrl-C")


def test_other_threads_run_meanwhile(trained):
    """The interpreter's lock is free in long calls."""
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    tightrope.certify(trained.network, "digits", 0.1, stages=["pgd", "crown"], limit=256, steps=100)
    end = time.perf_counter()
    done.set()
    thread.join()
    gaps = np.diff([t for t in ticks if start <= t <= end])
    assert len(gaps) > 5 and gaps.max() < 0.5 * (end - start)


def test_senseless_limits_and_resumptions_are_refused(trained):
    def certify(**settings):
        return tightrope.certify(trained.network, "digits", 0.02, stages="pgd,ibp", limit=4, **settings)

    assert certify().samples == 4
    for settings in ({"timeout": -1}, {"timeout": float("nan")}, {"steps": -1}, {"restarts": 1.5}):
        with pytest.raises(tightrope.InputError, match=next(iter(settings))):
            certify(**settings)
    for settings in ({"resume": True}, {"resume": True, "overwrite": True, "log": "x.jsonl"}):
        with pytest.raises(tightrope.ConfigError, match="resume"):
            certify(**settings)
    with pytest.raises(tightrope.ConfigError, match="resume=True needs out"):
        tightrope.train(SMALL, resume=True)
