"""What a trace does not see must not pass: values changed in place, hooks, modules that change, other threads. Needs torch."""

import threading

import numpy as np
import pytest
from tightrope import InputError, Network, UnsupportedModule

pytestmark = pytest.mark.torch


@pytest.fixture
def t(torch):
    """tightrope.torch."""
    import tightrope.torch

    return tightrope.torch


def encloses(t, torch, module, x):
    """The bounds hold at sampled points of the balls, as the module computes them, and are exact without a radius."""
    found = t.bounds(module, x, 0.05, clip=None)
    with torch.no_grad():
        for seed in range(20):
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            out = module(x + 0.05 * noise)
            assert (found.lower <= out + 1e-5).all() and (out <= found.upper + 1e-5).all()
        np.testing.assert_allclose(t.bounds(module, x, 0.0, clip=None).lower, module(x.clone()), atol=1e-4)


def readers_of_changed_values(torch):
    nn, F = torch.nn, torch.nn.functional

    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.r = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3), nn.ReLU(inplace=True)

    class Module(Base):
        def forward(self, x):
            h = self.a(x)
            return self.c(self.b(self.r(h)) + h)

    class Function(Base):
        def forward(self, x):
            h = self.a(x)
            return self.c(self.b(F.relu(h, True)) + h)

    class Method(Base):
        def forward(self, x):
            h = self.a(x)
            return self.c(self.b(h.relu_()) + h)

    class Augmented(Base):
        def forward(self, x):
            h = self.a(x)
            alias = h.view(-1, 5)
            h += 1.0
            return self.c(self.b(F.relu(h)) + alias)

    class Block(Base):
        def forward(self, x):
            h = self.a(x)
            o = self.r(h)
            return self.c(F.relu(self.b(o)) + h)

    return [Module, Function, Method, Augmented, Block]


@pytest.mark.parametrize("number", range(5))
def test_values_changed_in_place_are_not_read_as_before(torch, t, number):
    torch.manual_seed(number)
    module, x = readers_of_changed_values(torch)[number]().eval(), torch.rand(6, 4)
    try:
        encloses(t, torch, module, x)
    except UnsupportedModule as error:
        assert "in place" in str(error)


def test_plain_operations_in_place_are_read(torch, t):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    encloses(t, torch, module, torch.rand(5, 4))


def test_hooks_are_refused_and_parametrizations_read(torch, t):
    nn, x = torch.nn, torch.rand(3, 4)
    for part in (0, 1, None):
        module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        hooked = module if part is None else module[part]
        handle = hooked.register_forward_hook(lambda module, args, out: 3 * out + 1)
        with pytest.raises(UnsupportedModule, match="hooks"):
            t.bounds(module, x, 0.1)
        handle.remove()
        encloses(t, torch, module, x)
        # Those that come after the first trace as well.
        hooked.register_forward_pre_hook(lambda module, args: (2 * args[0],))
        with pytest.raises(UnsupportedModule, match="hooks"):
            Network.from_torch(module, x)
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    nn.utils.parametrizations.weight_norm(module[0])
    encloses(t, torch, module, x)


def test_a_module_that_has_changed_is_traced_anew(torch, t):
    nn, x = torch.nn, torch.rand(5, 4)

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.factor, self.act, self.steps = nn.Linear(4, 3), 2.0, nn.LeakyReLU(0.1), [1, 2]
            self.last = torch.relu

        def forward(self, x):
            for _ in self.steps:
                x = x * self.factor
            return self.a(self.last(self.act(x)))

    module = Scaled().eval()
    encloses(t, torch, module, x - 0.5)
    module.factor = -0.5
    encloses(t, torch, module, x - 0.5)
    module.act.negative_slope = 0.7
    encloses(t, torch, module, x - 0.5)
    module.steps = [1, 2, 3]
    encloses(t, torch, module, x - 0.5)
    module.last = torch.tanh
    encloses(t, torch, module, x - 0.5)
    module.act = nn.Tanh()
    encloses(t, torch, module, x - 0.5)
    module.a = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 3))
    encloses(t, torch, module, x - 0.5)
    with torch.no_grad():
        module.a[0].weight.data.mul_(-1.5)
    encloses(t, torch, module, x - 0.5)
    norm = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    encloses(t, torch, norm, x)
    norm[1].eps = 2.0
    encloses(t, torch, norm, x)


def test_a_trace_that_differs_from_its_module_is_refused(torch, t):
    class Odd(torch.nn.Module):
        """Traced code is not the code that runs."""

        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(4, 3)

        def forward(self, x):
            out = self.a(x)
            return out if isinstance(x, torch.fx.Proxy) or torch.compiler.is_exporting() else out + 1.0

    with pytest.raises(UnsupportedModule, match="differs from the module"):
        t.bounds(Odd().eval(), torch.rand(2, 4), 0.1)


def test_threads_trace_and_run_modules_at_once(torch, t):
    nn, x = torch.nn, torch.rand(2, 8)

    def deep():
        return nn.Sequential(*[layer for _ in range(40) for layer in (nn.Linear(8, 8), nn.ReLU())], nn.Linear(8, 3)).eval()

    failures, done, plain = [], threading.Event(), deep()
    expected = plain(x)

    def guarded(work):
        try:
            work()
        except Exception as error:
            failures.append(error)

    def run():
        while not done.is_set():
            assert torch.equal(plain(x), expected)

    def bound():
        for _ in range(4):
            t.bounds(deep(), x, 0.0, method="ibp")

    runner = threading.Thread(target=guarded, args=(run,))
    runner.start()
    tracers = [threading.Thread(target=guarded, args=(bound,)) for _ in range(3)]
    [thread.start() for thread in tracers]
    [thread.join() for thread in tracers]
    done.set()
    runner.join()
    assert not failures, failures[:2]
    assert torch.equal(plain(x), expected)


def test_shapes_and_radii_that_do_not_fit_are_told_at_once(torch, t):
    module, x = torch.nn.Sequential(torch.nn.Linear(4, 3)), torch.rand(3, 4)
    with pytest.raises(UnsupportedModule, match=r"fails on an input of shape \[1, 5\]"):
        t.bounds(module, torch.rand(3, 5), 0.1)
    for eps in (torch.tensor([0.1, 0.2]), torch.full((4, 4), 0.1), torch.full((1, 3, 4), 0.1)):
        with pytest.raises(InputError, match="one for each sample"):
            t.bounds(module, x, eps, clip=None)
    with pytest.raises(InputError, match="give a tensor"):
        Network.from_torch(module, x.numpy())
    with pytest.raises(InputError, match="natural=2"):
        t.certified_loss(module, x, [0, 1, 2], 0.1, natural=2)
    losses = [t.certified_loss(module, x, y, 0.1) for y in ([0, 1, 2], np.arange(3), torch.arange(3, dtype=torch.int32))]
    assert losses[0] == losses[1] == losses[2]
    net = Network.from_torch(module, x)
    with pytest.raises(InputError, match="give one number"):
        net.bounds(x, [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="C holds NaN"):
        net.bounds(x, 0.1, C=np.full((1, 3), np.nan, np.float32))
    with pytest.raises(InputError, match="norm=None"):
        net.bounds(x, 0.1, norm=None)


def test_smoothing_leaves_frozen_layers_and_knows_lbfgs(torch, t):
    torch.manual_seed(0)
    nn = torch.nn
    module, x, y = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.rand(20, 4), torch.arange(20) % 3
    loss = lambda: t.certified_loss(module, x, y, 0.01, method="ibp")
    smooth = t.GaussianSmoothing(torch.optim.Adam(module.parameters(), 1e-2), "rgs", sigma=1e-3, population=2)
    smooth.step(loss)
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    smooth.step(loss)
    assert torch.equal(module[0].weight, before)
    module[0].requires_grad_(True)
    smooth = t.GaussianSmoothing(torch.optim.LBFGS(module.parameters(), max_iter=8), "rgs", sigma=1e-3, population=2)
    losses = [smooth.step(loss) for _ in range(4)]
    assert losses[-1] < losses[0]
    for wrong in (lambda: 0.5, lambda: loss().detach(), lambda: None):
        with pytest.raises(InputError, match="closure must return"):
            smooth.estimate(wrong)
