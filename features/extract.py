"""Stage 1: images → rows of features. The frozen network sees every image once.

In: an :class:`features.config.ExtractConfig`. Out: a verified cache, and a line saying what was done.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features import download, images
from features.config import ExtractConfig
from features.errors import InputError, listing
from features.images import SPLITS, ImageSet
from features.provenance import versions
from features.store import (
    DamagedCache,
    FeatureSet,
    FeatureWriter,
    NotACache,
    Provenance,
    read_features,
    write_features,
)

if TYPE_CHECKING:
    import torch

    from features.backbone import Backbone

PACKAGED = Path(__file__).parent / "data" / "hymenoptera.h5"


def make_features(config: ExtractConfig) -> FeatureSet:
    """Bring the cache ``config.out`` up to date: keep it, compute it, or put the packaged features there.

    Raises:
        InputError: for data, weights or a target that can't be used; an earlier cache is then untouched.
    """
    started = time.perf_counter()
    _refuse_target(config.out)
    existing = _existing(config.out)
    if config.force:
        existing = None
    if config.offline:
        return _use_packaged(config, existing, "--offline (make: OFFLINE=1) was given, so nothing was downloaded")
    try:
        root = download.hymenoptera() if config.data == "hymenoptera" else Path(config.data).expanduser()
        image_set = images.read_folder(root)
        from features.backbone import DEFAULT, is_named, load_backbone

        backbone = load_backbone(DEFAULT, config.weights)
    except download.DownloadError as error:
        if not _packaged_serves(config):
            raise InputError(f"{error}.\n{_HELP_WITHOUT_NETWORK}") from error
        return _use_packaged(config, existing, str(error))

    _tell_of_ignored(image_set)
    digests = images.file_digests(image_set)
    _tell_of_shared(images.shared_images(image_set, digests))
    wanted = {
        "images_sha256": images.images_sha256(digests),
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "transform": backbone.transform,
    }
    places: dict[str, Any] = {
        "data": root.resolve().name,
        "data_location": _location(config.data, config.out, config.data == "hymenoptera"),
        "weights": backbone.weights,
        "weights_location": _location(config.weights, config.out, is_named(DEFAULT, config.weights)),
    }
    if existing is not None and _up_to_date(existing, wanted):
        # The same images may lie elsewhere by now, and stage 3 looks for them where the cache says.
        current = replace(existing.provenance, **places)
        if current != existing.provenance:
            existing = write_features(config.out, current, existing.splits)
        print(f"{describe(existing)}: up to date, same images, weights and transform")
        return existing

    images.check_images(root, image_set.all_paths)
    provenance = Provenance(
        classes=image_set.classes,
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=config.note,
        **wanted,
        **places,
    )
    with FeatureWriter(config.out, image_set.paths, image_set.labels, backbone.width) as writer:
        for split, start, rows in feature_batches(image_set, backbone, config.batch, config.workers):
            writer.write(split, start, rows)
        made = writer.finish(provenance)
    seconds = time.perf_counter() - started
    print(f"{describe(made)}: made in {seconds:.1f} s")
    return made


def feature_batches(
    image_set: ImageSet, backbone: Backbone, batch: int, workers: int
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Run the network once over every image, with a progress bar.

    Yields:
        (split, first row, features of shape (n, D) float32) with n at most ``batch``.
    """
    import torch
    from tqdm import tqdm

    with tqdm(total=len(image_set.all_paths), unit="image", desc="features", disable=None) as bar:
        for split in SPLITS:
            start = 0
            for pixels in image_batches(image_set, split, backbone, batch, workers):
                with torch.inference_mode():
                    rows = backbone.model(pixels).numpy()
                if not np.isfinite(rows).all():
                    raise InputError(f"the weights {backbone.weights} give features that are not finite numbers")
                yield split, start, rows
                start += len(rows)
                bar.update(len(rows))


def image_batches(
    image_set: ImageSet, split: str, backbone: Backbone, batch: int, workers: int
) -> Iterator[torch.Tensor]:
    """Preprocessed images of a split in order, shape (n, 3, H, W) float32; decoded in ``workers`` processes beside the
    network, or in this one if 0.

    Raises:
        InputError: if an image can't be read.
    """
    from torch.utils.data import DataLoader

    pictures: Any = _Pictures(image_set, split, backbone)
    for loaded in DataLoader(
        pictures,
        batch_size=batch,
        num_workers=min(workers, len(pictures)),
        collate_fn=_collate,
        worker_init_fn=_leave_ctrl_c_to_the_main_process,
    ):
        if isinstance(loaded, str):
            raise InputError(f"an image changed while it was being used:\n{loaded}\nRun the same command again.")
        yield loaded


class _Pictures:
    """The data set that a DataLoader's workers read: index → (3, H, W) float32, or why there is none.

    The reason is returned, not raised, because a DataLoader would wrap it into a traceback.
    """

    def __init__(self, image_set: ImageSet, split: str, backbone: Backbone) -> None:
        self._files = [image_set.root / path for path in image_set.paths[split]]
        self._preprocess = backbone.preprocess

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> torch.Tensor | str:
        try:
            return self._preprocess(images.open_image(self._files[index]))
        except images.UNREADABLE as error:
            return f"{self._files[index]}: {error}"


def _collate(items: list[torch.Tensor | str]) -> torch.Tensor | str:
    from torch.utils.data import default_collate

    reasons = [item for item in items if isinstance(item, str)]
    return listing(reasons) if reasons else default_collate(items)


def _leave_ctrl_c_to_the_main_process(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Through this hook multiprocessing prints a traceback where the main process leaves in the middle of fetching a
    # batch. What goes wrong with an image does not come this way.
    sys.excepthook = lambda *_: None


def describe(features: FeatureSet) -> str:
    """The cache in one line: where it is, the shape of each split."""
    shapes = ", ".join(f"{name} {split.features.shape}" for name, split in sorted(features.splits.items()))
    return f"{features.path}: {shapes} float32, classes {', '.join(features.provenance.classes)}"


def _refuse_target(out: Path) -> None:
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file, for example {out / 'features.h5'}")
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise InputError(f"--out {out} lies below {existing}, which is a file; name another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {out} can't be written: {existing} is read-only; name another place")


def _existing(out: Path) -> FeatureSet | None:
    """The whole cache at ``out``; None where there is none, or, with the reason printed, only a damaged one."""
    if not out.exists():
        return None
    try:
        return read_features(out)
    except NotACache as error:
        raise InputError(f"{error}\n--out names a file that is not this program's to replace.") from error
    except DamagedCache as error:
        print(f"making the features again: {error}")
        return None


def _up_to_date(existing: FeatureSet, wanted: dict[str, str]) -> bool:
    """Whether a cache was made from what is wanted; if not, the reason is printed."""
    stale = [name for name, value in wanted.items() if getattr(existing.provenance, name) != value]
    if stale:
        names = {"images_sha256": "images", "weights_sha256": "weights"}
        other = " and ".join(names.get(name, name) for name in stale)
        print(f"making the features again: other {other} than those of {existing.path}")
    return not stale


def _location(given: str, out: Path, is_name: bool) -> str:
    """How stage 3 finds the images or weights again: a name or an absolute path stays; a relative one is told from the
    cache's folder, so that the two can move together."""
    place = Path(given).expanduser()
    if is_name or place.is_absolute():
        return str(place)
    return os.path.relpath(place.absolute(), out.absolute().parent)


def _tell_of_ignored(image_set: ImageSet) -> None:
    if image_set.ignored:
        shown = ", ".join(image_set.ignored[:3]) + (", …" if len(image_set.ignored) > 3 else "")
        print(
            f"left out {len(image_set.ignored)} file(s) not named as images ({', '.join(images.EXTENSIONS)}): {shown}"
        )


def _tell_of_shared(shared: list[str]) -> None:
    if shared:
        shown = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
        print(f"warning: {len(shared)} validation image(s) are also training images; accuracy is flattered: {shown}")


def _packaged_serves(config: ExtractConfig) -> bool:
    return config.data == "hymenoptera" and config.weights == ExtractConfig.weights


def _use_packaged(config: ExtractConfig, existing: FeatureSet | None, reason: str) -> FeatureSet:
    """Put the packaged features at ``config.out`` and say so. A real extraction that is already there is kept, unless
    the packaged ones were asked for."""
    if not _packaged_serves(config):
        raise InputError(
            f"--offline uses the packaged features of hymenoptera, but --data is {config.data} and --weights is "
            f"{config.weights}; leave --offline (make: OFFLINE=1) out, or leave both out"
        )
    packaged = read_features(PACKAGED)
    if existing is not None:
        if existing.content_sha256 == packaged.content_sha256:
            print(f"{describe(existing)}: up to date, the packaged features ({reason})")
            return existing
        same = (existing.provenance.data, existing.provenance.weights) == ("hymenoptera_data", config.weights)
        if same and not config.offline:
            print(f"{describe(existing)}: kept, made earlier on the real images ({reason})")
            return existing
    made = write_features(config.out, packaged.provenance, packaged.splits)
    sys.stdout.write(_PACKAGED_NOTICE.format(reason=reason, weights=made.provenance.weights))
    print(describe(made) + ": packaged features")
    return made


_PACKAGED_NOTICE = """
Using the packaged features. {reason}.
They are ResNet18 features of the demo's 397 ants and bees (Hymenoptera), made by this very stage, but with the weights
{weights}: torchvision's ResNet18 as compressed by "And the bit goes down" (ICLR 2020, facebookresearch/kill-the-bits,
CC BY-NC 4.0), not torchvision's own file, so figures differ a little from a run with that. To run on the real images,
give the network access to download.pytorch.org and run `make clean eval`, or use files you have:
make eval DATA=FOLDER WEIGHTS=FILE.

"""

_HELP_WITHOUT_NETWORK = (
    "Without a network, give files you have: --data FOLDER (make: DATA=) with train/ and val/, --weights FILE "
    "(make: WEIGHTS=) holding a ResNet18 state_dict. The packaged features need neither: leave both out."
)
