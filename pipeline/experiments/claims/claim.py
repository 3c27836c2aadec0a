"""Claims as data: statements, their sources, and the tests that would support them.

In: TOML files. Out: :class:`Claim`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from features.util.errors import InputError, did_you_mean
from pipeline.experiments.claims.config import ClaimsConfig
from pipeline.util.records import from_record

CATALOGUE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published statement; the fields are described in ``catalogue.toml``."""

    name: str
    statement: str
    source: str
    says: str
    effect: float | None = None
    data: tuple[str, ...]
    head: str
    reference: str
    classes: tuple[str, ...] = ()
    test: Literal["folds", "few", "spirals"]
    sizes: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def read_claims(config: ClaimsConfig) -> list[Claim]:
    """The claims to test, in the order of their files.

    Raises:
        InputError: For a file that can't be read, or a name that no claim has.
    """
    found = _read(CATALOGUE) + ([] if config.file is None else _read(config.file))
    names = [claim.name for claim in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--file {config.file} holds a claim {name}, a name that another has; name it otherwise")
    for name in config.claims:
        if name not in names:
            raise InputError(f"--claims has {name!r}{did_you_mean(name, names)}; choose of {', '.join(names)}")
    return [claim for claim in found if not config.claims or claim.name in config.claims]


def _read(file: Path) -> list[Claim]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8")).get("claim", [])
        claims = [from_record(Claim, table) for table in tables]
    except OSError as error:
        raise InputError(f"--file {file} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"--file {file} holds no claims as {CATALOGUE.name} has them: {error}") from error
    for claim in claims:
        if claim.test == "few" and not claim.sizes:
            raise InputError(f"--file {file}: claim {claim.name} is of the test `few` and names no sizes")
    return claims
