"""The compiled part; the package around it is the interface."""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

@final
class Tape:
    def vjp(
        self,
        lower: np.ndarray,
        upper: np.ndarray | None,
        layers: Sequence[tuple[int, np.ndarray, np.ndarray]],
        theta: bool,
        region: bool,
        matrix: bool,
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]: ...

@final
class Network:
    @staticmethod
    def from_file(path: str) -> Network: ...
    @staticmethod
    def from_onnx_bytes(bytes: bytes, origin: str) -> Network: ...
    @staticmethod
    def from_description(json: str) -> Network: ...
    def with_parameters(self, theta: np.ndarray, buffers: Sequence[float] | None) -> Network: ...
    @property
    def input_shape(self) -> list[int]: ...
    @property
    def outputs(self) -> int: ...
    @property
    def parameters(self) -> list[tuple[str, list[int]]]: ...
    @property
    def buffers(self) -> list[tuple[str, list[int]]]: ...
    def buffer_values(self) -> list[float]: ...
    def theta(self, double: bool) -> np.ndarray: ...
    def description(self) -> str: ...
    def checksum(self) -> str: ...
    def to_onnx(self) -> bytes: ...
    def save(self, path: str) -> None: ...
    def forward(self, x: np.ndarray) -> np.ndarray: ...
    def bounds(
        self, question: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray | None, list[tuple[str, list[int], np.ndarray, np.ndarray]], Tape | None]: ...
    def processor_seconds(self, question: dict[str, Any]) -> float: ...

_Perturbation = tuple[float | list[float], str, tuple[float, float] | None]
_Listener = Callable[[str, str], Any] | None

def attack(
    network: Network,
    data: dict[str, Any],
    perturbation: _Perturbation,
    kind: str,
    settings: tuple[int, int, int],
    targets: int,
    progress: _Listener,
) -> tuple[str, np.ndarray, np.ndarray, list[bool]] | None: ...
def certify(
    network: Network,
    data: dict[str, Any],
    perturbation: _Perturbation,
    stages: list[str] | None,
    timeout: float | None,
    attack: tuple[int, int, int],
    alpha: tuple[int, float | None],
    log: str | None,
    begin: str,
    progress: _Listener,
) -> str | None: ...
def check(certificate: str, network: Network, property: str) -> str: ...
def dataset(
    name: str, split: str, data_dir: str | None, limit: int | None
) -> tuple[np.ndarray, np.ndarray, list[int], int, list[str] | None]: ...
def dataset_names() -> list[tuple[str, str]]: ...
def perturbation(seed: int, step: int, member: int, count: int) -> np.ndarray: ...
def recipe(name: str, profile: str) -> str: ...
def recipe_names() -> list[tuple[str, str]]: ...
def set_threads(threads: int) -> None: ...
def train(
    text: str,
    origin: str,
    overrides: list[str],
    data: tuple[dict[str, Any] | None, dict[str, Any] | None],
    start: Network | None,
    out: str | None,
    begin: str,
    data_dir: str | None,
    progress: _Listener,
) -> tuple[Network, str, bool, str | None]: ...
def verify(
    network: Network,
    property: str,
    timeout: float,
    branching: str,
    restarts: int,
    seed: int,
    certificate: str | None,
    origin: str | None,
) -> str: ...
def version() -> str: ...
