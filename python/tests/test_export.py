"""What torch's own exporters write: every file is read, and modules that fx cannot trace come that way. Needs torch."""

import importlib.util
import io
import os
import warnings

import pytest
from tightrope import Network, UnsupportedModule

pytestmark = pytest.mark.torch

NAMES = ["perceptron", "smooth perceptron", "separable", "residual", "normalised", "dense", "hourglass", "mixer", "attention",
         "maxout", "signal", "dueling", "shuffle"]  # fmt: skip


@pytest.fixture(autouse=True)
def exporter(torch):
    """torch.onnx, or a visible skip; an error where torch is required."""
    if os.environ.get("TIGHTROPE_REQUIRE_TORCH") == "1":
        import onnxscript  # noqa: F401
    else:
        pytest.importorskip("onnxscript")
    return torch.onnx


def exported(torch, module, x, dynamo):
    """The bytes that a plain ``torch.onnx.export`` writes."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(module, (x,), dynamo=True, verbose=False).save(content)
        else:
            torch.onnx.export(module, (x,), content, dynamo=False)
    return content.getvalue()


def holds(torch, net, module, x, eps):
    """Outputs are the module's, and no point of the balls leaves the bounds of the three kinds."""
    with torch.no_grad():
        assert torch.allclose(net(x), module(x), atol=1e-4, rtol=1e-4)
        found = {method: net.bounds(x, eps, method, clip=None) for method in ("ibp", "crown-ibp", "crown")}
        for step in range(40):
            d = 2 * torch.rand_like(x) - 1
            z = module(x + eps * (d if step % 2 else d.sign()))
            for method, (lower, upper) in found.items():
                slack = 1e-4 * (1 + z.abs())
                assert (lower <= z + slack).all() and (z <= upper + slack).all(), method
        for lower, upper in found.values():
            assert (upper - lower).max() < 1e3 and (upper > lower).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
def test_exports_of_everyday_modules_are_read(torch, name, dynamo):
    from everyday import everyday

    module = everyday()[name]
    x = torch.rand(1, 3, 8, 8)
    net = Network.from_onnx(exported(torch, module, x, dynamo))
    holds(torch, net, module, torch.rand(4, 3, 8, 8), 0.02)


def test_the_list_of_everyday_modules_is_whole(torch):
    from everyday import everyday

    assert list(everyday()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_modules_as_they_are_become_networks(torch, name):
    from everyday import everyday

    module, x = everyday()[name], torch.rand(4, 3, 8, 8)
    holds(torch, Network.from_torch(module, x), module, x, 0.02)


def by_export(torch):
    """A module that fx cannot trace: its code asks for a shape and asserts."""
    nn = torch.nn

    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4)
            self.hidden, self.out = nn.Linear(64, 8), nn.Linear(8, 3)

        def forward(self, x):
            assert x.shape[1] == 1 and len(x.shape) == 4, "grey images"
            x = torch.relu(self.norm(self.conv(x)))
            while x.dim() > 2:
                x = x.flatten(-2)
            for _ in range(int(x.shape[-1] == 64)):
                x = torch.relu(self.hidden(x))
            return self.out(x)

    module = Asking().eval()
    module.norm.running_mean.normal_(0, 0.2)
    module.norm.running_var.uniform_(0.5, 2)
    with pytest.raises(Exception):
        torch.fx.symbolic_trace(module)
    return module


def test_what_fx_cannot_trace_is_exported(torch):
    import tightrope.torch as t

    module, x = by_export(torch), torch.rand(4, 1, 8, 8)
    holds(torch, Network.from_torch(module, x), module, x, 0.05)
    # Its parameters have gradients, which say what a step along them does.
    module.double()
    x, own = x.double(), list(module.parameters())
    f = lambda: t.bounds(module, x, 0.05, method="crown").lower.sum()
    before, direction = f(), [torch.randn_like(p) for p in own]
    gradients = torch.autograd.grad(before, own)
    slope, h = sum((g * d).sum() for g, d in zip(gradients, direction)), 1e-6
    with torch.no_grad():
        [p.add_(d, alpha=h) for p, d in zip(own, direction)]
    assert slope != 0 and abs(((f() - before) / h - slope) / slope) < 1e-3


def test_numbers_that_an_export_holds_are_looked_at_again(torch):
    import tightrope.torch as t

    module, x = by_export(torch), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        t.bounds(module, x, 0.0)
        module.norm.running_mean += 0.5
        module.out.bias += 1.0
        lower = t.bounds(module, x, 0.0).lower
        assert torch.allclose(lower, module(x), atol=1e-4)


def test_branches_on_values_are_refused_not_followed(torch):
    nn = torch.nn

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear(x) if x.sum() > 0 else -self.linear(x)

    with pytest.raises(UnsupportedModule, match="Branching cannot be traced.*nor"):
        Network.from_torch(Branching(), torch.rand(2, 4))


def test_dropout_that_is_on_is_refused(torch):
    nn = torch.nn

    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear(nn.functional.dropout(x, 0.5, self.training))

    module, x = Dropping(), torch.rand(2, 4)
    with pytest.raises(UnsupportedModule, match="dropout"):
        Network.from_torch(module, x)
    holds(torch, Network.from_torch(module.eval(), x), module, x, 0.1)


def test_without_the_exporters_package_its_name_is_told(torch, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else find(name, *a))
    with pytest.raises(UnsupportedModule, match="pip install onnxscript"):
        Network.from_torch(by_export(torch), torch.rand(1, 1, 8, 8))
