"""pipeline.training.streaming: rows from the disk train the same head as often as they are read again."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import synthetic_provenance
from kills import ctrl_c_at_step

from features.cache.records import Shard
from features.cache.store import DamagedCache, read_features, verify_features
from features.cache.writer import FeatureWriter
from features.util.errors import InputError
from pipeline.inference.config import EvalConfig
from pipeline.report.commands import commands
from pipeline.training import samples
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.names import CHECKPOINT, RECORD
from pipeline.training.run import load_run
from pipeline.training.streaming.ahead import ahead
from pipeline.training.streaming.order import Order
from pipeline.training.streaming.stream import StreamedSamples

SMALL = {"epochs": 3, "batch": 8, "lr": 0.01, "memory_limit": 1e-6}
WIDTH = 6


def write_shards(folder: Path, rows: tuple[int, ...] = (40, 7, 100), dtype: str = "float32") -> Path:
    """A data set whose row k has k as its first feature, in shards; and 11 validation rows."""
    done = 0
    rng = np.random.default_rng(0)
    for index, n in enumerate((*rows, 11)):
        split = "train" if index < len(rows) else "val"
        labels = tuple(int(row % 2) for row in range(done, done + n))
        paths = {split: tuple(f"{split}/{row}.png" for row in range(done, done + n))}
        values = rng.normal(size=(n, WIDTH)).astype(np.float32)
        values[:, 0] = np.arange(done, done + n)
        file = folder / f"rows-{index:05}-of-{len(rows) + 1:05}.h5"
        with FeatureWriter(file, paths, {split: labels}, WIDTH, dtype=dtype) as writer:
            writer.write(split, 0, values)
            shard = Shard(index=index, of=len(rows) + 1)
            writer.finish(replace(synthetic_provenance(), shard=shard, dtype=dtype))
        done = done + n if split == "train" else done
    return folder / "rows-*.h5"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path)


def numbers(batches) -> list[list[int]]:
    return [features[:, 0].int().tolist() for features, _ in batches]


def in_row(batches) -> list[int]:
    return list(chain(*numbers(batches)))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_epoch_gives_each_row_once_in_whole_batches(tmp_path, dtype):
    found = verify_features(write_shards(tmp_path, dtype=dtype))
    stream = StreamedSamples(found, "train", Order(block_rows=9, window_blocks=3))
    whole = read_features(found.path).train
    seen = []
    for features, labels in stream.batches(1, 0, 8):
        rows = features[:, 0].int().numpy()
        assert features.dtype == torch.float32
        assert np.array_equal(features.numpy(), whole.features[rows])
        assert np.array_equal(labels.numpy(), whole.labels[rows])
        seen.append(rows.tolist())
    assert [len(rows) for rows in seen] == [8] * 18 + [3]
    assert sorted(chain(*seen)) == list(range(147))
    assert [len(rows) for rows in seen] == stream.steps(1, 0, 8)


def test_rows_are_shuffled_in_blocks_and_within_windows_of_them(shards):
    order = Order(block_rows=9, window_blocks=3)
    stream = StreamedSamples(verify_features(shards), "train", order)
    first = in_row(stream.batches(1, 0, 8))
    assert first == in_row(stream.batches(1, 0, 8))
    assert first != in_row(stream.batches(1, 1, 8))
    assert first != in_row(stream.batches(2, 0, 8))
    blocks = order.blocks([40, 7, 100])
    assert [(stop - start) for _, start, stop in blocks.tolist()] == [9, 9, 9, 9, 4, 7] + [9] * 11 + [1]
    starts = {0: 0, 1: 40, 2: 47}
    dealt = [range(starts[file] + start, starts[file] + stop) for file, start, stop in blocks.tolist()]
    # The first window holds all rows of three blocks, and no others.
    window = order.dealt(blocks, 1, 0, 0)[:3]
    rows = sorted(row for file, start, stop in window for row in dealt[blocks.tolist().index([file, start, stop])])
    assert sorted(first[: len(rows)]) == rows
    assert first[: len(rows)] != rows


def test_a_batch_may_be_larger_than_a_window(shards):
    stream = StreamedSamples(verify_features(shards), "train", Order(block_rows=2, window_blocks=2))
    assert [len(rows) for rows in numbers(stream.batches(0, 0, 60))] == [60, 60, 27]


def test_parts_share_every_step(shards):
    found, order = verify_features(shards), Order(block_rows=9, window_blocks=4, parts=2)
    both = StreamedSamples(found, "train", order)
    parts = [StreamedSamples(found, "train", order, [part]) for part in (0, 1)]
    together = [set(rows) for rows in numbers(both.batches(3, 1, 8))]
    apart = [numbers(part.batches(3, 1, 8)) for part in parts]
    assert [len(rows) for rows in together] == both.steps(3, 1, 8) == parts[0].steps(3, 1, 8)
    for step, rows in enumerate(together):
        assert rows == {row for part in apart if step < len(part) for row in part[step]}
    assert sum(map(len, together)) == 147
    assert sorted(in_row(parts[0].blocks()) + in_row(parts[1].blocks())) == list(range(147))
    assert in_row(StreamedSamples(found, "train", Order(block_rows=9)).blocks()) == list(range(147))


def without_time(history):
    return [{name: value for name, value in asdict(row).items() if name != "seconds"} for row in history]


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def config(feature_file, tmp_path, monkeypatch):
    """A training whose rows do not fit: 24 of them in blocks of 5."""
    monkeypatch.setattr(samples.Order, "of", lambda *_: Order(block_rows=5, window_blocks=2))
    return TrainConfig(features=feature_file, out=tmp_path / "run", **SMALL)


def test_rows_that_do_not_fit_are_streamed_which_is_said_and_recorded(config, capsys):
    run = train(replace(config, epochs=8))
    said = capsys.readouterr().out.splitlines()[0]
    assert said == (
        f"0.123 MB of memory would be needed for {config.features} and 0.001 MB may be taken: rows are read from the "
        "disk, shuffled in blocks of 5 and within windows of 2 blocks"
    )
    assert load_run(config.out).order == run.order == Order(block_rows=5, window_blocks=2)
    again = commands(SimpleNamespace(run=load_run(config.out), config=EvalConfig(run=config.out)))
    assert again[1].endswith("--memory-limit 1e-09")
    assert run.history[-1].val_accuracy == 1.0
    assert run.history[-1].train_loss < run.history[0].train_loss


def test_in_memory_nothing_is_recorded_of_an_order(config):
    run = train(replace(config, memory_limit=None, epochs=1))
    assert run.order is None
    assert "order" not in json.loads((config.out / RECORD).read_text())
    assert "memory_limit" not in json.loads((config.out / RECORD).read_text())["config"]


def test_scores_of_a_stream_are_those_of_its_rows(config, monkeypatch):
    """A head that learns nothing scores streamed rows as rows in memory."""
    still = replace(config, lr=1e-30, epochs=1)
    monkeypatch.setattr(StreamedSamples, "scored_at_once", 7)
    streamed, whole = train(still), train(replace(still, memory_limit=None, force=True))
    for there, here in zip(without_time(whole.history), without_time(streamed.history), strict=True):
        assert here == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_stopped_and_resumed_it_ends_in_the_same_weights_bit_for_bit(config, tmp_path, monkeypatch, step):
    undisturbed = train(replace(config, out=tmp_path / "undisturbed"))
    with ctrl_c_at_step(monkeypatch, step), pytest.raises(KeyboardInterrupt):
        train(config)
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
    # On a machine with more memory, of a program with other blocks: the recorded order counts.
    monkeypatch.setattr(samples.Order, "of", lambda *_: Order(block_rows=7))
    begun = step >= 3
    resumed = train(replace(config, resume=True, memory_limit=None if begun else config.memory_limit))
    if begun:
        assert same(resumed.weights["last"], undisturbed.weights["last"])
        assert without_time(resumed.history) == without_time(undisturbed.history)
        assert resumed.order == undisturbed.order


def test_a_training_in_memory_does_not_go_on_as_a_stream(config):
    train(replace(config, epochs=1, memory_limit=None))
    with pytest.raises(InputError, match=r"rows in memory there, read from the disk now \(see --memory-limit\)"):
        train(replace(config, resume=True))
    assert Checkpoint.load(config.out / CHECKPOINT).order is None


@pytest.mark.parametrize(("change", "said"), [({"head": "logistic"}, "--head logistic"), ({"views": 2}, "--views 2")])
def test_what_needs_all_rows_is_refused_with_what_to_do(config, change, said):
    with pytest.raises(InputError, match=f"but {said} needs all rows in memory: raise --memory-limit"):
        train(replace(config, **change))
    assert not config.out.exists()


def test_rows_larger_than_memory_are_refused_where_they_are_all_needed(feature_file, monkeypatch):
    monkeypatch.setattr("features.cache.store.free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"\(train, val\) take 0\.0737 MB in memory, and 0\.001 MB are free"):
        read_features(feature_file)


def test_a_file_that_goes_away_stops_the_training(shards):
    stream = StreamedSamples(verify_features(shards), "train", Order(block_rows=9, window_blocks=1))
    batches = stream.batches(0, 0, 4)
    next(batches)
    for file in shards.parent.glob("rows-*.h5"):
        file.write_bytes(b"")
    with pytest.raises(DamagedCache, match="can't be read any more"):
        list(batches)


def test_reading_ahead_ends_with_the_loop_and_passes_errors_on():
    closed = threading.Event()

    def items():
        try:
            yield from range(1000)
        finally:
            closed.set()

    for item in ahead(items()):
        if item == 3:
            break
    assert closed.wait(5)

    def failing():
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(ahead(failing()))
    assert list(ahead(iter_slowly())) == [0, 1, 2]


def iter_slowly():
    for item in range(3):
        time.sleep(0.01)
        yield item
