"""features.sources.datasets: torchvision's own code reads small archives in the true formats."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from archives import Cifar, idx, md5, tar_gz
from conftest import names_in
from layouts import LAYOUTS
from PIL import Image
from torchvision import datasets as torchvision_datasets
from web import Web

from features.sources import datasets, download
from features.sources.check import check_images
from features.sources.decode import decode
from features.sources.download import DownloadError
from features.sources.images import is_name, open_images
from features.util.errors import InputError


@pytest.fixture(autouse=True)
def forget_opened() -> None:
    datasets._opened.cache_clear()


def places(torch_home: Path) -> list[str]:
    return names_in(torch_home / "datasets")


# In arrays -----------------------------------------------------------------------------------------------------------


def test_cifar_is_listed_by_sorted_class_names(cifar: Cifar) -> None:
    found = open_images("cifar10")
    assert (found.name, found.location, found.selection.record()) == ("cifar10", "cifar10", {})
    assert found.classes == ("airplane", "cat", "dog")
    assert found.paths["val"] == (
        "val/airplane/00002.ppm",
        "val/airplane/00005.ppm",
        "val/cat/00001.ppm",
        "val/cat/00004.ppm",
        "val/dog/00000.ppm",
        "val/dog/00003.ppm",
    )
    assert found.labels["val"] == (0, 0, 1, 1, 2, 2)
    assert len(found.paths["train"]) == 13
    # The second batch goes on counting where the first ended.
    assert found.paths["train"][-5:] == tuple(f"train/dog/{index:05}.ppm" for index in (0, 3, 6, 7, 10))


def test_its_pictures_are_those_of_the_archive_bit_for_bit(cifar: Cifar) -> None:
    found = open_images("cifar10")
    for path, batch, index in (("val/cat/00004.ppm", "test_batch", 4), ("train/dog/00007.ppm", "data_batch_2", 0)):
        pixels = cifar.pixels[batch][index].transpose(1, 2, 0)
        assert found.read(path) == b"P6\n32 32\n255\n" + pixels.tobytes()
        assert np.array_equal(np.asarray(decode(found.read(path))), pixels)
    checked = check_images(found)
    assert checked.problems == {}
    assert len(checked.digests) == 19


def test_it_is_downloaded_once_and_then_needs_no_network(cifar: Cifar, web: Web, torch_home: Path) -> None:
    first = open_images("cifar10")
    # torchvision asks once for a redirection, once for the file.
    assert set(web.asked) == {cifar.name}
    asked = len(web.asked)
    datasets._opened.cache_clear()
    again = open_images("CIFAR-10", download=False)
    assert again.paths == first.paths
    assert len(web.asked) == asked
    assert places(torch_home) == ["cifar10"]


def test_a_worker_opens_it_anew(cifar: Cifar) -> None:
    found = open_images("cifar10", classes=("cat", "dog"))
    packed = pickle.dumps(found)
    assert len(packed) < 2000
    datasets._opened.cache_clear()
    assert pickle.loads(packed).read("val/cat/00004.ppm") == found.read("val/cat/00004.ppm")


def test_two_classes_and_a_limit_are_the_papers_experiment(cifar: Cifar) -> None:
    found = open_images("cifar10", classes=("dog", "cat"), limit=3, seed=1)
    assert found.classes == ("cat", "dog")
    assert found.selection.record() == {"classes": ["cat", "dog"], "limit": 3, "seed": 1}
    assert [found.labels["train"].count(label) for label in (0, 1)] == [3, 3]
    assert found.labels["val"] == (0, 0, 1, 1)
    assert open_images(found.location, **found.selection.record()) == found


def test_a_class_it_has_not(cifar: Cifar) -> None:
    with pytest.raises(InputError) as caught:
        open_images("cifar10", classes=("cat", "plane"))
    assert str(caught.value) == (
        "--classes names 'plane', which the data set cifar10 has not (did you mean airplane?)\n"
        "Its 3 classes are:\n  airplane\n  cat\n  dog"
    )


def test_a_data_set_that_is_gone_is_an_unreadable_image(cifar: Cifar, torch_home: Path) -> None:
    found = open_images("cifar10")
    shutil.rmtree(torch_home / "datasets/cifar10")
    datasets._opened.cache_clear()
    with pytest.raises(OSError, match=r"the data set CIFAR10 is not at .*cifar10 \(Dataset not found or corrupted"):
        found.read("val/cat/00004.ppm")


def test_a_download_that_was_damaged_later(cifar: Cifar, torch_home: Path) -> None:
    open_images("cifar10")
    datasets._opened.cache_clear()
    with (torch_home / "datasets/cifar10/cifar-10-batches-py/test_batch").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"cifar10 at .* is damaged \(Dataset not found.*remove that folder"):
        open_images("cifar10")


def test_fashion_mnist_is_grey(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pixels = {part: rng.integers(0, 256, (20, 28, 28), dtype=np.uint8) for part in ("train", "t10k")}
    labels = (np.arange(20) % 10).astype(np.uint8)
    resources = []
    for part, values in pixels.items():
        for name, content in ((f"{part}-images-idx3-ubyte.gz", values), (f"{part}-labels-idx1-ubyte.gz", labels)):
            web.files[name] = gzip.compress(idx(content))
            resources.append((name, md5(web.files[name])))
    monkeypatch.setattr(torchvision_datasets.FashionMNIST, "mirrors", [f"{web.url}/"])
    monkeypatch.setattr(torchvision_datasets.FashionMNIST, "resources", resources)
    found = open_images("fashion-mnist", classes=("Sandal", "T-shirt/top"))
    assert found.classes == ("Sandal", "T-shirt/top")
    assert found.paths["val"][-1] == "val/T-shirt/top/00010.pgm"
    assert found.read("val/T-shirt/top/00010.pgm") == b"P5\n28 28\n255\n" + pixels["t10k"][10].tobytes()
    assert np.array_equal(np.asarray(decode(found.read("train/Sandal/00005.pgm")))[..., 1], pixels["train"][5])


# In files ------------------------------------------------------------------------------------------------------------


def jpeg(seed: int) -> bytes:
    packed = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(packed, format="jpeg")
    return packed.getvalue()


@pytest.fixture
def pets(web: Web, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """An Oxford-IIIT Pet of two breeds; its pictures by name."""
    breeds = {"Abyssinian": 1, "great_pyrenees": 2}
    pictures = {f"{breed}_{index}": jpeg(index) for breed in breeds for index in range(5)}
    lines = {
        part: "".join(f"{breed}_{index} {label} 1 1\n" for breed, label in breeds.items() for index in numbers)
        for part, numbers in (("trainval", range(3)), ("test", range(3, 5)))
    }
    archives = {
        "images.tar.gz": tar_gz({f"images/{name}.jpg": content for name, content in pictures.items()}),
        "annotations.tar.gz": tar_gz({f"annotations/{part}.txt": text.encode() for part, text in lines.items()}),
    }
    web.files |= archives
    resources = tuple((f"{web.url}/{name}", md5(content)) for name, content in archives.items())
    monkeypatch.setattr(torchvision_datasets.OxfordIIITPet, "_RESOURCES", resources)
    return pictures


def test_pets_are_files_with_their_own_bytes(pets: dict[str, bytes]) -> None:
    found = open_images("oxford-iiit-pet")
    assert found.classes == ("Abyssinian", "Great Pyrenees")
    folder = "oxford-iiit-pet/images"
    assert found.paths["val"] == tuple(
        f"{folder}/{name}_{index}.jpg" for name in ("Abyssinian", "great_pyrenees") for index in (3, 4)
    )
    assert found.labels == {"train": (0, 0, 0, 1, 1, 1), "val": (0, 0, 1, 1)}
    assert found.read(f"{folder}/great_pyrenees_4.jpg") == pets["great_pyrenees_4"]


def test_a_set_without_a_split_takes_one(web: Web, torch_home: Path) -> None:
    with pytest.raises(InputError, match=r"the data set eurosat has no split of its own; give --split 0\.2 \(make: "):
        open_images("eurosat")
    assert web.asked == []
    for name in ("Forest", "River"):
        folder = torch_home / "datasets/eurosat/eurosat/2750" / name
        folder.mkdir(parents=True)
        for index in range(5):
            (folder / f"{name}_{index}.jpg").write_bytes(jpeg(index))
    found = open_images("eurosat", split=0.2)
    assert found.classes == ("Forest", "River")
    assert {part: len(paths) for part, paths in found.paths.items()} == {"train": 8, "val": 2}
    assert decode(found.read(found.paths["val"][0])).size == (30, 20)


def test_numbers_are_names_that_sort_as_numbers(torch_home: Path) -> None:
    for label in range(12):
        folder = torch_home / f"datasets/gtsrb/gtsrb/GTSRB/Training/{label:05}"
        folder.mkdir(parents=True)
        Image.new("RGB", (5, 4)).save(folder / "00000_00000.ppm")
    images = torch_home / "datasets/gtsrb/gtsrb/GTSRB/Final_Test/Images"
    images.mkdir(parents=True)
    table = "Filename;ClassId\n"
    for label in range(12):
        Image.new("RGB", (5, 4)).save(images / f"{label:05}.ppm")
        table += f"{label:05}.ppm;{label}\n"
    (torch_home / "datasets/gtsrb/gtsrb/GT-final_test.csv").write_text(table)
    found = open_images("gtsrb")
    assert found.classes == tuple(f"{label:02}" for label in range(12))
    assert found.labels == {"train": tuple(range(12)), "val": tuple(range(12))}


@pytest.mark.parametrize(("data", "split"), [("cifar10", 0.2), ("svhn", 0.1)])
def test_a_set_with_its_own_split_takes_no_other(web: Web, data: str, split: float) -> None:
    with pytest.raises(InputError) as caught:
        open_images(data, split=split)
    assert str(caught.value) == f"--split is {split}, but the data set {data} has its own split; leave --split out"
    assert web.asked == []


# Downloads that fail -------------------------------------------------------------------------------------------------


def fails(torch_home: Path, data: str = "cifar10") -> str:
    """The message of a failed download; shows that nothing was kept that a second run would trust."""
    with pytest.raises(DownloadError) as caught:
        open_images(data)
    assert places(torch_home) == []
    return str(caught.value)


def test_another_checksum(cifar: Cifar, torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "tgz_md5", "0" * 32)
    message = fails(torch_home)
    assert message == "the data set cifar10 could not be downloaded (File not found or corrupted.)"


def test_a_connection_that_is_cut(cifar: Cifar, web: Web, torch_home: Path) -> None:
    web.files[cifar.name] = cifar.archive[:1000]
    web.lengths[cifar.name] = len(cifar.archive)
    assert fails(torch_home).startswith("the data set cifar10 could not be downloaded (")
    web.files[cifar.name] = cifar.archive
    del web.lengths[cifar.name]
    assert len(open_images("cifar10").all_paths) == 19


def test_an_archive_that_is_gone(cifar: Cifar, web: Web, torch_home: Path) -> None:
    web.files.clear()
    assert fails(torch_home) == "the data set cifar10 could not be downloaded (HTTP Error 404: Not Found)"


def test_no_network(cifar: Cifar, torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    assert re.fullmatch(r"the data set cifar10 could not be downloaded \(.*refused.*\)", fails(torch_home))


def test_an_archive_that_never_comes(cifar: Cifar, web: Web, torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    web.hanging.add(cifar.name)
    assert re.fullmatch(r"the data set cifar10 could not be downloaded \(.*timed out.*\)", fails(torch_home))


def test_an_unpacking_that_is_cut_short(
    pets: dict[str, bytes], web: Web, torch_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision goes by the folders alone, and would take half of the pets for all of them."""
    content = web.files["images.tar.gz"]
    half = content[: len(content) // 2]
    web.files["images.tar.gz"] = half
    resources = torchvision_datasets.OxfordIIITPet._RESOURCES
    monkeypatch.setattr(torchvision_datasets.OxfordIIITPet, "_RESOURCES", ((resources[0][0], md5(half)), resources[1]))
    assert fails(torch_home, "oxford-iiit-pet").startswith("the download of oxford-iiit-pet can't be unpacked (")


def test_what_may_not_be_downloaded(web: Web, torch_home: Path) -> None:
    for name in ("cifar10", "hymenoptera"):
        with pytest.raises(DownloadError, match=f"the data set {name} is not .*here|not at .*, and may not be downl"):
            open_images(name, download=False)
    assert web.asked == []


# The table of names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", datasets.NAMES)
def test_torchvision_knows_each_part(name: str, tmp_path: Path) -> None:
    """Its constructors look at their arguments first: an unknown part would be a ValueError or a TypeError."""
    known = datasets._KNOWN[datasets._plain(name)]
    with pytest.raises((RuntimeError, FileNotFoundError), match=r"not found|No such file"):
        datasets._open_parts(known, tmp_path / name, download=False)


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_is_read_as_it_lies_on_the_disk(name: str, torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out, classes = LAYOUTS[name]
    lay_out(torch_home / "datasets" / name, monkeypatch)
    found = open_images(name, split=1 / 3 if name == "sun397" else None)
    assert found.classes == classes
    assert found.labels == {"train": (0, 0, 1, 1), "val": (0, 1)}
    assert len(set(found.all_paths)) == 6
    assert check_images(found).problems == {}
    kept = pickle.loads(pickle.dumps(found))
    assert decode(kept.read(kept.paths["val"][1])).mode == "RGB"


def test_every_name_is_tried_in_one_of_these_tests() -> None:
    others = {"cifar10", "eurosat", "fashion-mnist", "gtsrb", "oxford-iiit-pet"}
    assert set(datasets.NAMES) == others | LAYOUTS.keys()


def test_names_in_any_spelling() -> None:
    for name in ("cifar10", "CIFAR-10", "OxfordIIITPet", "oxford_iiit_pet", "fgvc-aircraft", "hymenoptera"):
        assert is_name(name)
    for name in ("./cifar10", "cifar10/", "cifar11", "pictures", ""):
        assert not is_name(name)


def test_a_name_nearly_right() -> None:
    with pytest.raises(InputError, match=r"there is no folder cifar-1O; .* Did you mean cifar10\?"):
        open_images("cifar-1O")
