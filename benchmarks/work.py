"""The work that models are timed at: outputs, and steps of training; ours and PyTorch's, the same.

A training step is a forward pass, a backward pass of the mean cross-entropy, and a step of SGD with momentum.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.timing import Run, medians, save
from train.shared.machine import machine
from train.shared.state import create_state
from train.shared.step import make_train_step

LEARNING_RATE, MOMENTUM = 1e-3, 0.9


def compiled(function: Callable, *arguments: Any) -> Run:
    """Returns a run of a function of arrays."""
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments))


def training(logits_of: Callable, variables: Any, given: Any, labels: jax.Array) -> Run:
    """Returns a run of steps, one after the other.

    Args:
        logits_of: of variables and what is given; returns logits [..., K] and the collections that it updates.
        variables: before the first step.
        given: what the model is given.
        labels: int [...].
    """

    def loss_fn(params, model_state, batch, rng, step):
        del rng, step
        given, labels = batch
        logits, model_state = logits_of({"params": params, **model_state}, given)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return (losses.sum(), jnp.float32(losses.size)), (model_state, {})

    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = jax.jit(make_train_step(loss_fn, optimizer), donate_argnums=0)
    state = create_state(variables, optimizer, jax.random.key(0))

    def run() -> None:
        nonlocal state
        state, metrics = step(state, (given, labels))
        jax.block_until_ready((state, metrics))

    return run


def of_torch(model, work: str, given: dict[str, Any], labels, compiles: bool) -> Run:
    """Returns a run of "infer" or "train" of a module that returns what has `logits`."""
    import torch

    model.train(work == "train")
    forward = torch.compile(model) if compiles else model
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def infer() -> None:
        with torch.inference_mode():
            forward(**given)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = forward(**given).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()).backward()
        optimizer.step()

    return {"infer": infer, "train": train}[work]


def compare(runs: dict[str, Run], seconds: float, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Times contenders, ours being "jaxvision".

    Returns:
        How many per second each does where a run does so many, and a "ratio" of our speed to the best of the others,
        where there is one.
    """
    speeds = {name: float(f"{count / median:.4g}") for name, median in medians(runs, seconds).items()}
    others = [speed for name, speed in speeds.items() if name != "jaxvision"]
    return speeds, {"ratio": round(speeds["jaxvision"] / max(others), 2)} if others else {}


@dataclasses.dataclass(frozen=True)
class Contest:
    """Models of one size beside PyTorch's.

    Attributes:
        works: what each model is timed at, by name.
        ours: of the name of a model, its work and a size; our run.
        theirs: of the same; the runs of PyTorch, by name.
        unit: what is counted per second.
        count: of a size; how many a run does.
    """

    works: dict[str, tuple[str, ...]]
    ours: Callable[[str, str, Any], Run]
    theirs: Callable[[str, str, Any], dict[str, Run]]
    unit: str
    count: Callable[[Any], int]

    def measure(self, size: Any, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """Yields a row for each work that the options name: speeds by contender, and how ours compare."""
        for name in options.models:
            for work in (work for work in self.works[name] if work in options.work):
                runs = {"jaxvision": self.ours(name, work, size)}
                if options.against == "torch":
                    runs |= self.theirs(name, work, size)
                speeds, ratio = compare(runs, options.seconds, self.count(size))
                row = {"model": name, "work": work, **dataclasses.asdict(size)}
                yield row | {f"{self.unit}_per_second": speeds} | ratio

    def main(self, description: str, prog: str, size: Any) -> None:
        """Measures what the command line names, by default at this size."""
        parser = argparse.ArgumentParser(description=description, prog=prog)
        kinds = list(dict.fromkeys(work for works in self.works.values() for work in works))
        parser.add_argument("--models", nargs="+", choices=self.works, default=list(self.works))
        parser.add_argument("--work", nargs="+", choices=kinds, default=kinds)
        for name, default in dataclasses.asdict(size).items():
            parser.add_argument(f"--{name}", type=int, default=default)
        parser.add_argument("--against", choices=["torch"], help="the peer that does the same work in the same run")
        parser.add_argument("--seconds", type=float, default=3.0, help="of timing for each contender")
        parser.add_argument("--output", type=Path, help="a JSON file of this machine, to which the rows are added")
        options = parser.parse_args()
        fields = dataclasses.asdict(size)
        size = dataclasses.replace(size, **{name: getattr(options, name) for name in fields})
        print(machine())
        for row in self.measure(size, options):
            rate = f"{self.unit}_per_second"
            speeds = "  ".join(f"{who} {speed:,.4g}" for who, speed in row[rate].items())
            print(f"{row['model']:9} {row['work']:6} {self.unit}/s: {speeds}   ratio {row.get('ratio')}", flush=True)
            if options.output:
                save(options.output, [row], ("model", "work", *fields))
