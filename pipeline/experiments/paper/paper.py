"""The paper's table: rows run one after the other, each kept as soon as it is done.

In: a :class:`pipeline.experiments.paper.config.PaperConfig`. Out: ``paper.html``, ``paper.md``, ``paper.json``,
``paper.csv`` and pictures in ``config.out``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import canonical_json, versions
from pipeline.experiments.paper.config import PaperConfig
from pipeline.experiments.paper.record import FORMAT_VERSION, RowRecord, Table, lines
from pipeline.experiments.paper.row import Context, Job, Row, RowHeading
from pipeline.experiments.paper.rows import ROWS
from pipeline.experiments.paper.table import as_csv, document_of
from pipeline.pages.document import as_markdown, write_document
from pipeline.training.folder import make_folder
from pipeline.util.records import from_record, to_record


def paper(config: PaperConfig) -> Table:
    """Run the rows that are asked for and not done, keeping the table in ``config.out`` up to date.

    Raises:
        InputError: If the folder can't be made, or holds a table of an unknown version.
        KeyboardInterrupt: At Ctrl-C; rows that are done are written.
    """
    from tqdm import tqdm

    make_folder(config.out)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    context = Context(out=config.out, features=config.features, cifar=config.cifar, weights=config.weights, seeds=seeds)
    done = _rows_done(config.out / "paper.json", seeds)
    asked = [row for row in ROWS if not config.rows or row.name in config.rows]
    try:
        for row in tqdm(asked, unit="row", desc="paper", disable=None):
            done[row.name], line = _up_to_date(row, context, done.get(row.name))
            table = _write(config.out, seeds, [done[each.name] for each in ROWS if each.name in done])
            tqdm.write(line)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; rows that are done are in {config.out / 'paper.html'}, and the same command goes on"
        ) from None
    print(f"\n{as_markdown(document_of(table, config.out), with_figures=False)}\n")
    skipped = [row.name for row in table.rows if row.status == "skipped"]
    if skipped:
        print(f"skipped, for the reasons above: {', '.join(skipped)}")
    print(f"{config.out / 'paper.html'}: the table and its pictures; in paper.md too, numbers in .json and .csv")
    return table


def _rows_done(file: Path, seeds: tuple[int, ...]) -> dict[str, RowRecord]:
    """The rows of an earlier table of the same seeds, by name. A table of other seeds is set aside."""
    table = _read(file)
    if table is not None and tuple(table.seeds) != seeds:
        kept = _of_seeds(file, table.seeds)
        for ending in (".html", ".md", ".csv", ".json"):
            if file.with_suffix(ending).is_file():
                file.with_suffix(ending).replace(kept.with_suffix(ending))
        print(f"the table in {file.parent} is of seeds {table.seeds[0]} to {table.seeds[-1]}: kept as {kept.stem}.html")
        table = _read(_of_seeds(file, seeds))
    return {} if table is None else {row.name: row for row in table.rows}


def _of_seeds(file: Path, seeds: Sequence[int]) -> Path:
    return file.with_stem(f"{file.stem}-{seeds[0]}-to-{seeds[-1]}")


def _read(file: Path) -> Table | None:
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        version = record["format_version"]
        table = from_record(Table, record) if version == FORMAT_VERSION else None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no table of this program ({error}); remove it, or name another --out") from error
    if table is None:
        raise InputError(
            f"{file} has format version {version}, this program reads version {FORMAT_VERSION}; remove it, or name "
            "another --out"
        )
    return table


def _up_to_date(row: Row, context: Context, earlier: RowRecord | None) -> tuple[RowRecord, str]:
    """The row's record, run or kept, and a line that says which."""
    heading = {item.name: getattr(row, item.name) for item in fields(RowHeading)}
    try:
        job = row.prepare(context)
    except InputError as error:
        skipped = RowRecord(**heading, status="skipped", reason=str(error))
        return skipped, f"{row.name}: skipped: {error}"
    fingerprint = _fingerprint(row, job, context)
    if earlier is not None and earlier.fingerprint == fingerprint and _pictures_exist(earlier, context):
        return earlier, f"{row.name}: kept, done before with the same settings"
    result = job.run()
    record = RowRecord(
        **heading,
        status="done",
        fingerprint=fingerprint,
        settings=job.settings,
        entries=lines(result.entries),
        notes=result.notes,
        pictures=result.pictures,
        curves=result.curves,
    )
    first, seconds = record.entries[0], sum(entry.seconds for entry in result.entries)
    return record, (
        f"{row.name}: {first.model}, {first.task}: {first.last.mean:.4f} (published {row.published:.4f}), "
        f"{seconds:.1f} s"
    )


def _fingerprint(row: Row, job: Job, context: Context) -> str:
    return hashlib.sha256(canonical_json([row.name, context.seeds, job.settings, versions()]).encode()).hexdigest()


def _pictures_exist(row: RowRecord, context: Context) -> bool:
    return all((context.out / name).is_file() for name in row.pictures)


def _write(out: Path, seeds: Sequence[int], rows: list[RowRecord]) -> Table:
    """Write the table as it stands, each file whole or not at all."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    table = Table(created=created, seeds=list(seeds), versions=versions(), rows=rows)
    write_text(out / "paper.json", json.dumps(to_record(table), indent=1, ensure_ascii=False) + "\n")
    write_text(out / "paper.csv", as_csv(table))
    write_document(document_of(table, out), out, "paper")
    return table
