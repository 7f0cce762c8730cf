"""Networks and bounds on arrays, without torch."""

import ast
import copy
import inspect
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import tightrope
from hypothesis import given, settings, strategies as st
from tightrope import InputError, ModelError, Network
from tightrope.network import as_array

RELAXATIONS = ["ibp", "hbox", "crown-ibp", "zonotope", "crown", "deeppoly", "crown-meet-ibp", "crown-skip-ibp"]


def dense(rng, sizes=(4, 8, 6, 3)):
    layers = []
    for index, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layers += ["relu"] if index else []
        layers.append(("linear", rng.normal(size=(b, a)) / np.sqrt(a), rng.normal(size=b) / 10))
    return Network.from_layers((sizes[0],), layers)


def convolutional(rng):
    description = {
        "input": [1, 6, 6],
        "layers": [
            {"name": "conv", "kind": "conv2d", "out_channels": 3, "kernel": 3, "stride": 2, "padding": 1},
            {"name": "relu", "kind": "relu"},
            {"name": "flat", "kind": "flatten"},
            {"name": "out", "kind": "linear", "out_features": 4},
        ],
    }
    shapes = {"conv.weight": (3, 1, 3, 3), "conv.bias": (3,), "out.weight": (4, 27), "out.bias": (4,)}
    return Network.from_description(description, {k: rng.normal(size=v).astype("f4") / 3 for k, v in shapes.items()})


def test_bounds_of_a_network_that_can_be_computed_by_hand():
    net = Network.from_layers((2,), [("linear", np.eye(2), None), "relu", ("linear", [[1, 1]], None)])
    lower, upper = net.bounds(np.float32([[1, -2]]), 0.5, clip=None)
    assert lower.tolist() == [[0.5]] and upper.tolist() == [[1.5]]
    assert net(np.float32([[1, -2]])).tolist() == [[1.0]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), method=st.sampled_from(RELAXATIONS + ["alpha-crown"]), dtype=st.sampled_from(["f4", "f8"])
)
def test_rows_that_are_margins_are_bounded_as_rows_of_any_numbers(seed, method, dtype):
    rng = np.random.default_rng(seed)
    net, x = dense(rng), rng.random((5, 4)).astype(dtype)
    y = rng.integers(0, 3, 5)
    eye = np.eye(3, dtype=dtype)
    # In any order, one of them twice, and with the label's own row of zeros left out.
    others = np.array([rng.permutation([j for j in range(3) if j != label]) for label in y])
    others = np.concatenate([others, others[:, :1]], 1)
    C = eye[y][:, None] - eye[others]
    asked = net.bounds(x, 0.1, method, C=C)
    # Twice the margins are none.
    doubled = net.bounds(x, 0.1, method, C=2 * C)
    for got, expected in zip(asked, doubled):
        assert got.shape == (5, 3) and np.allclose(got, expected / 2, atol=1e-5)
    of_all = net.bounds(x, 0.1, method, y=y)
    assert np.allclose(asked.lower, np.take_along_axis(of_all.lower, others, 1), atol=1e-6)
    # The same rows for every sample.
    shared, each = (net.bounds(x, 0.1, method, C=rows) for rows in (C[0], np.repeat(C[:1], 5, 0)))
    assert np.array_equal(shared.lower, each.lower) and np.array_equal(shared.upper, each.upper)
    # Margins of several labels in one sample, and rows that only look like margins.
    mixed = np.stack([eye[0] - eye[1], eye[1] - eye[2], eye[0] + eye[1], -eye[0] - eye[1]])
    together = net.bounds(x, 0.1, method, C=mixed).lower
    alone = [net.bounds(x, 0.1, method, C=row[None]).lower for row in mixed]
    assert np.allclose(together, np.concatenate(alone, 1), atol=1e-4 if method == "alpha-crown" else 1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), method=st.sampled_from(RELAXATIONS), norm=st.sampled_from(["inf", 2, 1]))
def test_no_point_of_a_region_leaves_the_bounds(seed, method, norm):
    rng = np.random.default_rng(seed)
    net, eps = dense(rng), rng.uniform(0, 0.5)
    x = rng.uniform(0, 1, (3, 4))
    bounds = net.bounds(x, eps, method, norm=norm, clip=None)
    d = rng.normal(size=(200, 3, 4))
    size = np.abs(d).max(2) if norm == "inf" else np.linalg.norm(d, norm, axis=2)
    for points in x + eps * d / size[..., None] * rng.uniform(0, 1, (200, 3, 1)):
        z = net(points)
        assert (bounds.lower <= z + 1e-9).all() and (z <= bounds.upper + 1e-9).all()


def test_tighter_methods_are_not_looser(rng):
    net, x = convolutional(rng), rng.uniform(0, 1, (5, 1, 6, 6)).astype("f4")
    found = {method: net.bounds(x, 0.05, method, clip=(0, 1)).lower for method in ("ibp", "crown", "alpha-crown")}
    assert (found["ibp"] <= found["crown"] + 1e-5).all() and (found["crown"] <= found["alpha-crown"] + 1e-6).all()
    assert (found["alpha-crown"] > found["crown"] + 1e-6).any()


def test_labels_and_rows_are_margins(rng):
    net, x, y = dense(rng), rng.uniform(0, 1, (5, 4)).astype("f4"), np.array([0, 1, 2, 1, 0])
    margins = net.bounds(x, 0.1, y=y).lower
    C = np.eye(3, dtype="f4")[y][:, None] - np.eye(3, dtype="f4")[None]
    assert np.allclose(margins, net.bounds(x, 0.1, C=C).lower, atol=1e-6)
    assert (margins[np.arange(5), y] == 0).all()
    shared = net.bounds(x, 0.1, C=np.float32([[1, -1, 0]]))
    assert shared.lower.shape == shared.upper.shape == (5, 1)
    assert net.bounds(x, 0.1, y=y, upper=False).upper is None


def test_layers_have_the_shapes_of_the_network(rng):
    net, x = convolutional(rng), rng.uniform(0, 1, (2, 1, 6, 6)).astype("f4")
    (layer,) = net.bounds(x, 0.1, layers=True).layers
    assert layer.name == "conv" and layer.lower.shape == (2, 3, 3, 3) and (layer.lower <= layer.upper).all()
    (optimised,) = net.bounds(x, 0.1, "alpha-crown", layers=True).layers
    assert (optimised.lower >= layer.lower).all()


def test_regions_are_cut_to_the_range_of_images_unless_told_otherwise(rng):
    net, x = dense(rng), rng.uniform(0, 1, (3, 4))
    cut = net.bounds(np.maximum(x - 0.25, 0), box=np.minimum(x + 0.25, 1))
    assert np.allclose(net.bounds(x, 0.25).lower, cut.lower) and np.allclose(net.bounds(x, 0.25).upper, cut.upper)
    assert (net.bounds(x, 0.25, clip=None).lower < cut.lower - 1e-6).any()


def test_boxes_are_balls_of_other_words(rng):
    net, x = dense(rng), rng.uniform(0, 1, (3, 4))
    ball, box = net.bounds(x, 0.25, clip=None), net.bounds(x - 0.25, box=x + 0.25)
    assert np.allclose(ball.lower, box.lower) and np.allclose(ball.upper, box.upper)


def test_double_precision_is_kept(rng):
    net, x = dense(rng), rng.uniform(0, 1, (3, 4))
    single, double = net.bounds(x.astype("f4"), 0.1), net.bounds(x, 0.1)
    assert single.lower.dtype == np.float32 and double.lower.dtype == np.float64
    assert np.allclose(single.lower, double.lower, atol=1e-5) and (single.lower != double.lower).any()
    assert np.array_equal(net.bounds(x.astype("f4"), "8/255").lower, net.bounds(x.astype("f4"), 8 / 255).lower)


def test_arrays_that_are_not_contiguous_or_of_other_kinds(rng):
    net, x = convolutional(rng), rng.uniform(0, 1, (6, 1, 6, 6)).astype("f4")
    wanted = net.bounds(x, 0.1).lower
    for other in (np.asfortranarray(x), np.repeat(x, 2, 0)[::2], x.astype(">f4"), x[:, :, ::-1][:, :, ::-1]):
        assert np.array_equal(net.bounds(other, 0.1).lower, wanted)
    for vectors in (x.reshape(6, 36), x.reshape(6, 1, 36, 1)):
        assert np.array_equal(net.bounds(vectors, 0.1).lower, wanted)
    with pytest.raises(InputError, match="reads"):
        net.bounds(x.reshape(6, 6, 6, 1), 0.1)
    assert np.array_equal(net.bounds(x[0], 0.1).lower, net.bounds(x[:1], 0.1).lower)
    for held in (x, x.astype("f8"), x[::-1][::-1]):
        assert np.shares_memory(as_array(held), held), "contiguous numbers are read where they lie"
    whole = (x * 2).astype("i8")
    assert np.array_equal(net.bounds(whole, 0.1).lower, net.bounds(whole.astype("f4"), 0.1).lower)


@pytest.mark.parametrize(
    "x, options, mend",
    [
        (np.zeros((2, 4), "f2"), {}, r"x: float16 is not computed with; give x.astype\(numpy.float32\)"),
        (np.zeros((2, 4), "c8"), {}, "complex64"),
        (np.zeros((0, 4), "f4"), {}, "holds no sample"),
        (np.zeros((2, 5), "f4"), {}, r"x has shape \[2, 5\], but the network reads \[N, 4\]"),
        (np.full((2, 4), np.nan, "f4"), {}, "region of sample 0: pixel 0 is NaN"),
        (np.zeros((2, 4), "f4"), {"eps": -1}, "must be a finite number"),
        (np.zeros((2, 4), "f4"), {"eps": np.nan}, "must be a finite number"),
        (np.zeros((2, 4), "f4"), {"eps": "x"}, "8/255"),
        (np.zeros((2, 4), "f4"), {"eps": None}, "eps is missing"),
        (np.zeros((2, 4), "f4"), {"method": "crwn"}, "unknown method `crwn`; use one of ibp"),
        (np.zeros((2, 4), "f4"), {"norm": 3}, "norm 3"),
        (np.zeros((2, 4), "f4"), {"clip": (1, 0)}, "low < high"),
        (np.full((2, 4), 7, "f4"), {}, "outside the data range"),
        (np.zeros((2, 4), "f4"), {"y": [0]}, "2 samples need whole numbers"),
        (np.zeros((2, 4), "f4"), {"y": [0, 3]}, "sample 1 has label 3"),
        (np.zeros((2, 4), "f4"), {"y": [0, -1]}, "below 0"),
        (np.zeros((2, 4), "f4"), {"C": np.ones((2, 5, 4), "f4")}, "C has shape"),
        (np.full((2, 4), 1e38, "f4"), {"eps": 1e38, "clip": None}, "overflow"),
    ],
)
def test_what_does_not_fit_is_told_with_its_mend(rng, x, options, mend):
    with pytest.raises(InputError, match=mend):
        dense(rng).bounds(x, **{"eps": 0.1} | options)


def test_models_come_and_go_as_files(rng, tmp_path):
    net, x = convolutional(rng), rng.uniform(0, 1, (2, 1, 6, 6)).astype("f4")
    net.save(tmp_path / "model")
    content = net.to_onnx(tmp_path / "model.onnx")
    for other in (
        Network.from_file(tmp_path / "model"),
        Network.from_onnx(tmp_path / "model.onnx"),
        Network.from_onnx(content),
    ):
        assert np.array_equal(other.bounds(x, 0.1).lower, net.bounds(x, 0.1).lower)
        assert other.checksum == net.checksum
    (tmp_path / "bad.onnx").write_bytes(content[: len(content) // 2])
    for path in ("missing", "bad.onnx"):
        with pytest.raises(ModelError, match=path):
            Network.from_file(tmp_path / path)
    with pytest.raises(ModelError, match="the ONNX model"):
        Network.from_onnx(b"no model")


def test_networks_pass_between_processes(rng):
    net = convolutional(rng)
    doubles = {name: value + rng.normal(size=value.shape) * 1e-9 for name, value in net.parameters.items()}
    for given in (net, net.with_parameters(doubles)):
        again = pickle.loads(pickle.dumps(given))
        assert again.checksum == given.checksum and copy.deepcopy(given) is given
        x = rng.uniform(size=(2, 1, 6, 6))
        np.testing.assert_array_equal(again(x), given(x))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).checksum)"
    told = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(net), stdout=subprocess.PIPE, check=True)
    assert told.stdout.decode().strip() == net.checksum


def test_parameters_are_checked(rng):
    net = dense(rng)
    other = net.with_parameters({"0.bias": np.ones(8, "f4")})
    assert (other.parameters["0.bias"] == 1).all() and (net.parameters["0.bias"] != 1).any()
    for change, mend in (
        ({"x": [1]}, "no parameter"),
        ({"0.bias": [1.0]}, "shape"),
        ({"0.bias": [np.nan] * 8}, "0.bias"),
    ):
        with pytest.raises(ModelError, match=mend):
            net.with_parameters(change)


def test_results_are_plain(rng):
    bounds = dense(rng).bounds(rng.uniform(0, 1, (2, 4)), 0.1, layers=True)
    assert bounds.to_dict()["lower"] == bounds.lower.tolist() and len(bounds.to_dict()["layers"]) == 2
    assert bounds.rows[4] == {"sample": 1, "row": 1, "lower": bounds.lower[1, 1], "upper": bounds.upper[1, 1]}
    assert bounds._repr_html_().count("<tr>") == 7


def test_threads_get_the_same_numbers(rng):
    net, x = convolutional(rng), rng.uniform(0, 1, (64, 1, 6, 6)).astype("f4")
    wanted, found = net.bounds(x, 0.05, layers=True), []

    def bound():
        for _ in range(50):
            found.append(net.bounds(x, 0.05, layers=True))

    threads = [threading.Thread(target=bound) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 100 and all(np.array_equal(f.lower, wanted.lower) for f in found)


def test_memory_does_not_grow(rng):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    net, x = dense(rng), rng.uniform(0, 1, (16, 4)).astype("f4")
    run = lambda count: [net.bounds(x, 0.1, y=np.zeros(16, int), layers=True) for _ in range(count)][-1]
    for _ in range(1000):
        run(1)
    before = resident()
    for _ in range(9000):
        run(1)
    assert resident() - before < 4 << 20


def test_import_is_quick_and_without_torch(tmp_path):
    code = "import time; s = time.process_time(); import numpy; n = time.process_time(); import tightrope, sys; " \
           "e = time.process_time(); print(e - n, 'torch' in sys.modules)"  # fmt: skip
    run = lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    runs = [run().stdout.split() for _ in range(5)]
    assert all(torch == "False" for _, torch in runs)
    assert min(float(seconds) for seconds, _ in runs) < 0.2


def test_the_stub_tells_what_the_module_holds():
    compiled = tightrope._tightrope
    tree = ast.parse(pathlib.Path(tightrope.__file__).with_name("_tightrope.pyi").read_text(encoding="utf-8"))
    public = lambda names: {name for name in names if not name.startswith("_")}
    told = {part.name: part for part in tree.body if isinstance(part, (ast.FunctionDef, ast.ClassDef))}
    assert set(told) == public(dir(compiled))
    for name, part in told.items():
        if isinstance(part, ast.ClassDef):
            assert {method.name for method in part.body} == public(dir(getattr(compiled, name)))
        else:
            stated = [argument.arg for argument in part.args.args]
            assert stated == list(inspect.signature(getattr(compiled, name)).parameters), name
    assert pathlib.Path(tightrope.__file__).with_name("py.typed").exists()


def test_the_docstring_example_runs():
    import doctest

    assert doctest.testmod(tightrope).failed == 0 and doctest.testmod(tightrope).attempted == 4
