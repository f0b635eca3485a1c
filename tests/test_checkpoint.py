"""Checkpoints: the latest and the best, damage found and survived, other devices."""

import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.shared.checkpoint import CheckpointError, Checkpoints
from train.shared.mesh import make_mesh, state_sharding
from train.shared.metrics import Criterion

ACCURACY = Criterion("val/accuracy")


def state(value: float) -> dict:
    return {"params": {"kernel": jnp.full((256, 256), value)}, "step": jnp.int32(value), "none": None}


def filled(directory, scores=(0.5, 0.9, 0.7, 0.9, 0.6, 0.1), criterion=ACCURACY) -> Checkpoints:
    checkpoints = Checkpoints(directory, criterion)
    for step, score in enumerate(scores, start=1):
        checkpoints.save(step, state(step), {"val/accuracy": score})
    checkpoints.finish()
    return checkpoints


def data_file(directory, step):
    """The file of a step that holds the numbers: its largest."""
    return max((directory / str(step)).rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)


def test_the_latest_two_and_the_best_are_kept(tmp_path):
    checkpoints = filled(tmp_path)
    assert checkpoints.best_step() == 4
    assert checkpoints.latest_step() == 6
    assert checkpoints.steps() == [4, 5, 6]
    assert {path.name for path in tmp_path.glob("*.json")} == {f"{step}.sha256.json" for step in (4, 5, 6)}
    restored = checkpoints.restore(4, state(0))
    np.testing.assert_array_equal(restored["params"]["kernel"], 4)
    assert restored["step"] == 4
    assert restored["none"] is None
    checkpoints.close()


def test_the_best_can_be_the_lowest(tmp_path):
    checkpoints = filled(
        tmp_path, scores=(0.5, 0.2, 0.3, 0.2, 0.6, 0.9, 0.7), criterion=Criterion("val/accuracy", lowest=True)
    )
    assert checkpoints.best_step() == 4
    assert checkpoints.steps() == [4, 6, 7]
    assert checkpoints.restore_best(state(0))[1]["step"] == 4
    checkpoints.close()


def test_a_state_saved_without_evaluation_is_the_latest_and_never_the_best(tmp_path):
    checkpoints = filled(tmp_path, scores=(0.5,))
    checkpoints.save(2, state(2), None)
    assert checkpoints.latest_step() == 2
    assert checkpoints.best_step() == 1
    checkpoints.close()


def test_saving_is_safe_when_the_state_is_donated_at_once(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    checkpoints, now = Checkpoints(tmp_path, ACCURACY), state(0)
    checkpoints.save(1, now, {"val/accuracy": 0.0})
    for _ in range(10):
        now = step(now)
    np.testing.assert_array_equal(checkpoints.restore(checkpoints.latest_step(), state(0))["params"]["kernel"], 0)
    checkpoints.close()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "manifest"])
def test_damage_is_named_and_the_one_before_is_used(tmp_path, damage, caplog):
    directory = tmp_path / "checkpoints"
    filled(directory).close()
    file = data_file(directory, 6)
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[:-7])
    elif damage == "delete":
        file.unlink()
    else:
        file = directory / "6.sha256.json"
        file.write_text("{")
    checkpoints = Checkpoints(directory, ACCURACY)
    with pytest.raises(CheckpointError, match=rf"checkpoint .*/6 is damaged: .*{file.name}"):
        checkpoints.restore(6, state(0))
    step, restored = checkpoints.restore_latest(state(0))
    assert step == 5
    np.testing.assert_array_equal(restored["params"]["kernel"], 5)
    assert file.name in caplog.text
    assert (tmp_path / "damaged-checkpoint-6").is_dir()
    assert checkpoints.steps() == [4, 5]
    checkpoints.save(6, state(7), {"val/accuracy": 0.2})
    np.testing.assert_array_equal(checkpoints.restore(checkpoints.latest_step(), state(0))["params"]["kernel"], 7)
    checkpoints.close()


def test_a_step_damaged_twice_is_set_aside_twice(tmp_path):
    directory = tmp_path / "checkpoints"
    for scores in ((0.5, 0.6), (0.6,)):
        checkpoints = Checkpoints(directory, ACCURACY)
        for step, score in enumerate(scores, start=3 - len(scores)):
            checkpoints.save(step, state(step), {"val/accuracy": score})
        checkpoints.close()
        data_file(directory, 2).write_bytes(b"")
        checkpoints = Checkpoints(directory, ACCURACY)
        assert checkpoints.restore_latest(state(0))[0] == 1
        checkpoints.close()
    assert {path.name for path in tmp_path.glob("damaged*")} == {"damaged-checkpoint-2", "damaged-checkpoint-2.2"}


def test_a_kill_before_the_manifest_loses_nothing(tmp_path):
    filled(tmp_path, scores=(0.5,)).close()
    (tmp_path / "1.sha256.json").unlink()
    step, restored = Checkpoints(tmp_path, ACCURACY).restore_latest(state(0))
    assert step == 1
    np.testing.assert_array_equal(restored["params"]["kernel"], 1)


def test_the_manifest_is_written_without_waiting_for_the_next_save(tmp_path):
    checkpoints = Checkpoints(tmp_path, ACCURACY)
    checkpoints.save(1, state(1), {"val/accuracy": 0.5})
    deadline = time.monotonic() + 20
    while not (tmp_path / "1.sha256.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    checkpoints.close()


def test_a_damaged_best_gives_way_to_the_next_best(tmp_path, caplog):
    directory = tmp_path / "checkpoints"
    filled(directory).close()
    data_file(directory, 4).write_bytes(b"")
    checkpoints = Checkpoints(directory, ACCURACY)
    assert checkpoints.restore_best(state(0))[0] == 5
    assert "checkpoints/4 is damaged" in caplog.text
    checkpoints.close()


def test_reading_beside_a_run_leaves_what_it_is_writing(tmp_path):
    filled(tmp_path, scores=(0.5,)).close()
    half = tmp_path / "2.orbax-checkpoint-tmp"
    half.mkdir()
    Checkpoints(tmp_path, ACCURACY, write=False).close()
    assert half.exists()


def test_no_checkpoint_is_none_and_only_damaged_ones_are_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path, ACCURACY)
    assert checkpoints.restore_latest(state(0)) is None
    with pytest.raises(CheckpointError, match="holds no whole checkpoint"):
        checkpoints.best_step()
    checkpoints.close()
    filled(tmp_path, scores=(0.5, 0.6)).close()
    for step in (1, 2):
        data_file(tmp_path, step).unlink()
    with pytest.raises(CheckpointError, match=r"(?s)no checkpoint can be read:.*/2 is damaged.*/1 is damaged"):
        Checkpoints(tmp_path, ACCURACY).restore_latest(state(0))
    assert (tmp_path / "1").is_dir()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what the failed load leaves behind
def test_a_state_of_another_shape_is_refused(tmp_path):
    checkpoints = filled(tmp_path, scores=(0.5,))
    other = state(0) | {"params": {"kernel": jnp.zeros((256, 255))}}
    with pytest.raises(CheckpointError, match=r"/1 does not fit this run: .*256"):
        checkpoints.restore(1, other)
    checkpoints.close()


def test_a_state_cut_over_eight_devices_is_read_on_two_and_on_one(tmp_path):
    def on(devices: int, fsdp: int, value: float) -> dict:
        return jax.device_put(state(value), state_sharding(state(value), make_mesh(devices, fsdp)))

    checkpoints = Checkpoints(tmp_path, ACCURACY)
    checkpoints.save(1, on(8, 8, 3.0), {"val/accuracy": 0.0})
    checkpoints.finish()
    for devices, fsdp in ((2, 2), (1, 1), (8, 4)):
        kernel = checkpoints.restore(1, on(devices, fsdp, 0.0))["params"]["kernel"]
        np.testing.assert_array_equal(kernel, 3)
        assert len(kernel.sharding.device_set) == devices
        assert kernel.addressable_shards[0].data.size == kernel.size // fsdp
    checkpoints.close()


def test_a_disk_that_is_full_leaves_the_last_good_checkpoint(tmp_path):
    """In a process of its own, whose files may not grow past a limit, as on a disk with no room left."""
    program = """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from train.shared.checkpoint import CheckpointError, Checkpoints
        from train.shared.metrics import Criterion
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        checkpoints = Checkpoints(Path(sys.argv[1]), Criterion("val/accuracy"))
        state = {"kernel": np.random.RandomState(0).rand(2**18)}
        checkpoints.save(1, state, {"val/accuracy": 0.5})
        checkpoints.finish()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))
        try:
            checkpoints.save(2, state, {"val/accuracy": 0.6})
            checkpoints.finish()
        except CheckpointError as error:
            print(error)
        restored = checkpoints.restore(1, {"kernel": jax.numpy.zeros(2**18)})["kernel"]
        print("kept", checkpoints.latest_step(), (restored == state["kernel"].astype("float32")).all())
    """
    program = "import jax\n" + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert f"could not write the checkpoint of step 2 to {tmp_path}" in done.stdout, done.stderr
    assert f"the last good checkpoint is {tmp_path / '1'}" in done.stdout
    assert "kept 1 True" in done.stdout
