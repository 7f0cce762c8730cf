"""Torch modules: their networks, gradients of bounds, losses and smoothing. Skipped visibly without torch."""

import gc

import numpy as np
import pytest
import tightrope
from tightrope import InputError, Network, UnsupportedModule

pytestmark = pytest.mark.torch


@pytest.fixture
def t(torch):
    """tightrope.torch."""
    import tightrope.torch

    return tightrope.torch


@pytest.fixture
def mlp(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


def modules(torch):
    nn, F = torch.nn, torch.nn.functional

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.norm = nn.Conv2d(2, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.short = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1, 2)
            self.out = nn.Linear(4, 3)
            self.register_buffer("mean", torch.tensor([0.4, 0.5]).reshape(1, 2, 1, 1))

        def forward(self, x):
            x = torch.relu(self.norm(self.conv1((x - self.mean) / 0.25)))
            x = F.relu(self.conv2(x) + self.short(x))
            return self.out(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))

    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(72, 5) / 9)
            self.v = torch.randn(3, 5)

        def forward(self, x):
            return F.leaky_relu(torch.flatten(x, 1) @ self.w, 0.1).matmul(self.v.t())

    return {
        "activations": nn.Sequential(
            nn.Flatten(), nn.Linear(72, 6), nn.Tanh(), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 6), nn.ReLU6(),
            nn.Dropout(), nn.Linear(6, 3), nn.Identity(),
        ),
        "pools": nn.Sequential(
            nn.Conv2d(2, 3, 3, padding="same"), nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.Conv2d(3, 3, 2), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3),
        ),
        "nested": nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, groups=2), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
            nn.Flatten(), nn.Linear(36, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3),
        ),
        "residual": Residual(),
        "products": Products(),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["activations", "pools", "nested", "residual", "products"])
def test_modules_become_the_same_function(torch, t, name):
    module = modules(torch)[name]
    for part in module.modules():
        if isinstance(part, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    module.eval()
    x = torch.rand(7, 2, 6, 6)
    net = Network.from_torch(module, x)
    assert torch.allclose(net(x), module(x), atol=1e-5)
    bounds = t.bounds(module, x, 0.01, clip=None)
    for _ in range(20):
        z = module(x + 0.01 * (2 * torch.rand_like(x) - 1))
        assert (bounds.lower <= z + 1e-5).all() and (z <= bounds.upper + 1e-5).all()
    # Every parameter has its gradient, and one step along it does what it says.
    bounds.lower.sum().backward()
    own = list(module.parameters())
    assert all(p.grad is not None and p.grad.shape == p.shape for p in own)
    double = module.double()
    f = lambda: t.bounds(double, x.double(), 0.01).lower.sum()
    before, direction = f(), [torch.randn_like(p) for p in own]
    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(before, own), direction))
    h = 1e-6
    with torch.no_grad():
        [p.add_(d, alpha=h) for p, d in zip(own, direction)]
    assert abs(((f() - before) / h - slope) / slope) < 1e-3


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown", "zonotope"])
@pytest.mark.parametrize("norm, clip", [("inf", None), ("inf", (0, 1)), (2, None), (1, None)])
def test_gradients_are_right_in_double_precision(torch, t, mlp, method, norm, clip):
    mlp.double()
    x = torch.rand(3, 4, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    x.data[0, 0] = 0.03  # clipped
    eps = torch.tensor(0.07, dtype=torch.float64, requires_grad=True)

    def f(x, eps, *parameters):
        found = torch.func.functional_call(mlp, {}, (x,)) * 0
        b = t.bounds(mlp, x, eps, method=method, norm=norm, clip=clip, layers=True)
        return (found + b.lower, b.upper, *[side for layer in b.layers for side in (layer.lower, layer.upper)])

    assert torch.autograd.gradcheck(f, (x, eps, *mlp.parameters()), atol=1e-5)


def test_radii_may_differ_and_boxes_have_gradients(torch, t, mlp):
    mlp.double()
    x = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    each = torch.tensor([0.01, 0.05, 0.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, e: t.bounds(mlp, x, e).lower, (x, each))
    every = torch.rand(3, 4, dtype=torch.float64).mul(0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, e: t.bounds(mlp, x, e, clip=(0, 1)).lower, (x, every))
    assert torch.autograd.gradcheck(
        lambda a, b: t.bounds(mlp, a, box=b).lower, (x, (x + every).detach().requires_grad_())
    )
    for i in range(3):
        one = t.bounds(mlp, x[i : i + 1], each[i].item()).lower
        assert torch.allclose(one[0], t.bounds(mlp, x, each).lower[i])


def test_rows_have_gradients(torch, t, mlp):
    mlp.double()
    x = torch.rand(3, 4, dtype=torch.float64)
    for shape in ((2, 3), (3, 2, 3)):
        C = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda C: t.bounds(mlp, x, 0.1, C=C, upper=False).lower, (C,))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_rows_that_are_margins_have_the_gradients_of_margins(torch, t, mlp, method):
    x, y, eye = torch.rand(5, 4), torch.tensor([0, 2, 1, 1, 0]), torch.eye(3)
    others = torch.tensor([[2, 1, 2], [0, 1, 0], [0, 2, 0], [2, 0, 2], [1, 2, 1]])
    C = eye[y][:, None] - eye[others]
    weights = torch.randn(5, 3)

    def gradients(bounds):
        parts = [bounds.lower, bounds.upper]
        return torch.autograd.grad(sum((weights * part).sum() for part in parts), list(mlp.parameters()))

    rows = gradients(t.bounds(mlp, x, 0.1, method=method, C=C))
    margins = t.bounds(mlp, x, 0.1, method=method, y=y)
    taken = gradients(type(margins)(margins.lower.gather(1, others), margins.upper.gather(1, others)))
    for got, expected in zip(rows, taken):
        assert torch.allclose(got, expected, atol=1e-5)
    # A gradient of the rows themselves is that of rows of any numbers.
    C.requires_grad_()
    lower = t.bounds(mlp, x, 0.1, method=method, C=C, upper=False).lower
    assert torch.autograd.grad(lower.sum(), C)[0].shape == C.shape


def test_losses_are_those_of_worst_logits(torch, t, mlp):
    x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    loss = t.certified_loss(mlp, x, y, 0.0)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(mlp(x), y), atol=1e-5)
    assert t.certified_loss(mlp, x, y, 0.1) > loss
    mixed = t.certified_loss(mlp, x, y, 0.1, natural=0.25)
    assert torch.allclose(mixed, 0.75 * t.certified_loss(mlp, x, y, 0.1) + 0.25 * loss, atol=1e-5)
    assert torch.allclose(t.certified_loss(mlp, x, y, 0.1, natural=1.0), loss, atol=1e-6)


class Quadratic:
    """½‖θ − c‖², whose smoothed gradient is θ − c."""

    def __init__(self, torch):
        self.theta = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        self.loss = lambda: 0.5 * (self.theta**2).sum()


def test_rgs_is_the_mean_gradient_at_the_commands_perturbations(torch, t):
    q = Quadratic(torch)
    smooth = t.GaussianSmoothing(torch.optim.SGD([q.theta], 0.5), "rgs", sigma=0.1, population=3, seed=5)
    before = q.theta.detach().clone()
    smooth.estimate(q.loss)
    deltas = [tightrope._tightrope.perturbation(5, 0, member, 3) * np.float32(0.1) for member in range(3)]
    assert np.allclose(q.theta.grad.numpy(), before.numpy() + np.mean(deltas, 0), atol=1e-6)
    assert torch.equal(q.theta.detach(), before)
    smooth.step(q.loss)
    assert smooth.steps == 1 and torch.allclose(q.theta, before - 0.5 * q.theta.grad)
    plain = t.GaussianSmoothing(torch.optim.SGD([q.theta], 0.5), "rgs", sigma=0.0, population=7)
    plain.estimate(q.loss)
    assert torch.equal(q.theta.grad, q.theta.detach())


def test_pgpe_needs_loss_values_only(torch, t):
    q = Quadratic(torch)
    smooth = t.GaussianSmoothing(torch.optim.SGD([q.theta], 0.1), "pgpe", sigma=0.1, population=4000)
    smooth.estimate(lambda: q.loss().item())
    assert np.allclose(q.theta.grad.numpy(), [1, -2, 3], atol=0.3)
    deltas = np.stack([tightrope._tightrope.perturbation(0, 0, member, 3) for member in range(2000)]) * 0.1
    wanted = np.mean(deltas * (deltas @ [1, -2, 3])[:, None], 0) / 0.01
    assert np.allclose(q.theta.grad.numpy(), wanted, atol=1e-3)


def test_smoothing_says_what_it_cannot(torch, t):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    for options, mend in (
        ({"estimator": "es"}, '"rgs" or "pgpe"'), ({"sigma": -1}, "sigma=-1"), ({"estimator": "pgpe", "sigma": 0}, "> 0"),
        ({"population": 0}, ">= 1"), ({"estimator": "pgpe", "population": 3}, "even"),
    ):  # fmt: skip
        with pytest.raises(tightrope.ConfigError, match=mend):
            t.GaussianSmoothing(optimiser, **options)


def test_parameters_come_back_when_the_closure_fails(torch, t):
    q = Quadratic(torch)
    before = q.theta.detach().clone()
    with pytest.raises(KeyError):
        t.GaussianSmoothing(torch.optim.SGD([q.theta], 0.1)).step(lambda: {}["loss"])
    assert torch.equal(q.theta.detach(), before)


def test_certified_training_in_a_loop_reaches_what_the_command_reaches(torch, t):
    """Plain IBP training of one network on the same data, for the same time, in both."""
    import tightrope.data

    settings = {"model": "mlp", "eps": 0.03, "method": {"name": "ibp"}, "dataset": "digits", "limit_train": 2000,
                "train": {"epochs": 9, "batch": 50, "lr": 2e-3}, "warmup": {"start": 0, "end": 3}}  # fmt: skip
    command = tightrope.train(settings).network
    data, nn = tightrope.data.load("digits", "train", limit=2000), torch.nn
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    own = [p for p in command.parameters.values() if p.ndim == 2]
    sizes = [own[0].shape[1]] + [len(p) for p in own]
    layers = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.ReLU())][:-1]
    module = nn.Sequential(nn.Flatten(), *layers)
    for layer in module:
        if isinstance(layer, nn.Linear):
            layer.weight.data.normal_(0, (2 * np.pi) ** 0.5 / layer.in_features)
            layer.bias.data.zero_()
    smooth = t.GaussianSmoothing(torch.optim.Adam(module.parameters(), 2e-3), "rgs", sigma=1e-4, population=1)
    for epoch in range(9):
        for step, part in enumerate(torch.randperm(2000).split(50)):
            eps = 0.03 * min(1.0, (epoch + step / 40) / 3)
            smooth.step(lambda: t.certified_loss(module, x[part], y[part], eps, method="ibp"))
    found = [
        tightrope.certify(net, "digits", 0.03, stages=["crown"], limit=1000).certified
        for net in (command, Network.from_torch(module, x))
    ]
    assert min(found) > 0.5 and abs(found[0] - found[1]) < 0.08, found


def test_tensors_of_every_kind(torch, t, mlp):
    x = torch.rand(6, 4)
    wanted = t.bounds(mlp, x, 0.1).lower
    strided = torch.rand(4, 6).t().copy_(x)
    assert not strided.is_contiguous()
    for other in (strided, x.repeat_interleave(2, 0)[::2], x.clone().requires_grad_()):
        assert torch.equal(t.bounds(mlp, other, 0.1).lower, wanted)
    with torch.no_grad():
        assert not t.bounds(mlp, x.requires_grad_(), 0.1).lower.requires_grad
    frozen = [p.requires_grad_(False) for p in mlp.parameters()]
    assert not t.bounds(mlp, x.detach(), 0.1).lower.requires_grad
    [p.requires_grad_(True) for p in frozen]
    assert t.bounds(mlp, x.double(), 0.1).lower.dtype == torch.float64
    assert torch.is_tensor(Network.from_torch(mlp, x)(x))
    whole = torch.ones(2, 4, dtype=torch.int64)
    assert torch.equal(t.bounds(mlp, whole, 0.1).lower, t.bounds(mlp, whole.float(), 0.1).lower)


def test_tensors_that_cannot_be_used_say_how_to_mend_it(torch, t, mlp):
    x = torch.rand(2, 4)
    for other, mend in (
        (x.half(), r"float16 is not computed with; give x.float\(\)"), (x.bfloat16(), "bfloat16"), (x[:0], "no sample"),
        (x * np.nan, "pixel 0 is NaN"), (x.to_sparse(), r"x.to_dense\(\)"), (x.to("meta"), "no values"), (x[0], r"batch \[N"),
        (x.numpy(), "use tightrope.Network for arrays"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=mend):
            t.bounds(mlp, other, 0.1)
    with pytest.raises((InputError, UnsupportedModule), match="shape|trace"):
        t.bounds(mlp, torch.rand(2, 5), 0.1)
    with pytest.raises(InputError, match="outside the data range"):
        t.bounds(mlp, x + 2, torch.full((2,), 0.1), clip=(0, 1))
    with pytest.raises(InputError, match="no gradient"):
        t.bounds(mlp, x, 0.1, method="alpha-crown")
    with torch.no_grad():
        assert (t.bounds(mlp, x, 0.1, method="alpha-crown").lower >= t.bounds(mlp, x, 0.1).lower - 1e-6).all()


def test_tensors_of_a_device_go_there_and_back(torch, t, mlp):
    if not torch.cuda.is_available():
        pytest.skip("no cuda device on this machine")
    x = torch.rand(2, 4)
    wanted = t.bounds(mlp, x, 0.1).lower
    found = t.bounds(mlp.cuda(), x.cuda(), 0.1).lower
    found.sum().backward()
    assert found.is_cuda and torch.equal(found.cpu(), wanted) and mlp[0].weight.grad.is_cuda


def test_what_has_no_counterpart_is_named(torch, t):
    nn = torch.nn

    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    cases = {
        "LogSoftmax": nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)),
        "cannot be traced": Branching(),
        "training mode": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
    }
    for mend, module in cases.items():
        with pytest.raises(UnsupportedModule, match=mend):
            Network.from_torch(module, torch.rand(2, 4))
    assert issubclass(UnsupportedModule, NotImplementedError)


def test_updates_of_a_module_are_seen(torch, t, mlp):
    x = torch.rand(2, 4)
    before = t.bounds(mlp, x, 0.1).lower
    with torch.no_grad():
        mlp[4].bias += 1
    assert torch.allclose(t.bounds(mlp, x, 0.1).lower, before + 1, atol=1e-5)
    norm = torch.nn.Sequential(mlp, torch.nn.BatchNorm1d(3)).eval()
    before = t.bounds(norm, x, 0.1).lower
    norm[1].running_mean += 1
    assert torch.allclose(t.bounds(norm, x, 0.1).lower, before - 1, atol=1e-4)


def test_modules_and_tapes_are_let_go(torch, t):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    x, y = torch.rand(8, 4), torch.zeros(8, dtype=torch.int64)
    mlp = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))

    def run(count):
        for _ in range(count):
            t.certified_loss(mlp, x, y, 0.1).backward()

    run(500)
    gc.collect()
    before = resident()
    run(2500)
    gc.collect()
    assert resident() - before < 4 << 20
