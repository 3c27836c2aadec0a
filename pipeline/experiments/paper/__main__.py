"""The command line of the paper's table: ``python -m pipeline.experiments.paper``, or ``make paper``."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from features.util.errors import InputError, run_command
from features.util.provenance import canonical_json, versions

if TYPE_CHECKING:
    from pipeline.experiments.paper.row import Context, Job, Row

FORMAT_VERSION = 1
NAMES = ("cc", "cq", "cats-dogs", "planes-cars", "spirals", "shapes", "qc", "qq")


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """Train every system of the paper (arXiv:1912.08278) and put its published number beside ours.

    Rows: cc, cq (classical and quantum heads on ants and bees), cats-dogs, planes-cars (CIFAR-10), spirals, shapes (the
    dressed circuit alone), qc, qq (a pretrained quantum network as feature extractor). A row whose data are not to be
    had is skipped, and the table says why. A row that is done with the same settings is kept, so that after Ctrl-C the
    same command goes on.

    Leaves in --out: paper.md (the table), paper.json (every seed), paper.csv, pictures, and the feature caches that
    rows make: of CIFAR-10, and in states/ those of the quantum network.
    """

    features: Path = Path("out/features.h5")
    """The cached features of ants and bees that stage 1 made."""
    out: Path = Path("out/paper")
    """The folder to write."""
    rows: tuple[str, ...] = ()
    """Only these rows; all of them if none is given."""
    seeds: int = 20
    """Repetitions of everything, each with data, initial weights and order of its own."""
    seed: int = 42
    """The first seed."""
    cifar: str = "cifar10"
    """Where stage 1 gets CIFAR-10: `cifar10` (torchvision's download), or a folder of its images."""
    weights: str = "IMAGENET1K_V1"
    """Weights that make the features of CIFAR-10, as for `python -m features`."""

    def __post_init__(self) -> None:
        problems = []
        if self.seeds < 1:
            problems.append(f"--seeds is {self.seeds}; it must be 1 or more")
        if self.seed < 0:
            problems.append(f"--seed is {self.seed}; it must be 0 or more")
        unknown = [name for name in self.rows if name not in NAMES]
        if unknown:
            problems.append(f"--rows has {', '.join(unknown)}; choose of {', '.join(NAMES)}")
        if problems:
            raise ValueError("; ".join(problems))


def main() -> None:
    """Parse the flags, run the rows, print the table."""
    config = tyro.cli(
        Annotated[PaperConfig, tyro.conf.arg(name="")],
        prog="python -m pipeline.experiments.paper",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    paper(config)


def paper(config: PaperConfig) -> dict[str, Any]:
    """Run the rows that are asked for and not done, keeping the table in ``config.out`` up to date; its record.

    Raises:
        InputError: If the folder can't be made, or holds a table of an unknown version.
        KeyboardInterrupt: At Ctrl-C; rows that are done are written.
    """
    # torch and PennyLane take seconds to import: only once the flags are right.
    from tqdm import tqdm

    from pipeline.experiments.paper.row import Context
    from pipeline.experiments.paper.rows import ROWS
    from pipeline.experiments.paper.table import markdown
    from pipeline.training.run import make_folder

    make_folder(config.out)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    context = Context(out=config.out, features=config.features, cifar=config.cifar, weights=config.weights, seeds=seeds)
    done = _rows_done(config.out / "paper.json", seeds)
    asked = [row for row in ROWS if row.name in (config.rows or NAMES)]
    try:
        for row in tqdm(asked, unit="row", desc="paper", disable=None):
            record, line = _brought_up_to_date(row, context, done.get(row.name))
            done[row.name] = record
            table = _write(config, context, [done[each.name] for each in ROWS if each.name in done])
            tqdm.write(line)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; rows that are done are in {config.out / 'paper.md'}, and the same command goes on"
        ) from None
    print(f"\n{markdown(table)}")
    pictures = [name for row in table["rows"] for name in row.get("pictures", {})]
    skipped = [row["name"] for row in table["rows"] if row["status"] == "skipped"]
    if skipped:
        print(f"skipped, for the reasons above: {', '.join(skipped)}")
    print(f"{config.out / 'paper.md'}: the table; figures in paper.json and paper.csv; {', '.join(pictures)}")
    return table


def _rows_done(file: Path, seeds: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """The rows of an earlier table of the same seeds, by name."""
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        version = record["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no table of this program ({error}); remove it, or name another --out") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"{file} has format version {version}, this program reads version {FORMAT_VERSION}; remove it, or name "
            "another --out"
        )
    if tuple(record["seeds"]) != seeds:
        print(f"the table in {file.parent} is of other seeds and is made anew")
        return {}
    return {row["name"]: row for row in record["rows"]}


def _brought_up_to_date(row: Row, context: Context, earlier: dict[str, Any] | None) -> tuple[dict[str, Any], str]:
    """The row's record, run or kept, and a line that says which."""
    from pipeline.experiments.paper.row import summary

    described = {
        "name": row.name,
        "system": row.system,
        "words": row.words,
        "published": row.published,
        "published_time": row.published_time,
    }
    try:
        job = row.prepare(context)
    except InputError as error:
        return described | {"status": "skipped", "reason": str(error)}, f"{row.name}: skipped: {error}"
    fingerprint = _fingerprint(row, job, context)
    if earlier is not None and earlier.get("fingerprint") == fingerprint and _pictures_exist(earlier, context):
        return earlier, f"{row.name}: kept, done before with the same settings"
    outcome = job.run()
    seconds = sum(entry.seconds for entry in outcome.entries)
    record = described | {"status": "done", "fingerprint": fingerprint, "settings": job.settings} | outcome.record()
    first = outcome.entries[0]
    ours = summary(first.last)["mean"]
    line = f"{row.name}: {first.model}, {first.task}: {ours:.4f} (published {row.published:.4f}), {seconds:.1f} s"
    return record, line


def _fingerprint(row: Row, job: Job, context: Context) -> str:
    return hashlib.sha256(canonical_json([row.name, context.seeds, job.settings, versions()]).encode()).hexdigest()


def _pictures_exist(record: dict[str, Any], context: Context) -> bool:
    return all((context.out / name).is_file() for name in record["pictures"])


def _write(config: PaperConfig, context: Context, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the table as it stands, each file whole or not at all; its record."""
    from features.util.files import write_text
    from pipeline.experiments.paper.table import as_csv, markdown

    table = {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(context.seeds),
        "versions": versions(),
        "rows": rows,
    }
    texts = {
        "paper.json": json.dumps(table, indent=1, ensure_ascii=False) + "\n",
        "paper.csv": as_csv(table),
        "paper.md": markdown(table),
    }
    for name, text in texts.items():
        write_text(config.out / name, text)
    return table


if __name__ == "__main__":
    sys.exit(run_command(main))
