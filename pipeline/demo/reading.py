"""One picture through the whole network, step by step.

In: an encoded picture. Out: the pixels that the network sees, its probabilities, ⟨Z⟩ of every wire in between and what
they add to the class, where the network looks, and how unlike the training pictures this one is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from features.backbone.runtime import exact_convolutions
from features.sources.decode import decode
from features.util.errors import InputError
from pipeline.demo.limits import MARGIN, Limits, margins
from pipeline.explain.gradcam import GradCAM
from pipeline.explain.wires import last_layer
from pipeline.heads.base import EXPECTATION, OUTPUTS
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.inference.hybrid import HybridClassifier


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One picture as the network reads it.

    Attributes:
        pixels: What the network sees, (3, H, W) uint8, RGB.
        logits: Shape (n_classes,).
        probabilities: Of each class, in the order of the logits.
        inputs: The circuit's inputs; None where the head has no circuit.
        outputs: What the circuit gives.
        of_wires: Whether these are ⟨Z⟩ of each wire, from -1 to 1.
        added: What each output adds to the logit of the predicted class above the mean of all logits, and last what the
            bias adds; None where the last layer is not one linear layer.
        heat: Where the network looks for that class, (H, W), from 0 to 1; None of a network without maps.
        distance: From the nearest training pictures; None where that can't be judged.
        unlike: Whether it is too far from them.
    """

    pixels: np.ndarray
    logits: list[float]
    probabilities: dict[str, float]
    inputs: list[float] | None = None
    outputs: list[float] | None = None
    of_wires: bool = False
    added: list[float] | None = None
    heat: np.ndarray | None = None
    distance: float | None = None
    unlike: bool = False

    @property
    def sure(self) -> bool:
        """Whether the two most probable classes are far enough apart."""
        return bool(margins(np.array(list(self.probabilities.values()))) >= MARGIN)


class Reader:
    """Reads pictures.

    Args:
        classifier: The whole network.
        limits: When to warn.

    Attributes:
        blind: Why there are no heat maps; empty where there are.
    """

    def __init__(self, classifier: HybridClassifier, limits: Limits) -> None:
        self.classifier, self.limits = classifier, limits
        self._look, self.blind = None, ""
        try:
            self._look = GradCAM(classifier.network, classifier.head)
        except InputError as error:
            self.blind = str(error).partition(";")[0]

    def __call__(self, content: bytes) -> Reading:
        """Classify one picture as :meth:`HybridClassifier.predict` does, and keep the values on the way.

        Raises:
            UNREADABLE: one of these errors, if the content is no picture (:data:`features.sources.decode.UNREADABLE`).
        """
        classifier, head = self.classifier, self.classifier.head
        pixels = classifier.transforms.pixels(decode(content))
        with torch.inference_mode(), exact_convolutions():
            features = classifier.backbone(classifier.transforms.normalise(torch.from_numpy(pixels))[None])
            logits = head(features)[0]
            hidden = head.hidden_values(features)
            inputs = head.angles(features)[0].tolist() if isinstance(head, DressedQuantumNet) else None
        outputs = hidden.get(EXPECTATION, hidden.get(OUTPUTS))
        label = int(logits.argmax())
        distance = None
        if self.limits.unlike is not None:
            distance = float(self.limits.unlike.distances(features.numpy())[0])
        return Reading(
            pixels=pixels,
            logits=logits.tolist(),
            probabilities=dict(zip(classifier.classes, logits.softmax(dim=0).tolist(), strict=True)),
            inputs=inputs,
            outputs=None if outputs is None else outputs[0].tolist(),
            of_wires=EXPECTATION in hidden,
            added=None if outputs is None else _added(head, outputs[0].numpy(), label),
            heat=None if self._look is None else self._look(pixels, label),
            distance=distance,
            unlike=distance is not None and distance > self.limits.unlike.threshold,  # type: ignore[union-attr]
        )


def _added(head: torch.nn.Module, outputs: np.ndarray, label: int) -> list[float] | None:
    last = last_layer(head)
    return None if last is None else [*last.added(outputs)[label].tolist(), float(last.bias[label])]
