"""Stage 3: evaluate a head on the validation images, or on cached features where the images are not at hand.

In: a run folder. Out: a :class:`Report`, which :mod:`pipeline.report` writes down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from features.backbone.network import Backbone
from features.cache.featureset import FeatureFile
from features.cache.records import Provenance
from features.cache.store import verify_features
from features.cache.target import same_images
from features.engines.pixels import Stopwatch, pixel_batches
from features.sources.check import file_digests
from features.sources.images import ImageSet, without
from features.util.errors import InputError
from features.util.provenance import versions
from pipeline.devices.levels import device_evaluation
from pipeline.explain.gradcam import last_maps
from pipeline.inference.classified import classified
from pipeline.inference.config import EvalConfig
from pipeline.inference.hybrid import HybridClassifier
from pipeline.inference.record import EpochMetrics, Epochs, EvaluationRecord, Parity, Seconds
from pipeline.inference.sources import find_images, refuse_other_backbone, rows_alone, run_backbone
from pipeline.training.record import EPOCHS
from pipeline.training.run import Run, load_run
from pipeline.util.metrics import estimates, metrics

# Largest difference between logits from the images and from the cached features that still counts as the same network.
# Features that were computed or stored in fewer bits than the network has now differ by their rounding.
PARITY_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of an evaluation.

    Attributes:
        config: The flags of the evaluation.
        run: The run that was evaluated.
        record: All figures, as ``report.json`` holds them.
        cache: The features that the head was trained on, verified.
        labels: True labels of the validation images, shape (N,).
        probabilities: Class probabilities by the last epoch's head, shape (N, n_classes),
            float64.
        features: The head's inputs, shape (n, width), float32: from the images where they are at hand.
        sampled: The validation images that these are of: all, or int64 of shape (n,) where rows don't fit into memory.
        paths: Relative paths of the validation images.
        images: The images themselves, if they are at hand.
    """

    config: EvalConfig
    run: Run
    record: EvaluationRecord
    cache: FeatureFile = field(repr=False)
    labels: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    sampled: np.ndarray | slice = field(default_factory=lambda: slice(None), repr=False)
    paths: Sequence[str] = field(repr=False)
    images: ImageSet | None = field(repr=False)


def evaluate(config: EvalConfig) -> Report:
    """Evaluate the last and the best epoch's head of a run.

    Raises:
        InputError: if the run or its features can't be read, the images are not those of the features, or the backbone
            is another one.
    """
    started = time.perf_counter()
    run = load_run(config.run)
    on_device = device_evaluation(config, run)
    cache = _same_features(run, config.features)
    rows = classified(run, cache)
    cached, labels, features, sampled = rows.logits, rows.labels, rows.features, rows.sampled
    if on_device is not None and isinstance(sampled, np.ndarray):
        raise InputError(
            f"the validation rows of {cache.path} don't fit into memory, and --q-device, --shots and --noise need them "
            "there; leave these out, or name a cache of fewer rows"
        )

    missing: list[str] = []
    image_set, backbone = None, None
    digests: dict[str, str] = {}
    if run.features.provenance.imported and config.data is None and config.weights is None:
        missing.append(rows_alone(run))
    else:
        backbone = _backbone_at_hand(run, config, missing)
        image_set, digests = _images_at_hand(run, cache, config, missing)
    if config.explain:
        _refuse_unexplainable(backbone, missing)
    parity = seconds = None
    logits = cached
    if image_set is not None and backbone is not None:
        logits, features, seconds = _classify(run, image_set, digests, backbone, config)
        sampled = slice(None)
        if backbone.weights_sha256 == run.features.provenance.weights_sha256:
            parity = _parity(cached["last"], logits["last"], cache.provenance)

    probabilities = {which: logits[which].double().softmax(dim=1).numpy() for which in EPOCHS}
    last, best = (
        EpochMetrics(
            epoch=run.epochs[which],
            **vars(metrics(logits[which], labels)),
            scores=estimates(probabilities[which], labels.numpy(), run.classes),
        )
        for which in EPOCHS
    )
    record = EvaluationRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run=str(run.path),
        classes=run.classes,
        source="features" if missing else "images",
        not_run=missing,
        epochs=Epochs(last=last, best=best),
        parity=parity,
        devices=None if on_device is None else on_device(features, labels),
        seconds=Seconds(
            training=run.seconds, images_end_to_end=seconds, evaluation=round(time.perf_counter() - started, 2)
        ),
        head=run.config.head,
        parameters=run.parameters,
        features=run.features.record(),
        versions=versions(),
    )
    return Report(
        config=config,
        run=run,
        record=record,
        cache=cache,
        labels=labels.numpy(),
        probabilities=probabilities["last"],
        features=features.numpy(),
        sampled=sampled,
        paths=rows.paths,
        images=image_set,
    )


def _same_features(run: Run, given: Path | None) -> FeatureFile:
    path = given or Path(run.features.path)
    features = verify_features(path)
    if not features.matches(run.features.content_sha256):
        raise InputError(
            f"{path} holds other features than those the head in {run.path} was trained on; name the right file with "
            "--features, or train again: make train"
        )
    return features


def _images_at_hand(
    run: Run, features: FeatureFile, config: EvalConfig, missing: list[str]
) -> tuple[ImageSet | None, dict[str, str]]:
    """The images the features were made from, and the fingerprint of each.

    Images that a flag names must be there. If recorded ones are gone, the reason is appended to ``missing``.
    """
    try:
        image_set = find_images(run, config.data)
    except InputError as error:
        if config.data is not None:
            raise
        missing.append(str(error))
        return None, {}
    if features.provenance.skipped:
        image_set = without(image_set, {each.path for each in features.provenance.skipped})
    digests = file_digests(image_set)
    if not same_images(features, image_set, digests):
        raise InputError(
            f"the images in {image_set.place} are not those that {features.path} was made from; make the features and "
            "the head again (make eval), or name the right folder with --data"
        )
    return image_set, digests


def _backbone_at_hand(run: Run, config: EvalConfig, missing: list[str]) -> Backbone | None:
    try:
        backbone = run_backbone(run, config.weights)
    except InputError as error:
        if config.weights is not None:
            raise
        missing.append(str(error))
        return None
    if not config.accept_other_weights:
        refuse_other_backbone(run, backbone)
    return backbone


def _refuse_unexplainable(backbone: Backbone | None, missing: list[str]) -> None:
    if backbone is None or missing:
        raise InputError(f"--explain draws where the network looks on the images, and {missing[0]}")
    last_maps(backbone.model, backbone.preprocess.crop, backbone.name)


def _classify(
    run: Run, image_set: ImageSet, digests: dict[str, str], backbone: Backbone, config: EvalConfig
) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """Classify the validation images by the whole network: logits, features, seconds. The best epoch's head reads the
    same features, which spares a second pass."""
    from tqdm import tqdm

    started = time.perf_counter()
    model = HybridClassifier(run, backbone, "last", accept_other_weights=config.accept_other_weights)
    paths = image_set.paths["val"]
    loaded = pixel_batches(
        image_set,
        (paths[start : start + config.batch] for start in range(0, len(paths), config.batch)),
        digests,
        lambda image, _: backbone.preprocess.pixels(image),
        workers=config.workers,
        watch=Stopwatch(),
    )
    parts = []
    with torch.inference_mode(), tqdm(total=len(paths), unit="image", desc="eval", disable=None) as bar:
        for pixels in loaded:
            parts.append(model.backbone(model.transforms.normalise(torch.from_numpy(pixels))))
            bar.update(len(pixels))
        features = torch.cat(parts)
        logits = {"last": model.head(features), "best": run.head("best")(features)}
    return logits, features, round(time.perf_counter() - started, 2)


def _parity(cached: torch.Tensor, from_images: torch.Tensor, provenance: Provenance) -> Parity:
    difference = (cached - from_images).abs().max().item()
    precisions = (provenance.dtype, provenance.precision)
    tolerance = max(PARITY_TOLERANCE[precision] for precision in precisions)
    return Parity(max_difference=difference, tolerance=tolerance, images=len(cached), holds=difference <= tolerance)
