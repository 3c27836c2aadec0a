"""The demo under hostile requests: none names a file, and whatever is sent gets a short answer."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from urllib.parse import quote, urlsplit

import pytest

from pipeline.demo.page import MAX_UPLOAD

BYTES, JSON = "application/octet-stream", "application/json"


@pytest.fixture
def server(demo_server):
    """A server under attack."""
    return demo_server


@pytest.fixture
def picture(picture_folder_once):
    return (picture_folder_once / "val/red/0.png").read_bytes()


def fetch(server, path, data=None, kind=JSON, **headers):
    """Status, body and headers of a request's answer."""
    given = {"Content-Type": kind} if data is not None else {}
    asked = urllib.request.Request(server.url + path, data=data, headers=given | headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def classify(server, content, name="mine.png"):
    status, body, _ = fetch(server, "/picture", content, BYTES, **{"X-Name": name})
    assert status == 200
    return json.loads(body)


def files_of(server):
    return [place for place in server.folder.parent.rglob("*") if place.is_file()]


def test_a_pictures_name_is_only_text_and_the_picture_never_lies_in_a_file(server, picture):
    for name in ("../../<b>mine</b>.png", "C:\\..\\<b>mine</b>.png", "/etc/<b>mine</b>.png", "<b>mine</b>.png\0"):
        answer = classify(server, picture, quote(name))
        assert answer["name"].endswith("b>.png")
        assert not {"..", "/etc", "C:"} & {answer["name"]}
        assert "b&gt;.png" in answer["html"]
        assert "b>.png" not in answer["html"]
    assert classify(server, picture, "")["name"] == "picture"
    assert len(classify(server, picture, quote("蟻" * 1000))["name"]) == 200
    assert classify(server, picture, "%FF%00.png")["name"] == "\ufffd.png"
    assert files_of(server) == []


def test_no_request_can_name_a_file(server, picture, tmp_path):
    victim, relative = tmp_path / "victim.png", server.folder / "victim.png"
    victim.write_bytes(picture)
    relative.write_bytes(picture)
    for place in (str(victim), "victim.png", f"file://{victim}", f"..{victim}", "%2e%2e/victim.png", "//etc/passwd"):
        for way in ("", "page.css/", "picture/", "file=", "?file="):
            assert fetch(server, f"/{way}{quote(place)}")[0] == 404
            assert fetch(server, f"/{way}{quote(place)}", b"{}")[0] == 404
        # Sent as a picture, a path is no picture; as a name, it is text.
        assert "can't be read" in classify(server, place.encode(), quote(place))["html"]
        for question in ({"chosen": place}, {"inputs": place}, {"path": place}, [place], place):
            assert fetch(server, "/example", json.dumps(question).encode())[0] == 400
            assert fetch(server, "/angles", json.dumps(question).encode())[0] == 400
    assert victim.read_bytes() == relative.read_bytes() == picture
    relative.unlink()


def test_malformed_questions_get_a_sentence(server):
    """The fixture asserts in the end that the terminal shows no traceback."""
    good = {"inputs": [0.1, 0.2, 0.3, 0.4]}
    status, body, _ = fetch(server, "/angles", json.dumps(good).encode())
    assert (status, list(json.loads(body))) == (200, ["outputs", "probabilities"])
    many = [
        {"inputs": values} for values in ([], [1, 2, 3], [1] * 5, [1, 2, 3, None], [1, 2, 3, "4"], 7, {}, [True] * 4)
    ]
    many += [{"inputs": [1, 2, 3, float(each)]} for each in ("nan", "inf")] + [{"inputs": [10**400, 0, 0, 0]}]
    many += [[], 7, None, {}, {"chosen": 1}, {"a" * 10_000: 1}]
    for body in (*(json.dumps(each).encode() for each in many), b"", b"{", b"\xff\xfe", b"[" * 60_000):
        status, words, _ = fetch(server, "/angles", body)
        assert (status, words[:32]) == (400, b"This is no question of this page")
    for chosen in (99, -1, "1", None, 1.0, True, [0]):
        assert fetch(server, "/example", json.dumps({"chosen": chosen}).encode())[0] == 400
    assert fetch(server, "/example", b'{"chosen": 0}')[0] == 200
    assert fetch(server, "/picture", b"", BYTES)[1].find(b"empty (0 bytes)") > 0
    for path in ("/", "/page.js", "/file", "/angles/", "/gradio_api/upload"):
        assert fetch(server, path, b"{}")[0] == 404


def test_a_page_elsewhere_can_ask_nothing(server, picture):
    """Of these types alone a browser sends a body to another site without asking that site first."""
    for kind in ("text/plain", "multipart/form-data; boundary=B", "application/x-www-form-urlencoded"):
        assert fetch(server, "/picture", picture, kind)[0] == 415
        assert fetch(server, "/angles", b'{"inputs": [0, 0, 0, 0]}', kind)[0] == 415
    request = urllib.request.Request(f"{server.url}/picture", method="OPTIONS")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
    assert refused.value.code == 501
    refused.value.close()
    _, _, headers = fetch(server, "/")
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_too_much_is_refused_before_it_is_read(server, picture):
    address = urlsplit(server.url)
    start = f"POST /picture HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: {BYTES}\r\n"
    for length, status in (
        (f"Content-Length: {MAX_UPLOAD + 1}", b"413"),
        ("Content-Length: -1", b"411"),
        ("Content-Length: 1\r\nContent-Length: 2", b"411"),
        ("Transfer-Encoding: chunked", b"411"),
        ("X: none", b"411"),
    ):
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(f"{start}{length}\r\n\r\n".encode())
            assert connection.recv(99).split()[1] == status
    assert fetch(server, "/angles", b" " * (2**16 + 1))[0] == 413
    for line in (b"GARBAGE\r\n\r\n", f"{start}Content-Length: 9\r\n\r\nx".encode(), b"", b"GET / HTTP/1.1\r\nA" * 200):
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(line)
    assert "label" in classify(server, picture)


def test_many_at_a_time_each_get_their_own_answer(server, picture, picture_folder_once):
    pictures = {file.name: file.read_bytes() for file in sorted((picture_folder_once / "val/red").glob("*.png"))}
    alone = {name: classify(server, content, name) for name, content in pictures.items()}
    together = {}

    def ask(name, index):
        together[name, index] = classify(server, pictures[name], name)

    threads = [threading.Thread(target=ask, args=(name, index)) for name in pictures for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 3 * len(pictures)
    assert all(
        answer["probabilities"] == pytest.approx(alone[name]["probabilities"]) for (name, _), answer in together.items()
    )
