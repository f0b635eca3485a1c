"""Speed of a model in inference and in training, beside PyTorch in the same run.

    python -m benchmarks.throughput resnet50 --batch-size 8 --against torch --output rows.json

Every contender does the same work on the same random images: inference is a forward pass, training a forward and a
backward pass and a step of SGD with momentum. All are warmed up, then timed round after round, so that
whatever else the machine does falls on all of them; the medians are compared. It needs jax, flax, optax and numpy, and
for the peer torch, torchvision and timm. Shapes: B batch, H height, W width.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv
from benchmarks.timing import medians, save, timed
from jaxvision.initialize import abstract_variables
from jaxvision.ops.arithmetic import multiply_adds
from train.shared.machine import machine
from train.shared.state import create_state
from train.shared.step import make_train_step

NUM_CLASSES = 10
WORK = ("infer", "train")
PEERS = ("eager", "compiled")


@dataclasses.dataclass(frozen=True)
class Task:
    """What is measured.

    Attributes:
        model: name of the model.
        work: "infer" or "train".
        images: float32 [B, H, W, C].
        labels: int32 [B].
        dtype: of the computation, "float32" or "bfloat16".
    """

    model: str
    work: str
    images: np.ndarray
    labels: np.ndarray
    dtype: str

    @property
    def flops(self) -> int:
        """Operations that the model takes: two for a multiply-add, and a training step three times a forward pass."""
        model = jv.create_model(self.model, num_classes=NUM_CLASSES, in_channels=self.images.shape[-1])
        variables = abstract_variables(model)
        forward = lambda variables, images: model.apply(variables, images, train=False)
        count = multiply_adds(forward, variables, jax.ShapeDtypeStruct(self.images.shape, jnp.float32))
        return 2 * count * (3 if self.work == "train" else 1)


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do a task.

    Attributes:
        run: does it once and waits for the result.
        prepare_seconds: to compile it.
        memory: bytes that it takes on the device, what goes in and comes out included; None where that is not known.
    """

    run: Callable[[], None]
    prepare_seconds: float
    memory: Callable[[], int | None]


def jaxvision(task: Task) -> Contender:
    """Returns ours, compiled ahead of time."""
    channels, dtype = task.images.shape[-1], jnp.dtype(task.dtype)
    model = jv.create_model(task.model, num_classes=NUM_CLASSES, in_channels=channels, dtype=dtype)
    variables = jv.init(model, jax.random.key(0))
    batch = jax.device_put({"image": task.images, "label": task.labels})

    def loss_fn(params, model_state, batch, rng, step):
        del step
        variables, mutable = {"params": params, **model_state}, [*model_state, "auxiliary"]
        logits, model_state = model.apply(variables, batch["image"], train=True, mutable=mutable, rngs={"dropout": rng})
        outputs = [logits, *jax.tree.leaves(model_state.pop("auxiliary", {}))]
        losses = [
            optax.softmax_cross_entropy_with_integer_labels(output.astype(jnp.float32), batch["label"])
            for output in outputs
        ]
        loss = losses[0] + model.auxiliary_weight * sum(losses[1:])
        return (loss.sum(), jnp.float32(len(loss))), (model_state, {})

    optimizer = optax.sgd(1e-3, momentum=0.9)
    if task.work == "infer":
        state = variables
        step = jax.jit(lambda variables, batch: model.apply(variables, batch["image"], train=False))
    else:
        state = create_state(variables, optimizer, jax.random.key(0))
        step = jax.jit(make_train_step(loss_fn, optimizer), donate_argnums=0)
    lowered = step.lower(state, batch)
    begun = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - begun
    size = compiled.memory_analysis()
    memory = size.argument_size_in_bytes + size.output_size_in_bytes + size.temp_size_in_bytes
    memory -= size.alias_size_in_bytes

    def infer():
        compiled(state, batch).block_until_ready()

    def train():
        nonlocal state
        state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))

    return Contender({"infer": infer, "train": train}[task.work], seconds, lambda: memory)


def pytorch(task: Task, kind: str) -> Contender:
    """Returns PyTorch's, "eager" or "compiled": channels last, in bfloat16 under autocast."""
    import torch

    from tests.reference.torch_results import INFERENCE

    device = "cuda" if torch.cuda.is_available() else "cpu"
    reference = INFERENCE[task.model]
    model = reference.build(num_classes=NUM_CLASSES).to(device, memory_format=torch.channels_last)
    images = torch.from_numpy(np.ascontiguousarray(task.images.transpose(0, 3, 1, 2))).to(device)
    images, targets = images.to(memory_format=torch.channels_last), torch.from_numpy(task.labels).long().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train(task.work == "train")
    forward = torch.compile(model) if kind == "compiled" else model
    autocast = torch.autocast(device, torch.bfloat16, enabled=task.dtype == "bfloat16")
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def infer():
        with torch.no_grad(), autocast:
            forward(images)
        wait()

    def train():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            outputs = forward(images)
            logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            losses = [torch.nn.functional.cross_entropy(output, targets) for output in (logits, *auxiliary)]
            loss = losses[0] + reference.auxiliary_weight * sum(losses[1:])
        loss.backward()
        optimizer.step()
        wait()

    run = {"infer": infer, "train": train}[task.work]
    return Contender(run, timed(run), lambda: torch.cuda.max_memory_allocated() if device == "cuda" else None)


def matmul_peak(dtype: str) -> float:
    """Returns the FLOP/s of the device's best large matrix product, as XLA does it in this type by default."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    run = lambda: product(a, a).block_until_ready()
    run()
    return 2 * size**3 / min(timed(run) for _ in range(10))


def measure(task: Task, peers: Sequence[str], seconds: float, peak: float) -> dict[str, Any]:
    """Returns the row of a task: speeds, compile times and memory by contender, and how ours compare."""
    contenders = {"jaxvision": jaxvision(task)} | {f"torch {kind}": pytorch(task, kind) for kind in peers}
    runs = {name: contender.run for name, contender in contenders.items()}
    speeds = {name: len(task.labels) / median for name, median in medians(runs, seconds).items()}
    memory = {name: contender.memory() for name, contender in contenders.items()}
    achieved = task.flops / len(task.labels) * speeds["jaxvision"]
    row = {
        "model": task.model,
        "work": task.work,
        "batch": len(task.labels),
        "size": task.images.shape[1],
        "dtype": task.dtype,
        "images_per_second": {name: float(f"{speed:.4g}") for name, speed in speeds.items()},
        "gflops_per_second": round(achieved / 1e9, 1),
        "share_of_matmul_peak": round(achieved / peak, 3),
        "compile_seconds": {name: round(contender.prepare_seconds, 1) for name, contender in contenders.items()},
        "memory_megabytes": {name: round(size / 1e6) for name, size in memory.items() if size is not None},
    }
    if peers:
        best = max(speed for name, speed in speeds.items() if name != "jaxvision")
        row["ratio"] = round(speeds["jaxvision"] / best, 2)
    return row


def random_task(name: str, work: str, options: argparse.Namespace) -> Task:
    """Returns a task on random images."""
    example = jv.create_model(name).example_input()
    size = options.image_size or example.shape[1]
    random = np.random.RandomState(0)
    images = random.randn(options.batch_size, size, size, example.shape[-1]).astype(np.float32)
    labels = random.randint(0, NUM_CLASSES, options.batch_size).astype(np.int32)
    return Task(name, work, images, labels, options.dtype)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lays rows out; the ratio of our speed to the best other one comes last."""
    names = list(dict.fromkeys(name for row in rows for name in row["images_per_second"]))
    header = ["model", "work", "batch", "size", "type", *(f"{name} images/s" for name in names)]
    header += ["GFLOP/s", "of peak", "compile s", "MB", "ratio"]
    cells = [
        [
            *(str(row[key]) for key in ("model", "work", "batch", "size", "dtype")),
            *(f"{row['images_per_second'].get(name, float('nan')):,.1f}" for name in names),
            f"{row['gflops_per_second']:,.1f}",
            f"{row['share_of_matmul_peak']:.1%}",
            f"{row['compile_seconds']['jaxvision']:.1f}",
            f"{row['memory_megabytes']['jaxvision']:,}",
            f"{row['ratio']:.2f}" if "ratio" in row else "",
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (header, *cells)
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], prog="python -m benchmarks.throughput")
    parser.add_argument("models", nargs="+", metavar="MODEL", choices=jv.list_models())
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, help="by default that of the model's example")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    parser.add_argument("--against", choices=["torch"], help="the peer that does the same work in the same run")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="how the peer runs")
    parser.add_argument("--seconds", type=float, default=5, help="of timing, for each contender")
    parser.add_argument("--output", type=Path, help="JSON file; rows measured before on the same machine are kept")
    options = parser.parse_args()
    peak = matmul_peak(options.dtype)
    print(f"{machine()}, matrix product {peak / 1e9:,.0f} GFLOP/s in {options.dtype}")
    rows = []
    for name in options.models:
        for work in options.work:
            task = random_task(name, work, options)
            rows.append(measure(task, options.peers if options.against else (), options.seconds, peak))
            print(table(rows[-1:]).splitlines()[1] if len(rows) > 1 else table(rows), flush=True)
            if options.output:
                save(options.output, rows[-1:], ("model", "work", "batch", "size", "dtype"))
    if len(rows) > 1:
        print("\n" + table(rows))


if __name__ == "__main__":
    main()
