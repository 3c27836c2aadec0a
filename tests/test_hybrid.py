from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import models

from features.backbone import DEFAULT, load_backbone
from features.config import ExtractConfig
from features.errors import InputError
from features.extract import make_features
from pipeline.config import TrainConfig
from pipeline.hybrid import find_weights, predict, reattach
from pipeline.training import train


@pytest.fixture(scope="module")
def run(picture_folder_once, random_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hybrid")
    make_features(ExtractConfig(data=str(picture_folder_once), weights=str(random_weights), out=folder / "features.h5"))
    return train(TrainConfig(features=folder / "features.h5", out=folder / "run", epochs=1))


def test_the_head_becomes_the_last_layer_of_the_backbone(run, random_weights):
    backbone = load_backbone(DEFAULT, str(random_weights))
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        features = backbone.model(pixels)
        model = reattach(run, backbone)
        assert model.fc.q_params.shape == (24,)
        assert torch.allclose(model(pixels), run.head("last")(features), atol=1e-6)


def test_the_head_goes_where_another_backbone_had_its_last_layer(run, tmp_path):
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    backbone = load_backbone("squeezenet1_1", str(tmp_path / "squeezenet.pth"))
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        features = backbone.model(pixels)
        with pytest.raises(InputError, match=r"\(backbone resnet18\), but squeezenet\.pth has backbone squeezenet1_1"):
            reattach(run, backbone)
        model = reattach(run, backbone, other_weights=True)  # its features are as many
        assert torch.allclose(model(pixels), run.head("last")(features), atol=1e-6)


def test_a_backbone_of_another_width_is_refused(run, tmp_path):
    torch.save(models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "shufflenet.pth")
    backbone = load_backbone("shufflenet_v2_x0_5", str(tmp_path / "shufflenet.pth"))
    with pytest.raises(InputError, match="the head takes 512 features, shufflenet_v2_x0_5 gives 1024"):
        reattach(run, backbone, other_weights=True)


def test_its_state_dict_has_the_demos_names(run, random_weights):
    names = [
        name
        for name in reattach(run, load_backbone(DEFAULT, str(random_weights))).state_dict()
        if name.startswith("fc.")
    ]
    assert set(names) == {
        "fc.pre_net.weight",
        "fc.pre_net.bias",
        "fc.q_params",
        "fc.post_net.weight",
        "fc.post_net.bias",
    }


def test_another_backbone_is_refused_with_what_to_do(run, random_weights, tmp_path):
    state = torch.load(random_weights, weights_only=True)
    state["bn1.bias"] += 1.0
    torch.save(state, tmp_path / "other.pth")
    backbone = load_backbone(DEFAULT, str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match=r"give the weights it was trained with \(--weights\).*--other-weights"):
        reattach(run, backbone)
    assert reattach(run, backbone, other_weights=True).fc is not None


def test_weights_are_found_where_the_features_were_made_with_them(run, random_weights):
    assert Path(find_weights(run, None)).samefile(random_weights)
    assert find_weights(run, "given.pth") == "given.pth"


def test_pictures_of_any_mode_are_classified_and_bad_files_get_a_reason(run, random_weights, tmp_path):
    backbone = load_backbone(DEFAULT, str(random_weights))
    model = reattach(run, backbone)
    for mode in ("RGB", "L", "RGBA", "P", "CMYK"):
        Image.new(mode, (40, 30)).save(tmp_path / f"{mode}.tif")
    (tmp_path / "text.png").write_text("no image")
    paths = sorted(tmp_path.iterdir())
    predictions = predict(model, backbone, run.classes, paths, batch=2)
    assert [p.path for p in predictions] == paths
    assert [p.path.name for p in predictions if p.problem] == ["text.png"]
    for prediction in predictions:
        if not prediction.problem:
            assert sum(prediction.probabilities) == pytest.approx(1.0, abs=1e-5)
            assert prediction.label == run.classes[prediction.probabilities.index(max(prediction.probabilities))]
