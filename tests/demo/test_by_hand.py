"""The circuit with inputs set by hand, alone and on the page."""

from __future__ import annotations

import statistics
import threading
from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import numpy as np
import pennylane as qml
import pytest
import torch
from browser import accessibility_problems
from conftest import synthetic_provenance
from demo_page import drop, sideways

from features.backbone.network import load_backbone
from features.cache.writer import FeatureWriter
from pipeline import DressedQuantumNet, HybridClassifier
from pipeline.demo.by_hand import SLIDERS, ByHand, by_hand
from pipeline.demo.page import Demo
from pipeline.demo.server import Server, listen
from pipeline.heads.controls.baselines import LinearNet
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train

# Sets the first slider to a few values; the milliseconds until the page shows the last digit of what follows.
MOVE = """async () => {
  const slider = document.querySelector("#input-0");
  const shown = document.querySelector("#by-hand .wires .value");
  const taken = [];
  for (let step = 0; step < 15; step += 1) {
    const seen = new Promise((resolve) => new MutationObserver((_, observer) => {
      observer.disconnect();
      resolve(performance.now());
    }).observe(shown, {childList: true, subtree: true, characterData: true}));
    const begun = performance.now();
    slider.value = 0.1 + 0.2 * step;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    taken.push(await seen - begun);
  }
  return taken;
}"""


@contextmanager
def served(demo):
    """The address of a page that this process serves."""
    with listen(7860) as listening, Server(demo, listening) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def three_inputs(inputs, w):
    """A circuit of two wires and three inputs, of which one enters twice."""
    qml.RX(inputs[0], wires=0)
    qml.RY(inputs[1] * inputs[0], wires=1)
    qml.CRX(w[0], wires=[0, 1])
    qml.RZ(inputs[2], wires=0)
    qml.RX(inputs[0], wires=0)
    return qml.probs(wires=[0, 1])


def test_it_is_the_circuit_of_these_inputs():
    torch.manual_seed(0)
    head = DressedQuantumNet(8, 3, n_qubits=3, depth=2, q_delta=1)
    hands = ByHand(head)
    assert (hands.inputs, hands.outputs, hands.of_wires) == (["x₀", "x₁", "x₂"], ["0", "1", "2"], True)
    inputs = [0.3, -1.2, 2.9]

    @qml.qnode(qml.device("default.qubit", wires=3))
    def circuit():
        return head.circuit(np.array(inputs), head.q_params.detach().numpy())

    outputs, probabilities = hands(inputs)
    assert outputs == pytest.approx([float(each) for each in circuit()], abs=1e-6)
    with torch.no_grad():
        wanted = head.post_net(torch.tensor([outputs])).softmax(dim=1)[0]
    assert probabilities == pytest.approx(wanted.tolist(), abs=1e-6)


def test_any_circuit_by_its_inputs():
    head = DressedQuantumNet(
        8, 3, circuit=three_inputs, weight_shapes={"w": (1,)}, n_qubits=3, pre_net=torch.nn.Linear(8, 3)
    )
    hands = by_hand(head)
    assert (len(hands.inputs), len(hands.outputs), hands.of_wires) == (3, 4, False)
    outputs, _ = hands([0.3, 0.2, 0.1])
    assert sum(outputs) == pytest.approx(1)
    assert "3 inputs a sample" in hands.drawing.words


def test_what_has_no_angles_to_set_says_why():
    assert by_hand(LinearNet(8, 2)) == "This head has no circuit, so there are no angles to set by hand."
    wide = DressedQuantumNet(SLIDERS * 2, 2, n_qubits=6, circuit="amplitude")
    assert by_hand(wide) == "The circuit takes 64 inputs; at most 32 can be set by hand."


def test_sliders_move_what_is_measured_and_what_is_probable(demo_server, demo_run, browser, tmp_path):
    hands = ByHand(HybridClassifier.load(demo_run).head)

    def shown(part):
        cells = page.locator(f"#by-hand {part} .value").all_inner_texts()
        return [float(cell.replace("−", "-").removesuffix("\u00a0%")) for cell in cells]

    with browser.page(demo_server.url) as page:
        for inputs in ([0, 0, 0, 0], [1.5, -0.7, 0, 3]):
            for index, value in enumerate(inputs):
                page.locator(f"#input-{index}").fill(str(value))
            outputs, probabilities = hands(inputs)
            page.get_by_text(f"{outputs[3]:+.4f}".replace("-", "−"), exact=True).last.wait_for(timeout=5000)
            assert shown(".wires") == pytest.approx(outputs, abs=1e-4)
            assert shown(".probabilities") == pytest.approx([100 * each for each in probabilities], abs=0.051)
        assert page.locator("#by-hand output").first.inner_text() == "+1.50"
        # Within 100 ms of the hand.
        assert statistics.median(page.evaluate(MOVE)) < 100
        assert page.locator("#own").is_disabled()
        page.locator("#input-0").focus()
        before = page.locator("#input-0").input_value()
        page.keyboard.press("ArrowLeft")
        assert float(page.locator("#input-0").input_value()) < float(before)
        # From the angles of a picture.
        answer = drop(page, sideways(tmp_path))
        own = page.locator("#by-hand output").all_inner_texts()
        page.locator("#zero").click()
        assert page.locator("#by-hand output").all_inner_texts() == ["+0.00"] * 4
        page.locator("#own").click()
        assert page.locator("#by-hand output").all_inner_texts() == own != ["+0.00"] * 4
        measured = answer.locator(".wires .value").all_inner_texts()
        page.locator("#by-hand .wires .value").first.get_by_text(measured[0], exact=True).wait_for(timeout=5000)
        assert page.locator("#by-hand .wires .value").all_inner_texts() == measured
        assert page.problems == []


@pytest.fixture(scope="module")
def large(random_weights, tmp_path_factory):
    """The page of sixteen wires and a hundred classes."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    labels = {"train": tuple(range(100)), "val": tuple(range(20))}
    paths = {split: tuple(f"{split}/{row:03}.png" for row in range(len(rows))) for split, rows in labels.items()}
    with FeatureWriter(folder / "features.h5", paths, labels, 512) as writer:
        for split, rows in labels.items():
            writer.write(split, 0, rng.normal(size=(len(rows), 512)).astype(np.float32))
        classes = tuple(f"<i>class</i> {index} of a rather long name" for index in range(100))
        writer.finish(replace(synthetic_provenance(), classes=classes))
    config = TrainConfig(features=folder / "features.h5", out=folder / "run", qubits=16, depth=1, epochs=1, batch=100)
    run = train(config)
    backbone = load_backbone("resnet18", str(random_weights))
    with served(Demo(HybridClassifier(run, backbone, accept_other_weights=True))) as address:
        yield address


def test_sixteen_wires_and_a_hundred_classes_stay_usable(large, browser, tmp_path):
    with browser.page(large) as page:
        assert page.locator("#by-hand input").count() == page.locator("#by-hand .wires tr").count() == 16
        assert page.locator("#by-hand .probabilities tr:visible").count() == 10
        assert page.locator("h1").inner_text() == "Which of 100 classes?"
        assert statistics.median(page.evaluate(MOVE)) < 100
        # The sliders stand beside what they move.
        sliders, results = (page.locator(f"#by-hand {part}").bounding_box() for part in (".sliders", ".wires"))
        assert results["x"] > sliders["x"] + sliders["width"] - 1
        assert abs(results["y"] - sliders["y"]) < 60
        drop(page, sideways(tmp_path))
        assert page.locator("#answer .classes tbody tr").count() == 10
        assert page.locator("i").count() == 0
        for dark, width in product((False, True), (1280, 390)):
            page.emulate_media(color_scheme="dark" if dark else "light")
            page.set_viewport_size({"width": width, "height": 844})
            assert accessibility_problems(page) == [], (dark, width)
            assert page.evaluate("document.documentElement.scrollWidth") == width
        # On a phone the classes stay in view while the first slider moves.
        page.locator("#input-0").scroll_into_view_if_needed()
        assert page.locator("#by-hand .probabilities").bounding_box()["y"] < 844
        assert page.problems == []
