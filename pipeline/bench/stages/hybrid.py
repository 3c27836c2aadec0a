"""Stage 3 against a plain ResNet18: one image at a time and in batches, on the same images in turns.

In: weights, or random ones. Out: :class:`HybridTimes`, and its tables.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from features.backbone.network import Backbone, load_backbone
from features.backbone.runtime import trial_pixels
from features.cache.packaged import PACKAGED
from pipeline.bench.quartiles import Quartiles, milliseconds, paired_ratio, quartiles, timed, with_quartiles
from pipeline.bench.stages.materials import random_weights
from pipeline.bench.stages.times import StageTimes, page
from pipeline.bench.targets import Reached, Target, judge
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.inference.config import ExportConfig
from pipeline.inference.export import MODEL, export
from pipeline.inference.hybrid import HybridClassifier
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import Run
from pipeline.util.markdown import markdown

# Batch sizes, and the images that a rival classifies in a round.
IMAGES = {1: 16, 32: 64}
LABELS = {
    "plain": "ResNet18 with a linear last layer, as torchvision builds it",
    "plain_channels_last": "the same, channels last",
    "hybrid": "ours: `HybridClassifier`",
    "qnode": "its network with an ordinary QNode on default.qubit",
    "exported": "ours, exported: ONNX Runtime",
}


FIGURES = tuple(f"batch {batch}: hybrid / {rival}" for batch in IMAGES for rival in ("plain", "plain_channels_last"))
"""What targets can bound."""


@dataclass(frozen=True, kw_only=True)
class HybridTimes(StageTimes):
    """What ``hybrid.json`` holds.

    Attributes:
        weights: The weights' file, or ``random``.
        threads: Threads of torch.
        seconds_an_image: For each batch size, of each rival in each round.
        differences: The largest of each rival's logits from the hybrid's.
        targets: Bounds on the figures, and what was reached.
    """

    weights: str
    threads: int
    seconds_an_image: dict[int, dict[str, list[float]]]
    differences: dict[str, float]
    targets: list[Reached]


def bench_hybrid(weights: str | None, repeats: int, quick: bool, targets: Sequence[Target] = ()) -> HybridTimes:
    """Race the rivals in turns.

    Args:
        weights: Weights of ResNet18; None takes random ones.
        repeats: Rounds.
        quick: Few images, to see that everything runs.
        targets: Bounds on the figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        file = weights or str(random_weights(scratch / "random.pth"))
        with contextlib.redirect_stdout(io.StringIO()):
            run = train(TrainConfig(features=PACKAGED, out=scratch / "run", epochs=1))
            export(ExportConfig(run=run.path, weights=file, accept_other_weights=True))
        networks, differences = _networks(run, load_backbone("resnet18", file), file)
        seconds: dict[int, dict[str, list[float]]] = {batch: {name: [] for name in networks} for batch in IMAGES}
        for _ in range(repeats):
            for batch, images in IMAGES.items():
                for name, network in networks.items():
                    work = _passes(network, batch, batch if quick else images)
                    seconds[batch][name].append(timed(work, batch if quick else images)())
    return HybridTimes(
        weights=Path(weights).name if weights else "random",
        threads=torch.get_num_threads(),
        seconds_an_image=seconds,
        differences=differences,
        targets=judge(targets, _figures(seconds).__getitem__),
    )


def render(times: HybridTimes) -> str:
    """The tables, as Markdown."""
    rows = [["per image", "batch", "ms (quartiles)", "over the plain network (quartiles)"]]
    for batch, seconds in times.seconds_an_image.items():
        for name, samples in seconds.items():
            figure, ratio = quartiles(samples), paired_ratio(samples, seconds["plain"])
            assert figure is not None
            assert ratio is not None
            rows.append([LABELS[name], str(batch), milliseconds(figure), with_quartiles(ratio)])
    effects = [["rival", "largest difference of logits from ours"]]
    effects += [[LABELS[name], f"{difference:.1e}"] for name, difference in times.differences.items()]
    rounds = len(times.seconds_an_image[1]["plain"])
    parts = [
        f"Stage 3: the whole network ({times.weights} weights), {times.threads} threads; {times.machine.processor}, "
        f"{times.machine.cores} cores. Medians of {rounds} rounds, in which the rivals took turns; ratios "
        "round by round.",
        markdown(rows),
        markdown(effects),
    ]
    return page(parts, times.targets)


Network = Callable[[np.ndarray], np.ndarray]


def _networks(run: Run, backbone: Backbone, weights: str) -> tuple[dict[str, Network], dict[str, float]]:
    """What is timed, from pixels (B, 3, H, W) uint8 to logits, and how far the logits of equal networks are apart."""
    import onnxruntime

    normalise = backbone.preprocess.normalise
    plain = load_backbone("resnet18", weights).model
    plain.set_submodule(backbone.head_at, nn.Linear(backbone.width, len(run.classes)))
    hybrid = HybridClassifier(run, backbone, accept_other_weights=True)
    by_qnode = copy.deepcopy(hybrid)
    by_qnode.head = DressedQuantumNet(simulator="qnode").eval()
    by_qnode.head.load_state_dict(hybrid.head.state_dict())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(run.path / MODEL, options, providers=["CPUExecutionProvider"])

    def through(network: nn.Module) -> Network:
        def logits(pixels: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return network(normalise(torch.from_numpy(pixels))).numpy()

        return logits

    channels_last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    networks = {
        "plain": through(plain),
        "plain_channels_last": through(channels_last),
        "hybrid": through(hybrid),
        "qnode": through(by_qnode),
        "exported": lambda pixels: session.run(["logits"], {"pixels": pixels})[0],
    }
    trial = trial_pixels(backbone, 8)
    ours = networks["hybrid"](trial)
    return networks, {name: float(np.abs(networks[name](trial) - ours).max()) for name in ("qnode", "exported")}


def _passes(network: Network, batch: int, images: int) -> Callable[[], None]:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, 224, 224), dtype=np.uint8)

    def run() -> None:
        for start in range(0, images, batch):
            network(pixels[start : start + batch])

    return run


def _figures(seconds: dict[int, dict[str, list[float]]]) -> dict[str, Quartiles | None]:
    """What targets can bound, by the names in ``FIGURES``."""
    rivals = [(batch, rival) for batch in IMAGES for rival in ("plain", "plain_channels_last")]
    ratios = [paired_ratio(seconds[batch]["hybrid"], seconds[batch][rival]) for batch, rival in rivals]
    return dict(zip(FIGURES, ratios, strict=True))
