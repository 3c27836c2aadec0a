"""The Hugging Face hub: folders with a model card, and a server on this machine that answers as the hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator

import pytest
import torch
from conftest import child, names_in
from web import LocalServer, Quiet, without_proxies

from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train

CIRCUIT = """\
import pennylane as qml

weight_shapes = {"turns": (2,)}


def mine(inputs, turns):
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.RY(turns[0], wires=0)
    qml.RY(turns[1], wires=1)
    return [qml.expval(qml.Z(wire)) for wire in range(2)]
"""


@pytest.fixture(scope="module")
def run(small_features, tmp_path_factory):
    return train(TrainConfig(features=small_features, out=tmp_path_factory.mktemp("hub") / "run", epochs=2)).path


@pytest.fixture
def classifier(run):
    return HybridClassifier.load(run)


def same(one, other):
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        return torch.equal(one(pixels), other(pixels))


class Hub(LocalServer):
    """What an upload and a download ask of the hub's API, answered from memory.

    Attributes:
        files: The files of all repositories, by ``USER/NAME/FILE``.
        asked: Methods and paths, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        large: dict[str, bytes] = {}
        hub = self

        class Handler(Quiet):
            def answer(self, content: object = None, body: bytes | None = None, **headers: str) -> None:
                body = json.dumps(content).encode() if body is None else body
                self.send_response(200)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_POST(self) -> None:
                body, path = self.body(), self.noted()
                if path == "/api/repos/create":
                    given = json.loads(body)
                    self.answer({"url": f"{hub.url}/{given['organization']}/{given['name']}"})
                elif "/preupload/" in path:
                    modes = {True: "lfs", False: "regular"}
                    found = [each["path"] for each in json.loads(body)["files"]]
                    told = [
                        {"path": name, "uploadMode": modes[name.endswith(".safetensors")], "shouldIgnore": False}
                        for name in found
                    ]
                    self.answer({"files": told})
                elif path.endswith(".git/info/lfs/objects/batch"):
                    wanted = json.loads(body)["objects"]
                    there = [
                        each | {"actions": {"upload": {"href": f"{hub.url}/large/{each['oid']}"}}} for each in wanted
                    ]
                    self.answer({"transfer": "basic", "objects": there})
                elif "/commit/" in path:
                    repository = re.fullmatch("/api/models/(.*)/commit/main", path)[1]
                    for line in body.splitlines():
                        each = json.loads(line)
                        name = f"{repository}/{each['value'].get('path')}"
                        if each["key"] == "file":
                            hub.files[name] = base64.b64decode(each["value"]["content"])
                        elif each["key"] == "lfsFile":
                            hub.files[name] = large[each["value"]["oid"]]
                    self.answer({"commitUrl": f"{hub.url}/{repository}/commit/{'a' * 40}", "commitOid": "a" * 40})
                else:
                    self.answer({})

            def do_PUT(self) -> None:
                body, name = self.body(), self.noted().removeprefix("/large/")
                assert hashlib.sha256(body).hexdigest() == name
                large[name] = body
                self.answer({})

            def do_GET(self) -> None:
                repository, _, rest = self.noted()[1:].partition("/resolve/")
                name = f"{repository}/{rest.partition('/')[2]}"
                if name not in hub.files:
                    self.send_error(404)
                    return
                body = hub.files[name]
                self.answer(body=body, ETag=f'"{hashlib.sha256(body).hexdigest()}"', X_Repo_Commit="a" * 40)

            do_HEAD = do_GET

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def noted(self) -> str:
                path = self.path.partition("?")[0]
                hub.asked.append(f"{self.command} {path}")
                return path

        super().__init__(Handler)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """Processes that are started find it in place of the real one."""
    hub = Hub()
    without_proxies(monkeypatch)
    given = {"ENDPOINT": hub.url, "HOME": str(tmp_path / "cache"), "HUB_DISABLE_XET": "1", "HUB_OFFLINE": "0"}
    for name, value in given.items():
        monkeypatch.setenv(f"HF_{name}", value)
    yield hub
    hub.close()


def test_a_local_folder_with_its_card(classifier, tmp_path):
    assert classifier.save_pretrained(tmp_path / "net") is None
    assert names_in(tmp_path / "net") == ["README.md", "config.json", "model.safetensors"]
    again = HybridClassifier.from_pretrained(tmp_path / "net")
    assert type(again) is HybridClassifier
    assert same(again, classifier)
    assert same(HybridClassifier.load(tmp_path / "net"), classifier)


def test_the_card_says_what_it_is_and_what_is_not_known(run, classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    _, data, text = card.split("---\n", 2)
    assert "library_name: quantum-transfer" in data
    assert "license" not in data
    accuracy = json.loads((run / "history.jsonl").read_text().splitlines()[-1])["val_accuracy"]
    for said in (
        "| classes | 2: blue, red |",
        "| backbone | shufflenet_v2_x0_5, 1024 features; weights: random_shufflenet_v2_x0_5.pth |",
        "| head | quantum: the paper's dressed circuit; circuit mari, 4 qubits, depth 6 |",
        f"| accuracy | {accuracy:.4f} of the validation pictures, after epoch 2 |",
        "no quantum processor takes part",
        "has not been shown",
        "the author has to choose one",
        'HybridClassifier.from_pretrained("FOLDER")',
    ):
        assert said in text
    with torch.no_grad():
        classifier.head.post_net.bias += 1
    classifier.save_pretrained(tmp_path)  # a card that nobody touched is written anew
    text = (tmp_path / "README.md").read_text()
    assert "; head trained further since |" in text
    assert "measured before it was trained further, and not since |" in text
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\nmine")
    classifier.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "---\nlicense: mit\n---\nmine"


def test_what_stands_in_the_folder_is_not_lost(run, classifier, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(InputError, match="Nothing was changed"):
        classifier.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "vit"}'


def test_up_to_the_hub_and_down_again(run, hub, warm_python, tmp_path):
    code = """
import sys
import torch
from pipeline import HybridClassifier

classifier = HybridClassifier.load(sys.argv[1])
print(classifier.push_to_hub("somebody/colours", token="hf_none"))
again = HybridClassifier.from_pretrained("somebody/colours", token=False)
pixels = torch.randn(2, 3, 224, 224)
with torch.inference_mode():
    assert torch.equal(again(pixels), classifier(pixels))
"""
    ended = child(code, str(run), python=warm_python)
    assert (ended.returncode, ended.stdout) == (0, f"{hub.url}/somebody/colours/commit/{'a' * 40}\n"), ended.stderr
    assert {name.rpartition("/")[2] for name in hub.files} == {"README.md", "config.json", "model.safetensors"}
    assert 'from_pretrained("somebody/colours")' in hub.files["somebody/colours/README.md"].decode()
    assert sum(asked.startswith("PUT /large/") for asked in hub.asked) == 1


def test_code_of_strangers_runs_only_where_it_is_trusted(small_features, hub, warm_python, tmp_path):
    (tmp_path / "my_circuit.py").write_text(CIRCUIT)
    circuit = f"{tmp_path / 'my_circuit.py'}:mine"
    train(TrainConfig(features=small_features, out=tmp_path / "run", epochs=1, circuit=circuit, qubits=2))
    HybridClassifier.load(tmp_path / "run").save(tmp_path / "net")
    hub.files |= {f"somebody/own/{name}": (tmp_path / "net" / name).read_bytes() for name in names_in(tmp_path / "net")}
    code = """
from features.util.errors import InputError
from pipeline import HybridClassifier

try:
    HybridClassifier.from_pretrained("somebody/own", token=False)
except InputError as error:
    print(error)
print(HybridClassifier.from_pretrained("somebody/own", token=False, trust_remote_code=True).classes)
"""
    ended = child(code, python=warm_python)
    assert ended.returncode == 0, ended.stderr
    refused, classes = ended.stdout.splitlines()
    assert refused.startswith("somebody/own brings the code of its circuit, my_circuit.py:mine")
    assert classes == "['blue', 'red']"


def test_the_library_is_imported_when_it_is_used_and_named_where_it_is_missing(run, warm_python, monkeypatch):
    code = """
import sys
from pipeline import HybridClassifier

HybridClassifier.load(sys.argv[1])
assert "huggingface_hub" not in sys.modules
"""
    assert child(code, str(run), python=warm_python).returncode == 0
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="the Hugging Face hub needs huggingface_hub, which is not installed"):
        HybridClassifier.from_pretrained("somebody/colours")
