"""Does the quantum part help? All heads on the same images, with paired seeds and folds.

In: a ``CompareConfig``. Out: in ``config.out``, ``compare.md``, ``compare.png``, ``compare.json`` and ``compare.csv``;
and below it ``blocks/``, a file for each piece of work that is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from features.cache.store import read_features
from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import versions
from pipeline.experiments.compare.blocks import blocks_folder, plan, read_block, settings, standing_key, write_block
from pipeline.experiments.compare.conclusion import conclude
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.engine import run_blocks
from pipeline.experiments.compare.figure import draw
from pipeline.experiments.compare.folds import Pool, pooled, refuse_few
from pipeline.experiments.compare.record import BlockResult, Comparison, HeadCost, SplitSizes
from pipeline.experiments.compare.results import figures, trainings
from pipeline.experiments.compare.table import render, to_csv
from pipeline.heads.base import Head
from pipeline.heads.registry import new_head
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.folder import make_folder
from pipeline.training.record import FeaturesReference
from pipeline.util.records import to_record


def compare(config: CompareConfig) -> Comparison:
    """Train what is not yet there, then write tables, figure and conclusion.

    Raises:
        InputError: for features, flags or a folder that can't be used, or where training diverges.
        KeyboardInterrupt: at Ctrl-C; at most the blocks under way are lost.
    """
    features = read_features(config.features)
    pool = pooled(features)
    refuse_few(pool, config.folds)
    heads = _heads(config, pool)
    blocks, seconds = _blocks(config, pool, standing_key(config, features))
    found = trainings(blocks)
    comparison = Comparison(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        images=len(pool.labels),
        published=SplitSizes(train=pool.n_published, val=len(pool.labels) - pool.n_published),
        heads={name: _cost(head, [block for block in blocks if block.head == name]) for name, head in heads.items()},
        figures=figures(found, config.names, config.reference),
        cpu_seconds=round(sum(block.cpu_seconds for block in blocks), 3),
        features=FeaturesReference.of(features).record(),
        versions=versions(),
        seconds=round(seconds, 3),
    )
    comparison = replace(comparison, conclusion=conclude(comparison))
    text = render(comparison)
    write_text(config.out / "compare.csv", to_csv(found))
    write_text(config.out / "compare.json", json.dumps(to_record(comparison), indent=2, ensure_ascii=False) + "\n")
    write_text(config.out / "compare.md", text + "\n")
    draw(comparison, found, config.out / "compare.png")
    print(f"\n{text}\n")
    print(f"{config.out / 'compare.md'}: tables and conclusion; figure in compare.png, all numbers in .json and .csv")
    return comparison


def _heads(config: CompareConfig, pool: Pool) -> dict[str, Head]:
    """One head of each kind, which also tells whether they can be made at all."""
    width, n_classes = pool.features.shape[1], len(pool.classes)
    try:
        return {name: new_head(settings(config, name, config.seed), width, n_classes) for name in config.names}
    except ValueError as error:
        raise InputError(f"these heads can't be trained side by side: {error}") from error


def _blocks(config: CompareConfig, pool: Pool, wanted: str) -> tuple[list[BlockResult], float]:
    """The results of all blocks, those kept from before and those still to be done, and the time it took."""
    from tqdm import tqdm

    folder = blocks_folder(config, wanted)
    make_folder(folder)
    blocks = plan(config)
    kept = {block: result for block in blocks if (result := read_block(folder, block, wanted)) is not None}
    todo = [block for block in blocks if block not in kept]
    of_all, there = (len(some) for some in (blocks, kept))
    each = config.folds + 1
    total = each * config.seeds * len(config.names)
    print(
        f"comparing {len(config.names)} heads, each from {config.seeds} seed{'s'[: config.seeds > 1]} on "
        f"{config.folds} folds and on the published split: {total:,} trainings on {len(pool.labels)} "
        f"cached vectors of {config.features}" + (f"; {there} of {of_all} blocks are done already" if there else "")
    )
    started = time.perf_counter()
    try:
        with tqdm(total=total, unit="training", desc="compare", disable=None) as bar:
            bar.update(each * sum(len(block.seeds) for block in kept))
            for block, result in run_blocks(config, todo, pool):
                write_block(folder, block, result, wanted)
                kept[block] = result
                bar.update(each * len(block.seeds))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {len(kept)} of {of_all} blocks are kept, the same command goes on from there"
        ) from None
    except NonFiniteError as error:
        raise InputError(f"training stopped: {error}. Try a smaller --lr than {config.lr}") from error
    return [kept[block] for block in blocks], time.perf_counter() - started


def _cost(head: Head, blocks: Sequence[BlockResult]) -> HeadCost:
    seconds = sum(block.cpu_seconds for block in blocks) / sum(len(block.trainings) for block in blocks)
    return HeadCost(parameters=head.n_trainable, made_of=head.description, cpu_seconds_a_training=seconds)
