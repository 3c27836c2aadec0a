"""The demo's server as a process: who reaches it, and how it ends."""

import contextlib
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from browser import accessibility_problems
from conftest import ROOT, names_in
from demo_page import ENDED, assert_as_predicted, drop, sideways
from server import serving

from features.cache.packaged import PACKAGED
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.demo.config import DemoConfig
from pipeline.demo.server import listen, serve
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


def answer_code(url, host=None):
    asked = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_this_machine_reaches_it(demo_server):
    server = demo_server
    port = urlsplit(server.url).port
    for address in other_addresses():
        with pytest.raises(ConnectionRefusedError), socket.create_connection((address, port), timeout=5):
            pass
    assert answer_code(server.url) == 200
    # A page elsewhere whose name was made to point here.
    assert answer_code(server.url, host=f"elsewhere.example:{port}") == 400
    assert answer_code(f"{server.url}/file=/etc/passwd") == 404


def other_addresses():
    """Addresses of this machine that are not 127.0.0.1."""
    found = ["127.0.0.2"] if sys.platform == "linux" else []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: only asks for the way
        found.append(probe.getsockname()[0])
    return found


def test_a_head_without_circuit_says_so_and_ctrl_c_ends_it_cleanly(picture_features, browser, warm_python, tmp_path):
    run = train(TrainConfig(features=picture_features, out=tmp_path / "run", head="classical", epochs=1)).path
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    with serving(run, "--epoch", "best", python=warm_python, **proxies) as server:
        assert re.fullmatch(rf"{run}: the head of epoch 1 on {server.url} \(Ctrl-C ends it\)\n", server.said)
        for address in other_addresses():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, urlsplit(server.url).port), timeout=5)
        with browser.page(server.url) as page:
            text = drop(page, sideways(tmp_path)).inner_text()
            assert "is a control without a quantum circuit" in text
            assert page.locator(".wires").count() == 0
            assert "no angles to set by hand" in page.locator("#by-hand").inner_text()
            assert accessibility_problems(page) == []
            assert server.stop() == ENDED
        assert names_in(server.temporary) == []
        assert names_in(server.folder) == []


@pytest.mark.slow
def test_real_pictures_and_a_plain_kill(browser, shared_data, shared_weights, tmp_path):
    run = train(TrainConfig(features=PACKAGED, out=tmp_path / "run")).path
    with serving(run, "--weights", str(shared_weights)) as server:
        with browser.page(server.url) as page:
            classifier = HybridClassifier.load(run, weights=str(shared_weights))
            for name, number in (("ants", 1), ("bees", 0)):
                picture = sorted((shared_data / "val" / name).glob("*.jpg"))[number]
                drop(page, picture)
                assert_as_predicted(page, classifier, picture)
                assert page.locator("#answer h2").inner_text().startswith(name)
                assert page.locator("#answer .warning").count() == 0
            drop(page, ROOT / ".readme/circuit.png")
            assert "Unlike the training pictures" in page.locator("#answer").inner_text()
            assert page.problems == []
        assert server.stop(signal.SIGTERM) == ENDED
        assert names_in(server.temporary) == []


def test_the_next_free_port_is_taken():
    with listen(7860) as first, listen(first.getsockname()[1]) as second:
        assert second.getsockname()[0] == "127.0.0.1"
        assert second.getsockname()[1] > first.getsockname()[1]
    with listen(65535), pytest.raises(InputError, match="the ports 65535 to 65535 are all in use; give another --port"):
        listen(65535)


def test_what_is_wrong_is_said_before_anything_starts(tmp_path):
    with pytest.raises(ValueError, match=r"--port is 70000; it must be from 1 to 65535"):
        DemoConfig(port=70000)
    with pytest.raises(InputError, match="there is no run folder"):
        serve(DemoConfig(run=tmp_path / "none"))
