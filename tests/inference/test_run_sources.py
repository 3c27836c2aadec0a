from pathlib import Path

import pytest

from features.config import ExtractConfig
from features.extract import make_features
from features.util.errors import InputError
from pipeline.inference.sources import find_images, find_weights
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


@pytest.fixture
def run(picture_folder, random_weights, tmp_path):
    make_features(ExtractConfig(data=str(picture_folder), weights=str(random_weights), out=tmp_path / "features.h5"))
    return train(TrainConfig(features=tmp_path / "features.h5", out=tmp_path / "run", epochs=1))


def test_weights_are_found_where_the_features_were_made_with_them(run, random_weights):
    assert Path(find_weights(run, None)).samefile(random_weights)
    assert find_weights(run, "given.pth") == "given.pth"


def test_images_are_found_where_the_features_were_made_from_them(run, picture_folder, tmp_path):
    assert Path(find_images(run, None).place).samefile(picture_folder)
    picture_folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"the images of pictures are not at .*; give the folder with --data"):
        find_images(run, None)
    assert Path(find_images(run, str(tmp_path / "moved")).place).samefile(tmp_path / "moved")
