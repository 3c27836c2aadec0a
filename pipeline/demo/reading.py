"""One picture through the whole network, step by step.

In: an encoded picture. Out: the pixels that the network sees, its probabilities, and ⟨Z⟩ of every wire in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from features.backbone.runtime import exact_convolutions
from features.sources.decode import decode
from pipeline.heads.base import EXPECTATION, OUTPUTS
from pipeline.inference.hybrid import HybridClassifier


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One picture as the network reads it.

    Attributes:
        pixels: What the network sees, (3, H, W) uint8, RGB.
        logits: Shape (n_classes,).
        probabilities: Of each class, in the order of the logits.
        outputs: What the circuit gives; None where the head has no circuit.
        of_wires: Whether these are ⟨Z⟩ of each wire, from -1 to 1.
    """

    pixels: np.ndarray
    logits: list[float]
    probabilities: dict[str, float]
    outputs: list[float] | None
    of_wires: bool


def read_picture(classifier: HybridClassifier, content: bytes) -> Reading:
    """Classify one picture as :meth:`HybridClassifier.predict` does, and keep the intermediate values.

    Raises:
        UNREADABLE: one of these errors, if the content is no picture (:data:`features.sources.decode.UNREADABLE`).
    """
    pixels = classifier.transforms.pixels(decode(content))
    head = classifier.head
    with torch.inference_mode(), exact_convolutions():
        features = classifier.backbone(classifier.transforms.normalise(torch.from_numpy(pixels))[None])
        logits = head(features)[0]
        hidden = head.hidden_values(features)
        outputs = hidden.get(EXPECTATION, hidden.get(OUTPUTS))
    return Reading(
        pixels=pixels,
        logits=logits.tolist(),
        probabilities=dict(zip(classifier.classes, logits.softmax(dim=0).tolist(), strict=True)),
        outputs=None if outputs is None else outputs[0].tolist(),
        of_wires=EXPECTATION in hidden,
    )
