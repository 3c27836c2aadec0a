"""An extraction that is killed at any step that it takes on the disk is gone on with, and ends in the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import child

# Forks a process for each step that a run takes on the disk, and kills it there. Only the network is replaced, by the
# mean colours of its pixels: torch's threads do not survive a fork, and the disk does not care.
KILL_AT_EVERY_STEP = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from features import extract
from features.backbone import network as backbone, runtime
from features.backbone.record import RuntimeRecord
from features.cache import partfile, pieces
from features.engines import local
from features.config import ExtractConfig
from features.cache.store import verify_features

data, weights, folder, shards = sys.argv[1:5]
loaded = backbone.load_backbone("resnet18", weights)
backbone.load_backbone = lambda *_: loaded
features = lambda pixels: np.repeat(pixels.mean(axis=(2, 3), dtype=np.float32), 4, axis=1)
local.open_runtime = lambda *_, **__: runtime.Runtime(records=(RuntimeRecord(name="mean"),), run=features)
config = ExtractConfig(
    data=data, weights=weights, out=Path(folder) / "f.h5", shard_rows=8, batch=8, shards=shards == "shards"
)
steps = 0

def run(out, kill_at):
    def step():
        global steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner, name):
        original = getattr(owner, name)
        def stepping(*arguments, **named):
            step()
            return original(*arguments, **named)
        setattr(owner, name, stepping)

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (Path, "mkdir")):
        around(owner, name)
    around(partfile.PartFile, "write")
    sys.stdout = open(os.devnull, "w")
    sys.stderr = sys.stdout
    extract.make_features(replace(config, out=out))
    os._exit(0)

def ended(out, kill_at):
    pid = os.fork()
    if pid == 0:
        try:
            run(out, kill_at)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]

def made(out):
    return verify_features(pieces.shard_pattern(out) if config.shards else out)

assert ended(Path(folder) / "undisturbed/f.h5", 0) == 0
wanted = made(Path(folder) / "undisturbed/f.h5").content_sha256
left = set(os.listdir(Path(folder) / "undisturbed"))
kills = 0
while True:
    out = Path(folder) / f"killed{kills}/f.h5"
    status = ended(out, kills + 1)
    if status == 0:
        break
    assert os.WIFSIGNALED(status), f"step {kills}: {status}"
    if out.exists():
        assert verify_features(out).content_sha256 == wanted
    assert ended(out, 0) == 0, f"after a kill at step {kills}"
    assert made(out).content_sha256 == wanted, f"other rows after a kill at step {kills}"
    assert set(os.listdir(out.parent)) == left, f"left after a kill at step {kills}: {os.listdir(out.parent)}"
    kills += 1
print(json.dumps(kills))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "shards"])
def test_killed_at_every_step_on_the_disk(picture_folder: Path, random_weights: Path, tmp_path: Path, how: str) -> None:
    ended = child(KILL_AT_EVERY_STEP, str(picture_folder), str(random_weights), str(tmp_path), how)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert json.loads(ended.stdout) > 60
