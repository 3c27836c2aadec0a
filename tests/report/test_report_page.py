"""The report's page in a real browser, opened from the disk."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from browser import accessibility_problems
from conftest import synthetic_provenance

from features.cache.writer import FeatureWriter
from features.config import ExtractConfig
from features.extract import make_features
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.report import write_report
from pipeline.report.words import percent
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train

# Names that HTML, a shell, matplotlib's mathematics or its letters could trip over.
NAMES = {"blue": "<b>a & b<b> $x^", "red": '_蟻 "it\'s"'}
PICTURE = "<img src=x onerror=alert(1)> ü.png"


@pytest.fixture(scope="module")
def with_images(picture_folder_once, random_weights, tmp_path_factory):
    """The page of a run on pictures whose classes and files have awkward names."""
    folder = tmp_path_factory.mktemp("page")
    for split in ("train", "val"):
        for name, awkward in NAMES.items():
            place = folder / "pictures" / split / awkward
            shutil.copytree(picture_folder_once / split / name, place)
            (place / "0.png").rename(place / PICTURE)
    make_features(ExtractConfig(data=str(folder / "pictures"), weights=str(random_weights), out=folder / "features.h5"))
    train(TrainConfig(features=folder / "features.h5", out=folder / "run", epochs=2))
    return write_report(evaluate(EvalConfig(run=folder / "run")))


@pytest.fixture(scope="module")
def from_features(make_feature_file, tmp_path_factory):
    """The page of a classical head, from cached features alone."""
    folder = tmp_path_factory.mktemp("cached")
    features = make_feature_file(folder / "features.h5", separation=0.05)
    train(TrainConfig(features=features, out=folder / "run", epochs=2, head="classical"))
    return write_report(evaluate(EvalConfig(run=folder / "run")))


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory):
    """The page of a run on a hundred classes, of which the last has no validation image."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    labels = {"train": tuple(range(100)) * 2, "val": tuple(range(99)) * 3}
    classes = tuple(f"class {index} of a rather long name" for index in range(100))
    paths = {split: tuple(f"{split}/{row:04}.png" for row in range(len(rows))) for split, rows in labels.items()}
    centres = rng.normal(size=(100, 512))
    with FeatureWriter(folder / "features.h5", paths, labels, 512) as writer:
        for split, rows in labels.items():
            noise = rng.normal(size=(len(rows), 512))
            writer.write(split, 0, (centres[list(rows)] + noise).astype(np.float32))
        writer.finish(replace(synthetic_provenance(), classes=classes))
    train(TrainConfig(features=folder / "features.h5", out=folder / "run", epochs=2, head="linear"))
    return write_report(evaluate(EvalConfig(run=folder / "run")))


@pytest.fixture(params=["with_images", "from_features", "many_classes"])
def address(request):
    return request.getfixturevalue(request.param).as_uri()


def test_it_is_whole_clean_and_fits(browser, address):
    with browser.page(address) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        for dark, width in product((False, True), (1200, 390)):
            page.emulate_media(color_scheme="dark" if dark else "light")
            page.set_viewport_size({"width": width, "height": 900})
            # Each scheme and width has pictures of its own.
            page.wait_for_function("[...document.images].every(image => image.complete)")
            images = page.evaluate("[...document.images].map(i => [i.naturalWidth > 0, i.alt.length > 20])")
            assert len(images) >= 3
            assert all(shown and told for shown, told in images)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert accessibility_problems(page) == [], (dark, width)
        assert page.problems == []
        assert [url for url in page.requested if not url.startswith("data:")] == [address]


def test_the_pictures_follow_the_colour_scheme_and_the_width(browser, with_images):
    shown = set()
    for dark in (False, True):
        for width in (1200, 390):
            with browser.page(with_images.as_uri(), dark=dark, width=width) as page:
                shown.add(page.locator("#learning img").evaluate("image => image.currentSrc"))
                background = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (background == "rgb(13, 17, 23)") == dark
    assert len(shown) == 4


def test_awkward_names_are_text(browser, with_images):
    with browser.page(with_images.as_uri()) as page:
        assert page.locator("h1").inner_text() == " or ".join(sorted(NAMES.values())) + "?"
        assert page.locator("b").count() == 0
        files = page.locator("#images .file").all_inner_texts()
        assert any(name.endswith(PICTURE) for name in files)
        assert page.locator("#images img").evaluate_all("all => all.every(one => one.alt.includes('true class'))")
        # In the confusion matrix too, whose text the browser sets.
        names = [row.split("\t")[0] for row in page.locator("#classes tbody").inner_text().splitlines()]
        assert names == sorted(NAMES.values())


def test_right_and_wrong_are_told_in_words(browser, with_images):
    with browser.page(with_images.as_uri()) as page:
        verdicts = page.locator("#images .verdict").all_inner_texts()
        alts = page.locator("#images img").evaluate_all("all => all.map(one => one.alt)")
        assert len(verdicts) == len(alts)
        for verdict, alt in zip(verdicts, alts, strict=True):
            assert verdict.startswith("✓ right") or verdict.startswith("✗ wrong, is ")
            assert alt.endswith("right" if verdict.startswith("✓") else "wrong")


def test_the_keyboard_reaches_everything(browser, with_images):
    with browser.page(with_images.as_uri()) as page:
        page.keyboard.press("Tab")
        focused = "document.activeElement"
        assert page.evaluate(f"{focused}.textContent") == "Skip to the result"
        assert page.evaluate(f"{focused}.getBoundingClientRect().left") >= 0
        page.keyboard.press("Enter")
        assert page.evaluate(f"{focused}.id") == "result"
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"{focused}.localName === 'summary' && !{focused}.parentElement.open"):
                reached.add(page.evaluate(f"{focused}.textContent"))
                page.keyboard.press("Enter")
                assert page.evaluate(f"{focused}.parentElement.open")
        assert reached == set(page.locator("summary").all_inner_texts())
        scrolling = page.evaluate(
            "[...document.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1 && "
            "['auto', 'scroll'].includes(getComputedStyle(one).overflowX)).map(one => one.tabIndex)"
        )
        assert set(scrolling) <= {0}


def test_it_has_landmarks_a_language_and_headings_in_order(browser, address):
    with browser.page(address) as page:
        assert page.evaluate("document.documentElement.lang") == "en"
        for landmark in ("header", "nav", "main", "footer"):
            assert page.locator(landmark).count() == 1
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(one => +one.localName[1])")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        for link in page.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href'))"):
            assert page.locator(link).count() == 1
        assert page.locator("table").count() == page.locator("table > caption").count() >= 5
        assert page.locator("th:not([scope])").count() == 0


def test_without_images_they_are_named(browser, from_features):
    with browser.page(from_features.as_uri()) as page:
        assert page.locator("#images img").count() == 0
        assert "The images are not at hand" in page.locator("#images").inner_text()
        assert page.locator("#images tbody tr").count() >= 12
        assert page.locator("#inside img").count() == 1
        assert "✗" in page.locator("#images").inner_text()


def test_a_hundred_classes_stay_readable(browser, many_classes):
    assert many_classes.stat().st_size < 3_000_000
    with browser.page(many_classes.as_uri()) as page:
        assert page.locator("h1").inner_text() == "100 classes of synthetic"
        assert page.locator("#classes tbody").first.locator("tr").count() == 100
        assert page.locator("#classes tbody").nth(1).locator("tr").count() <= 10
        # The long table scrolls in its own box.
        assert page.locator("#classes .scroll").first.bounding_box()["height"] < 700
        assert page.locator("#inside").count() == 0


def test_a_picture_opens_larger_with_all_that_is_known_of_it(browser, with_images):
    with browser.page(with_images.as_uri(), width=1200, height=900) as page:
        picture = page.locator("#images .gallery li").first
        small = picture.locator("img").bounding_box()["width"]
        assert not picture.locator(".more").first.is_visible()
        picture.locator("a").first.click()
        assert picture.locator(".more").first.is_visible()
        assert picture.bounding_box()["width"] == 1200
        assert picture.locator("img").bounding_box()["width"] >= small
        assert "⟨Z⟩" in picture.inner_text()
        assert accessibility_problems(page) == []
        picture.locator(".close").click()
        assert not picture.locator(".more").first.is_visible()


def test_on_request_the_page_shows_where_the_network_looks(browser, with_images):
    """Without a script: a box to tick, and both pictures side by side where one is opened."""
    plain, size = with_images.read_text(encoding="utf-8"), with_images.stat().st_size
    assert "Grad-CAM" not in plain
    run = with_images.parent
    write_report(evaluate(EvalConfig(run=run, explain=True)))
    try:
        assert size < with_images.stat().st_size < size + 15_000 * plain.count('class="plain"')
        with browser.page(with_images.as_uri()) as page:
            first = page.locator("#images .gallery li").first
            heat, picture = first.locator(".heat"), first.locator(".plain")
            assert (heat.is_visible(), picture.is_visible()) == (False, True)
            page.get_by_label("Show where the network looks").check()
            assert (heat.is_visible(), picture.is_visible()) == (True, False)
            alts = page.locator("#images .heat").evaluate_all("all => all.map(one => one.alt)")
            assert len(alts) == page.locator("#images .plain").count()
            assert all("speaks for" in alt for alt in alts)
            for dark, width in product((False, True), (1280, 390)):
                page.emulate_media(color_scheme="dark" if dark else "light")
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert accessibility_problems(page) == [], (dark, width)
            page.set_viewport_size({"width": 1280, "height": 900})
            first.locator("a").first.click()
            assert heat.bounding_box()["y"] < picture.bounding_box()["y"] + picture.bounding_box()["height"]
            assert heat.bounding_box()["x"] >= picture.bounding_box()["x"] + picture.bounding_box()["width"]
            assert page.problems == []
    finally:
        with_images.write_text(plain, encoding="utf-8")


def test_tables_and_the_circuit_fit_or_say_that_they_go_on(browser, with_images):
    overflows = "one => one.scrollWidth > one.clientWidth + 1"
    with browser.page(with_images.as_uri(), width=1280, height=900) as page:
        assert not page.locator("#inside .scroll:has(img)").evaluate(overflows)
        assert not page.locator("#inside .scroll:has(table)").evaluate(overflows)
    with browser.page(with_images.as_uri(), width=390, height=900) as page:
        assert not page.locator("#result .scroll").evaluate(overflows)
        assert not page.locator("#inside .scroll:has(table)").evaluate(overflows)
        assert page.locator("#inside .hint").is_visible()


def test_the_circuits_parts_are_those_of_the_record(browser, with_images, from_features):
    with browser.page(with_images.as_uri()) as page:
        shown = page.locator("#inside .scroll:has(table) tbody tr").all_inner_texts()
    parts = json.loads((with_images.parent / "report.json").read_text())["ablations"]["parts"]
    for line, part in zip(shown, parts, strict=True):
        if part["name"] == "affine":  # of five images
            assert line == f"{part['words']}\tnot possible: {part['not_run']}"
            continue
        words, accuracy, cost, _ = line.split("\t")
        assert (words, accuracy) == (part["words"], percent(part["accuracy"]))
        assert float(cost.replace("−", "-")) == round(100 * part["cost"], 1)
    assert json.loads((from_features.parent / "report.json").read_text())["ablations"] == {
        "not_run": "the head has no circuit between two layers"
    }
