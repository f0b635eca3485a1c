"""The directory of a run: what was asked for, and whether it can be gone on with.

config.json           the options
metrics.jsonl         one record a line; the same as TensorBoard events beside it
checkpoints/          the latest and the best state
weights.safetensors   the best weights, for `jaxvision.load_weights`
model.json            the model, its classes and the preprocessing of its images
bad_images.txt        image files that could not be read, if any
machine.json          where the run was finished, and how long that took
result.json           the final scores; there once the run is complete
figures/ report.html  what the run did, to look at
"""

import contextlib
import dataclasses
import fcntl
import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train.shared.files import write_atomically

# Options that change where a run happens, not what it computes: another value can go on with the same run.
FREE = {"run_dir", "devices", "fsdp", "workers", "max_bad_images"}
# What a process killed while it starts a run can leave.
HALF_STARTED = {".lock", "config.json.tmp"}


class RunError(RuntimeError):
    """A run cannot be begun, or gone on with, as asked; the message says what to do."""


def check_run(directory: Path, config: Any) -> dict[str, Any] | None:
    """Checks, touching nothing, that a directory can be used for a run.

    Args:
        directory: of the run; it may not exist yet.
        config: a dataclass, the options asked for.

    Returns:
        The result of the run if it is complete, None if it is to be started or gone on with.

    Raises:
        RunError: the directory holds something else, or a run of other options; the message says what to do.
    """
    file = directory / "config.json"
    if not file.exists():
        if directory.exists() and any(path.name not in HALF_STARTED for path in directory.iterdir()):
            raise RunError(f"{directory} is not empty and not a run (it has no config.json): choose another --run-dir")
        return None
    there, asked = flatten(read_json(file)), flatten(to_json(config))
    differing = [name for name in {**there, **asked} if name not in FREE and there.get(name) != asked.get(name)]
    if differing:
        lines = [f"  {name}: {there.get(name)!r} there, {asked.get(name)!r} asked for" for name in differing]
        raise RunError(
            f"{directory} holds a run of other options:\n" + "\n".join(lines) + "\n"
            "Give the same options to go on with it, or another --run-dir to start a new run."
        )
    result = directory / "result.json"
    return read_json(result) if result.exists() else None


@contextlib.contextmanager
def start_run(directory: Path, config: Any) -> Iterator[None]:
    """Creates the directory of a run with its `config.json`, if need be, and holds it for this process alone.

    Raises:
        RunError: another process is at work in it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is training in {directory}") from None
        if not (directory / "config.json").exists():
            write_json(directory / "config.json", to_json(config))
        yield


def describe_run(directory: Path, about: dict[str, Any], source: str, hint: str = "") -> None:
    """Writes `model.json`, or checks that a run that is gone on with learns from what it began with.

    Args:
        directory: of the run, which this process holds.
        about: what `model.json` holds, with the `sha256` of what is learnt from.
        source: what that is called.
        hint: what it takes to have it again.

    Raises:
        RunError: it is another.
    """
    file = directory / "model.json"
    if not file.exists():
        write_json(file, about)
    elif (there := read_json(file)["sha256"]) != about["sha256"]:
        raise RunError(
            f"{directory} was begun with another {source} (SHA-256 {there[:12]}, now {about['sha256'][:12]}): give that"
            f"{f' ({hint})' if hint else ''}, or another --run-dir"
        )


def to_json(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them: paths as text, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_json(kind: type, values: dict[str, Any]) -> Any:
    """Makes the dataclass `kind` of what `to_json` made of it.

    Raises:
        RunError: an option is unknown, as in a run of another version.
    """
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise RunError(f"the config of the run has options that this version does not know: {', '.join(unknown)}")
    return kind(**{name: _field(hints[name], value) for name, value in values.items()})


def _field(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value)
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if isinstance(value, str) and Path in typing.get_args(hint) else value


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """The options of nested groups in one dictionary, by their own names."""
    groups = [flatten(value) if isinstance(value, dict) else {name: value} for name, value in config.items()]
    return {name: value for group in groups for name, value in group.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


@contextlib.contextmanager
def exit_on(*errors: type[Exception]) -> Iterator[None]:
    """Ends the program with the message of such an error, without a traceback: for errors that tell what to do."""
    try:
        yield
    except errors as error:
        sys.exit(f"error: {error}")
