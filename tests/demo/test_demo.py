import base64
import contextlib
import io
import itertools
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from browser import accessibility_problems
from conftest import COLOURS, names_in
from PIL import Image
from server import serving

import pipeline.demo.page as page_module
import pipeline.demo.server
from features.cache.packaged import PACKAGED
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.demo.config import DemoConfig
from pipeline.demo.examples import validation_examples
from pipeline.demo.reading import read_picture
from pipeline.demo.server import listen, serve
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run

# Gradio's stand-in for an EventSource says so on every close(), and the request it ends counts as aborted.
OF_GRADIO = re.compile(r"^Method not implemented\.$|/gradio_api/(queue/data|heartbeat/).*: net::ERR_ABORTED$")


ENDED = (0, "\nended; no upload is kept\n", "")


@pytest.fixture
def run(demo_run):
    return demo_run


@pytest.fixture(scope="module")
def classifier(demo_run):
    return HybridClassifier.load(demo_run)


@pytest.fixture
def server(demo_server):
    return demo_server


@pytest.fixture
def picture(tmp_path):
    """A red picture, taken with the camera on its side."""
    pixels = np.random.default_rng(3).normal(COLOURS["red"], 30, (300, 400, 3)).clip(0, 255)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "picture.jpg", exif=exif)
    return tmp_path / "picture.jpg"


def drop(page, file):
    """Give the page a file; the answer, when it is of this file."""
    page.set_input_files("input[type=file]", str(file))
    shown = page.locator(".answer, .problem").filter(has_text=file.name)
    shown.wait_for(timeout=20_000)
    # The answer before it fades away, this one in.
    page.wait_for_function("!document.querySelector('.pending') && !document.getAnimations().length")
    return shown


def shown_numbers(page, table):
    cells = page.locator(f".answer table{table} tbody tr").all_inner_texts()
    return {row.split()[0]: float(row.split()[-1].replace("−", "-")) for row in cells}


def problems(page):
    return [said for said in page.problems if not OF_GRADIO.search(said)]


def assert_as_predicted(page, classifier, file):
    """The page's class, probabilities and expectation values of a picture are the network's own."""
    [prediction] = classifier.predict(file)
    assert page.locator(".answer h2").inner_text() == prediction.label
    assert shown_numbers(page, ":not(.wires)") == pytest.approx(prediction.probabilities, abs=1e-4)
    values = read_picture(classifier, file.read_bytes()).outputs
    assert shown_numbers(page, ".wires") == pytest.approx({str(wire): z for wire, z in enumerate(values)}, abs=1e-4)


def test_what_it_reads_is_what_the_network_predicts(classifier, picture):
    reading = read_picture(classifier, picture.read_bytes())
    [prediction] = classifier.predict(picture)
    assert reading.probabilities == pytest.approx(prediction.probabilities, abs=1e-6)
    image = classifier.transforms.normalise(torch.from_numpy(reading.pixels))[None]
    with torch.inference_mode():
        assert reading.logits == pytest.approx(classifier(image)[0].tolist(), abs=1e-4)
        # The last layer of the head, on nothing but what is shown of the circuit.
        logits = classifier.head.post_net(torch.tensor(reading.outputs))
    assert reading.logits == pytest.approx(logits.tolist(), abs=1e-5)


def test_outputs_that_are_no_expectation_values_are_not_called_so(classifier, picture, monkeypatch):
    reading = replace(read_picture(classifier, picture.read_bytes()), outputs=[0.25, 0.75], of_wires=False)
    monkeypatch.setattr(page_module, "read_picture", lambda *_: reading)
    html = page_module.answer(classifier, "a.png", picture.read_bytes())
    assert ("+0.7500" in html, "⟨Z⟩" in html) == (True, False)


def test_a_dropped_picture_is_classified(server, browser, classifier, picture):
    with browser.page(server.url) as page:
        drop(page, picture)
        assert_as_predicted(page, classifier, picture)
        # What is shown as the network's view: the middle of the upright picture.
        source = page.locator(".answer img").get_attribute("src").removeprefix("data:image/png;base64,")
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
        upright = Image.open(picture).transpose(Image.Transpose.ROTATE_270)
        assert np.array_equal(shown.transpose(2, 0, 1), classifier.transforms.pixels(upright))
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.title().startswith("blue or red?")
        assert problems(page) == []
        asked = {urlsplit(url).netloc for url in page.requested if not url.startswith(("data:", "blob:"))}
        assert asked == {urlsplit(server.url).netloc}
    assert [file for file in server.temporary.rglob("*") if file.name == "picture.jpg"] == []


def test_a_picture_of_the_validation_set_is_a_click_away(server, browser, run, classifier, picture_folder_once):
    offered = validation_examples(load_run(run))
    assert [(example.label, example.name) for example in offered[:3]] == [
        ("blue", "0.png"),
        ("red", "0.png"),
        ("blue", "1.png"),
    ]
    with browser.page(server.url) as page:
        page.get_by_role("button", name="red 0.png").click()
        page.locator(".answer").wait_for(timeout=20_000)
        assert_as_predicted(page, classifier, picture_folder_once / "val/red/0.png")
        right = page.locator(".answer h2").inner_text() == "red"
        assert page.locator(".truth").inner_text() == ("✓ right" if right else "✗ wrong: it is red")
        assert problems(page) == []


def test_only_pictures_at_hand_are_offered(run, picture_folder):
    run = load_run(run)
    (picture_folder / "val/blue/0.png").write_text("no picture")
    there, gone = (
        replace(
            run,
            features=replace(run.features, provenance=replace(run.features.provenance, data_location=str(place))),
        )
        for place in (picture_folder, picture_folder / "none")
    )
    assert [(example.label, example.name) for example in validation_examples(there, most=2)] == [
        ("red", "0.png"),
        ("blue", "1.png"),
    ]
    assert validation_examples(gone) == []


def test_a_bad_upload_gets_a_message_and_the_next_picture_an_answer(server, browser, classifier, picture, tmp_path):
    bad = {
        "text.jpg": (b"no picture", "not an image that Pillow can read"),
        "empty.png": (b"", "the file is empty (0 bytes)"),
        "truncated.jpg": (picture.read_bytes()[:4000], "truncated"),
        "bomb.png": (bomb(), "decompression bomb"),
        "document.pdf": (b"%PDF-1.7", "not an image that Pillow can read"),
    }
    with browser.page(server.url) as page:
        for name, (content, reason) in bad.items():
            (tmp_path / name).write_bytes(content)
            text = drop(page, tmp_path / name).inner_text()
            assert text.startswith(f"{name} can't be read")
            assert reason in text
        assert accessibility_problems(page) == []
        drop(page, picture)
        assert_as_predicted(page, classifier, picture)
        assert problems(page) == []


def bomb():
    """A small PNG of 400 million pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "png")
    return file.getvalue()


def test_a_file_too_large_is_refused(server, browser, tmp_path):
    (tmp_path / "large.tif").write_bytes(bytes(51 * 2**20))
    with browser.page(server.url) as page:
        page.set_input_files("input[type=file]", str(tmp_path / "large.tif"))
        page.get_by_text("exceed the maximum allowed size of 50.0 Mb").wait_for(timeout=20_000)


def test_it_can_be_read_by_everyone(server, browser, picture):
    with browser.page(server.url) as page:
        page.locator("input[type=file]").wait_for(state="attached")
        page.locator(".loading").wait_for(state="detached")
        assert accessibility_problems(page) == []
        drop(page, picture)
        for dark, width in itertools.product((False, True), (1200, 390)):
            page.emulate_media(color_scheme="dark" if dark else "light")
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("!document.getAnimations().length")
            assert accessibility_problems(page) == [], (dark, width)
            assert page.evaluate("document.documentElement.scrollWidth") == width


def answer_code(url, host=None):
    asked = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_this_machine_reaches_it(server):
    port = urlsplit(server.url).port
    for address in other_addresses():
        with pytest.raises(ConnectionRefusedError), socket.create_connection((address, port), timeout=5):
            pass
    assert answer_code(server.url) == 200
    # A page elsewhere whose name was made to point here.
    assert answer_code(server.url, host=f"elsewhere.example:{port}") == 400
    assert answer_code(f"{server.url}/gradio_api/file=/etc/passwd") in (403, 404)


def other_addresses():
    """Addresses of this machine that are not 127.0.0.1."""
    found = ["127.0.0.2"] if sys.platform == "linux" else []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: only asks for the way
        found.append(probe.getsockname()[0])
    return found


def test_a_head_without_circuit_says_so_and_ctrl_c_ends_it_cleanly(
    picture_features, browser, picture, warm_python, tmp_path
):
    run = train(TrainConfig(features=picture_features, out=tmp_path / "run", head="classical", epochs=1)).path
    # Nothing of the environment opens it to the network, and a proxy is not asked.
    hostile = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SHARE": "True", "GRADIO_ALLOWED_PATHS": "/"}
    hostile |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    with serving(run, "--epoch", "best", python=warm_python, **hostile) as server:
        assert re.fullmatch(rf"{run}: the head of epoch 1 on {server.url} \(Ctrl-C ends it\)\n", server.said)
        for address in other_addresses():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, urlsplit(server.url).port), timeout=5)
        assert answer_code(f"{server.url}/gradio_api/file=/etc/passwd") in (403, 404)
        with browser.page(server.url) as page:
            text = drop(page, picture).inner_text()
            assert "is a control without a quantum circuit" in text
            assert page.locator(".wires").count() == 0
            assert accessibility_problems(page) == []
            assert server.stop() == ENDED
        assert names_in(server.temporary) == []
        assert names_in(server.folder) == []


@pytest.mark.slow
def test_real_pictures_and_a_plain_kill(browser, shared_data, shared_weights, tmp_path):
    run = train(TrainConfig(features=PACKAGED, out=tmp_path / "run")).path
    with serving(run, "--weights", str(shared_weights)) as server:
        with browser.page(server.url) as page:
            for name in ("ants", "bees"):
                picture = sorted((shared_data / "val" / name).glob("*.jpg"))[0]
                drop(page, picture)
                assert_as_predicted(page, HybridClassifier.load(run, weights=str(shared_weights)), picture)
                assert page.locator(".answer h2").inner_text() == name
            assert problems(page) == []
        assert server.stop(signal.SIGTERM) == ENDED
        assert names_in(server.temporary) == []


def test_the_next_free_port_is_taken():
    with listen(7860) as first, listen(first.getsockname()[1]) as second:
        assert second.getsockname()[0] == "127.0.0.1"
        assert second.getsockname()[1] > first.getsockname()[1]
    with listen(65535), pytest.raises(InputError, match="the ports 65535 to 65535 are all in use; give another --port"):
        listen(65535)


def test_what_is_wrong_is_said_before_anything_starts(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"--port is 70000; it must be from 1 to 65535"):
        DemoConfig(port=70000)
    with pytest.raises(InputError, match="there is no run folder"):
        serve(DemoConfig(run=tmp_path / "none"))

    def installed(found):
        def version(name):
            if found == "none":
                raise PackageNotFoundError(name)
            return found

        return version

    for found in ("none", "5.49.1"):
        monkeypatch.setattr(pipeline.demo.server, "version", installed(found))
        with pytest.raises(InputError, match=rf"found {found}; install it: .* 'gradio>=6'"):
            serve(DemoConfig(run=run))
