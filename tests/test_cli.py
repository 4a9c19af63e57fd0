"""The command line: one JSON object on standard output, and exit codes that tell whose fault it is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def run(*words: str, lake: Path | None = None, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from difffinance.cli import main; main()", *words]
    if lake is not None:
        command += ["--lake", str(lake)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def sample_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("lake")
    assert run("fetch", "sample", lake=lake).returncode == 0
    return lake


def test_json_is_one_object_and_everything_else_goes_to_standard_error(tmp_path):
    done = run("fetch", "sample", "SPX", "--json", lake=tmp_path)
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["tables"][0]["rows"] == 5031
    assert "Next: difffinance backtest SPX" in done.stderr
    assert not run("fetch", "sample", "SPX", "--json", "--quiet", lake=tmp_path).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fetch"], "Allowed: sample"),
        (["fetch", "nowhere"], "Allowed: sample"),
        (["fetch", "csv", "no/such/file.csv"], "no/such/file.csv"),
        (["calibrate"], "takes one SYMBOL"),
        (["calibrate", "NOPE"], "difffinance fetch"),
        (["calibrate", "../../etc"], "Allowed: letters"),
        (["calibrate", "SYNTH", "--horizon", "-3"], "Allowed: 0.001"),
        (["backtest", "NOPE"], "fetch"),
        (["backtest", "SPX", "--impact", "maybe"], "Allowed: on, off"),
        (["backtest", "SPX", "--strategy", "magic"], "Allowed: momentum/naive"),
        (["backtest", "SPX", "backtest.capital=-1"], "greater than 0"),
        (["report", "NOPE"], "fetch yahoo NOPE"),
        (["report", "SPX", "--preset", "huge"], "Allowed: quick, default, paper"),
        (["simulate", "--num-agents", "0"], "Allowed"),
        (["simulate", "--num-agents", "99999999"], "Allowed: 1 to 10000"),
        (["report", "--output", "/proc/nope"], "Choose another folder with --output"),
        (["simulate", "extra"], "takes no words"),
        (["train", "training.nun_epochs=3"], "Did you mean 'num_epochs'?"),
        (["train", "--resume", "no/such/folder"], "no/such/folder"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(words, says, sample_lake):
    done = run(*words, lake=sample_lake)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bad_option_is_exit_code_2():
    done = run("train", "--nope")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_may_be_written_with_underscores(sample_lake):
    done = run("simulate", "--num_agents", "2", "--num_steps", "20", "--json", lake=sample_lake)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["violations"] == 0


def test_the_lake_can_be_named_by_the_environment(tmp_path):
    done = run("fetch", "sample", "SPX", env={**os.environ, "DIFFFINANCE_LAKE": str(tmp_path)})
    assert done.returncode == 0
    assert (tmp_path / "tables").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "number", "code"),
    [
        (["train", "--num-epochs", "1000"], signal.SIGINT, 130),
        (["train", "--num-epochs", "1000"], signal.SIGTERM, 143),
        (["simulate", "--episodes", "1000"], signal.SIGINT, 130),
    ],
)
def test_a_stopped_run_leaves_nothing_half_written(tmp_path, words, number, code):
    command = [sys.executable, "-c", "from difffinance.cli import main; main()", *words, "--lake", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(8)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.endswith("Stopped. Nothing was left half-written.\n") and "Traceback" not in errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


SWALLOWS = """
import time
import difffinance.cli as cli

class Waits:
    def __del__(self):  # what is raised in here is swallowed, as in a compiler's callback
        print("here", flush=True)
        time.sleep(30)

def app(args, standalone_mode):
    waits = Waits()
    del waits
    time.sleep(30)

cli.app, cli._AGAIN_SECONDS = app, 0.2
cli.main()
"""


def test_a_signal_that_was_swallowed_comes_again():
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143 and errors == "Stopped. Nothing was left half-written.\n"
