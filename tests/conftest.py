"""Fixtures that several test modules share: small generated stand-ins, and the real data where it is at hand."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler
from web import Web, without_proxies

from features.cache.records import Provenance
from features.cache.writer import FeatureWriter

if TYPE_CHECKING:
    from pipeline.inference.evaluation import Report

__all__ = ["pytest_collection_modifyitems", "pytest_xdist_make_scheduler"]  # pytest finds hooks here

# Workers share the cores. Set before torch is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore Ctrl-C, and what they start does too: no test of it would pass.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
# Variables of the `make test` that runs these tests must not reach a make that a test runs.
(_exported,) = re.findall(r"^export (.+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
for _name in [name for name in os.environ if name.startswith("MAKE") or name in _exported.split()]:
    del os.environ[_name]
SHARED = ROOT.parent / "shared"
COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40)}
PICTURES = {"train": {"blue": 4, "red": 4}, "val": {"blue": 2, "red": 3}}


@pytest.fixture(autouse=True)
def torch_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own download cache."""
    home = tmp_path_factory.mktemp("torch_home")
    monkeypatch.setenv("TORCH_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def picture_folder_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 13 noisy pictures, 80 × 60, whose class is their colour; shared by all tests, none may change it."""
    root = tmp_path_factory.mktemp("once") / "pictures"
    rng = np.random.default_rng(0)
    for split, classes in PICTURES.items():
        for name, count in classes.items():
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(np.array(COLOURS[name]) + rng.normal(0, 30, (60, 80, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture
def picture_folder(picture_folder_once: Path, tmp_path: Path) -> Path:
    """A copy of those pictures that the test may change."""
    return Path(shutil.copytree(picture_folder_once, tmp_path / "pictures"))


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `state_dict` of a randomly initialised ResNet18, `fc` included."""
    return _random_weights("resnet18", tmp_path_factory.mktemp("weights"))


def _random_weights(name: str, folder: Path) -> Path:
    import torch
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(get_model(name, weights=None).state_dict(), folder / f"random_{name}.pth")
    return folder / f"random_{name}.pth"


@pytest.fixture(scope="session")
def picture_features(picture_folder_once: Path, random_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that stage 1 makes of those pictures; shared by all tests, none may change it."""
    from features.config import ExtractConfig
    from features.extract import make_features

    file = tmp_path_factory.mktemp("once") / "features.h5"
    make_features(ExtractConfig(data=str(picture_folder_once), weights=str(random_weights), out=file))
    return file


@pytest.fixture(scope="session")
def small_features(picture_folder_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of those pictures by a network of 1.4 MB, which lie beside it."""
    from features.config import ExtractConfig
    from features.extract import make_features

    folder, name = tmp_path_factory.mktemp("small"), "shufflenet_v2_x0_5"
    small = ExtractConfig(backbone=name, weights=str(_random_weights(name, folder)), out=folder / "features.h5")
    return make_features(replace(small, data=str(picture_folder_once))).path


@pytest.fixture(scope="session")
def made_once(picture_folder_once: Path, random_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extraction of the pictures that several tests start from; its images are those of ``picture_folder``."""
    from features.config import ExtractConfig
    from features.extract import make_features

    out = tmp_path_factory.mktemp("made") / "f.h5"
    make_features(ExtractConfig(data=str(picture_folder_once), weights=str(random_weights), out=out))
    return out


@pytest.fixture
def made(made_once: Path, config: Any) -> bytes:
    """The same cache at ``config.out``, as if made from the module's own ``config``; returns its bytes."""
    from features.cache.store import read_features
    from features.cache.writer import write_features

    config.out.parent.mkdir()
    earlier = read_features(made_once)
    provenance = replace(earlier.provenance, data_location=config.data)
    write_features(config.out, provenance, earlier.splits)
    return config.out.read_bytes()


@pytest.fixture
def quick_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of ones, for tests of whether there is a pass, not of its rows."""
    from features.backbone.record import RuntimeRecord
    from features.backbone.runtime import Runtime
    from features.engines import local

    ones = Runtime(records=(RuntimeRecord(name="ones"),), run=lambda pixels: np.ones((len(pixels), 512), np.float32))
    monkeypatch.setattr(local, "open_runtime", lambda *_, **__: ones)


@pytest.fixture
def feature_file(tmp_path: Path) -> Path:
    """A cache of 24 + 12 rows, 512 wide, of two linearly separable classes; its images and weights do not exist."""
    return write_feature_file(tmp_path / "synthetic.h5")


@pytest.fixture(scope="session")
def make_feature_file() -> Callable[..., Path]:
    """The maker of such files: ``make_feature_file(path, seed=0, separation=0.5)``."""
    return write_feature_file


@pytest.fixture(scope="session")
def cached_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report from cached features alone: neither images nor weights are at hand."""
    from pipeline.inference.config import EvalConfig
    from pipeline.inference.evaluation import evaluate
    from pipeline.training.config import TrainConfig
    from pipeline.training.loop import train

    folder = tmp_path_factory.mktemp("cached")
    features = write_feature_file(folder / "features.h5", separation=0.05)
    train(TrainConfig(features=features, out=folder / "run", epochs=2))
    return evaluate(EvalConfig(run=folder / "run"))


@pytest.fixture
def report(cached_report: Report, tmp_path: Path) -> Report:
    """The same, to be written into a folder of its own."""
    return replace(cached_report, run=replace(cached_report.run, path=tmp_path))


def write_feature_file(file: Path, seed: int = 0, separation: float = 0.5) -> Path:
    """Write what `feature_file` is, with other values for each seed; less separation makes the classes overlap."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(0, 1, 512)
    labels = {split: tuple(row % 2 for row in range(rows)) for split, rows in {"train": 24, "val": 12}.items()}
    names = ("blue", "red")
    paths = {
        split: tuple(f"{split}/{names[label]}/{row:02}.png" for row, label in enumerate(of_split))
        for split, of_split in labels.items()
    }
    with FeatureWriter(file, paths, labels, 512) as writer:
        for split, of_split in labels.items():
            sign = 2 * np.array(of_split)[:, None] - 1
            writer.write(
                split, 0, (separation * sign * centre + rng.normal(0, 0.5, (len(of_split), 512))).astype(np.float32)
            )
        writer.finish(synthetic_provenance())
    return file


def synthetic_provenance() -> Provenance:
    """The provenance that `feature_file` carries."""
    return Provenance(
        classes=("blue", "red"),
        backbone="resnet18",
        weights="synthetic.pth",
        weights_sha256=hashlib.sha256(b"synthetic weights").hexdigest(),
        transform="{}",
        data="synthetic",
        images_sha256=hashlib.sha256(b"synthetic images").hexdigest(),
        data_location="no_such_folder",
        weights_location="no_such_file.pth",
        versions={"python": "3"},
        created="2026-01-01T00:00:00+00:00",
        note="made by a test",
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images."""
    return _shared("data/hymenoptera_data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Real ImageNet weights."""
    return _shared("weights/resnet18_ktb_small.pth")


def _shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"needs the real files ../shared/{name}, which are not here")
    return SHARED / name


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    without_proxies(monkeypatch)
    web = Web()
    yield web
    web.close()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that the network has run on, a number for each pass."""
    from features.engines.local import LocalEngine

    counts: list[int] = []
    extract = LocalEngine.extract

    def counted(self, folders, jobs, watch, advance) -> None:
        extract(self, folders, jobs, watch, lambda count: counts.append(count))

    monkeypatch.setattr(LocalEngine, "extract", counted)
    return counts


@pytest.fixture
def cifar(web: Web, monkeypatch: pytest.MonkeyPatch) -> Any:
    """CIFAR-10 in small, for download."""
    from archives import Cifar

    return Cifar(web, monkeypatch)


@pytest.fixture(scope="session")
def warm_python() -> Iterator[Path]:
    """An executable that does what ``sys.executable`` does, without the seconds of importing torch and PennyLane."""
    from fork_server import interpreter

    with interpreter() as executable:
        yield executable


@pytest.fixture(scope="session")
def demo_run(picture_features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on those pictures."""
    from pipeline.training.config import TrainConfig
    from pipeline.training.loop import train

    return train(TrainConfig(features=picture_features, out=tmp_path_factory.mktemp("demo") / "run", epochs=2)).path


@pytest.fixture(scope="session")
def demo_server(demo_run: Path, warm_python: Path) -> Iterator[Any]:
    """The demo on that run. However it is attacked, in the end it has complained of nothing and kept nothing."""
    from server import serving

    with serving(demo_run, python=warm_python) as server:
        yield server
        assert server.stop() == (0, "\nended; no upload is kept\n", "")
        assert names_in(server.temporary) == []
        assert names_in(server.folder) == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium, where one is installed."""
    from browser import open_browser

    with open_browser() as browser:
        yield browser


def names_in(folder: Path) -> list[str]:
    """Every name in a folder, hidden ones too: shows that no half-written file was left."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def wait_for(condition: object, seconds: float = 30.0) -> None:
    """Until ``condition()`` is true; fails after ``seconds``."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def child(code: str, *arguments: str, python: str | Path = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: HDF5 crashes the process if it is told of a failed write."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/cache")])
    return subprocess.run(
        [python, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
