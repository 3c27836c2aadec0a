"""pipeline.clean: what the experiments leave in OUT goes, what a user put beside it stays."""

from __future__ import annotations

from pathlib import Path

from pipeline.clean import clean

OURS = (
    "paper/paper.json",
    "paper/paper-42-to-61.md",
    "paper/spirals.png",
    "paper/cat-dog.h5",
    "compare/compare.json",
    "compare/blocks/61e230716a7c/quantum-42-45.json",
    "compare/blocks/61e230716a7c/my_circuit.py-mine-42-51.json",
    "sweep/journal.log",
    "sweep/.lock",
    ".features.h5.parts/00000-of-00009-aea694dc7f44.h5",
)
MINE = (
    "paper/my_plot.png",
    "paper/mine.h5",
    "compare/blocks/notes.json",
    "compare/blocks/61e230716a7c/notes.json",
    "sweep/run.log",
    ".features.h5.parts/mine.h5",
)


def test_a_users_files_stay_and_ours_go(tmp_path: Path) -> None:
    for name in (*OURS, *MINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clean(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(MINE)


def test_folders_that_hold_nothing_but_ours_go_too(tmp_path: Path) -> None:
    for name in OURS:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    assert clean(tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
