"""The calls of auto_LiRPA. Skipped visibly without torch."""

import numpy as np
import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def c(torch):
    import tightrope.compat

    return tightrope.compat


@pytest.fixture
def net(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def test_methods_by_their_names(torch, c, net):
    import tightrope.torch as t

    x = torch.rand(2, 1, 8, 8)
    model = c.BoundedModule(net, torch.empty_like(x))
    region = c.BoundedTensor(x, c.PerturbationLpNorm(norm=np.inf, eps=0.05))
    assert torch.equal(model(region), net(x)) and type(model(region)) is torch.Tensor
    for name, method in (("IBP", "ibp"), ("IBP+backward", "crown-ibp"), ("CROWN-IBP", "crown-ibp"), ("CROWN", "crown"),
                         ("backward", "crown"), ("alpha-CROWN", "alpha-crown"), ("CROWN-Optimized", "alpha-crown")):  # fmt: skip
        lower, upper = model.compute_bounds(x=(region,), method=name)
        with torch.no_grad():
            found = t.bounds(net, x, 0.05, method=method, clip=None)
        assert torch.equal(lower, found.lower) and torch.equal(upper, found.upper)
    assert model.compute_bounds(x=(region,), method="CROWN", bound_upper=False)[1] is None
    assert model.compute_bounds(x=(region,), method="CROWN", bound_lower=False)[0] is None


def test_a_backward_pass_after_interval_bounds_uses_them(torch, c, net):
    x = torch.rand(2, 1, 8, 8)
    model = c.BoundedModule(net, x)
    C = torch.eye(3)[None].expand(2, -1, -1) - torch.eye(3)[0]
    ends = c.PerturbationLpNorm(x_L=x - 0.1, x_U=x + 0.1)
    model(c.BoundedTensor(x, ends))
    crown = model.compute_bounds(C=C, method="backward")[0]
    interval = model.compute_bounds(IBP=True, C=C, method=None)[0]
    mixed = model.compute_bounds(C=C, method="backward")[0]
    assert torch.equal(mixed, model.compute_bounds(C=C, method="CROWN-IBP")[0])
    assert (interval <= crown + 1e-5).all() and (mixed <= crown + 1e-5).all() and not torch.equal(mixed, crown)
    mixed.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    "method, norm", [("CROWN", np.inf), ("CROWN", 2), ("CROWN-IBP", np.inf), ("CROWN-IBP", 2), ("alpha-CROWN", np.inf)]
)
def test_linear_bounds_are_the_bounds_when_concretised(torch, c, net, method, norm):
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        [p.mul_(3) for p in net.parameters()]
    model = c.BoundedModule(net, x)
    region = c.BoundedTensor(x, c.PerturbationLpNorm(norm=norm, eps=0.3))
    lower, upper, A = model.compute_bounds(x=(region,), method=method, return_A=True)
    plain = model.compute_bounds(x=(region,), method="CROWN" if method == "alpha-CROWN" else method)
    A = A[model.output_name[0]][model.input_name[0]]
    for _ in range(50):
        d = torch.randn_like(x)
        d = d.sign() if norm == np.inf else d / d.flatten(1).norm(dim=1)[:, None, None, None]
        z, point = net(x + 0.3 * d), x + 0.3 * d
        assert ((A["lA"] * point[:, None]).flatten(2).sum(2) + A["lbias"] <= z + 1e-4).all()
        assert ((A["uA"] * point[:, None]).flatten(2).sum(2) + A["ubias"] >= z - 1e-4).all()
    if method == "alpha-CROWN":
        assert (lower >= plain[0] - 1e-4).all() and (upper <= plain[1] + 1e-4).all() and (lower > plain[0] + 1e-4).any()
    else:
        assert torch.allclose(lower, plain[0], atol=1e-4) and torch.allclose(upper, plain[1], atol=1e-4)


def test_what_is_not_here_is_not_implemented(torch, c, net):
    x = torch.rand(1, 1, 8, 8)
    model = c.BoundedModule(net, x)
    region = c.BoundedTensor(x, c.PerturbationLpNorm(eps=0.1))
    for call in (
        lambda: model.compute_bounds(x=(region,), method="forward"),
        lambda: model.compute_bounds(x=(region,), method="CROWN", intermediate_layer_bounds={"a": 1}),
        lambda: model.compute_bounds(x=(region, region)),
        lambda: c.PerturbationLpNorm(norm=3, eps=0.1),
        lambda: c.PerturbationLpNorm(eps=0.1, eps_min=0.0),
        lambda: c.BoundedModule(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()), torch.rand(1, 4)),
        lambda: c.BoundedModule(net, x, bound_opts={"relu": "same-slope"}),
        lambda: c.BoundedModule(net, x, custom_ops={"a": 1}),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_what_is_not_here_says_so(torch, c, net):
    module = c.BoundedModule(net, torch.zeros(1, 1, 8, 8))
    with pytest.raises(NotImplementedError, match="solver"):
        module.build_solver_module()
    with pytest.raises(NotImplementedError, match="ReLU option"):
        module.set_bound_opts({"relu": "same-slope"})
    x = c.BoundedTensor(torch.rand(2, 1, 8, 8), c.PerturbationLpNorm(eps=0.1))
    for threshold in (torch.zeros(3), torch.tensor(0.0)):
        with pytest.raises(NotImplementedError, match="decision_thresh"):
            module.compute_bounds(x=(x,), decision_thresh=threshold)
    with pytest.raises(NotImplementedError, match="BoundedParameter"):
        c.BoundedParameter  # noqa: B018
