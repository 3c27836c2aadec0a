"""The Makefile: a stage runs when what it depends on has changed, and only then."""

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.clean import clean, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_make(warm_python):
    def run(*arguments, check=True):
        finished = subprocess.run(
            ["make", f"PYTHON={warm_python}", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished

    return run


def stages_run(finished):
    """Which stages did work, told by the line each one prints."""
    marks = {"features": "made in", "train": "trained head of", "eval": "report, with its pictures"}
    return {stage for stage, mark in marks.items() if mark in finished.stdout}


def test_each_stage_runs_when_something_it_depends_on_changed_and_only_then(
    run_make, picture_folder, random_weights, tmp_path
):
    weights = shutil.copy(random_weights, tmp_path / "a.pth")
    out = tmp_path / "two words"
    usual = [f"DATA={picture_folder}", f"WEIGHTS={weights}", f"OUT={out}", "TRAIN_ARGS=--epochs 1"]
    note = 'FEATURES_ARGS=--workers 1 --note "two words"'

    assert stages_run(run_make("-j2", "train", "eval", *usual, note)) == {"features", "train", "eval"}
    again = run_make("eval", f"OUT={out}")
    assert stages_run(again) == set()
    assert again.stdout.splitlines()[-1] == f"{out}/run/report.html is up to date"

    # A touched picture is looked at again, but its fingerprint is the same: nothing else follows.
    os.utime(next(picture_folder.rglob("*.png")))
    touched = run_make("eval", *usual)
    assert "up to date, same images, weights and transform" in touched.stdout
    assert stages_run(touched) == set()

    next((picture_folder / "val").rglob("*.png")).unlink()
    changed = run_make("eval", f"OUT={out}")
    assert "other images, labels or splits than those of" in changed.stdout
    assert f"is kept in {out}/run-2" in changed.stdout
    assert stages_run(changed) == {"features", "train", "eval"}


def test_offline_uses_the_packaged_features(run_make, tmp_path):
    finished = run_make("features", "OFFLINE=1", f"OUT={tmp_path}")
    assert "Using the packaged features." in finished.stdout
    assert finished.stdout.splitlines()[-1].endswith("packaged features")


def test_the_device_is_that_of_the_evaluation_and_nothing_is_trained_again(run_make, tmp_path):
    usual = ["OFFLINE=1", f"OUT={tmp_path}"]
    run_make("train", *usual, "ARGS=--epochs 1")
    flags = "--q-device default.mixed --noise none depolarizing=0.02,readout=0.01 --shots 32 --q-device-options seed=3"
    finished = run_make("eval", *usual, f"ARGS={flags}")
    assert stages_run(finished) == {"eval"}
    assert "The last epoch's head on default.mixed seed=3:" in finished.stdout
    assert "depolarizing=0.02,readout=0.01      32" in finished.stdout
    assert (tmp_path / "run/devices.png").is_file()


def test_compare_makes_its_features_and_takes_its_variables(run_make, tmp_path):
    finished = run_make(
        "compare", "OFFLINE=1", f"OUT={tmp_path}", "SEEDS=1", "FOLDS=2", "ARGS=--epochs 1 --heads quantum classical"
    )
    assert "comparing 2 heads, each from 1 seed on 2 folds" in finished.stdout
    assert finished.stdout.splitlines()[-1].startswith(f"{tmp_path}/compare/compare.html: ")
    assert not (tmp_path / "run").exists()


def test_a_mistake_ends_with_the_stages_own_message(run_make, tmp_path):
    finished = run_make("train", "OFFLINE=1", f"OUT={tmp_path}", "ARGS=--epocs 3", check=False)
    assert finished.returncode == 2
    assert "--epochs" in finished.stderr
    assert not (tmp_path / "run").exists()


def test_demo_makes_its_run_and_serves_it(warm_python, picture_folder, random_weights, tmp_path):
    command = ["make", f"PYTHON={warm_python}", "demo", f"DATA={picture_folder}", f"WEIGHTS={random_weights}"]
    with subprocess.Popen(
        [*command, f"OUT={tmp_path}", "TRAIN_ARGS=--epochs 1", "ARGS=--epoch best"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        ready = next(line for line in process.stdout if "Ctrl-C ends it" in line)
        assert ready.startswith(f"{tmp_path}/run: the head of epoch 1 on http://127.0.0.1:")
        # As a terminal sends Ctrl-C: to make and to all that it started.
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert output == "\nended; no upload is kept\n"
    assert "Traceback" not in errors


def test_paper_and_sweep_make_what_they_need_first(run_make, tmp_path):
    usual = ["OFFLINE=1", f"OUT={tmp_path}"]
    finished = run_make("paper", *usual, "SEEDS=2", "ARGS=--rows cc")
    assert finished.stdout.splitlines()[-1].startswith(f"{tmp_path}/paper/paper.html: the table")
    finished = run_make("sweep", *usual, "TRIALS=1", "ARGS=--epochs 1 --folds 2 --repeats 1")
    assert (
        f" --features {tmp_path}/features.h5 --out {tmp_path}/sweep/run --qubits 4 " in finished.stdout.splitlines()[-1]
    )
    assert (tmp_path / "sweep/sweep.json").is_file()


def test_diagnose_needs_no_features(run_make, tmp_path):
    few = "--samples 2 --pairs 100 --grid-qubits 2 --grid-depths 1"
    finished = run_make("diagnose", f"OUT={tmp_path}", f"ARGS={few} --circuits mari --qubits 2")
    assert finished.stdout.splitlines()[-1].startswith(f"{tmp_path}/diagnose/diagnose.html: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["diagnose"]


def test_clean_removes_what_the_stages_made_and_nothing_else(run_make, tmp_path):
    out = tmp_path / "two words"
    run_make("train", "OFFLINE=1", f"OUT={out}", "ARGS=--epochs 1")
    mine = ["mine.txt", "features-mine-00000-of-00002.h5", "run/mine.png", "sweep/sweep.json.txt"]
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("keep")
    finished = run_make("clean", f"OUT={out}")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(mine)
    assert finished.stdout.splitlines()[1:] == [f"  {name}" for name in ("features-mine-00000-of-00002.h5", "mine.txt",
                                                                           "run/", "sweep/")]  # fmt: skip


# What the experiments leave in OUT, and what a user put beside it.
OURS = (
    "paper/paper.json",
    "paper/paper-42-to-61.md",
    "paper/spirals.png",
    "paper/.spirals.drawing",
    "paper/paper.html",
    "sweep/sweep.html",
    "sweep/trials.png",
    "paper/cat-dog.h5",
    "compare/compare.json",
    "compare/blocks/61e230716a7c/quantum-42-45.json",
    "compare/blocks/61e230716a7c/my_circuit.py-mine-42-51.json",
    "compare/compare.html",
    "compare/curves.png",
    "compare/sets/digits.h5",
    "compare/blocks/61e230716a7c/quantum-of-5-42-51.json",
    "claims/claims.json",
    "claims/sets/digits.h5",
    "claims/blocks/61e230716a7c/quantum-of-5-42-51.json",
    "sweep/journal.log",
    "sweep/.lock",
    "diagnose/diagnose.json",
    "diagnose/.diagnose.png.part",
    ".features.h5.parts/00000-of-00009-aea694dc7f44.h5",
)
MINE = (
    "paper/my_plot.png",
    "paper/mine.h5",
    "compare/blocks/notes.json",
    "claims/my_claims.toml",
    "compare/sets/notes.csv",
    "compare/blocks/61e230716a7c/notes.json",
    "sweep/run.log",
    "diagnose/mine.png",
    ".features.h5.parts/mine.h5",
)


def test_a_mistake_behind_clean_is_told_before_anything_goes(run_make, tmp_path):
    run_make("train", "OFFLINE=1", f"OUT={tmp_path}", "ARGS=--epochs 1")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    finished = run_make("clean", "eval", "OFFLINE=1", f"OUT={tmp_path}", "ARGS=--shot 3", check=False)
    assert finished.returncode == 2
    assert "eval: there is no flag --shot (did you mean --shots?)" in finished.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    finished = run_make("clean", "train", "OFFLINE=1", f"OUT={tmp_path}", "ARGS=--epochs 2")
    assert "trained head of 2 epochs" in finished.stdout


def test_clean_leaves_what_a_user_put_beside_ours(tmp_path):
    for name in (*OURS, *MINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clean(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(MINE)


def test_clean_removes_folders_that_hold_nothing_else(tmp_path):
    for name in OURS:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    assert clean(tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def test_clean_says_what_it_may_not_delete(tmp_path, monkeypatch, capsys):
    (tmp_path / ".features.done").touch()
    refused = OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".features.done"))
    monkeypatch.setattr(Path, "unlink", Mock(side_effect=refused))
    monkeypatch.setattr("sys.argv", ["clean", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} can't be cleaned: Read-only file system: {tmp_path}/.features.done\n"
    )


def test_a_dry_run_makes_nothing(run_make, tmp_path):
    finished = run_make("-n", "eval", f"OUT={tmp_path / 'out'}")
    assert finished.stdout.endswith("-m pipeline.stages eval\n")
    assert not (tmp_path / "out").exists()


def test_help_lists_every_target(run_make):
    text = run_make().stdout
    for target in [
        "help",
        "install",
        "features",
        "train",
        "eval",
        "predict",
        "demo",
        "export",
        "compare",
        "claims",
        "paper",
        "sweep",
        "diagnose",
        "test",
        "test-slow",
        "bench",
        "bench-peers",
        "lint",
    ]:
        assert f"make {target} " in text


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_top_level_holds_what_it_should():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in tracked.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    files = {"Makefile", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff"}
    assert visible == {"features", "pipeline", "tests", *files}
