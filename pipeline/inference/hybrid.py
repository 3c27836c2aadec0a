"""The whole network: a trained head on the backbone that made its features.

In: a run and the backbone's weights, or a folder that holds all of it. Out: one network, images of shape
(B, 3, H, W) → logits of shape (B, n_classes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn

from features.backbone.network import Backbone
from features.backbone.runtime import exact_convolutions, trial_pixels
from features.sources.check import in_threads
from features.sources.decode import UNREADABLE, decode, upright_rgb
from features.util.errors import InputError, first_line, need
from features.util.provenance import tensors_sha256, versions
from pipeline.inference.saved import (
    FORMAT,
    FORMAT_VERSION,
    SavedNetwork,
    holds_network,
    read_network,
    refuse_others,
    save_network,
    without_places,
)
from pipeline.inference.sources import refuse_other_backbone, run_backbone
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

    ``to("cuda")`` moves all of it there, the circuit as torch's own matrix products; only a circuit that runs as an
    ordinary QNode stays on the CPU. In training mode the backbone stays in evaluation mode, so that the running
    statistics of its BatchNorm layers do not drift.

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
        provenance: The epoch and its accuracy, fingerprints of what was loaded, and the whole record of the run.

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
            "head_sha256": tensors_sha256(self.head.state_dict()),
            "val_accuracy": next((row.val_accuracy for row in run.history if row.epoch == run.epochs[epoch]), None),
            "run": run.record(),
        }
        self._loaded = backbone
        self.eval()

    @classmethod
    def load(
        cls, run: str | Path, *, epoch: Which = "last", weights: str | None = None, accept_other_weights: bool = False
    ) -> Self:
        """The whole network of a run folder, or of one that :meth:`save` wrote, on the CPU, in evaluation mode.

        Args:
            run: The folder. One that :meth:`save` wrote has weights and a head of its own: the rest is for runs.
            epoch: The epoch whose head is wanted, ``last`` or ``best``.
            weights: The backbone's weights, if they are no longer where the features were made with them.
            accept_other_weights: Accept a backbone other than the one that made the features.

        Raises:
            InputError: if the run or the weights are missing, damaged or do not belong together.
        """
        if epoch not in EPOCHS:
            raise InputError(f"epoch is {epoch!r}; choose {' or '.join(EPOCHS)}")
        if holds_network(Path(run)):
            if epoch != "last" or weights is not None:
                raise InputError(f"{run} holds one head and its own weights; leave out the epoch and the weights")
            return cls._restored(read_network(Path(run)))
        finished = load_run(Path(run))
        return cls(finished, run_backbone(finished, weights), epoch, accept_other_weights=accept_other_weights)

    def save(self, folder: str | Path) -> None:
        """Save the whole network as it is now: :meth:`load` takes the folder, on any machine.

        Layers may have been trained further, those of the backbone too, but not exchanged for others. The network takes
        its place once it has been loaded again and gives the same logits, and then whole or not at all; an earlier one
        in the folder is replaced.

        Raises:
            InputError: if the folder holds something else, or layers were exchanged; then nothing has changed.
        """
        other = {str(each.dtype) for each in self.parameters()} - {"torch.float32"}
        if other:
            raise InputError(f"this network is in {' and '.join(other)}, and is saved in float32: classifier.float()")
        save_network(Path(folder), self.config(), self._parts(), self._refuse_other_logits)

    def config(self) -> dict[str, Any]:
        """All of the network but its tensors, as JSON: what :meth:`save` writes into ``config.json``."""
        fingerprints = {part: tensors_sha256(state) for part, state in self._parts().items()}
        known = {"backbone": self.provenance["weights_sha256"], "head": self.provenance["head_sha256"]}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "classes": self.classes,
            "backbone": self._loaded.record(),
            "sha256": fingerprints,
            "fine_tuned": [part for part in known if fingerprints[part] != known[part]],
            "provenance": without_places(self.provenance),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """:meth:`save`, with a model card beside it unless there is one; the interface of ``huggingface_hub``'s mixin
        (the extra ``hub``), which explains the options."""
        refuse_others(Path(save_directory))
        return _hub().OnHub(self).save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face hub; the address of the commit."""
        options["model_card_kwargs"] = {"repo_id": repo_id} | (options.get("model_card_kwargs") or {})
        return _hub().OnHub(self).push_to_hub(repo_id, **options)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, trust_remote_code: bool = False, **options: Any) -> Self:
        """The network of a repository on the Hugging Face hub, or of a folder.

        Args:
            name_or_path: ``USER/NAME``, or a folder that :meth:`load` takes.
            trust_remote_code: Run the code of a circuit that the repository brings.
            options: ``revision``, ``token``, ``cache_dir``, …, as ``huggingface_hub``'s mixin explains them.

        Raises:
            InputError: if it can't be loaded, or would run code that was not trusted.
        """
        found = _hub().OnHub.from_pretrained(
            name_or_path, load=cls.load, trust_remote_code=trust_remote_code, **options
        )
        return found.classifier

    @property
    def network(self) -> Backbone:
        """The backbone as it is now, with its name, width and preprocessing, for the runtimes of stage 1."""
        return replace(self._loaded, model=self.backbone)

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

    def stream(
        self,
        pictures: Iterable[Picture],
        batch: int = 16,
        workers: int | None = None,
        features: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[Prediction]:
        """Yield predictions one by one and in order. Only a few batches are in memory at a time.

        Args:
            pictures: Files or PIL images, consumed lazily.
            batch: Images in one pass through the network.
            workers: Threads that decode pictures beside the network; by default a few more than cores.
            features: What runs in the backbone's place, as stage 1's runtimes: (B, 3, H, W) uint8 → (B, width) float32.
        """
        read = in_threads(self._read, pictures, workers=workers, ahead=AHEAD * batch)
        while several := list(islice(read, batch)):
            pixels = [outcome for _, outcome in several if isinstance(outcome, np.ndarray)]
            rows = iter(self._probabilities(np.stack(pixels), features) if pixels else ())
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
        if not self._loaded.head_at:
            layer = self.provenance["layer"]
            raise InputError(f"the head reads the layer {layer}; PennyLane's demo has names for one behind the last")
        head = {f"{self._loaded.head_at}.{name}": tensor for name, tensor in self.head.state_dict().items()}
        return {name: tensor.contiguous() for name, tensor in {**self.backbone.state_dict(), **head}.items()}

    def train(self, mode: bool = True) -> Self:
        """Training mode for the head alone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def _parts(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"backbone": self.network.tensors(), "head": self.head.state_dict()}

    @classmethod
    def _restored(cls, saved: SavedNetwork) -> Self:
        try:
            classifier = cls(saved.run(), saved.backbone(), accept_other_weights=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"the network in {saved.folder} can't be built ({first_line(error)})") from error
        classifier.classes, classifier.provenance = saved.config["classes"], saved.config["provenance"]
        return classifier

    def _refuse_other_logits(self, saved: SavedNetwork) -> None:
        """Raise an InputError unless what was saved gives the same features and logits of trial pictures."""
        device = next(self.backbone.parameters()).device
        pixels = self.transforms.normalise(torch.from_numpy(trial_pixels(self._loaded, 2)).to(device))
        training = {module: module.training for module in self.modules()}
        try:
            again = self._restored(saved).to(device)
            with torch.inference_mode(), exact_convolutions():
                features = self.eval().backbone(pixels)
                same = all(map(_alike, (features, self.head(features)), (again.backbone(pixels), again.head(features))))
            reason = "it computes something else"
        except (InputError, ValueError, RuntimeError) as error:
            same, reason = False, first_line(error)
        finally:
            for module, mode in training.items():
                module.training = mode
        if not same:
            raise InputError(
                f"this network can't be saved, because loaded again it would be another: {reason}. Weights may be "
                "trained further, but layers must stay; nothing was changed"
            )

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

    def _probabilities(
        self, pixels: np.ndarray, features: Callable[[np.ndarray], np.ndarray] | None
    ) -> list[list[float]]:
        device = next(self.backbone.parameters()).device
        with torch.inference_mode(), exact_convolutions():
            if features is not None:
                logits = self.head(torch.from_numpy(features(pixels)).to(device))
            else:
                logits = self(self.transforms.normalise(torch.from_numpy(pixels).to(device)))
            return logits.softmax(dim=1).tolist()


def _alike(wanted: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether two results differ by rounding at most."""
    return wanted.shape == found.shape and bool((wanted - found).abs().max() <= 1e-5 * wanted.abs().max())


def _hub() -> Any:
    need("huggingface_hub", "the Hugging Face hub needs")
    from pipeline.inference import hub

    return hub
