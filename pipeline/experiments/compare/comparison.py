"""Does the quantum part help? All heads on the same images, with paired seeds and folds.

In: a ``CompareConfig``. Out: in ``config.out``, ``compare.html``, ``compare.md``, pictures, ``compare.json`` and
``compare.csv``; and below it ``blocks/``, a file for each piece of work that is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from features.cache.featureset import FeatureSet
from features.exchange.pitfalls import row_keys
from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import versions
from pipeline.experiments.compare.blocks import (
    Block,
    blocks_folder,
    plan,
    read_block,
    settings,
    standing_key,
    write_block,
)
from pipeline.experiments.compare.conclusion import conclude
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.engine import run_blocks
from pipeline.experiments.compare.figure import draw
from pipeline.experiments.compare.folds import Pool, pooled, refuse_few
from pipeline.experiments.compare.record import BlockResult, Comparison, HeadCost, SetFigures, SplitSizes
from pipeline.experiments.compare.results import figures, parts, trainings
from pipeline.experiments.compare.sets import open_sets
from pipeline.experiments.compare.table import document_of, to_csv
from pipeline.heads.base import Head
from pipeline.heads.registry import new_head
from pipeline.pages.document import as_markdown, write_document
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.folder import make_folder
from pipeline.training.record import FeaturesReference
from pipeline.util.drawing import style
from pipeline.util.markdown import counted
from pipeline.util.records import to_record


def compare(config: CompareConfig) -> Comparison:
    """Train what is not yet there, then write tables, figures and conclusion.

    Raises:
        InputError: for features, flags or a folder that can't be used, or where training diverges.
        KeyboardInterrupt: at Ctrl-C; at most the blocks under way are lost.
    """
    started = time.perf_counter()
    sets = open_sets(config)
    pools = {name: pooled(features) for name, features in sets.items()}
    heads = {name: _heads(config, pool) for name, pool in pools.items()}
    blocks = train_blocks(config, sets, pools, plan(config))
    found = {name: trainings(own) for name, own in blocks.items()}
    judged = figures(found, config.names, config.reference, config.metric, config.sizes)
    comparison = Comparison(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        sets={
            name: SetFigures(
                images=len(pool.labels),
                n_classes=len(pool.classes),
                most_frequent=float(np.bincount(pool.labels).max() / len(pool.labels)),
                repeated=len(pool.labels) - len(np.unique(row_keys(pool.features))),
                published=SplitSizes(train=pool.n_published, val=len(pool.labels) - pool.n_published),
                features=FeaturesReference.of(sets[name]).record(),
                heads={
                    head: _cost(made, [block for block in blocks[name] if block.head == head])
                    for head, made in heads[name].items()
                },
                figures=judged[name],
                parts=parts(found[name], config.names) if config.ablations else {},
            )
            for name, pool in pools.items()
        },
        cpu_seconds=round(sum(block.cpu_seconds for own in blocks.values() for block in own), 3),
        versions=versions(),
        seconds=round(time.perf_counter() - started, 3),
    )
    comparison = replace(comparison, conclusion=conclude(comparison))
    (config.out / "curves.png").unlink(missing_ok=True)
    write_text(config.out / "compare.csv", to_csv(found))
    write_text(config.out / "compare.json", json.dumps(to_record(comparison), indent=2, ensure_ascii=False) + "\n")
    with style():
        document = document_of(comparison, draw(comparison, found))
        page = write_document(document, config.out, "compare")
    print(f"\n{as_markdown(document, with_figures=False)}\n")
    print(f"{page}: conclusion, figures and tables; the same in compare.md, all numbers in .json and .csv")
    return comparison


def _heads(config: CompareConfig, pool: Pool) -> dict[str, Head]:
    """One head of each kind, which also tells whether they can be made at all."""
    width, n_classes = pool.features.shape[1], len(pool.classes)
    try:
        return {name: new_head(settings(config, name, config.seed), width, n_classes) for name in config.names}
    except ValueError as error:
        raise InputError(f"these heads can't be trained side by side: {error}") from error


def train_blocks(
    config: CompareConfig, sets: Mapping[str, FeatureSet], pools: Mapping[str, Pool], blocks: Sequence[Block]
) -> dict[str, list[BlockResult]]:
    """The results of these blocks of each data set, those kept from before and those still to be done.

    Raises:
        InputError: for data sets too small for the flags, or where training diverges.
        KeyboardInterrupt: at Ctrl-C; at most the blocks under way are lost.
    """
    from tqdm import tqdm

    for pool in pools.values():
        refuse_few(pool, config.folds, config.sizes)
    wanted = {name: standing_key(config, features) for name, features in sets.items()}
    kept: dict[tuple[str, Block], BlockResult] = {}
    for name in pools:
        folder = blocks_folder(config, wanted[name])
        make_folder(folder)
        for block in blocks:
            result = read_block(folder, block, wanted[name], config.metric, config.ablations)
            if result is not None:
                kept[name, block] = result
    of_all = len(blocks) * len(pools)
    total = sum(block.n_trainings(config.folds) for block in blocks) * len(pools)
    done = f"; {len(kept)} of {of_all} blocks are done already" if kept else ""
    print(_beginning(config, pools, blocks, total) + done)
    try:
        with tqdm(total=total, unit="training", desc="compare", disable=None) as bar:
            bar.update(sum(block.n_trainings(config.folds) for _, block in kept))
            for name, pool in pools.items():
                todo = [block for block in blocks if (name, block) not in kept]
                for block, result in run_blocks(config, todo, pool):
                    write_block(blocks_folder(config, wanted[name]), block, result, wanted[name])
                    kept[name, block] = result
                    bar.update(block.n_trainings(config.folds))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {len(kept)} of {of_all} blocks are kept, the same command goes on from there"
        ) from None
    except NonFiniteError as error:
        raise InputError(f"training stopped: {error}. Try a smaller --lr than {config.lr}") from error
    return {name: [kept[name, block] for block in blocks] for name in pools}


def _beginning(config: CompareConfig, pools: Mapping[str, Pool], blocks: Sequence[Block], total: int) -> str:
    seeds = counted(config.seeds, "seed")
    whole = any(block.size is None for block in blocks)
    published = " and on the train/val split" if whole else ""
    few = f", learning from {', '.join(map(str, config.sizes))}{' and all' if whole else ''} a class"
    rows = " and ".join(
        f"{len(pool.labels)} cached vectors of {place}"
        for pool, place in zip(pools.values(), (config.features, *config.sets), strict=True)
    )
    return (
        f"comparing {len(config.names)} heads, each from {seeds} on {config.folds} folds{published}"
        f"{few if config.sizes else ''}: {total:,} trainings on {rows}"
    )


def _cost(head: Head, blocks: Sequence[BlockResult]) -> HeadCost:
    seconds = sum(block.cpu_seconds for block in blocks) / sum(len(block.trainings) for block in blocks)
    idle = head.n_idle
    return HeadCost(
        parameters=head.n_trainable - (idle or 0),
        idle=idle,
        made_of=head.description,
        cpu_seconds_a_training=seconds,
    )
