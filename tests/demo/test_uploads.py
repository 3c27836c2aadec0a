"""The demo under hostile requests: whatever a request names, no file of the user's is read, copied or removed."""

from __future__ import annotations

import json
import secrets
import socket
import urllib.error
import urllib.request
from urllib.parse import quote, urlsplit

import pytest

from pipeline.demo.uploads import MAX_UPLOAD, WAITING

META = {"_type": "gradio.FileData"}
API = "/gradio_api"


@pytest.fixture
def server(demo_server):
    """A server under attack."""
    return demo_server


@pytest.fixture
def picture(picture_folder_once):
    return (picture_folder_once / "val/red/0.png").read_bytes()


def fetch(server, path, data=None, kind="application/json"):
    """Status and body of a request's answer."""
    asked = urllib.request.Request(server.url + path, data=data, headers={"Content-Type": kind} if data else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def form(*files, field="files"):
    """A multipart body of files, each a name and its content."""
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--B--\r\n"


def upload(server, *files, kind="multipart/form-data; boundary=B"):
    return fetch(server, f"{API}/upload", form(*files), kind)


def name_of(server, content, name="mine.png"):
    """The name under which an upload waits."""
    status, body = upload(server, (name, content))
    assert status == 200
    [given] = json.loads(body)
    return given


def question(file, **more):
    session = secrets.token_hex(4)
    return {"fn_index": 0, "session_hash": session, "trigger_id": 1, "event_data": None, "data": [file], **more}


def ask(server, asked):
    """What the page would show for a question; None where it is refused."""
    status, _ = fetch(server, f"{API}/queue/join", json.dumps(asked).encode())
    if status != 200:
        assert status == 400
        return None
    _, body = fetch(server, f"{API}/queue/data?session_hash={asked['session_hash']}")
    messages = [json.loads(line.removeprefix("data: ")) for line in body.decode().splitlines() if line]
    [done] = [message for message in messages if message["msg"] == "process_completed"]
    return done["output"]["data"][-1] if done["success"] else done["output"]["error"]


def test_an_upload_is_answered_once_and_never_lies_in_a_file(server, picture):
    name = name_of(server, picture, name="../../<b>mine</b>.png")
    shown = ask(server, question({"path": name, "meta": META}))
    assert "answer" in shown
    assert "b&gt;.png" in shown  # the file's name, which can't be a path or markup
    assert ".." not in shown
    assert ask(server, question({"path": name, "meta": META})) is None
    [folder] = server.temporary.iterdir()
    assert [place for place in folder.rglob("*") if place.is_file()] == []


def test_no_request_can_name_a_file(server, picture, web, tmp_path):
    victim = tmp_path / "victim.png"
    victim.write_bytes(picture)
    relative = server.folder / "victim.png"
    relative.write_bytes(picture)
    [folder] = server.temporary.iterdir()
    (folder / "planted.png").write_bytes(picture)
    (folder / "link.png").symlink_to(victim)
    web.files["victim.png"] = picture
    waiting = name_of(server, picture)
    places = [
        str(victim),
        "victim.png",
        "./victim.png",
        f"{folder}/../../work/victim.png",
        f"{folder}/planted.png",
        f"{folder}/link.png",
        str(folder),
        "planted.png",
        waiting[:-1],  # another's upload can only be guessed at
        waiting.rsplit("/", 1)[1],
        f"{waiting}/",
        f"{folder}/./{waiting.rsplit('/', 1)[1]}",
        f"{web.url}/victim.png",
        f"file://{victim}",
        f"{victim}\0.png",
        "",
        None,
        7,
        [str(victim)],
        {"path": str(victim)},
    ]
    shapes = [
        lambda place: {"path": place, "meta": META},
        lambda place: {"path": place, "meta": META, "is_stream": True},
        lambda place: {"path": place, "meta": META, "url": f"{web.url}/victim.png", "orig_name": str(victim)},
        lambda place: {"path": place},
        lambda place: {"path": place, "meta": {"_type": "gradio.Other"}},
        lambda place: {"path": place, "meta": "gradio.FileData", "size": "large"},
        lambda place: [{"path": place, "meta": META}],
        lambda place: place,
    ]
    for place in places:
        for shape in shapes:
            assert ask(server, question(shape(place))) is None
    # What is waiting is answered for its name alone: other fields count for nothing.
    fields = {
        "path": waiting,
        "meta": META,
        "url": f"{web.url}/victim.png",
        "orig_name": str(victim),
        "is_stream": True,
    }
    assert "mine.png" in ask(server, question(fields))
    for way in ("run/predict", "api/predict", "run/answer_upload", "call/answer_upload", "call/v2/answer_upload"):
        body = json.dumps(question({"path": str(victim), "is_stream": True, "meta": META})).encode()
        assert fetch(server, f"{API}/{way}", body)[0] == 404
    for place in (victim, folder / "link.png", folder / "planted.png", "victim.png", f"{web.url}/victim.png"):
        for way in ("file=", "file/", "proxy=", "stream/"):
            assert fetch(server, f"{API}/{way}{quote(str(place))}")[0] == 404
    assert web.asked == []
    assert {file.read_bytes() for file in (victim, relative, folder / "planted.png")} == {picture}
    assert {place.name for place in folder.rglob("*") if place.is_file()} == {"link.png", "planted.png"}
    relative.unlink()


def test_uploads_that_are_none_are_refused(server, picture):
    assert upload(server, ("large.tif", bytes(MAX_UPLOAD + 2**20))) == (413, b"The file is larger than 50 MB.")
    assert upload(server) == (400, b"This upload has no file.")
    assert upload(server, ("a.png", picture), ("b.png", picture))[0] == 400
    assert upload(server, ("a.png", picture), kind="multipart/form-data")[0] == 400
    assert upload(server, ("a.png", picture), kind="application/json")[0] == 400
    assert upload(server, ("a.png", picture), kind="multipart/form-data; boundary=C")[0] == 400
    assert fetch(server, f"{API}/upload", b"\xff" * 100, "multipart/form-data; boundary=B")[0] == 400
    assert "empty (0 bytes)" in ask(server, question({"path": name_of(server, b""), "meta": META}))


def test_uploads_without_a_question_give_way(server, picture):
    names = [name_of(server, picture) for _ in range(WAITING + 1)]
    assert ask(server, question({"path": names[0], "meta": META})) is None
    for name in names[1:]:
        assert "answer" in ask(server, question({"path": name, "meta": META}))


def test_malformed_questions_are_refused_without_a_word_in_the_terminal(server, picture):
    """The fixture asserts in the end that the terminal shows no traceback."""
    good = question({"path": name_of(server, picture), "meta": META})
    click = good | {"fn_index": 1, "data": []}
    malformed = [
        good | {"data": []},
        good | {"data": [good["data"][0], None]},
        good | {"data": None},
        good | {"fn_index": 2},
        good | {"fn_index": "0"},
        good | {"session_hash": 5},
        {name: value for name, value in good.items() if name != "session_hash"},
        *(click | {"event_data": chosen} for chosen in (None, {}, {"chosen": 99}, {"chosen": -1}, {"chosen": "1"})),
        [],
        7,
        {"a" * 100_000: 1},
    ]
    for body in (*(json.dumps(each).encode() for each in malformed), b"", b"{", b"\xff\xfe", b"[" * 60_000):
        assert fetch(server, f"{API}/queue/join", body or b" ")[0] == 400
    assert "answer" in ask(server, click | {"event_data": {"chosen": 0}})
    assert "answer" in ask(server, good)
    for path in (f"{API}/vibe-edit/", f"{API}/process_recording", f"{API}/component_server", "/", f"{API}/cancel"):
        assert fetch(server, path, b"{}")[0] == 404
    address = urlsplit(server.url)
    for line in (
        b"GARBAGE\r\n\r\n",
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    ):
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(line)
