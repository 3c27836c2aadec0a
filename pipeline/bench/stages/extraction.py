"""Stage 1 against torch alone: the network, and the whole way from files to rows, on the same images in turns.

In: images and weights, or generated ones. Out: :class:`ExtractionTimes`, and its tables.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features.backbone.network import Backbone, load_backbone
from features.backbone.record import RuntimeRecord, RuntimeSettings
from features.backbone.runtime import Runtime, exact_convolutions, open_runtime
from features.cache.pieces import PieceFolder, cut
from features.cache.records import Provenance
from features.config import ExtractConfig
from features.engines.local import Job, LocalEngine
from features.engines.pixels import Stopwatch
from features.extract import make_features
from features.sources.check import Checked, check_images, check_paths
from features.sources.decode import decode
from features.sources.images import ImageSet, open_images
from features.util.provenance import versions
from pipeline.bench.quartiles import Quartiles, milliseconds, number, paired_ratio, quartiles, timed
from pipeline.bench.race.rival import ROOT
from pipeline.bench.stages.materials import copies, peak_of_this_process, photographs, random_weights, untrained
from pipeline.bench.stages.times import StageTimes, page
from pipeline.bench.targets import Reached, Target, judge
from pipeline.util.markdown import markdown

MEMORY_COUNTS = (1_000, 10_000)
LABELS = {
    "eager": "torch, `model(x)`: the network alone",
    "network": "ours: the network alone",
    "torch": "ours without ONNX Runtime: the network alone",
    "bfloat16": "ours in bfloat16, on request: the network alone",
    "float16": "ours in float16, on request: the network alone",
    "resident": "torch in float16, channels last, pixels in the GPU's memory: the network alone",
    "end_to_end": "ours from files to verified rows",
    "check": "ours: fingerprinting and trying every image, before that",
}


NETWORK, WHOLE = "network: eager / ours", "images a second: end to end / network alone"
DIFFERENCE, MEMORY = "network: largest difference / largest feature", "peak memory: ten times the images / once"
FIGURES = (NETWORK, WHOLE, DIFFERENCE, MEMORY)
"""What targets can bound."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What depends on the device.

    Attributes:
        batch: Images in one pass.
        images: Images that a rival passes through the network in a round; those of the whole way are all there are.
        photographs: Generated images of each of two classes and splits.
        runtimes: Ways to run the network, as arguments of ``open_runtime``.
    """

    batch: int
    images: int
    photographs: int
    runtimes: dict[str, dict[str, Any]]


SETUPS = {
    "cpu": Setup(
        batch=16,
        images=128,
        photographs=64,
        runtimes={
            "network": {},
            "torch": {"runtime": "torch"},
            "bfloat16": {"runtime": "torch", "precision": "bfloat16"},
        },
    ),
    "cuda": Setup(
        batch=256, images=2048, photographs=512, runtimes={"network": {}, "float16": {"precision": "float16"}}
    ),
}


@dataclass(frozen=True)
class Difference:
    """How far features are from torch's: the largest difference, and the largest of torch's own."""

    max_difference: float
    feature_scale: float


@dataclass(frozen=True, kw_only=True)
class ExtractionTimes(StageTimes):
    """What ``extraction.json`` holds.

    Attributes:
        device: ``cpu``, or the GPU's name.
        images: Their number.
        data: The images' name, or ``generated``.
        weights: The weights' name, or ``random``.
        batch: Images in one pass.
        threads: Threads of torch.
        seconds_an_image: Of each rival in each round.
        differences: Of each rival's features from torch's.
        peak_memory_bytes: Of extractions of so many small images.
        targets: Bounds on the figures, and what was reached.
    """

    device: str
    images: int
    data: str
    weights: str
    batch: int
    threads: int
    seconds_an_image: dict[str, list[float]]
    differences: dict[str, Difference]
    peak_memory_bytes: dict[int, int]
    targets: list[Reached]


def bench_extraction(
    data: str | None,
    weights: str | None,
    repeats: int,
    quick: bool,
    targets: Sequence[Target] = (),
    device: str = "cpu",
) -> ExtractionTimes:
    """Race the rivals in turns.

    Args:
        data: Images, as stage 1 takes them; None generates photographs' worth of noise.
        weights: Weights of ResNet18; None takes random ones.
        repeats: Rounds.
        quick: Few images, to see that everything runs.
        targets: Bounds on the figures.
        device: ``cpu`` or ``cuda``.
    """
    setup = SETUPS[device]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        image_set = open_images(data or str(photographs(scratch / "images", 4 if quick else setup.photographs)))
        backbone = load_backbone("resnet18", weights or str(random_weights(scratch / "random.pth")))
        rivals, differences = _rivals(scratch, image_set, backbone, setup, 8 if quick else setup.images, device)
        seconds: dict[str, list[float]] = {name: [] for name in rivals}
        for _ in range(repeats):
            for name, rival in rivals.items():
                seconds[name].append(rival())
        memory = peak_memory(scratch, (40, 80) if quick else MEMORY_COUNTS)
    return ExtractionTimes(
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
        images=len(image_set.all_paths),
        data=image_set.name if data else "generated",
        weights=backbone.weights if weights else "random",
        batch=setup.batch,
        threads=torch.get_num_threads(),
        seconds_an_image=seconds,
        differences=differences,
        peak_memory_bytes=memory,
        targets=judge(targets, _figures(seconds, differences["network"], memory).__getitem__),
    )


def render(times: ExtractionTimes) -> str:
    """The tables, as Markdown."""
    rows = [["per image", "ms (quartiles)", "images a second", "times eager"]]
    for name, samples in times.seconds_an_image.items():
        figure, ratio = quartiles(samples), paired_ratio(times.seconds_an_image["eager"], samples)
        assert figure is not None
        assert ratio is not None
        rows.append([LABELS[name], milliseconds(figure), number(1 / figure.median), number(ratio.median)])
    effects = [["rival", "largest difference from eager", "largest feature"]]
    effects += [
        [LABELS[name], f"{effect.max_difference:.2g}", f"{effect.feature_scale:.3g}"]
        for name, effect in times.differences.items()
    ]
    peaks = ", ".join(f"{n:,} images {size / 2**20:.0f} MiB" for n, size in times.peak_memory_bytes.items())
    parts = [
        f"Stage 1: {times.images} images ({times.data}), ResNet18 ({times.weights}), batch {times.batch}, "
        f"{times.threads} threads; {times.machine.processor}, {times.machine.cores} cores"
        f"{'' if times.device == 'cpu' else f', {times.device}'}. Medians of "
        f"{len(times.seconds_an_image['eager'])} rounds, in which the rivals took turns; ratios round by round.",
        markdown(rows),
        markdown(effects),
        f"Peak memory of a whole extraction: {peaks}.",
    ]
    return page(parts, times.targets)


def peak_memory(scratch: Path, counts: Sequence[int]) -> dict[int, int]:
    """Peak resident bytes of extractions of so many small images, each in a process of its own.

    A small network keeps ten thousand images affordable.
    """
    weights = scratch / "small.pth"
    torch.save(untrained("shufflenet_v2_x0_5").state_dict(), weights)
    peaks = {}
    for count in counts:
        images = copies(scratch / f"copies{count}", count)
        out = scratch / f"copies{count}.h5"
        finished = subprocess.run(
            [sys.executable, "-m", "pipeline.bench.stages.extraction", str(images), str(weights), str(out)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[count] = int(finished.stdout.splitlines()[-1])
    return peaks


def _rivals(
    scratch: Path, image_set: ImageSet, backbone: Backbone, setup: Setup, images: int, device: str
) -> tuple[dict[str, Callable[[], float]], dict[str, Difference]]:
    """What is timed, each a call that returns seconds an image, and how far each one's features are from torch's."""
    checked = check_images(image_set)
    paths = image_set.all_paths[:images]
    pixels = np.stack([_pixels(image_set, backbone, path) for path in paths])
    batches = [pixels[start : start + setup.batch] for start in range(0, len(pixels), setup.batch)]
    inputs = [backbone.preprocess.normalise(torch.from_numpy(batch)).to(device) for batch in batches]
    network = copy.deepcopy(backbone.model).to(device)
    with torch.inference_mode(), exact_convolutions():
        exact = torch.cat([network(batch) for batch in inputs]).cpu().numpy()
    runtimes: dict[str, Runtime] = {
        name: open_runtime(backbone, device=device, **arguments) for name, arguments in setup.runtimes.items()
    }
    differences = {
        name: Difference(
            max_difference=float(np.abs(np.concatenate([runtime(batch) for batch in batches]) - exact).max()),
            feature_scale=float(np.abs(exact).max()),
        )
        for name, runtime in runtimes.items()
    }
    rivals = {"eager": timed(_through(network, inputs), len(paths))}
    rivals |= {name: timed(_over(runtime, batches), len(paths)) for name, runtime in runtimes.items()}
    if device == "cuda":
        half = copy.deepcopy(network).half().to(memory_format=torch.channels_last)
        there = [batch.half().contiguous(memory_format=torch.channels_last) for batch in inputs]
        rivals["resident"] = timed(_through(half, there), len(paths))
    rivals["end_to_end"] = _whole_way(scratch, image_set, backbone, checked, setup.batch, device)
    rivals["check"] = timed(lambda: check_paths(image_set, image_set.all_paths, ()), len(image_set.all_paths))
    return rivals, differences


def _through(network: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            for batch in inputs:
                network(batch)
        if inputs[0].is_cuda:
            torch.cuda.synchronize()

    return run


def _whole_way(
    scratch: Path, image_set: ImageSet, backbone: Backbone, checked: Checked, batch: int, device: str
) -> Callable[[], float]:
    config = ExtractConfig()
    engine = LocalEngine(image_set, backbone, RuntimeSettings(device=device), batch, config.workers)  # type: ignore[arg-type]
    pieces = cut(image_set, checked.digests, config.shard_rows)

    def extract() -> None:
        out = scratch / "pieces" / "f.h5"
        folder = PieceFolder(out=out, provenance=_provenance(image_set, backbone, engine.records[0]))
        with folder.lock():
            jobs = [Job((piece,)) for piece in folder.missing(pieces)]
            engine.extract([folder], jobs, Stopwatch(), lambda _: None)
            folder.join(pieces)

    return timed(extract, len(image_set.all_paths))


def _over(runtime: Runtime, batches: Sequence[np.ndarray]) -> Callable[[], None]:
    def run() -> None:
        for batch in batches:
            runtime(batch)

    return run


def _figures(
    seconds: dict[str, list[float]], network: Difference, memory: dict[int, int]
) -> dict[str, Quartiles | None]:
    """What targets can bound, by the names in ``FIGURES``."""
    part = network.max_difference / network.feature_scale
    few, many = memory.values()
    return {
        NETWORK: paired_ratio(seconds["eager"], seconds["network"]),
        WHOLE: paired_ratio(seconds["network"], seconds["end_to_end"]),
        DIFFERENCE: Quartiles(part, part, part),
        MEMORY: Quartiles(many / few, many / few, many / few),
    }


def _pixels(image_set: ImageSet, backbone: Backbone, path: str) -> np.ndarray:
    return backbone.preprocess.pixels(decode(image_set.read(path)))


def _provenance(image_set: ImageSet, backbone: Backbone, runtime: RuntimeRecord) -> Provenance:
    return Provenance(
        classes=image_set.classes,
        backbone=backbone.name,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256,
        transform=backbone.transform,
        data=image_set.name,
        images_sha256="",
        data_location="",
        weights_location="",
        versions=versions(),
        created="",
        runtime=runtime,
    )


if __name__ == "__main__":
    data, weights, out = sys.argv[1:]
    make_features(ExtractConfig(data=data, backbone="shufflenet_v2_x0_5", weights=weights, out=Path(out)))
    print(peak_of_this_process())
