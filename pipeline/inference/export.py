"""``python -m pipeline export``: the whole network as files that need neither PennyLane nor this project.

In: a run and its backbone, or a saved network. Out: ``model.onnx``, pixels (B, 3, H, W) uint8 → logits and
probabilities (B, n_classes); and ``model.pth``, a ``state_dict`` with the names of PennyLane's demo.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import nn

from features.backbone.onnx_model import to_onnx
from features.backbone.runtime import trial_pixels
from features.util.errors import InputError, first_line
from features.util.files import write_atomically, write_bytes
from features.util.provenance import versions
from pipeline.inference.config import ExportConfig
from pipeline.inference.hybrid import HybridClassifier
from pipeline.training.folder import make_folder

MAX_BYTES = 1_900_000_000
"""Bytes of weights allowed in one ONNX file, a little below its limit of 2 GiB."""
TOLERANCE = 1e-4
"""Largest difference between the logits of the file and of the network it was made from."""
OUTPUTS = ("logits", "probabilities")
MODEL, STATE = "model.onnx", "model.pth"


def export(config: ExportConfig) -> None:
    """Write both files; of a head on a layer only ``model.onnx``, which holds the network up to that layer.
    ``model.onnx`` is written only after ONNX Runtime has reproduced the logits with it.

    Raises:
        InputError: if the run, its backbone or the libraries are not at hand, the head has too many qubits, the network
            is too large for one file, or ONNX Runtime disagrees.
    """
    onnxruntime = _runtime()
    classifier = HybridClassifier.load(
        config.run, epoch=config.epoch, weights=config.weights, accept_other_weights=config.accept_other_weights
    )
    backbone, network = classifier.network, _FromPixels(classifier)
    size = sum(tensor.nbytes for tensor in classifier.state_dict().values())
    if size > MAX_BYTES:
        raise InputError(
            f"{backbone.name} has {size / 1e9:.1f} GB of weights, and one ONNX file holds at most 2 GB; "
            "train a head on a smaller backbone"
        )
    pixels = trial_pixels(backbone, 3)
    content = _with_metadata(_exported(network, backbone.name, pixels[:2]), classifier)
    difference = _largest_difference(onnxruntime, content, classifier, pixels)

    folder = config.out or config.run
    make_folder(folder)
    write_bytes(folder / MODEL, content)
    print(f"ONNX Runtime gives the same logits: largest difference {difference:.1e} (at most {TOLERANCE:.0e} allowed)")
    if backbone.layer is None:
        write_atomically(folder / STATE, lambda part: torch.save(classifier.demo_state_dict(), part))
        print(f"{folder / STATE}: state_dict with the names of PennyLane's demo")
    else:
        print(f"no {STATE}: the head reads the layer {backbone.layer.name}, where PennyLane's demo has no head")
    print(
        f"{folder / MODEL}: {len(content) / 1e6:.1f} MB, pixels (B, {', '.join(map(str, pixels.shape[1:]))}) uint8 → "
        f"{' and '.join(OUTPUTS)} of {', '.join(classifier.classes)}"
    )


class _FromPixels(nn.Module):
    """The whole network with normalisation in front and probabilities behind."""

    def __init__(self, classifier: HybridClassifier) -> None:
        super().__init__()
        self.normalise = classifier.transforms.normalise
        self.backbone = classifier.backbone
        self.head = classifier.head.for_export()
        self.eval()

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.head(self.backbone(self.normalise(pixels)))
        return logits, logits.softmax(dim=1)


def _runtime() -> Any:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(f"export needs {error.name}: pip install onnx onnxruntime") from error
    assert onnx
    return onnxruntime


def _exported(network: nn.Module, name: str, pixels: np.ndarray) -> bytes:
    try:
        return to_onnx(network, torch.from_numpy(pixels), OUTPUTS)
    except Exception as error:  # the exporter raises dozens of types of error for an unknown layer
        reason = first_line(error)
        raise InputError(f"{name} can't be turned into an ONNX model ({reason}); choose another --backbone") from error


def _with_metadata(content: bytes, classifier: HybridClassifier) -> bytes:
    """Add classes, preprocessing and provenance to the model, as ONNX Runtime's custom metadata."""
    import onnx

    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model)
    side, crop = classifier.transforms.resize, classifier.transforms.crop
    model.doc_string = (
        f"Input: RGB pictures, short side resized to {side} with antialiasing, the centre of {crop} × {crop} cropped, "
        "uint8, channels first. Normalisation is part of the model. Outputs: logits, and their softmax."
    )
    metadata = {"classes": classifier.classes, **classifier.provenance, "versions": versions()}
    onnx.helper.set_model_props(
        model, {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    )
    return model.SerializeToString()


def _largest_difference(onnxruntime: Any, content: bytes, classifier: HybridClassifier, pixels: np.ndarray) -> float:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        ours = classifier(classifier.transforms.normalise(torch.from_numpy(pixels))).numpy()
    difference = float(np.abs(session.run(["logits"], {"pixels": pixels})[0] - ours).max())
    if not difference <= TOLERANCE:
        raise InputError(
            f"ONNX Runtime's logits differ from ours by {difference:.1e} on trial pictures, and at most "
            f"{TOLERANCE:.0e} is allowed; nothing was written. Please report this with {json.dumps(versions())}"
        )
    return difference
