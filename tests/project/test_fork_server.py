"""tests/fork_server.py: what it runs can't tell that it was forked."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import wait_for

SAY_ALL = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), os.environ["MARK"], sys.stdin.read(), __name__, sys.path[0]]))
print("complaint", file=sys.stderr)
sys.exit(3)
"""


def run(python, *arguments, **how):
    return subprocess.run([python, *arguments], capture_output=True, text=True, check=False, timeout=60, **how)


@pytest.mark.parametrize("form", ["-c", "-m", "file"])
def test_it_runs_as_python_does(warm_python, tmp_path, form):
    (tmp_path / "say_all.py").write_text(SAY_ALL)
    words = {"-c": ["-c", SAY_ALL], "-m": ["-m", "say_all"], "file": [str(tmp_path / "say_all.py")]}[form]
    how = {"cwd": tmp_path, "env": os.environ | {"MARK": "ä"}, "input": "said"}
    cold, warm = (run(python, *words, "two words", "--flag", **how) for python in (sys.executable, warm_python))
    assert (warm.returncode, warm.stdout, warm.stderr) == (3, cold.stdout, "complaint\n")


def test_an_error_is_a_traceback_and_exit_code_1(warm_python):
    finished = run(warm_python, "-c", "1 / 0")
    assert finished.returncode == 1
    assert finished.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_arrive_and_the_end_comes_back(warm_python, tmp_path, sign, code):
    waits = "import pathlib, signal, sys\npathlib.Path('ready').touch()\n"
    waits += "try: signal.pause()\nexcept KeyboardInterrupt: sys.exit(130)"
    with subprocess.Popen([warm_python, "-c", waits], cwd=tmp_path) as process:
        wait_for((tmp_path / "ready").exists)
        process.send_signal(sign)
        assert process.wait(30) == code


def test_it_is_killed_with_its_client(warm_python):
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with subprocess.Popen([warm_python, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        forked = int(process.stdout.readline())
        process.kill()
    wait_for(lambda: not is_alive(forked))


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_libraries_are_there_and_the_project_comes_from_the_working_folder(warm_python, tmp_path):
    (tmp_path / "features").mkdir()
    (tmp_path / "features/__init__.py").write_text("print('this one')")
    code = "import sys; print('torch' in sys.modules, 'pipeline' in sys.modules); import features"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert run(warm_python, "-c", code, cwd=tmp_path, env=environment).stdout == "True False\nthis one\n"
