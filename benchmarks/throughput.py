"""Images per second in inference and in training, beside PyTorch in the same run.

    python -m benchmarks.throughput resnet50 --batch-size 8 --against eager compiled --output rows.json

Every contender does the same work on the same random images: inference is a forward pass, training a forward and a
backward pass and a step of SGD with momentum. All are warmed up, then timed in turn, round after round, so that
whatever else the machine does falls on all of them; the medians are compared. Shapes: B batch, H height, W width.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv
from train.shared.files import write_atomically
from train.shared.machine import machine
from train.shared.state import create_state
from train.shared.step import make_train_step

Run = Callable[[], None]
NUM_CLASSES = 10


def jax_runs(name: str, images: np.ndarray, labels: np.ndarray, dtype: str) -> dict[str, Run]:
    """Returns inference and a training step of ours, each waiting for its result."""
    model = jv.create_model(name, num_classes=NUM_CLASSES, in_channels=images.shape[-1], dtype=jnp.dtype(dtype))
    variables = jv.init(model, jax.random.key(0))
    forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    batch = jax.device_put({"image": images, "label": labels})

    def loss_fn(params, model_state, batch, rng, step):
        del rng, step
        logits, model_state = model.apply(
            {"params": params, **model_state}, batch["image"], train=True, mutable=list(model_state)
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), batch["label"])
        return (loss.sum(), jnp.float32(len(loss))), (model_state, {})

    optimizer = optax.sgd(1e-3, momentum=0.9)
    step = jax.jit(make_train_step(loss_fn, optimizer), donate_argnums=0)
    state = create_state(variables, optimizer, jax.random.key(0))

    def infer():
        forward(variables, batch["image"]).block_until_ready()

    def train():
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))

    return {"infer": infer, "train": train}


def torch_runs(name: str, images: np.ndarray, labels: np.ndarray, dtype: str, *, compiled: bool) -> dict[str, Run]:
    """Returns the same of PyTorch, channels last, in bfloat16 under autocast."""
    import torch

    from tests.reference.torch_results import INFERENCE

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = INFERENCE[name].build(num_classes=NUM_CLASSES).to(device, memory_format=torch.channels_last)
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
    tensor, targets = tensor.to(memory_format=torch.channels_last), torch.from_numpy(labels).long().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    run = torch.compile(model) if compiled else model
    autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def infer():
        model.eval()
        with torch.no_grad(), autocast:
            run(tensor)
        wait()

    def train():
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = torch.nn.functional.cross_entropy(run(tensor), targets)
        loss.backward()
        optimizer.step()
        wait()

    return {"infer": infer, "train": train}


def measure(contenders: dict[str, Run], seconds: float) -> dict[str, dict[str, float]]:
    """Times contenders in turn for about so long each.

    Returns:
        For each, the seconds of its first call (with compilation) and the median of the later ones.
    """
    first = {name: timed(run) for name, run in contenders.items()}
    once = max(min(timed(run) for _ in range(2)) for run in contenders.values())
    rounds = int(np.clip(seconds / once, 5, 200))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(timed(run))
    return {name: {"first": first[name], "median": statistics.median(times[name])} for name in contenders}


def timed(run: Run) -> float:
    """Returns the seconds that a call takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def rows(options: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """Measures one model: a row for inference, a row for training."""
    example = jv.create_model(name).example_input()
    size = options.image_size or example.shape[1]
    random = np.random.RandomState(0)
    images = random.randn(options.batch_size, size, size, example.shape[-1]).astype(np.float32)
    labels = random.randint(0, NUM_CLASSES, options.batch_size).astype(np.int32)
    contenders = {"jaxvision": jax_runs(name, images, labels, options.dtype)}
    for kind in options.against:
        contenders[f"torch {kind}"] = torch_runs(name, images, labels, options.dtype, compiled=kind == "compiled")
    result = []
    for work in options.work:
        measured = measure({contender: runs[work] for contender, runs in contenders.items()}, options.seconds)
        row = {"model": name, "work": work, "batch": options.batch_size, "size": size, "dtype": options.dtype}
        row |= {"compile_seconds": round(measured["jaxvision"]["first"], 1)}
        speeds = {contender: options.batch_size / m["median"] for contender, m in measured.items()}
        row |= {"images_per_second": {contender: float(f"{speed:.4g}") for contender, speed in speeds.items()}}
        if len(speeds) > 1:
            best = max(speed for contender, speed in speeds.items() if contender != "jaxvision")
            row["ratio"] = round(speeds["jaxvision"] / best, 2)
        result.append(row)
        print(json.dumps(row), flush=True)
    return result


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], prog="python -m benchmarks.throughput")
    parser.add_argument("models", nargs="+", metavar="MODEL", choices=jv.list_models())
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, help="by default that of the model's example")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--work", nargs="+", choices=["infer", "train"], default=["infer", "train"])
    parser.add_argument("--against", nargs="*", choices=["eager", "compiled"], default=[], help="PyTorch, how")
    parser.add_argument("--seconds", type=float, default=5, help="of timing, for each contender")
    parser.add_argument("--output", type=Path, help="JSON file; rows measured before on the same machine are kept")
    options = parser.parse_args()
    for name in options.models:
        measured = rows(options, name)
        if options.output:
            save(options.output, measured, ("model", "work", "batch", "size", "dtype"))


def save(path: Path, measured: list[dict[str, Any]], work_keys: tuple[str, ...]) -> None:
    """Adds rows to a file of this machine, in place of those of the same work: of the same values of these keys."""
    here = machine()
    if importlib.util.find_spec("torch"):
        here["torch"] = importlib.metadata.version("torch")
    known = json.loads(path.read_text()) if path.exists() else {"machine": here, "rows": []}
    if known["machine"] != here:
        raise SystemExit(f"error: {path} holds figures of another machine: {known['machine']}; give another --output")
    work = lambda row: tuple(row[key] for key in work_keys)
    new = {work(row) for row in measured}
    kept = [row for row in known["rows"] if work(row) not in new]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n  ".join(json.dumps(row) for row in kept + measured)
    write_atomically(path, f'{{"machine": {json.dumps(known["machine"])},\n "rows": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
