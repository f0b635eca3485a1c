"""Whole runs, as a user starts them: killed, stopped, gone on with, repeated, asked wrongly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from train import classification, evaluate, predict
from train.data import load_images
from train.data.digits import load
from train.shared.checkpoint import Checkpoints
from train.shared.run import RunError, check_run, start_run

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
SHORT = ["--epochs", "8", "--evaluate-every", "2", "--batch-size", "64"]


@pytest.fixture(scope="module", autouse=True)
def compilation_cache(tmp_path_factory):
    """The processes of these tests compile the same programs: once is enough."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    ENVIRONMENT.update(cache, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")


def start(module: str, *arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, **pipes, **options)


def call(module: str, *arguments: object, code: int = 0) -> tuple[str, str]:
    process = start(module, *arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    return out, err


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A complete short run."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    out, _ = call("train.classification", *SHORT, "--run-dir", directory)
    assert out.splitlines()[-1].startswith("test accuracy ")
    return directory


def wait_for_checkpoint(process: subprocess.Popen, directory: Path, step: int) -> None:
    while not (directory / "checkpoints" / f"{step}").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def records(directory: Path) -> list[dict]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines]


def assert_same_run(directory: Path, other: Path) -> None:
    """The same bits: weights, every logged number, the scores."""
    ours, theirs = load_file(directory / "weights.safetensors"), load_file(other / "weights.safetensors")
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert records(directory) == records(other)
    assert (directory / "result.json").read_text() == (other / "result.json").read_text()


def test_a_run_killed_twice_ends_with_the_bits_of_one_that_was_not(run_dir, tmp_path):
    directory = tmp_path / "killed"
    for step in (32, 64):
        process = start("train.classification", *SHORT, "--run-dir", directory)
        wait_for_checkpoint(process, directory, step)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    out, _ = call("train.classification", *SHORT, "--run-dir", directory)
    assert "going on after step" in out
    assert_same_run(directory, run_dir)


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(run_dir, tmp_path):
    directory = tmp_path / "stopped"
    process = start("train.classification", *SHORT, "--run-dir", directory)
    wait_for_checkpoint(process, directory, 32)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    step = int(err.split("stopped by SIGTERM at step ")[1].split(",")[0])
    assert (directory / "checkpoints" / str(step)).is_dir()
    out, _ = call("train.classification", *SHORT, "--run-dir", directory)
    assert f"going on after step {step} of 128" in out
    assert_same_run(directory, run_dir)


def test_a_run_leaves_what_it_promises(run_dir):
    assert json.loads((run_dir / "config.json").read_text())["model"] == "lenet5"
    logged = records(run_dir)
    assert [record["step"] for record in logged] == [16 * (i + 1) for i in range(8)]
    assert [record["step"] for record in logged if "val/accuracy" in record] == [32, 64, 96, 128]
    assert list(run_dir.glob("events.out.tfevents.*"))
    assert len(list((run_dir / "figures").glob("*.png"))) == 6
    assert "<html" in (run_dir / "report.html").read_text()
    result = json.loads((run_dir / "result.json").read_text())
    assert result["test_accuracy"] > 0.9


def test_a_directory_is_held_by_one_run_at_a_time(tmp_path):
    hold = lambda: start_run(tmp_path / "run", classification.Config())
    with hold(), pytest.raises(RunError, match="another process is training in"):
        hold().__enter__()
    with hold():
        pass


def test_a_start_that_was_killed_does_not_count_as_a_directory_in_use(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "config.json.tmp").touch()
    assert check_run(tmp_path, classification.Config()) is None


def test_evaluate_gives_the_score_of_the_run(run_dir):
    out, _ = call("train.evaluate", run_dir, "--json")
    result, scores = json.loads((run_dir / "result.json").read_text()), json.loads(out)
    assert scores["step"] == result["step"]
    assert scores["accuracy"] == result["test_accuracy"]
    assert scores["loss"] == pytest.approx(result["test_loss"], rel=1e-6)


def test_predict_on_files_is_evaluate_on_the_split(run_dir, tmp_path, capsys, monkeypatch):
    test = load(None, 32).test
    for i, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"{i:03}-{label}.png")
    first = tmp_path / f"000-{test.labels[0]}.png"
    (tmp_path / "torn.png").write_bytes(first.read_bytes()[:40])
    out, err = call("train.predict", run_dir, tmp_path, "--top-k", "3", "--json", code=1)
    results = [json.loads(line) for line in out.splitlines()]
    right = [result["top"][0]["class"] == Path(result["file"]).stem[-1] for result in results]
    assert len(right) == len(test)
    assert sum(right) / len(right) == pytest.approx(json.loads((run_dir / "result.json").read_text())["test_accuracy"])
    assert len(results[0]["top"]) == 3
    assert f"error: {tmp_path / 'torn.png'} cannot be read as an image" in err
    monkeypatch.setattr(sys, "argv", ["train.predict", str(run_dir), str(first)])
    with pytest.raises(SystemExit, match="0"):
        predict.main()
    out = capsys.readouterr().out
    assert f"{results[0]['top'][0]['class']}  {results[0]['top'][0]['probability']:.1%}" in out


def test_a_run_in_bfloat16_is_predicted_as_it_was_evaluated(tmp_path, monkeypatch):
    bfloat16 = ["--epochs", "2", "--precision", "bfloat16", "--devices", "1"]
    classify(monkeypatch, *SHORT, *bfloat16, "--run-dir", tmp_path / "run")
    test = load(None, 32).test
    (tmp_path / "images").mkdir()
    files = [tmp_path / "images" / f"{i:03}.png" for i in range(len(test))]
    for file, image in zip(files, test.images, strict=True):
        Image.fromarray(image[:, :, 0]).save(file)
    results, failures = predict.predict(predict.Classifier(tmp_path / "run"), files, top_k=1)
    assert not failures
    classes = [int(result["top"][0]["class"]) for result in results]
    expected = json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"]
    assert np.mean(classes == test.labels) == pytest.approx(expected)


FOLDER = ["--data", "folder", "--resize", "36", "--epochs", "16", "--evaluate-every", "4", "--batch-size", "16"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Photographs of noise, brighter on the left or on the right or evenly; one of them is torn."""
    directory, random = tmp_path_factory.mktemp("images"), np.random.RandomState(0)
    for name, slope in (("even", 0), ("left", -1), ("right", 1)):
        (directory / name).mkdir()
        for i in range(80):
            height, width = random.randint(40, 60, 2)
            pixels = 128 + slope * np.linspace(-60, 60, width)[:, None] + 30 * random.randn(height, width, 3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(directory / name / f"{i}.jpg")
    torn = directory / "even" / "3.jpg"
    torn.write_bytes(torn.read_bytes()[:400])
    return directory


@pytest.fixture(scope="module")
def folder_run(images, tmp_path_factory) -> Path:
    """A complete short run on them."""
    directory = tmp_path_factory.mktemp("runs") / "folder"
    _, err = call("train.classification", *FOLDER, "--data-dir", images, "--workers", "0", "--run-dir", directory)
    assert err.count("cannot be read") == 1
    return directory


def test_a_streamed_run_killed_ends_with_the_bits_of_one_that_was_not(images, folder_run, tmp_path):
    directory = tmp_path / "killed"
    arguments = [*FOLDER, "--data-dir", images, "--run-dir", directory]
    process = start("train.classification", *arguments, "--workers", "1")
    wait_for_checkpoint(process, directory, 36)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    out, _ = call("train.classification", *arguments, "--workers", "3")
    assert "going on after step" in out
    assert_same_run(directory, folder_run)
    torn = images / "even" / "3.jpg"
    for listed in (directory, folder_run):
        assert (listed / "bad_images.txt").read_text().startswith(f"{torn} cannot be read as an image: ")


def test_evaluate_and_predict_give_the_score_of_a_streamed_run(images, folder_run):
    result = json.loads((folder_run / "result.json").read_text())
    assert result["test_accuracy"] > 0.8
    scores = evaluate.evaluate(evaluate.Options(folder_run))
    assert scores["accuracy"] == result["test_accuracy"]
    assert scores["loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    test = load_images("folder", images, 36).test
    results, failures = predict.predict(predict.Classifier(folder_run), map(Path, test.files), top_k=1)
    classes = [result["top"][0]["class"] for result in results]
    assert not failures
    expected = [("even", "left", "right")[label] for label in test.labels]
    assert np.mean(np.array(classes) == expected) == pytest.approx(result["test_accuracy"])


def classify(monkeypatch, *arguments: object) -> None:
    """The command line in this process, where nothing needs to be compiled."""
    monkeypatch.setattr(sys, "argv", ["train.classification", *map(str, arguments)])
    classification.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "lenet"], "unknown model 'lenet'; did you mean lenet5"),
        (["--data", "digit"], "unknown data set 'digit'; did you mean digits"),
        (["--image-size", "28"], "--model lenet5 cannot take --data digits: the model takes images of 32x32 pixels"),
        (["--batch-size", "2000"], "--batch-size 2000 is larger than the training set of 1078 examples"),
        (["--devices", "9"], "--devices 9: this machine has 8 cpu device"),
        (["--batch-size", "12"], "--batch-size 12 is not a multiple of 8 device(s)"),
        (["--data", "mnist"], "needs --data-dir"),
        (["--compile", "pmap", "--fsdp", "2"], "--compile pmap only deals batches out: --fsdp 2 wants --compile jit"),
        (["--learning-rate", "-1"], "--learning-rate must be 0 or more"),
        (["--epochs", "0"], "--epochs must be 1 or more"),
        (["--seed", "-1"], "--seed must be 0 or more"),
        (["--seed", f"{2**63}"], "--seed must be 9223372036854775807 or less, got 9223372036854775808"),
        (["--resize", "28"], "--resize 28 is smaller than --image-size 32"),
        (["--patience", "0"], "--patience must be 1 or more, got 0"),
        (["--temperature", "-1"], "--temperature must be 0 or more"),
        (["--teacher-share", "2"], "--teacher-share must be from 0 to 1"),
        (["--teacher", "nowhere"], "nowhere holds no complete run"),
        (["--workers", "-1"], "--workers must be 0 or more"),
        (["--data", "folder", "--data-dir", "nowhere"], "--data-dir nowhere: there is no such directory"),
    ],
)
def test_bad_options_are_named_before_anything_is_written(arguments, message, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        classify(monkeypatch, *arguments, "--run-dir", tmp_path / "run")
    assert message in " ".join(f"{stop.value} {capsys.readouterr().err}".split()).replace(" │ │ ", " ")
    assert not (tmp_path / "run").exists()


def test_a_run_that_stalls_ends_early_and_once(tmp_path, capsys, monkeypatch):
    """Where nothing is learnt, every accuracy is the first one."""
    arguments = [*SHORT, "--learning-rate", "0", "--patience", "2", "--devices", "1", "--run-dir", tmp_path / "run"]
    classify(monkeypatch, *arguments)
    told = (
        "stopped early, after step 96: --patience 2 evaluations without a new best\nbest step: 96, as good as 32; ended"
    )
    assert told in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == 96
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<dt>best step</dt><dd>96, as good as 32; ended after 96 of 128</dd>" in page
    assert [record["step"] for record in records(tmp_path / "run") if "val/accuracy" in record] == [32, 64, 96]
    (tmp_path / "run" / "result.json").unlink()  # as if it had been killed before
    classify(monkeypatch, *arguments)
    assert "going on after step 96 of 128\nstopped early, after step 96" in capsys.readouterr().out


def test_the_rate_is_divided_at_plateaus_and_a_run_that_goes_on_knows_it(tmp_path, monkeypatch):
    """Where nothing is learnt, every evaluation but the first is one."""
    options = ["--schedule", "plateau", "--plateau", "1", "--learning-rate", "1e-12", "--warmup", "0", "--devices", "1"]
    arguments = [*SHORT, *options, "--optimizer", "sgd", "--run-dir", tmp_path / "run"]
    classify(monkeypatch, *arguments)
    rates = [record["learning_rate"] for record in records(tmp_path / "run")]
    np.testing.assert_allclose(rates, [1e-12] * 4 + [1e-13] * 2 + [1e-14] * 2, rtol=1e-5)
    (tmp_path / "run" / "result.json").unlink()  # as if it had been killed after step 96
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "128")
    classify(monkeypatch, *arguments)
    assert [record["learning_rate"] for record in records(tmp_path / "run")] == rates


def test_a_student_learns_from_a_run(run_dir, tmp_path, monkeypatch):
    """From the teacher alone, which is not told the labels of its own mistakes."""
    options = ["--teacher", run_dir, "--teacher-share", "1", "--group-rates", "backbone/c1=0.1", "--devices", "1"]
    classify(monkeypatch, *SHORT, *options, "--run-dir", tmp_path / "student")
    result = json.loads((tmp_path / "student" / "result.json").read_text())
    assert result["test_accuracy"] > 0.8
    logged = records(tmp_path / "student")[-1]
    assert logged["train/loss"] < records(tmp_path / "student")[0]["train/loss"] / 2
    page = (tmp_path / "student" / "report.html").read_text()
    assert "<figcaption>Groups of parameters</figcaption>" in page
    assert "<figcaption>Student and teacher</figcaption>" in page


def test_a_teacher_of_other_images_is_refused(run_dir, folder_run, images, monkeypatch, tmp_path):
    arguments = ["--data", "folder", "--data-dir", images, "--model", "resnet8", "--teacher", run_dir]
    with pytest.raises(SystemExit, match=f"--teacher {run_dir} was trained with other classes"):
        classify(monkeypatch, *arguments, "--batch-size", "8", "--run-dir", tmp_path / "run")


def test_a_complete_run_is_not_run_again(run_dir, capsys, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    classify(monkeypatch, *SHORT, "--run-dir", run_dir)
    lines = capsys.readouterr().out.splitlines()
    assert "is complete" in lines[0]
    assert lines[-1].startswith("test accuracy ")
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


def test_a_directory_of_another_run_is_refused(run_dir, monkeypatch):
    with pytest.raises(SystemExit, match=r"learning_rate: 0\.003 there, 0\.5 asked for\n.*another --run-dir"):
        classify(monkeypatch, *SHORT, "--learning-rate", "0.5", "--run-dir", run_dir)


def test_a_directory_with_something_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SystemExit, match="is not empty and not a run"):
        classify(monkeypatch, *SHORT, "--run-dir", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_checkpoint(tmp_path, monkeypatch):
    directory = tmp_path / "run"
    jump = ["--schedule", "step", "--milestones", "0.5", "--step-factor", "1e30"]  # after the second checkpoint
    arguments = ["--optimizer", "sgd", "--learning-rate", "0.01", *jump, "--max-nonfinite", "5"]
    with pytest.raises(SystemExit) as stop:
        classify(monkeypatch, *SHORT, *arguments, "--devices", "1", "--run-dir", directory)
    assert "from step 64 on, for 5 steps in a row" in str(stop.value)
    assert f"the last good checkpoint is {directory / 'checkpoints' / '80'}" in str(stop.value)


def test_the_last_state_is_not_read_back_where_it_is_the_best(tmp_path, monkeypatch):
    read = []
    restore = Checkpoints.restore
    monkeypatch.setattr(Checkpoints, "restore", lambda self, step, like: read.append(step) or restore(self, step, like))
    config = classification.Config(epochs=1, evaluate_every=1, devices=1, run_dir=tmp_path / "run")
    result = classification.run(config)
    assert not read
    found, _ = call("train.evaluate", tmp_path / "run", "--split", "test")
    assert f"{result['test_accuracy']:.2%}" in found
