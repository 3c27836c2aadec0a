"""The whole network: a trained head on the backbone that made its features.

In: a run, and the backbone's weights. Out: one network, images of shape (B, 3, H, W) → logits of shape (B, n_classes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn

from features.backbone.network import Backbone
from features.backbone.runtime import exact_convolutions
from features.sources.check import in_threads
from features.sources.decode import UNREADABLE, decode, upright_rgb
from features.util.errors import InputError
from pipeline.inference.sources import run_backbone
from pipeline.training.record import EPOCHS, Which
from pipeline.training.run import Run, load_run

Picture = str | Path | Image.Image
# Batches of pictures that are decoded ahead of the network.
AHEAD = 3


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one picture, or why it could not be read.

    Attributes:
        path: Its file; None for a PIL image.
        label: The most probable class; None if the file could not be read.
        probabilities: Of each class, in the order of the logits.
        problem: Why the file could not be read.
    """

    path: Path | None
    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    problem: str | None = None

    @classmethod
    def of(cls, path: Path | None, classes: Sequence[str], probabilities: Sequence[float]) -> Self:
        """The prediction of these probabilities, in the order of the classes."""
        named = dict(zip(classes, probabilities, strict=True))
        return cls(path=path, label=max(named, key=named.__getitem__), probabilities=named)

    def top(self, k: int) -> list[tuple[str, float]]:
        """The ``k`` most probable classes with their probabilities, the most probable first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:k]


class HybridClassifier(nn.Module):
    """The whole network: frozen backbone, trained head.

    ``to("cuda")`` moves the backbone and the head's linear layers there; the circuit of the ``lightning`` simulator
    stays on the CPU, which costs a copy of a few numbers an image. In training mode the
    backbone stays in evaluation mode, so that the running statistics of its BatchNorm layers do not drift.

    Args:
        run: A finished run.
        backbone: The network that made its features; its model is taken over.
        epoch: The epoch whose head is wanted, ``last`` or ``best``.
        accept_other_weights: Accept a backbone other than the one that made the features.

    Attributes:
        backbone: (B, 3, H, W) → (B, width), both float32.
        head: (B, width) → (B, n_classes).
        transforms: From an RGB PIL image to (3, H, W) float32: resize, centre crop, normalise.
        classes: Class names, in the order of the logits.
        provenance: The epoch, the backbone's fingerprints and the whole record of the run.

    Raises:
        InputError: if the backbone is another one, or of another width.
    """

    def __init__(
        self, run: Run, backbone: Backbone, epoch: Which = "last", *, accept_other_weights: bool = False
    ) -> None:
        super().__init__()
        if not accept_other_weights:
            refuse_other_backbone(run, backbone)
        if backbone.width != run.features.width:
            raise InputError(
                f"the head takes {run.features.width} features, {backbone.name} gives {backbone.width}; "
                "train a head on this backbone's features"
            )
        # A third faster than torch's default layout, for one image and for many; the logits differ by rounding.
        self.backbone = backbone.model.to(memory_format=torch.channels_last)
        self.head = run.head(epoch)
        self.transforms = backbone.preprocess
        self.classes = run.classes
        self.provenance: dict[str, Any] = {
            "epoch": run.epochs[epoch],
            "backbone": backbone.name,
            "layer": backbone.layer.name if backbone.layer else "",
            "weights": backbone.weights,
            "weights_sha256": backbone.weights_sha256,
            "transform": backbone.transform,
            "run": run.record(),
        }
        self._head_at = backbone.head_at
        self.eval()

    @classmethod
    def load(
        cls, run: str | Path, *, epoch: Which = "last", weights: str | None = None, accept_other_weights: bool = False
    ) -> Self:
        """The whole network of a run folder, on the CPU, in evaluation mode.

        Args:
            run: The folder that training left.
            epoch: The epoch whose head is wanted, ``last`` or ``best``.
            weights: The backbone's weights, if they are no longer where the features were made with them.
            accept_other_weights: Accept a backbone other than the one that made the features.

        Raises:
            InputError: if the run or the weights are missing, damaged or do not belong together.
        """
        if epoch not in EPOCHS:
            raise InputError(f"epoch is {epoch!r}; choose {' or '.join(EPOCHS)}")
        finished = load_run(Path(run))
        return cls(finished, run_backbone(finished, weights), epoch, accept_other_weights=accept_other_weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from images of shape (B, 3, H, W), as ``transforms`` makes them."""
        return self.head(self.backbone(images))

    def predict(self, pictures: Picture | Iterable[Picture], batch: int = 16) -> list[Prediction]:
        """Class and probabilities of pictures: files, or PIL images of any mode; one or many.

        A file that can't be read gets a :attr:`Prediction.problem`; the rest are classified.

        Raises:
            TypeError: for anything else; tensors go through the network itself.
        """
        given = [pictures] if isinstance(pictures, str | Path | Image.Image) else pictures
        return list(self.stream(given, batch))

    def stream(self, pictures: Iterable[Picture], batch: int = 16, workers: int | None = None) -> Iterator[Prediction]:
        """Yield predictions one by one and in order. Only a few batches are in memory at a time.

        Args:
            pictures: Files or PIL images, consumed lazily.
            batch: Images in one pass through the network.
            workers: Threads that decode pictures beside the network; by default a few more than cores.
        """
        read = in_threads(self._read, pictures, workers=workers, ahead=AHEAD * batch)
        while several := list(islice(read, batch)):
            pixels = [outcome for _, outcome in several if isinstance(outcome, np.ndarray)]
            rows = iter(self._probabilities(np.stack(pixels)) if pixels else ())
            for path, outcome in several:
                if isinstance(outcome, str):
                    yield Prediction(path=path, problem=outcome)
                else:
                    yield Prediction.of(path, self.classes, next(rows))

    def demo_state_dict(self) -> dict[str, torch.Tensor]:
        """The weights under the names they have in PennyLane's demo: torchvision's model with the head as its last
        layer, ``fc.pre_net.weight`` and so on in a ResNet.

        Raises:
            InputError: if the head reads another layer, where that model has no place for it.
        """
        if not self._head_at:
            layer = self.provenance["layer"]
            raise InputError(f"the head reads the layer {layer}; PennyLane's demo has names for one behind the last")
        head = {f"{self._head_at}.{name}": tensor for name, tensor in self.head.state_dict().items()}
        return {name: tensor.contiguous() for name, tensor in {**self.backbone.state_dict(), **head}.items()}

    def train(self, mode: bool = True) -> Self:
        """Training mode for the head alone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def _read(self, picture: Picture) -> tuple[Path | None, np.ndarray | str]:
        """The pixels of a picture, or why there are none."""
        if not isinstance(picture, str | Path | Image.Image):
            raise TypeError(
                f"pictures are files or PIL images, and this is a {type(picture).__name__}; a tensor of images as "
                "`transforms` makes them is for the network itself: classifier(images)"
            )
        path = None if isinstance(picture, Image.Image) else Path(picture)
        try:
            image = upright_rgb(picture) if isinstance(picture, Image.Image) else decode(Path(picture).read_bytes())
            return path, self.transforms.pixels(image)
        except UNREADABLE as error:
            reason = error.strerror if isinstance(error, OSError) else None
            return path, reason or str(error) or type(error).__name__

    def _probabilities(self, pixels: np.ndarray) -> list[list[float]]:
        device = next(self.backbone.parameters()).device
        with torch.inference_mode(), exact_convolutions():
            images = self.transforms.normalise(torch.from_numpy(pixels).to(device))
            return self(images).softmax(dim=1).tolist()


def refuse_other_backbone(run: Run, backbone: Backbone) -> None:
    """Raise an InputError unless ``backbone`` is the one whose features the head was trained on."""
    for name in ("backbone", "layer", "weights_sha256", "transform"):
        trained, given = (
            getattr(run.features.provenance, name),
            getattr(backbone, "name" if name == "backbone" else name),
        )
        if trained != given:
            raise InputError(
                f"the head in {run.path} was trained on features of {run.features.provenance.weights} "
                f"({name} {trained}), but {backbone.weights} has {name} {given}; give the weights it was trained "
                "with (--weights), make the features again with these, or accept the difference "
                "(--accept-other-weights)"
            )
