"""A file of predictions: a stopped command goes on where it was, and no other command's rows are taken for its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from conftest import names_in, wait_for

from features.cache.partfile import locked, unfinished
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.inference.config import PredictConfig
from pipeline.inference.hybrid import Prediction
from pipeline.inference.prediction.output import Csv, Json, ResultFile, Unread
from pipeline.inference.prediction.predict import predict
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from tests.memory import peak

CLASSES = ["blue", "red"]
FORMS = {"csv": lambda: Csv(None, CLASSES), "top": lambda: Csv(1, CLASSES), "json": lambda: Json(None)}
NAMES = ("plain.png", 'a "quoted", name.png', "two\nlines.png", os.fsdecode(b"\xff.png"), "ende.png")


def predictions():
    for number, name in enumerate(NAMES):
        if number == 1:
            yield Prediction(path=Path(name), problem="not an image, they say")
        else:
            yield Prediction.of(Path(name), CLASSES, [1 / (number + 1), 1 - 1 / (number + 1)])


def made(path, form, stop=None, *, record=None, force=False, images=NAMES):
    """Make a file, or the beginning of one; the rows that were there, and how many of them could not be read."""
    unread = Unread()
    result = ResultFile(path, form, record or {"top": None}, force=force)
    result.take_up(((Path(image), True) for image in images), unread)
    with result.writer() as show:
        for prediction in islice(predictions(), result.kept, stop):
            show(prediction)
        if stop is not None:
            raise KeyboardInterrupt
    return result.kept, unread.count


@pytest.mark.parametrize("name", FORMS)
def test_after_a_stop_at_any_byte_the_file_is_the_same(name, tmp_path):
    form = FORMS[name]
    made(tmp_path / "whole", form())
    whole = (tmp_path / "whole").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "out", form(), stop=5)
    begun = (tmp_path / ".out.begun").read_bytes()
    assert whole.startswith((tmp_path / ".out.part").read_bytes())
    kept, ends = [], [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in sorted({*range(0, len(whole), 7), *ends, *(place + 1 for place in ends)}):
        (tmp_path / ".out.part").write_bytes(whole[:size])
        (tmp_path / ".out.begun").write_bytes(begun)
        rows, unread = made(tmp_path / "out", form())
        assert (tmp_path / "out").read_bytes() == whole
        assert unread == (rows > 1)
        assert names_in(tmp_path) == ["out", "whole"]
        (tmp_path / "out").unlink()
        kept.append(rows)
    assert kept == sorted(kept)
    # The last row of an array has no comma, and is taken for one that was not finished.
    assert set(kept) == set(range(len(NAMES) + (name != "json")))


def test_finished_rows_are_in_the_file_before_the_next_one_comes(tmp_path):
    result = ResultFile(tmp_path / "out", Csv(None, CLASSES), {}, force=False)
    with result.writer() as show:
        for number, prediction in enumerate(predictions()):
            show(prediction)
            rows, _, _ = (tmp_path / ".out.part").read_bytes().rpartition(b"\n")
            assert rows.count(b".png") == number + 1


def test_rows_of_other_pictures_or_another_record_are_refused(tmp_path):
    out = tmp_path / "out"
    for stop in (2, 3):  # the second one goes on
        with pytest.raises(KeyboardInterrupt):
            made(out, Csv(None, CLASSES), stop=stop)
    before = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)}
    with pytest.raises(InputError, match=r"(?s)begun by another command.*top: null there, 3 now.*--force to begin"):
        made(out, Csv(None, CLASSES), record={"top": 3})
    with pytest.raises(InputError, match=r"row 2 is of a \"quoted\", name\.png, where new\.png is now"):
        made(out, Csv(None, CLASSES), images=("plain.png", "new.png"))
    with pytest.raises(InputError, match="where no picture is now"):
        made(out, Csv(None, CLASSES), images=NAMES[:1])
    assert {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)} == before
    assert made(out, Csv(None, CLASSES), force=True) == (0, 0)


def test_the_same_command_with_force_goes_on_too_unless_its_pictures_changed(tmp_path):
    for images, found in ((NAMES, (3, 1)), ((*NAMES[:2], "new.png"), (0, 0))):
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "out", Csv(None, CLASSES), stop=3, force=True)
        assert made(tmp_path / "out", Csv(None, CLASSES), force=True, images=images) == found


def test_memory_does_not_grow_with_the_rows(tmp_path):
    rows = 20_000

    def images():
        return (Path(f"{number}.png") for number in range(rows))

    result = ResultFile(tmp_path / "out", Csv(None, CLASSES), {}, force=False)

    def stopped():
        with result.writer() as show:
            for image in images():
                show(Prediction.of(image, CLASSES, [0.25, 0.75]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    kept = []

    def take_up():
        again = ResultFile(tmp_path / "out", Csv(None, CLASSES), {}, force=False)
        again.take_up(((image, True) for image in images()), Unread())
        kept.append(again.kept)

    assert peak(take_up) < 500_000
    assert set(kept) == {rows}


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(small_features, tmp_path_factory):
    return train(TrainConfig(features=small_features, out=tmp_path_factory.mktemp("output") / "run", epochs=1)).path


@pytest.fixture
def config(run, picture_folder, tmp_path):
    (picture_folder / "bad.png").write_bytes(b"GIF")
    return PredictConfig(images=(picture_folder,), run=run, batch=3, csv=True, out=tmp_path / "out.csv")


@pytest.fixture
def stopped_after(monkeypatch):
    """Let Ctrl-C come after so many predictions; what the network was given is in the list."""
    whole = HybridClassifier.stream

    def after(rows):
        given = []

        def stream(self, pictures, *arguments):
            def noted():
                for picture in pictures:
                    given.append(picture)
                    yield picture

            for number, prediction in enumerate(whole(self, noted(), *arguments)):
                if number == rows:
                    raise KeyboardInterrupt
                yield prediction

        monkeypatch.setattr(HybridClassifier, "stream", stream)
        return given

    return after


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_stopped_command_goes_on_and_its_file_is_what_is_printed(config, stopped_after, form, capsys):
    config = replace(config, csv=form == "csv", json=form == "json")
    with pytest.raises(InputError):
        predict(replace(config, out=None))
    printed = capsys.readouterr().out
    stopped_after(8)
    with pytest.raises(KeyboardInterrupt, match="what is classified is kept: run the same command again"):
        predict(config)
    assert not config.out.exists()
    given = stopped_after(None)
    with pytest.raises(InputError, match=r"1 of 14 files could not be read; the others are classified:\n  .*bad\.png"):
        predict(config)
    out, err = capsys.readouterr()
    assert out == f"{config.out}: 14 pictures classified\n"
    assert f"going on behind {8 - (form == 'json')} of 14 pictures" in err
    assert config.out.read_text() == printed
    assert len(given) == 14 - 6  # from the start of a batch on
    assert names_in(config.out.parent) == ["out.csv", "pictures"]


def test_another_command_is_refused_and_nothing_is_lost(config, stopped_after, run, tmp_path):
    stopped_after(4)
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    before = {name: (tmp_path / name).read_bytes() for name in (".out.csv.part", ".out.csv.begun")}
    shutil.copytree(run, tmp_path / "copy")
    stopped_after(None)
    for change, told in (
        ({"top": 1}, "top: null there, 1 now"),
        ({"batch": 2}, "batch: 3 there, 2 now"),
        ({"csv": False, "json": True}, "form: csv there, json now"),
        ({"images": (config.images[0] / "val",)}, "images: .* there, .*val.* now"),
        ({"runtime": "onnxruntime"}, "runtime: .*torch.* there, .*onnxruntime.* now"),
    ):
        with pytest.raises(InputError, match=told):
            predict(replace(config, **change))
    other = train(
        TrainConfig(
            features=Path(json.loads((run / "run.json").read_text())["features"]["path"]),
            out=tmp_path / "other",
            epochs=2,
        )
    )
    with pytest.raises(InputError, match=r"network: .* there, .* now"):
        predict(replace(config, run=other.path))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    with pytest.raises(InputError, match="1 of 14 files"):
        predict(replace(config, run=tmp_path / "copy"))  # the same head at another place
    with pytest.raises(InputError, match=r"out\.csv is there already; .* --force"):
        predict(config)
    with pytest.raises(InputError, match="1 of 14 files"):
        predict(replace(config, force=True, top=1))
    assert (tmp_path / "out.csv").read_text().startswith("image,class 1,")


def test_a_picture_that_changed_under_its_name_is_classified_again(config, stopped_after, tmp_path, capsys):
    changing = config.images[0] / "train/blue/1.png"
    assert changing.exists()
    stopped_after(6)
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    before = {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path) if name != "pictures"}
    stopped_after(None)
    shutil.copy(config.images[0] / "val/red/0.png", changing)
    with pytest.raises(InputError, match=r"row \d is of .*blue/1\.png, which has changed\. .*--force begins again"):
        predict(config)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    for finished in (replace(config, force=True), replace(config, out=tmp_path / "whole.csv")):
        with pytest.raises(InputError, match="1 of 14 files"):
            predict(finished)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_rows_whose_pictures_were_not_noted_are_classified_again(config, stopped_after, tmp_path, capsys):
    stopped_after(6)
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    stamps = tmp_path / ".out.csv.stamps"
    stamps.write_bytes(stamps.read_bytes()[:40])  # of two pictures and a half
    stopped_after(None)
    with pytest.raises(InputError, match="1 of 14 files"):
        predict(config)
    assert "going on behind 2 of 14 pictures" in capsys.readouterr().err
    assert names_in(tmp_path) == ["out.csv", "pictures"]


def test_mistakes_are_told_at_once(config, tmp_path):
    with pytest.raises(ValueError, match=r"--out is .*out\.csv; say what to write into it: --csv or --json"):
        replace(config, csv=False)
    with pytest.raises(ValueError, match="--force replaces the file of --out, which is not given"):
        replace(config, out=None, force=True)
    with pytest.raises(InputError, match=r"--out .*new/out\.csv would lie in .*new, which is no folder"):
        predict(replace(config, out=tmp_path / "new/out.csv"))
    with pytest.raises(InputError, match="is a folder; name a file"):
        predict(replace(config, out=tmp_path))


def test_two_at_once_do_not_mix(config):
    with (
        locked(unfinished(config.out), config.out),
        pytest.raises(InputError, match=r"another process is writing .*out\.csv just now"),
    ):
        predict(config)


def _locked(part):
    try:
        with locked(part, part):
            return False
    except InputError:
        return True


def test_a_killed_process_goes_on(config, warm_python, tmp_path):
    for number in range(50):
        shutil.copy(config.images[0] / "val/red/0.png", config.images[0] / f"{number:03}.png")
    command = [warm_python, "-m", "pipeline", "predict", config.images[0], "--run", config.run, "--json"]
    command += ["--batch", "1", "--workers", "1", "--out"]
    with subprocess.Popen([*command, tmp_path / "killed"], stderr=subprocess.PIPE, text=True) as process:
        part = tmp_path / ".killed.part"
        wait_for(lambda: part.exists() and part.read_bytes().count(b"\n") > 5)
        process.kill()
        process.communicate()
    wait_for(lambda: not _locked(part))
    assert not (tmp_path / "killed").exists()
    ended = [
        subprocess.run([*command, tmp_path / name], capture_output=True, text=True, check=False)
        for name in ("killed", "whole")
    ]
    assert [each.returncode for each in ended] == [2, 2]  # bad.png
    assert "going on behind" in ended[0].stderr
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert len(json.loads((tmp_path / "killed").read_text())) == 64
    assert names_in(tmp_path) == ["killed", "pictures", "whole"]
