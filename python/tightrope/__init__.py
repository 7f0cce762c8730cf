"""Trains neural networks that are provably robust to input perturbations, and proves it.

``Network`` bounds what a network does over balls and boxes, on numpy arrays or tensors. ``train``, ``certify``, ``attack``,
``verify`` and ``check`` are the command's. ``tightrope.torch`` differentiates bounds of torch modules, and
``tightrope.compat`` answers the calls of auto_LiRPA. Torch is imported by these two alone.

>>> import numpy as np, tightrope
>>> net = tightrope.Network.from_layers((2,), [("linear", np.eye(2), None), "relu", ("linear", np.ones((1, 2)), None)])
>>> bounds = net.bounds(np.float32([[1.0, -2.0]]), 0.5, clip=None)
>>> bounds.lower.tolist(), bounds.upper.tolist()
([[0.5]], [[1.5]])
"""

from tightrope._tightrope import set_threads
from tightrope._tightrope import version as _version
from tightrope.errors import (
    CertificateError,
    ConfigError,
    DataError,
    InputError,
    ModelError,
    PropertyError,
    TightropeError,
    TrainingError,
    UnsupportedModule,
    VerificationError,
)
from tightrope.jobs import (
    Attack,
    Certification,
    Check,
    Training,
    Verification,
    attack,
    certify,
    check,
    recipe,
    recipes,
    train,
    verify,
)
from tightrope.network import Bounds, LayerBounds, Network

__version__ = _version()

__all__ = [
    "Attack",
    "Bounds",
    "Certification",
    "CertificateError",
    "Check",
    "ConfigError",
    "DataError",
    "InputError",
    "LayerBounds",
    "ModelError",
    "Network",
    "PropertyError",
    "TightropeError",
    "Training",
    "TrainingError",
    "UnsupportedModule",
    "Verification",
    "VerificationError",
    "attack",
    "certify",
    "check",
    "recipe",
    "recipes",
    "set_threads",
    "train",
    "verify",
]
