"""The demo's page in a real browser."""

import base64
import csv
import io
import itertools
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from browser import accessibility_problems
from conftest import names_in
from demo_page import assert_as_predicted, drop, shown_pixels, sideways
from PIL import Image

from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.demo.examples import validation_examples
from pipeline.demo.limits import Limits
from pipeline.demo.page import Demo
from pipeline.demo.reading import Reader
from pipeline.explain.gradcam import GradCAM
from pipeline.explain.overlay import overlay
from pipeline.training.run import load_run


@pytest.fixture(scope="module")
def classifier(demo_run):
    return HybridClassifier.load(demo_run)


@pytest.fixture
def server(demo_server):
    return demo_server


@pytest.fixture
def picture(tmp_path):
    return sideways(tmp_path)


def test_what_it_reads_is_what_the_network_predicts(classifier, picture):
    reading = Reader(classifier, Limits())(picture.read_bytes())
    [prediction] = classifier.predict(picture)
    assert reading.probabilities == pytest.approx(prediction.probabilities, abs=1e-6)
    image = classifier.transforms.normalise(torch.from_numpy(reading.pixels))[None]
    with torch.inference_mode():
        logits = classifier(image)[0]
        assert reading.logits == pytest.approx(logits.tolist(), abs=1e-4)
        # The circuit, on nothing but its inputs, and the last layer on nothing but what is shown of the circuit.
        outputs = classifier.head.expectation_values(torch.tensor([reading.inputs]))[0]
        assert reading.outputs == pytest.approx(outputs.tolist(), abs=1e-6)
        assert reading.logits == pytest.approx(
            classifier.head.post_net(torch.tensor(reading.outputs)).tolist(), abs=1e-5
        )
    assert sum(reading.added) == pytest.approx(float(logits.max() - logits.mean()), abs=1e-5)
    heat = GradCAM(classifier.network, classifier.head)(reading.pixels, int(logits.argmax()))
    assert np.array_equal(reading.heat, heat)
    assert (reading.distance, reading.unlike) == (None, False)


def test_outputs_that_are_no_expectation_values_are_not_called_so(classifier, picture):
    demo = Demo(classifier)
    found = replace(demo.reader(picture.read_bytes()), outputs=[0.25, 0.75], added=None, of_wires=False)
    demo.reader = lambda _: found
    demo.reader.blind = ""
    html = demo.answer("a.png", picture.read_bytes())["html"]
    assert ("+0.7500" in html, "⟨Z⟩" in html) == (True, False)


def test_a_margin_below_the_stated_one_is_not_sure(classifier, picture):
    demo = Demo(classifier)
    reading = demo.reader(picture.read_bytes())
    for shares, sure in (((0.61, 0.39), True), ((0.59, 0.41), False)):
        named = dict(zip(classifier.classes, shares, strict=True))
        found = replace(reading, probabilities=named, distance=0.9, unlike=not sure)
        demo.reader = lambda _, found=found: found
        demo.reader.blind = ""
        answer = demo.answer("a.png", b"")
        assert (answer["sure"], answer["unlike"], answer["label"]) == (sure, not sure, classifier.classes[0])
        assert ("Not sure" in answer["html"]) != sure
        assert ("below 20 the page says so" in answer["html"]) != sure
        assert ("Unlike the training pictures" in answer["html"]) != sure


def test_a_network_without_maps_is_classified_without_heat(classifier, picture, monkeypatch):
    def none(*_):
        raise InputError("vit_b_16 gives no maps of its pictures at its end; leave out --explain")

    monkeypatch.setattr("pipeline.demo.reading.GradCAM", none)
    demo = Demo(classifier)
    html = demo.answer("a.png", picture.read_bytes())["html"]
    assert ('class="crop"' in html, 'class="heat"' in html) == (True, False)
    assert "no picture of where the network looks: vit_b_16 gives no maps of its pictures at its end.<" in demo.page


def test_a_picture_is_classified(server, browser, classifier, picture):
    with browser.page(server.url) as page:
        drop(page, picture)
        assert_as_predicted(page, classifier, picture)
        # What is shown as the network's view: the middle of the upright picture; and where it looks, over these pixels.
        upright = Image.open(picture).transpose(Image.Transpose.ROTATE_270)
        pixels = classifier.transforms.pixels(upright)
        assert np.array_equal(shown_pixels(page, ".crop").transpose(2, 0, 1), pixels)
        heat = Reader(classifier, Limits())(picture.read_bytes()).heat
        assert np.abs(shown_pixels(page, ".heat").astype(int) - np.asarray(overlay(pixels, heat))).max() <= 1
        assert "speaks for" in page.locator("#answer .heat").get_attribute("alt")
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.title().startswith("blue or red?")
        assert page.problems == []
        asked = {urlsplit(url).netloc for url in page.requested if not url.startswith(("data:", "blob:"))}
        assert asked == {urlsplit(server.url).netloc}
    assert names_in(server.temporary) == []


def test_several_pictures_make_a_table_and_a_csv(server, browser, classifier, picture, picture_folder_once, tmp_path):
    awkward = tmp_path / 'a, <i>b".png'
    awkward.write_bytes((picture_folder_once / "val/blue/0.png").read_bytes())
    (tmp_path / "none.txt").write_text("no picture")
    files = [picture, awkward, tmp_path / "none.txt"]
    with browser.page(server.url) as page:
        drop(page, *files)
        rows = page.locator("#all tbody tr")
        rows.nth(2).wait_for(timeout=20_000)
        assert page.locator("#all tbody button").all_inner_texts() == [file.name for file in files]
        assert page.locator("i").count() == 0
        # The first picture's answer is shown; a click shows another's.
        assert page.locator("#answer").get_attribute("data-of") == picture.name
        page.get_by_role("button", name=awkward.name).click()
        assert_as_predicted(page, classifier, awkward)
        assert page.locator("#all button[aria-pressed=true]").inner_text() == awkward.name
        with page.expect_download() as download:
            page.get_by_role("button", name="Download as CSV").click()
        lines = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
        assert download.value.suggested_filename == "classes.csv"
        assert [line["image"] for line in lines] == [file.name for file in files]
        for line, prediction in zip(lines[:2], classifier.predict(files[:2]), strict=True):
            assert line["class"] == prediction.label
            shares = {name: float(line[name]) for name in classifier.classes}
            assert shares == pytest.approx(prediction.probabilities, abs=2e-6)
            first, second = sorted(shares.values(), reverse=True)
            assert line["not sure"] == ("yes" if first - second < 0.2 else "no")
            assert (line["unlike"], line["problem"]) == ("", "")
        assert lines[2]["problem"] == "not an image that Pillow can read"
        page.get_by_role("button", name="Forget all").click()
        assert not page.locator("#all").is_visible()
        assert page.problems == []


def test_pictures_are_also_pasted_and_dropped(server, browser, picture_folder_once):
    content = base64.b64encode((picture_folder_once / "val/red/0.png").read_bytes()).decode()
    with browser.page(server.url) as page:
        for kind, holder in (("paste", "clipboardData"), ("drop", "dataTransfer")):
            page.evaluate(
                """([kind, holder, name, content]) => {
                  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
                  const held = new DataTransfer();
                  held.items.add(new File([bytes], name, {type: "image/png"}));
                  const made = {paste: ClipboardEvent, drop: DragEvent}[kind];
                  document.body.dispatchEvent(new made(kind, {[holder]: held, bubbles: true, cancelable: true}));
                }""",
                [kind, holder, f"{kind}.png", content],
            )
            page.locator(f'#answer[data-of="{kind}.png"] .verdict').wait_for(timeout=20_000)
        assert page.problems == []


def test_a_picture_of_the_validation_set_is_a_click_away(server, browser, demo_run, classifier, picture_folder_once):
    offered = validation_examples(load_run(demo_run))
    assert [(example.label, example.name) for example in offered[:3]] == [
        ("blue", "0.png"),
        ("red", "0.png"),
        ("blue", "1.png"),
    ]
    with browser.page(server.url) as page:
        page.get_by_role("button", name="red 0.png").click()
        page.locator("#answer .verdict").wait_for(timeout=20_000)
        assert_as_predicted(page, classifier, picture_folder_once / "val/red/0.png")
        right = "red" in page.locator("#answer h2").inner_text()
        assert page.locator("#answer .truth").inner_text() == ("✓ right" if right else "✗ wrong: it is red")
        assert page.problems == []


def test_only_pictures_at_hand_are_offered(demo_run, picture_folder):
    run = load_run(demo_run)
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


def test_a_bad_picture_gets_a_message_and_the_next_an_answer(server, browser, classifier, picture, tmp_path):
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
        assert page.problems == []


def bomb():
    """A small PNG of 400 million pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "png")
    return file.getvalue()


def test_a_file_too_large_is_not_sent(server, browser, tmp_path):
    with (tmp_path / "large.tif").open("wb") as file:
        file.truncate(51 * 2**20)
    with browser.page(server.url) as page:
        assert drop(page, tmp_path / "large.tif").inner_text() == "large.tif: it is larger than 50 MB"
        assert not any(url.endswith("/picture") for url in page.requested)


def test_it_can_be_read_by_everyone(server, browser, picture, picture_folder_once):
    with browser.page(server.url) as page:
        assert accessibility_problems(page) == []
        drop(page, picture, picture_folder_once / "val/red/0.png")
        page.locator("#all tbody tr").nth(1).wait_for(timeout=20_000)
        for dark, width in itertools.product((False, True), (1280, 390)):
            page.emulate_media(color_scheme="dark" if dark else "light")
            page.set_viewport_size({"width": width, "height": 900})
            assert accessibility_problems(page) == [], (dark, width)
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_answer_is_in_view_on_a_phone(server, browser, picture):
    with browser.page(server.url, width=390, height=844) as page:
        page.emulate_media(reduced_motion="reduce")
        button = page.get_by_role("button", name="red 0.png")
        for name, give in ((picture.name, lambda: drop(page, picture)), ("0.png", button.click)):
            give()
            page.locator(f'#answer[data-of="{name}"] .verdict').wait_for()
            for part in (".verdict", ".crop", ".heat"):
                box = page.locator(f"#answer {part}").bounding_box()
                assert box["y"] >= 0, part
                assert box["y"] + box["height"] <= 844, part


def test_the_keyboard_reaches_everything(server, browser):
    with browser.page(server.url) as page:
        reached = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert {"files", "input-0", "input-3", "zero", "red 0.png"} <= reached


def test_without_a_script_the_page_says_what_is_missing(server, browser):
    with browser.page(server.url, script=False) as page:
        said = page.locator("noscript").inner_text()
        assert "pictures can't be classified and angles can't be set" in said
        assert "quantum-transfer predict" in said
