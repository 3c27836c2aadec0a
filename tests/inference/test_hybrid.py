import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from features.backbone.network import DEFAULT, load_backbone
from features.cache.store import read_features
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


@pytest.fixture(scope="module")
def run(picture_features, tmp_path_factory):
    return train(TrainConfig(features=picture_features, out=tmp_path_factory.mktemp("hybrid"), epochs=1))


@pytest.fixture
def classifier(run):
    return HybridClassifier.load(run.path)


def test_its_logits_are_those_of_the_cached_features(run, classifier, picture_features, picture_folder_once):
    features = read_features(picture_features).val
    images = torch.stack([classifier.transforms(Image.open(picture_folder_once / path)) for path in features.paths])
    with torch.inference_mode():
        logits = classifier(images)
        assert torch.allclose(logits, run.head()(torch.from_numpy(features.features)), atol=1e-4)
    probabilities = [
        list(p.probabilities.values()) for p in classifier.predict(picture_folder_once / features.paths[0])
    ]
    assert torch.allclose(torch.tensor(probabilities), logits[:1].softmax(dim=1), atol=1e-5)


def test_the_head_sits_where_another_backbone_had_its_last_layer(run, tmp_path):
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")

    def backbone():
        return load_backbone("squeezenet1_1", str(tmp_path / "squeezenet.pth"))

    with pytest.raises(InputError, match=r"\(backbone resnet18\), but squeezenet\.pth has backbone squeezenet1_1"):
        HybridClassifier(run, backbone())
    classifier = HybridClassifier(run, backbone(), accept_other_weights=True)  # its features are as many
    model = models.squeezenet1_1(weights=None).eval()
    model.set_submodule("classifier", torch.nn.Sequential(*classifier.backbone.classifier[:3], run.head()))
    model.load_state_dict(classifier.demo_state_dict())
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(model(pixels), classifier(pixels), atol=1e-5)


def test_a_backbone_of_another_width_is_refused(run, tmp_path):
    torch.save(models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "shufflenet.pth")
    backbone = load_backbone("shufflenet_v2_x0_5", str(tmp_path / "shufflenet.pth"))
    with pytest.raises(InputError, match="the head takes 512 features, shufflenet_v2_x0_5 gives 1024"):
        HybridClassifier(run, backbone, accept_other_weights=True)


def test_another_backbone_is_refused_with_what_to_do(run, random_weights, tmp_path):
    state = torch.load(random_weights, weights_only=True)
    state["bn1.bias"] += 1.0
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"give the weights it was trained with \(--weights\).*--accept-other-weights"):
        HybridClassifier.load(run.path, weights=str(tmp_path / "other.pth"))
    assert (
        HybridClassifier.load(run.path, weights=str(tmp_path / "other.pth"), accept_other_weights=True).head is not None
    )


def test_what_can_not_be_loaded_is_a_clear_error(run, tmp_path):
    with pytest.raises(InputError, match="there is no run folder"):
        HybridClassifier.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="epoch is 'first'; choose last or best"):
        HybridClassifier.load(run.path, epoch="first")


def test_it_tells_what_it_is(run, classifier, random_weights):
    assert classifier.classes == ["blue", "red"]
    provenance = classifier.provenance
    assert provenance["weights_sha256"] == load_backbone(DEFAULT, str(random_weights)).weights_sha256
    assert provenance["epoch"] == 1
    assert provenance["run"]["features"]["images_sha256"] == run.features.provenance.images_sha256


def test_it_trains_its_head_while_the_statistics_of_the_backbone_stay(classifier):
    classifier.train()
    before = classifier.backbone.bn1.running_mean.clone()
    classifier(torch.randn(4, 3, 224, 224)).sum().backward()
    assert torch.equal(classifier.backbone.bn1.running_mean, before)
    assert {name for name, p in classifier.named_parameters() if p.grad is not None} == {
        f"head.{name}" for name in ("pre_net.weight", "pre_net.bias", "q_params", "post_net.weight", "post_net.bias")
    }


def test_it_copies_and_pickles(classifier):
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        for again in (copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
            assert torch.equal(again(pixels), classifier(pixels))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_moves_to_cuda(classifier, picture_folder_once):
    pictures = sorted(picture_folder_once.rglob("*.png"))
    here = [list(p.probabilities.values()) for p in classifier.predict(pictures)]
    there = [list(p.probabilities.values()) for p in classifier.to("cuda").predict(pictures)]
    assert np.allclose(here, there, atol=1e-4)
    classifier(torch.randn(2, 3, 224, 224, device="cuda")).sum().backward()
    assert classifier.head.q_params.grad.is_cuda


def test_pictures_of_any_mode_are_classified_and_bad_files_get_a_reason(classifier, tmp_path):
    for mode in ("RGB", "L", "RGBA", "P", "CMYK"):
        Image.new(mode, (40, 30)).save(tmp_path / f"{mode}.tif")
    (tmp_path / "text.png").write_text("no image")
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "missing.png"]
    predictions = classifier.predict(paths, batch=2)
    assert [p.path for p in predictions] == paths
    assert {p.path.name: p.problem for p in predictions if p.problem} == {
        "text.png": "not an image that Pillow can read",
        "missing.png": "No such file or directory",
    }
    for prediction in predictions:
        if not prediction.problem:
            assert sum(prediction.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
            assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
            assert prediction.top(1) == [(prediction.label, prediction.probabilities[prediction.label])]
    opened = classifier.predict(Image.open(tmp_path / "CMYK.tif"))[0]
    assert opened.path is None
    assert opened.probabilities == pytest.approx(predictions[0].probabilities, abs=1e-6)


def test_tensors_are_for_the_network_itself(classifier):
    with pytest.raises(TypeError, match=r"this is a Tensor; .* classifier\(images\)"):
        classifier.predict(torch.zeros(2, 3, 224, 224))


def test_pictures_are_taken_as_they_are_needed(classifier, picture_folder_once):
    picture = next(picture_folder_once.rglob("*.png"))
    taken = []

    def endless():
        while True:
            taken.append(picture)
            yield picture

    stream = classifier.stream(endless(), batch=2)
    assert [next(stream).problem for _ in range(5)] == [None] * 5
    stream.close()
    assert len(taken) <= 5 + 2 + 3 * 2 + 1
