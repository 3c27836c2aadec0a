"""features.sources.medmnist: small archives in the format of MedMNIST's, offered where Zenodo's would be."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from archives import md5
from conftest import names_in
from web import Web

from features.config import ExtractConfig
from features.extract import make_features
from features.sources import medmnist
from features.sources.check import check_images
from features.sources.decode import decode
from features.sources.download import DownloadError
from features.sources.images import is_name, open_images
from features.util.errors import InputError

COUNTS = {"train": 6, "val": 3, "test": 4}


def arrays(size: int = 28, colour: bool = False, classes: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for part, count in COUNTS.items():
        shape = (count, size, size, 3) if colour else (count, size, size)
        found[f"{part}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        found[f"{part}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    return found


@pytest.fixture
def offer(web: Web, monkeypatch: pytest.MonkeyPatch):
    """Serve arrays as a set's archive, with its checksum."""
    monkeypatch.setattr(medmnist, "ARCHIVE", web.url)
    medmnist._images.cache_clear()

    def serve(name: str, size: str, content: dict[str, np.ndarray]) -> str:
        packed = io.BytesIO()
        np.savez_compressed(packed, **content)
        served = f"{name}{'' if size == '28' else f'_{size}'}.npz?download=1"
        web.files[served] = packed.getvalue()
        monkeypatch.setitem(medmnist.known_sets()[name].md5, size, md5(packed.getvalue()))
        return served

    yield serve
    medmnist._images.cache_clear()


def test_the_authors_test_images_are_for_validation_and_the_others_for_training(offer) -> None:
    content = arrays()
    offer("pneumoniamnist", "28", content)
    found = open_images("medmnist:pneumoniamnist")
    assert (found.name, found.location, found.classes) == (
        "medmnist:pneumoniamnist", "medmnist:pneumoniamnist", ("normal", "pneumonia"),
    )  # fmt: skip
    assert found.paths["val"] == (
        "test/normal/00000.pgm", "test/normal/00002.pgm", "test/pneumonia/00001.pgm", "test/pneumonia/00003.pgm",
    )  # fmt: skip
    assert found.labels["val"] == (0, 0, 1, 1)
    assert [path for path in found.paths["train"] if path.startswith("val/")] == [
        "val/normal/00000.pgm", "val/normal/00002.pgm", "val/pneumonia/00001.pgm",
    ]  # fmt: skip
    assert len(found.all_paths) == sum(COUNTS.values())
    assert found.read("test/normal/00002.pgm") == b"P5\n28 28\n255\n" + content["test_images"][2].tobytes()
    assert check_images(found).problems == {}
    kept = pickle.loads(pickle.dumps(found))
    assert np.array_equal(np.asarray(decode(kept.read("val/pneumonia/00001.pgm")))[..., 0], content["val_images"][1])


def test_colours_and_sizes(offer, torch_home: Path) -> None:
    content = arrays(64, colour=True, classes=3)
    served = offer("bloodmnist", "64", content)
    found = open_images("MedMNIST:bloodmnist:64")
    assert served.startswith("bloodmnist_64.npz")
    assert found.name == "medmnist:bloodmnist:64"
    assert found.classes == ("basophil", "eosinophil", "erythroblast")
    path = found.paths["val"][0]
    assert path == "test/basophil/00000.ppm"
    assert np.array_equal(np.asarray(decode(found.read(path))), content["test_images"][0])
    assert names_in(torch_home / "datasets") == ["medmnist-bloodmnist_64"]


def test_it_is_downloaded_once(offer, web: Web) -> None:
    offer("breastmnist", "28", arrays())
    first = open_images("medmnist:breastmnist")
    asked = len(web.asked)
    medmnist._images.cache_clear()
    assert open_images("medmnist:breastmnist", download=False) == first
    assert len(web.asked) == asked


def test_licence_and_citation_stand_in_the_cache(offer, small_features, tmp_path: Path) -> None:
    offer("dermamnist", "28", arrays(colour=True))
    weights = next(small_features.parent.glob("*.pth"))
    config = ExtractConfig(
        data="medmnist:dermamnist", backbone="shufflenet_v2_x0_5", weights=str(weights), out=tmp_path / "f.h5",
        note="mine",
    )  # fmt: skip
    made = make_features(config)
    note = "mine; MedMNIST v2, dermamnist, CC BY-NC 4.0: cite Yang et al., Scientific Data 10, 41 (2023)"
    assert made.provenance.note == note
    assert made.provenance.data_location == "medmnist:dermamnist"
    # Asked for again as it was recorded, the note is the same, and nothing is computed.
    again = make_features(ExtractConfig(**{**vars(config), "note": note}))
    assert (again.provenance.note, again.provenance.created) == (note, made.provenance.created)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            "medmnist:pneumonamnist",
            r"there is no set medmnist:pneumonamnist \(did you mean pneumoniamnist\?\); there are ",
        ),
        ("medmnist:chestmnist", r"medmnist:chestmnist can't be used: its pictures have several labels each"),
        ("medmnist:organmnist3d", r"medmnist:organmnist3d can't be used: its pictures are volumes"),
        ("medmnist:octmnist:32", r"medmnist:octmnist:32 has no such size; give one of 28, 64, 128, 224"),
    ],
)
def test_what_there_is_not(data: str, said: str, web: Web) -> None:
    with pytest.raises(InputError, match=said):
        open_images(data)
    assert web.asked == []


def test_it_has_its_own_split(web: Web) -> None:
    with pytest.raises(InputError, match=r"--split is 0\.2, but the data set medmnist:octmnist has its own split"):
        open_images("medmnist:octmnist", split=0.2)
    assert is_name("medmnist:octmnist")
    assert web.asked == []


def test_nothing_is_kept_of_a_download_that_does_not_verify(offer, web: Web, torch_home: Path) -> None:
    served = offer("octmnist", "28", arrays(classes=4))
    web.files[served] += b"\0"
    with pytest.raises(DownloadError, match=r"the data set octmnist could not be downloaded \(File not found or corr"):
        open_images("medmnist:octmnist")
    assert names_in(torch_home / "datasets") == []
    with pytest.raises(DownloadError, match=r"is not at .*medmnist-octmnist, and may not be downloaded"):
        open_images("medmnist:octmnist", download=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.pop("val_images"), "val_images.npy"),
        (lambda found: found.update(test_labels=found["test_labels"] + 5), "its test has 4 pictures and 4 labels"),
        (lambda found: found.update(train_images=found["train_images"] / 255), "its train_images are float64"),
    ],
)
def test_an_archive_of_another_form_is_refused(offer, change, said: str) -> None:
    content = arrays()
    change(content)
    offer("pneumoniamnist", "28", content)
    with pytest.raises(InputError, match=rf"medmnist:pneumoniamnist at .* is damaged \(.*{said}"):
        open_images("medmnist:pneumoniamnist")


def test_an_archive_that_is_cut_later_is_an_unreadable_image(offer, torch_home: Path) -> None:
    offer("pneumoniamnist", "28", arrays())
    found = open_images("medmnist:pneumoniamnist")
    file = torch_home / "datasets/medmnist-pneumoniamnist/pneumoniamnist.npz"
    file.write_bytes(file.read_bytes()[:100])
    medmnist._images.cache_clear()
    with pytest.raises(OSError, match="is damaged"):
        found.read(found.paths["val"][0])


def test_more_than_the_memory_is_refused(offer, monkeypatch: pytest.MonkeyPatch) -> None:
    offer("pneumoniamnist", "28", arrays())
    monkeypatch.setattr(medmnist, "physical_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"holds 0\.00483 MB of train_images, more than this machine's memory"):
        open_images("medmnist:pneumoniamnist")


def test_every_known_set_has_classes_and_checksums() -> None:
    sets = medmnist.known_sets()
    assert len(sets) == 11
    for each in sets.values():
        assert len(set(each.classes)) == len(each.classes) >= 2
        assert all(len(value) == 32 for value in each.md5.values())
        assert each.licence.startswith("CC BY")
