"""Make's variables: what they name, as the flags of the stages.

In: texts, each empty where it was not given. Out: inputs of stage 1, and paths.
"""

from __future__ import annotations

import glob
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from features.config import ExtractConfig
from features.util.errors import InputError


@dataclass(frozen=True)
class Inputs:
    """Make's variables; an empty one was not given."""

    rows: str
    data: str
    backbone: str
    weights: str
    offline: bool

    @classmethod
    def given(cls, variables: Mapping[str, str]) -> Inputs:
        """Those among make's variables.

        Raises:
            InputError: if they name rows and pictures.
        """
        names = {"rows": "FEATURES", "data": "DATA", "backbone": "BACKBONE", "weights": "WEIGHTS"}
        texts = {field: variables.get(name, "") for field, name in names.items()}
        inputs = cls(**texts, offline=bool(variables.get("OFFLINE")))
        if inputs.rows and (given := inputs.of_pictures):
            raise InputError(
                f"FEATURES is {inputs.rows}, and {' and '.join(given)} of pictures is given too; give one of them"
            )
        return inputs

    def of(self, recorded: ExtractConfig) -> ExtractConfig:
        """The recorded flags of stage 1, with the given variables in their place."""
        given = {name: value for name in ("data", "backbone", "weights") if (value := getattr(self, name))}
        packaged = (recorded.offline or self.offline) and self.data in ("", recorded.data)
        if packaged:
            # The packaged features stay what they are; a file of their weights is for the run's backbone.
            given.pop("weights", None)
        return replace(recorded, **given, offline=packaged)

    @property
    def rows_file(self) -> Path:
        """The file of rows, where one was given."""
        return Path(self.rows).expanduser()

    @property
    def of_pictures(self) -> list[str]:
        """The given variables that only pictures have."""
        given = {"DATA": self.data, "BACKBONE": self.backbone, "WEIGHTS": self.weights, "OFFLINE": self.offline}
        return [name for name, value in given.items() if value]


def paths_of(text: str) -> tuple[Path, ...]:
    """The files and folders that IMAGES names: one, whose name may have spaces, or several, quoted as for a shell."""
    whole = Path(text).expanduser()
    if text and whole.exists():
        return (whole,)
    try:
        words = [Path(word).expanduser() for word in shlex.split(text)]
    except ValueError as error:
        raise InputError(f"IMAGES is {text}: {error}; quote a name as for a shell") from error
    return tuple(path for word in words for path in ([word] if word.exists() else _matches(word)))


def _matches(pattern: Path) -> list[Path]:
    """The files that a pattern such as `holiday/*.jpg` names; itself where there is none, for the error to name."""
    return sorted(map(Path, glob.glob(str(pattern)))) or [pattern]  # noqa: PTH207  # it may be absolute
