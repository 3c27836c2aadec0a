"""Records of a feature cache: where its rows come from, what computed them, what was left out.

Each is a dataclass in memory and plain JSON in files; :meth:`Provenance.record` and :meth:`Provenance.from_record`
convert. None of it is the cache's identity, which is its content (:func:`features.cache.rows.content_sha256`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from features.backbone.record import Layer, RuntimeRecord
from features.sources.catalogue import Selection


@dataclass(frozen=True, kw_only=True)
class Views:
    """Augmented views of each training image.

    Attributes:
        count: Views an image.
        seed: Seed of the draw.
    """

    count: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of the several that make a data set.

    Attributes:
        index: From 0.
        of: Files in the set.
    """

    index: int
    of: int


@dataclass(frozen=True, kw_only=True)
class TakenOver:
    """Rows that were copied from an earlier cache, because their images and the network are unchanged.

    Attributes:
        rows: How many.
        created: When that cache was made, UTC, ISO 8601.
        runtime: What had computed its rows; None where that was not recorded.
        versions: Library versions that made it.
    """

    rows: int
    created: str
    runtime: RuntimeRecord | None
    versions: dict[str, str]


class Skipped(NamedTuple):
    """An image that was left out as unreadable, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the features of a file come from.

    Attributes:
        classes: Class names; a label is an index into them.
        backbone: Architecture of the frozen network; empty for rows that were imported.
        weights: Name of its weights.
        weights_sha256: Fingerprint of its tensors.
        transform: Canonical JSON of the preprocessing; of imported rows, the names of columns that were given.
        data: Name of the data set.
        images_sha256: Fingerprint over the splits, classes, paths and contents of the images
            (:func:`features.sources.check.images_sha256`); in formats 1 and 2 over paths and contents alone.
        data_location: Where the images were: a name, or a path; a relative one starts at this file's folder.
        weights_location: The same for the weights.
        versions: Versions of the libraries that made the features.
        created: UTC time, ISO 8601.
        note: Free text of the maker.
        selection: What chose the images among those at ``data_location``.
        dtype: How a feature is stored, ``float32`` or ``float16``. In memory it is always float32.
        runtime: What computed the features; None where that was not recorded.
        views: Augmented views of each training image; None for none.
        skipped: Images that were left out as unreadable.
        shard: None for a whole data set in one file.
        taken_over: Rows that were copied from an earlier cache; None for none.
        layer: The layer of the network whose output the features are; None for the network's own.
    """

    classes: tuple[str, ...]
    backbone: str
    weights: str
    weights_sha256: str
    transform: str
    data: str
    images_sha256: str
    data_location: str
    weights_location: str
    versions: dict[str, str]
    created: str
    note: str = ""
    selection: Selection = field(default_factory=Selection)
    dtype: str = "float32"
    runtime: RuntimeRecord | None = None
    views: Views | None = None
    skipped: tuple[Skipped, ...] = ()
    shard: Shard | None = None
    taken_over: TakenOver | None = None
    layer: Layer | None = None

    @property
    def imported(self) -> bool:
        """Whether the rows came from a file (:mod:`features.exchange`), so that no network of ours made them."""
        return not self.backbone

    @property
    def noun(self) -> str:
        """What the rows stand for, in messages."""
        return "rows" if self.imported else "images"

    @property
    def precision(self) -> str:
        """Precision of the network's arithmetic; float32 where it was not recorded, because there was no other."""
        return self.runtime.precision if self.runtime else "float32"

    def record(self) -> dict[str, Any]:
        """All fields as plain JSON: {} stands for None, and what is None within a record is left out."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "classes": list(self.classes),
            "versions": dict(self.versions),
            "selection": self.selection.record(),
            "runtime": _plain(self.runtime),
            "views": _plain(self.views),
            "skipped": [list(each) for each in self.skipped],
            "shard": _plain(self.shard),
            "taken_over": _plain(self.taken_over),
            "layer": _plain(self.layer),
        }

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Provenance:
        """What :meth:`record` gave; fields that an earlier version did not have may be missing.

        Raises:
            KeyError, TypeError: if a field that every version has is missing.
        """
        required = {item.name: values[item.name] for item in fields(cls)[:11]}
        return cls(
            **required
            | {
                "classes": tuple(map(str, values["classes"])),
                "note": values.get("note", ""),
                "selection": _selection(values.get("selection") or {}),
                "dtype": values.get("dtype", "float32"),
                "runtime": _runtime(values.get("runtime")),
                "views": _record_of(Views, values.get("views")),
                "skipped": tuple(Skipped(*each) for each in values.get("skipped", ())),
                "shard": _record_of(Shard, values.get("shard")),
                "taken_over": _taken_over(values.get("taken_over")),
                "layer": _record_of(Layer, values.get("layer")),
            }
        )


def _plain(record: Any) -> dict[str, Any]:
    """A record without what is None in it; {} for None."""
    values = asdict(record) if record is not None else {}
    return {
        name: {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _record_of(kind: Any, values: Mapping[str, Any] | None) -> Any:
    return kind(**values) if values else None


def _runtime(values: Mapping[str, Any] | None) -> RuntimeRecord | None:
    known = {item.name for item in fields(RuntimeRecord)}
    return _record_of(RuntimeRecord, {name: value for name, value in (values or {}).items() if name in known})


def _selection(values: Mapping[str, Any]) -> Selection:
    classes = values.get("classes")
    return Selection(**dict(values) | {"classes": None if classes is None else tuple(classes)})


def _taken_over(values: Mapping[str, Any] | None) -> TakenOver | None:
    return TakenOver(**dict(values) | {"runtime": _runtime(values.get("runtime"))}) if values else None
