"""The fastest exact inference at hand: a batch of pixels → a batch of features.

In: a :class:`features.backbone.network.Backbone`. Out: a :class:`Runtime`, (B, 3, H, W) uint8 → (B, width) float32,
and the record of what computes each layer. On a CPU that is ONNX Runtime where it is installed (``pip install
'.[fast]'``) and agrees with torch on trial pictures, else torch; on CUDA it is torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import nn

from features.backbone.network import Backbone
from features.backbone.onnx_model import to_onnx
from features.backbone.record import RuntimeRecord
from features.config import DEVICES, PRECISIONS, RUNTIMES
from features.util.errors import InputError, first_line

# Largest difference from torch, as a part of the largest feature, that still counts as mere rounding.
TOLERANCE = 1e-5
# An exported network lies in memory several times for a moment, and ONNX holds no more than 2 GB in one piece.
MAX_EXPORTED_BYTES = 600_000_000


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A frozen network, ready to run; may be called from several threads.

    Attributes:
        records: What computes the features, for their provenance: a record for each of ``Backbone.widths``.
        run: (B, 3, H, W) uint8 → (B, width) float32.
    """

    records: tuple[RuntimeRecord, ...]
    run: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    @property
    def record(self) -> RuntimeRecord:
        """What computes the features of the first layer."""
        return self.records[0]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The features of a batch of pixels, as :meth:`features.backbone.preprocess.Preprocess.pixels` makes them."""
        return self.run(pixels)


def open_runtime(
    backbone: Backbone,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
) -> Runtime:
    """Make a backbone ready to run.

    Args:
        backbone: The network; it is not changed.
        runtime: One of ``RUNTIMES``. "auto" prefers ONNX Runtime on a CPU, and prints why where that can't be used.
        device: One of ``DEVICES``. "auto" prefers CUDA.
        precision: One of ``PRECISIONS``. float32 is exact; the others are faster where the device computes in them.
        threads: Cores of the CPU to use, by default as many as torch does; torch itself is set to it.

    Raises:
        InputError: for what is unknown, not at hand, or not possible together; all of it at once.
    """
    _refuse_impossible(runtime, device, precision)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if threads is not None:
        torch.set_num_threads(threads)
    exact_on_cpu = device == "cpu" and precision == "float32"
    if runtime == "onnxruntime" or (runtime == "auto" and exact_on_cpu):
        try:
            return _open_onnxruntime(backbone)
        except _NotPossibleError as error:
            if runtime == "onnxruntime":
                raise InputError(f"ONNX Runtime can't be used: {error}; leave --runtime at auto") from error
            print(f"the network runs in torch; ONNX Runtime, which is faster, can't be used: {error}")
    return _open_torch(backbone, device, precision)


def exact_convolutions() -> AbstractContextManager[None]:
    """Keep a GPU's convolutions in float32 while the ``with`` block runs: by itself torch lets them round to TF32."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _refuse_impossible(runtime: str, device: str, precision: str) -> None:
    problems = [
        f"{flag} is {given}; it must be one of {', '.join(allowed)}"
        for flag, given, allowed in (
            ("--runtime", runtime, RUNTIMES),
            ("--device", device, DEVICES),
            ("--precision", precision, PRECISIONS),
        )
        if given not in allowed
    ]
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        problems.append("--device is cuda, but torch finds no CUDA device here; leave it at auto")
    if precision == "float16" and (device == "cpu" or not cuda):
        problems.append("--precision float16 needs a CUDA device; a CPU takes float32 or bfloat16")
    if runtime == "onnxruntime" and device == "cuda":
        problems.append("--runtime onnxruntime is for the CPU; on CUDA the network runs in torch")
    if runtime == "onnxruntime" and precision != "float32":
        problems.append(f"--runtime onnxruntime computes in float32, not in {precision}; leave --runtime at auto")
    if problems:
        raise InputError("\n".join(problems))


def _open_torch(backbone: Backbone, device: str, precision: str) -> Runtime:
    dtype = getattr(torch, precision)
    network = copy.deepcopy(backbone.model).to(device, dtype).to(memory_format=torch.channels_last)

    def run(pixels: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(pixels)
        if device == "cuda":
            batch = batch.pin_memory()  # only from pinned memory does a copy run beside the computation
        with torch.inference_mode(), exact_convolutions():
            inputs = backbone.preprocess.normalise(batch.to(device, non_blocking=True))
            return network(inputs.to(dtype=dtype, memory_format=torch.channels_last)).float().cpu().numpy()

    record = RuntimeRecord(name="torch", version=torch.__version__, device=device, precision=precision)
    effects = _effects(backbone, run) if precision != "float32" else [{}] * len(backbone.widths)
    return Runtime(records=tuple(replace(record, **effect) for effect in effects), run=run)


class _NotPossibleError(Exception):
    """ONNX Runtime can't run a backbone here; the message says why."""


def _open_onnxruntime(backbone: Backbone) -> Runtime:
    try:
        import onnxruntime
    except ImportError as error:
        raise _NotPossibleError("it is not installed (pip install onnx onnxruntime)") from error
    size = sum(tensor.nbytes for tensor in backbone.model.state_dict().values())
    if size > MAX_EXPORTED_BYTES:
        raise _NotPossibleError(f"{backbone.name} has {size / 1e6:.0f} MB of weights, too many to export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait for work actively would take the cores from those that decode images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        example = torch.from_numpy(trial_pixels(backbone, 2))
        model = to_onnx(_FromPixels(backbone).eval(), example, ["features"])
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run(pixels: np.ndarray) -> np.ndarray:
            return session.run(None, {"pixels": pixels})[0]

        effects = _effects(backbone, run)
    except Exception as error:  # exporter and runtime raise dozens of kinds for a layer that they do not know
        reason = first_line(error)
        raise _NotPossibleError(f"{backbone.name} can't be exported ({reason})") from error
    for effect in effects:
        if not effect["max_difference"] <= TOLERANCE * effect["feature_scale"]:
            raise _NotPossibleError(
                f"its features of {backbone.name} differ from torch's by {effect['max_difference']:.2g}, "
                f"where the largest is {effect['feature_scale']:.2g}"
            )
    record = RuntimeRecord(name="onnxruntime", version=onnxruntime.__version__)
    return Runtime(records=tuple(replace(record, **effect) for effect in effects), run=run)


class _FromPixels(nn.Module):
    """The network with the normalisation in front: (B, 3, H, W) uint8 → (B, width) float32."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        self.normalise = backbone.preprocess.normalise

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(self.normalise(pixels))


def columns(widths: Sequence[int]) -> list[slice]:
    """Where the features of each layer stand in a row of all."""
    ends = list(accumulate(widths))
    return [slice(end - width, end) for width, end in zip(widths, ends, strict=True)]


def _effects(backbone: Backbone, run: Callable[[np.ndarray], np.ndarray]) -> list[dict[str, Any]]:
    """For each layer, the largest difference between features of trial pictures and those of ``backbone.model``."""
    trial = trial_pixels(backbone, 3)
    with torch.inference_mode():
        exact = _FromPixels(backbone).eval()(torch.from_numpy(trial)).numpy()
    there = run(trial)
    largest = [
        (np.abs(there[:, part] - exact[:, part]).max(), np.abs(exact[:, part]).max())
        for part in columns(backbone.widths)
    ]
    return [{"max_difference": float(f"{gap:.3g}"), "feature_scale": float(f"{scale:.3g}")} for gap, scale in largest]


def trial_pixels(backbone: Backbone, images: int) -> np.ndarray:
    """Pictures of noise, (images, 3, H, W) uint8, on which two forms of a network are compared."""
    return np.random.default_rng(0).integers(0, 256, (images, 3, *backbone.preprocess.size), dtype=np.uint8)
