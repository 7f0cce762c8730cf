"""What the tests share."""

import os

import numpy as np
import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "torch: needs torch, which may be missing unless TIGHTROPE_REQUIRE_TORCH=1")


@pytest.fixture
def torch():
    """torch, or a visible skip; an error where it is required."""
    if os.environ.get("TIGHTROPE_REQUIRE_TORCH") == "1":
        import torch
    else:
        torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    # Its idle threads would spin beside the engine's on matrices as small as these.
    torch.set_num_threads(1)
    return torch


@pytest.fixture
def rng():
    return np.random.default_rng(0)
