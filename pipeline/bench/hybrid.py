"""Stage 3 against a plain ResNet18: one image at a time and in batches, on the same images in turns.

In: weights, or random ones. Out: a record, and its tables.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from features.backbone.network import Backbone, load_backbone
from features.backbone.runtime import trial_pixels
from features.sources.packaged import PACKAGED
from features.util.provenance import versions
from pipeline.bench.environment import machine
from pipeline.bench.materials import random_weights
from pipeline.bench.ratios import paired_ratio, shown, summary, timed
from pipeline.bench.table import markdown, milliseconds, reached_table
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.inference.config import ExportConfig
from pipeline.inference.export import MODEL, export
from pipeline.inference.hybrid import HybridClassifier
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import Run

# Batch sizes, and the images that a rival classifies in a round.
IMAGES = {1: 16, 32: 64}
TARGETS = {1: 1.15, 32: 1.05}
LABELS = {
    "plain": "ResNet18 with a linear last layer, as torchvision builds it",
    "plain_channels_last": "the same, channels last",
    "hybrid": "ours: `HybridClassifier`",
    "qnode": "its network with an ordinary QNode on default.qubit",
    "exported": "ours, exported: ONNX Runtime",
}


def bench_hybrid(weights: str | None, repeats: int, quick: bool) -> dict[str, Any]:
    """Race the rivals in turns.

    Args:
        weights: Weights of ResNet18; None takes random ones.
        repeats: Rounds.
        quick: Few images, to see that everything runs.

    Returns:
        The record: for each batch size, seconds an image of each rival in each round; the largest differences of
        logits from the hybrid's.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        file = weights or str(random_weights(scratch / "random.pth"))
        with contextlib.redirect_stdout(io.StringIO()):
            run = train(TrainConfig(features=PACKAGED, out=scratch / "run", epochs=1))
            export(ExportConfig(run=run.path, weights=file, other_weights=True))
        networks, differences = _networks(run, load_backbone("resnet18", file), file)
        seconds: dict[int, dict[str, list[float]]] = {batch: {name: [] for name in networks} for batch in IMAGES}
        for _ in range(repeats):
            for batch, images in IMAGES.items():
                for name, network in networks.items():
                    work = _passes(network, batch, batch if quick else images)
                    seconds[batch][name].append(timed(work, batch if quick else images)())
    record: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "weights": Path(weights).name if weights else "random",
        "threads": torch.get_num_threads(),
        "seconds_an_image": {str(batch): of_batch for batch, of_batch in seconds.items()},
        "differences": differences,
    }
    record["targets"] = list(_targets(record))
    return record


def render(record: Mapping[str, Any]) -> str:
    """The tables of a record, as Markdown."""
    processor = record["machine"]
    rows = [["per image", "batch", "ms (quartiles)", "over the plain network (quartiles)"]]
    for batch, seconds in record["seconds_an_image"].items():
        for name, samples in seconds.items():
            figure, ratio = summary(samples), paired_ratio(samples, seconds["plain"])
            assert figure is not None
            assert ratio is not None
            rows.append([LABELS[name], batch, milliseconds(figure), shown(ratio)])
    effects = [["rival", "largest difference of logits from ours"]]
    effects += [[LABELS[name], f"{difference:.1e}"] for name, difference in record["differences"].items()]
    rounds = len(record["seconds_an_image"]["1"]["plain"])
    return "\n\n".join(
        [
            f"Stage 3: the whole network ({record['weights']} weights), {record['threads']} threads; "
            f"{processor['processor']}, {processor['cores']} cores. Medians of {rounds} rounds, in which the rivals "
            "took turns; ratios round by round.",
            markdown(rows),
            markdown(effects),
            reached_table(record["targets"]),
        ]
    )


Network = Callable[[np.ndarray], np.ndarray]


def _networks(run: Run, backbone: Backbone, weights: str) -> tuple[dict[str, Network], dict[str, float]]:
    """What is timed, from pixels (B, 3, H, W) uint8 to logits, and how far the logits of equal networks are apart."""
    import onnxruntime

    normalise = backbone.preprocess.normalise
    plain = load_backbone("resnet18", weights).model
    plain.set_submodule(backbone.head_at, nn.Linear(backbone.width, len(run.classes)))
    hybrid = HybridClassifier(run, backbone, other_weights=True)
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


def _targets(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for batch, bound in TARGETS.items():
        seconds = record["seconds_an_image"][str(batch)]
        for rival in ("plain", "plain_channels_last"):
            figure = paired_ratio(seconds["hybrid"], seconds[rival])
            assert figure is not None
            yield {
                "what": f"time an image, batch {batch}: ours over {LABELS[rival]}",
                "bound": f"≤ {bound}",
                "reached": shown(figure),
                "met": figure.median <= bound,
            }
