"""The speed run on CIFAR-10 beside its own reference, on the same files and the same machine.

    git clone https://github.com/KellerJordan/cifar10-airbench
    python -m benchmarks.airbench cifar10-airbench/legacy/airbench94.py --data-dir cifar10

The reference is run as it stands, by its own `main`, on our arrays in place of a download. Without CUDA its calls of
`half` and `cuda` do nothing, so that it computes in float32 on the CPU, and its clock is that of the machine. What is
compared is images/s of training, whose compilation neither counts, and the accuracy of six views. It needs torch and
torchvision.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch

from train.configs import cifar10_speed
from train.data import load_images
from train.data.images import Split
from train.shared.machine import machine


class Clock:
    """What the reference uses of `torch.cuda.Event`, by the clock of the machine."""

    def __init__(self, enable_timing: bool):
        del enable_timing

    def record(self) -> None:
        self.time = time.perf_counter()

    def elapsed_time(self, end: "Clock") -> float:  # milliseconds
        return 1e3 * (end.time - self.time)


@contextlib.contextmanager
def without_cuda() -> Iterator[None]:
    """Makes the reference's calls of CUDA do nothing where there is none."""
    if torch.cuda.is_available():
        yield
        return
    same = lambda self, *arguments: self
    with contextlib.ExitStack() as stack:
        for place, name, value in [
            (torch.cuda, "Event", Clock),
            (torch.cuda, "synchronize", lambda: None),
            (torch.Tensor, "half", torch.Tensor.float),
            (torch.nn.Module, "half", same),
            (torch.nn.Module, "cuda", same),
        ]:
            stack.enter_context(mock.patch.object(place, name, value))
        yield


def load_reference(file: Path) -> ModuleType:
    """Imports the script of the reference."""
    spec = importlib.util.spec_from_file_location("airbench_reference", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(split: Split, path: Path) -> None:
    """Writes a split as the reference reads it."""
    arrays = {"images": torch.from_numpy(split.images), "labels": torch.from_numpy(split.labels).long()}
    torch.save({**arrays, "classes": []}, path)


def run_reference(file: Path, train: Split, test: Split, epochs: float, widths: tuple[int, ...]) -> dict[str, float]:
    """Runs the reference once; returns its accuracy on six views, and seconds and images/s of its training."""
    module = load_reference(file)
    module.hyp["opt"]["train_epochs"] = epochs
    module.hyp["net"]["widths"] = dict(zip(("block1", "block2", "block3"), widths, strict=True))
    if not torch.cuda.is_available():  # the last default is the number of the GPU
        module.CifarLoader.__init__.__defaults__ = (*module.CifarLoader.__init__.__defaults__[:-1], "cpu")
    batch = module.hyp["opt"]["batch_size"]
    trained, show = [], module.print_training_details

    def note(variables, is_final_entry):
        trained.append(variables["total_time_seconds"])
        show(variables, is_final_entry)

    module.print_training_details = note
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), without_cuda():
        os.mkdir("cifar10")
        write(train, Path("cifar10", "train.pt"))
        write(test, Path("cifar10", "test.pt"))
        torch.manual_seed(0)
        accuracy = module.main(0)
    seconds = trained[-2]  # the last entry is that of the six views
    steps = int(np.ceil(len(train) // batch * epochs))
    return {"accuracy_of_six_views": accuracy, "seconds": seconds, "images_per_second": steps * batch / seconds}


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], prog="python -m benchmarks.airbench")
    parser.add_argument("reference", type=Path, help="legacy/airbench94.py of a checkout")
    parser.add_argument("--data-dir", type=Path, required=True, help="CIFAR-10, in any layout of `--data cifar10`")
    parser.add_argument("--epochs", type=float, default=9.9)
    parser.add_argument("--widths", type=int, nargs=3, default=(64, 256, 256))
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    widths = tuple(options.widths)
    config = cifar10_speed.Config(options.data_dir, epochs=options.epochs, widths=widths)
    train, test = cifar10_speed.splits(load_images("cifar10", options.data_dir, 32))
    results = {
        "jaxvision": cifar10_speed.train(config, train, test, seed=0),
        "reference": run_reference(options.reference.absolute(), train, test, options.epochs, widths),
    }
    for name, result in results.items():
        print(name, *(f"{key} {value:.4g}" for key, value in result.items()))
    print(f"ratio {results['jaxvision']['images_per_second'] / results['reference']['images_per_second']:.2f}")
    if options.output:
        about = {"epochs": options.epochs, "widths": widths, **machine(), "torch": torch.__version__}
        rounded = {name: {k: float(f"{v:.4g}") for k, v in result.items()} for name, result in results.items()}
        options.output.write_text(json.dumps(about | rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
