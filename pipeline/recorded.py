"""The records in OUT: how its features were made, and whether its run and its report are current.

In: provenance and records on the disk. Out: the differences between these and the flags of a command.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from features.config import ExtractConfig
from features.util.errors import InputError
from features.util.flags import flag, parse
from pipeline.inference.config import EvalConfig


@dataclass(frozen=True)
class Recorded:
    """The flags with which stage 1 made existing features.

    Attributes:
        provenance: As recorded in the feature cache, or in the run trained on it.
        cache: The feature cache.
        config: The flags of stage 1 that make them again.
    """

    provenance: Any
    cache: Path
    config: ExtractConfig

    @classmethod
    def of(cls, provenance: Any, cache: Path) -> Recorded:
        """Rebuild the flags from a provenance."""
        from pipeline.inference.sources import extraction

        made, plain = extraction(provenance, cache), ExtractConfig()
        # Each machine chooses its own runtime and device.
        made = replace(made, runtime=plain.runtime, device=plain.device, shards="*" in cache.name)
        return cls(provenance, cache, made)

    def differences(self, wanted: ExtractConfig) -> list[str]:
        """One entry for each flag that would make other features. Pictures that only moved are no difference."""
        names = [item.name for item in fields(ExtractConfig) if item.name not in (*_HOW, "data", "weights")]
        found = [
            f"{flag(name)} {_said(self.config, name)} there, {_said(wanted, name)} asked for"
            for name in names
            if getattr(self.config, name) != getattr(wanted, name)
        ]
        if not self.is_at("data", wanted.data) and not self._same_pictures(wanted):
            found.append(f"DATA {self.config.data} there, {wanted.data} asked for")
        return found

    def weights_difference(self, given: str) -> list[str]:
        """One entry if the given weights are others. A file that only moved is no difference."""
        if self.is_at("weights", given):
            return []
        from features.backbone.network import load_backbone

        if load_backbone(self.config.backbone, given).weights_sha256 == self.provenance.weights_sha256:
            return []
        return [f"WEIGHTS {self.provenance.weights} there, {given} asked for"]

    def is_at(self, name: str, given: str) -> bool:
        """Whether ``given`` is the recorded place of ``name``: ``data`` or ``weights``."""
        recorded = getattr(self.config, name)
        return given == recorded or Path(given).expanduser().absolute() == Path(recorded).absolute()

    def _same_pictures(self, wanted: ExtractConfig) -> bool:
        from features.cache.store import verify_features
        from features.cache.target import same_images
        from features.sources.check import file_digests, images_sha256, images_sha256_before_format_3
        from features.sources.images import open_images, without

        try:
            found = open_images(wanted.data, **self.provenance.selection.record(), download=False)
        except InputError:
            return False
        left_out = {path for path, _ in self.provenance.skipped}
        found = without(found, left_out)
        digests = file_digests(found)
        try:
            return same_images(verify_features(self.cache), found, digests)
        except InputError:  # the run alone is left, and one of formats 1 and 2 does not say its labels
            fingerprints = (images_sha256(found, digests), images_sha256_before_format_3(found, digests))
            return self.provenance.images_sha256 in fingerprints


def _said(config: ExtractConfig, name: str) -> str:
    return str(getattr(config, name)) or "none"


# Flags that leave the features unchanged, or, as --layers, make others beside them.
_HOW = ("out", "shards", "shard_rows", "runtime", "device", "batch", "workers", "engine", "address", "offline", "force",
        "note", "list_backbones", "list_layers", "layers")  # fmt: skip


def run_stands(run: Path, features: Path) -> bool:
    """Whether there is a run that was trained on these features.

    Raises:
        InputError: if either can't be read.
    """
    from features.cache.store import verify_features
    from pipeline.training.folder import RunFolder

    standing, there = RunFolder(run).standing(), verify_features(features)
    return standing is not None and there.matches(standing.features.content_sha256)


def report_stands(config: EvalConfig, *, asked: bool, from_images: bool) -> bool:
    """Whether the report of a run is complete and current.

    Args:
        config: The evaluation.
        asked: Whether the user gave flags; they must then match the report's.
        from_images: Whether the figures must be computed from the images, not from cached features.
    """
    page = config.run / "report.html"
    try:
        record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
        # The third command of a report makes it again: `python -m pipeline eval`, and its flags.
        words = [_RENAMED.get(word, word) for word in shlex.split(record["commands"][2])[4:]]
        made = parse(EvalConfig, words, "eval")
        images = record["source"] == "images"
    except (OSError, ValueError, KeyError, IndexError, InputError):
        return False
    same = all(getattr(made, name) == getattr(config, name) for name in _OF_A_REPORT)
    return page.is_file() and (same or not asked) and (images or not from_images)


_OF_A_REPORT = ("q_device", "q_device_options", "shots", "noise", "accept_other_weights", "full_paths")
# Flags as reports of earlier versions name them.
_RENAMED = {"--other-weights": "--accept-other-weights"}
