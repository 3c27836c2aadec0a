"""``make clean``: ``python -m pipeline.clean OUT`` deletes what the stages made in OUT, and says what it leaves.

In: a folder. Out: the same folder without the files that this program writes. A file is deleted only if its name is one
of ours and a record of ours lies beside it. Needs nothing but Python, because the environment may be gone.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.training.names import HEAD, OURS, RECORD, SEED


@dataclass(frozen=True)
class Kind:
    """A folder that a command writes.

    Attributes:
        records: Names of its records; a folder of ours holds at least one of them.
        names: Pattern of the files that this program writes there; it must match whole names.
        folders: The folders in it, by a pattern of their names.
    """

    records: frozenset[str]
    names: re.Pattern[str]
    folders: dict[re.Pattern[str], Kind] = field(default_factory=dict)


def _kind(records: tuple[str, ...], names: str, **folders: Kind) -> Kind:
    # What is being written lies under .NAME.part.
    return Kind(
        frozenset(records), re.compile(rf"\.?({names})(\.part)?"), {re.compile(n): k for n, k in folders.items()}
    )


_A_RUN = "|".join(re.escape(name) for name in OURS)
_SEED = Kind(frozenset({RECORD, HEAD}), re.compile(_A_RUN))
RUN = Kind(frozenset({RECORD, HEAD}), re.compile(_A_RUN), {SEED: _SEED})
UNFINISHED = Kind(frozenset(), re.compile(_A_RUN), {SEED: Kind(frozenset(), re.compile(_A_RUN))})
PIECES = _kind((), r"\d{5,}-of-\d{5,}(-[0-9a-f]{12})?\.h5(\.part\.lock)?|lock")
BLOCKS = Kind(frozenset(), re.compile("lock"), {re.compile(r"[0-9a-f]{12}"): _kind((), r"[\w.-]+-\d+-\d+\.json|lock")})
COMPARE = _kind(
    ("compare.json", "blocks"),
    r"compare\.(html|md|png|json|csv)|curves\.png|lock",
    blocks=BLOCKS,
    sets=_kind((), r"[\w-]+\.h5(\.lock)?"),
)
PAPER = _kind(
    ("paper.json",),
    r"paper(-\d+-to-\d+)?\.(html|md|json|csv)|(spirals|shapes|tetrominoes|transfer)\.(png|drawing)|(cat-dog|airplane-automobile)\.h5|lock",
    states=_kind((), r".+-\d+\.h5"),
)
SWEEP = _kind(
    ("sweep.json", "journal.log"), r"sweep\.(html|md|json)|(importance|trials|contour)\.png|journal\.log(\.lock)?|lock"
)
CLAIMS = _kind(
    ("claims.json", "blocks"), r"claims\.(html|md|png|json)|lock", blocks=BLOCKS, sets=_kind((), r"[\w-]+\.h5(\.lock)?")
)
DIAGNOSE = _kind(("diagnose.json",), r"diagnose\.(html|md|png|json)")
BENCH = _kind(
    ("bench.json", "peers.json", "extraction.json", "hybrid.json"),
    r"(bench|peers|extraction|hybrid)\.(json|md|png)",
)

FEATURES = re.compile(
    r"\.?features(?:-(?P<layer>\w[\w.-]*?))??(-\d{5}-of-\d{5})?\.h5(\.part|\.lock)?|\.run\.lock|\.features\.done|\.(features|train|eval)\.args"
)
LAYER_PIECES = re.compile(r"\.features-\w[\w.-]*\.h5\.parts")
# How an HDF5 file begins, and within how many bytes of its end the attributes of a cache lie.
HDF5, TAIL = b"\x89HDF\r\n\x1a\n", 1 << 20
FOLDERS = {
    "run": RUN,
    ".run.unfinished": UNFINISHED,
    ".run.replaced": RUN,
    ".features.h5.parts": PIECES,
    "compare": COMPARE,
    "claims": CLAIMS,
    "paper": PAPER,
    "sweep": SWEEP,
    "diagnose": DIAGNOSE,
    "bench": BENCH,
}


def clean(out: Path) -> list[Path]:
    """Delete what the stages made in a folder; return what is left in it."""
    if not out.is_dir():
        return []
    for entry in list(out.iterdir()):
        if entry.is_symlink():
            continue
        if entry.name in FOLDERS and entry.is_dir():
            _clean(entry, FOLDERS[entry.name])
        elif LAYER_PIECES.fullmatch(entry.name) and entry.is_dir():
            _clean(entry, PIECES)
        elif (named := FEATURES.fullmatch(entry.name)) and entry.is_file() and _is_ours(entry, named["layer"]):
            entry.unlink()
    left = sorted(out.iterdir())
    if not left and out.absolute() != Path.cwd():
        out.rmdir()
    return left


def main() -> int:
    """Clean the folder that the command line names; return the exit code."""
    out = Path(sys.argv[1]).expanduser()
    try:
        left = clean(out)
    except OSError as error:
        print(f"error: {out} can't be cleaned: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2
    if left:
        print(f"left in {out}, because make's stages did not write it or it was set aside:")
        print("\n".join(f"  {path.name}{'/' * path.is_dir()}" for path in left))
    return 0


def _clean(folder: Path, kind: Kind) -> None:
    names = {entry.name for entry in folder.iterdir()}
    if kind.records and not kind.records & names:
        return
    for entry in list(folder.iterdir()):
        if entry.is_symlink():
            continue
        if entry.is_dir():
            for pattern, inside in kind.folders.items():
                if pattern.fullmatch(entry.name):
                    _clean(entry, inside)
        elif kind.names.fullmatch(entry.name):
            entry.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_ours(file: Path, layer: str | None) -> bool:
    """Whether a file with the name of a feature cache, or of a layer's, is one."""
    if file.suffix != ".h5":
        return True
    with file.open("rb") as opened:
        start = opened.read(len(HDF5))
        opened.seek(max(0, file.stat().st_size - TAIL))
        end = opened.read()
        of_layer = layer is None or f'"name":"{layer}"'.encode() in end
        return start == HDF5 and b"images_sha256" in end and of_layer


if __name__ == "__main__":
    sys.exit(main())
