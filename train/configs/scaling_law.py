"""How the loss of a character language model falls with its size and its data, and what that says of a larger one.

    python -m train.configs.scaling_law             trains 16 models of each kind and fits their law
    python -m train.configs.scaling_law --record    keeps runs, laws, prediction and figure beside this file

LSTMs of one layer and Transformers of two blocks, of 4 widths each, read 4 amounts of the source of Python's standard
library once, and are measured on the same modules, which none of them has read. L(N, D) = E + A / N^alpha + B / D^beta
is fitted to their losses (N all parameters, D characters; see `train/shared/scaling.py`), with intervals from a
bootstrap over the runs. Then a model larger than all of them, on more text than all of them, is trained: what the law
says of its loss is written down before. Compute is counted as 6 N D multiplications and additions.

What came out, in nats per character: of the Transformer of 908,544 parameters 1.171 was predicted (1.069 to 1.305), and
1.231 measured; of the LSTM of 943,200 parameters 0.995 (0.909 to 1.087), and 1.107 measured, just outside its interval.
Of what 10^11 operations buy, the best is a Transformer. From 7 times that on, of runs of about the same budget it is an
LSTM: 1.415 beside the Transformer's 1.448 of 7 x 10^11, 1.251 beside 1.363 of 2.5 x 10^12, 1.107 beside 1.231 of
1.1 x 10^13. The Transformer's runs have 4 to 10 per cent fewer operations, so that at 2.45 x 10^12 and 1.09 x 10^13 it
leads all that was bought until then, up to the LSTM's next run.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxvision.initialize import abstract_variables
from train import language_model
from train.data.text import Text, load_text
from train.shared.figures import BLUE, GREEN, GREY, ORANGE, STYLE, WIDTH
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, exit_on, write_json
from train.shared.scaling import Law, bootstrap, fit_law, interval
from train.trained import create_language_model

RECORD = Path(__file__).with_suffix(".json")
WIDTHS = {"lstm": (32, 64, 128, 256), "transformer": (16, 32, 64, 128)}  # of about 8,000 to 400,000 parameters
CHARACTERS = (125_000, 250_000, 500_000, 1_000_000)
LARGER = {"lstm": 384, "transformer": 192}  # widths of the models that are predicted
MORE_CHARACTERS = 2_000_000  # that they read
COLORS = {"lstm": BLUE, "transformer": GREEN}
DRAWS = 200  # of the bootstrap
CONFIG = language_model.Config(
    max_characters=2_400_000,
    batch_size=16,
    epochs=1,
    devices=1,
    optimizer=OptimizerConfig(learning_rate=5e-3, warmup=0.1, weight_decay=1e-2, clip_norm=1.0, ema=None),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Fit a scaling law to character language models."""

    models: tuple[Literal["lstm", "transformer"], ...] = ("lstm", "transformer")
    """Kinds of models."""
    run_dir: Path = Path("runs/scaling_law")
    """Directory of the runs and of the figure; what is there already is not trained again."""
    record: bool = False
    """Keep runs, laws, prediction and figure beside this file."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A run.

    Attributes:
        parameters: N, of the model.
        characters: D, that it has read.
        loss: in nats per character, on the validation part.
    """

    parameters: int
    characters: int
    loss: float


def configure(name: str, width: int, characters: int, directory: Path) -> language_model.Config:
    """Returns how a model is trained."""
    return dataclasses.replace(
        CONFIG,
        model=name,
        hidden=width,
        embedding=width // 2,
        num_layers=2 if name == "transformer" else 1,
        train_characters=characters,
        run_dir=directory / f"{name}-{width}-{characters}",
    )


def num_parameters(config: language_model.Config, text: Text) -> int:
    """Returns N."""
    model = create_language_model(language_model.describe(config, text)["model"])
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_variables(model)["params"]))


def columns(points: list[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns parameters, characters and losses of runs."""
    return tuple(np.array(column, np.float64) for column in zip(*map(dataclasses.astuple, points), strict=True))


def study(name: str, directory: Path) -> dict[str, Any]:
    """Trains the models of a kind, fits their law, and tries it on a larger one.

    Returns:
        `points`, `law` and the ends of its constants' `intervals`, and of the larger model the `prediction`, its
        `prediction_interval` and what came out of the `larger` run.
    """
    text = load_text(CONFIG.data, CONFIG.data_dir, CONFIG.max_characters)

    def measure(width: int, characters: int) -> Point:
        config = configure(name, width, characters, directory)
        return Point(num_parameters(config, text), characters, language_model.run(config)["val_nats"])

    points = [measure(width, characters) for width in WIDTHS[name] for characters in CHARACTERS]
    law = fit_law(*columns(points))
    laws = bootstrap(*columns(points), law, DRAWS, seed=0)
    more = LARGER[name], MORE_CHARACTERS
    larger = num_parameters(configure(name, *more, directory), text), MORE_CHARACTERS
    found = {
        "points": [dataclasses.asdict(point) for point in points],
        "law": dataclasses.asdict(law),
        "intervals": {name: interval([getattr(one, name) for one in laws]) for name in vars(law)},
        "prediction": float(law(*larger)),
        "prediction_interval": interval([float(one(*larger)) for one in laws]),
    }
    write_json(directory / f"{name}-prediction.json", found)  # before the model is trained
    return {**found, "larger": dataclasses.asdict(measure(*more))}


@mpl.rc_context(STYLE)
def draw(studies: dict[str, dict[str, Any]]) -> Figure:
    """Draws runs and law of each kind by the number of parameters, and all kinds by compute."""
    figure = Figure((WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, len(studies) + 1, sharey=True)
    for axes, (name, found) in zip(panels, studies.items(), strict=False):
        draw_law(axes, found)
        axes.set(title=name, xlabel="parameters")
    for name, found in studies.items():
        n, d, losses = columns([Point(**point) for point in (*found["points"], found["larger"])])
        order = np.argsort(6 * n * d)
        best = np.minimum.accumulate(losses[order])
        panels[-1].scatter(6 * n * d, losses, color=COLORS[name], s=10, alpha=0.5)
        panels[-1].step((6 * n * d)[order], best, color=COLORS[name], where="post", label=f"{name}, best so far")
    panels[-1].set(title="On the same budget", xlabel="multiplications and additions", xscale="log")
    panels[-1].legend()
    panels[0].set(ylabel="nats per character")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=7.5)
    return figure


def draw_law(axes: Axes, found: dict[str, Any]) -> None:
    """Draws the runs of a kind, a line of its law for each amount of data, and the larger run on what was predicted."""
    law, points = Law(**found["law"]), [Point(**point) for point in found["points"]]
    larger = Point(**found["larger"])
    sizes = np.geomspace(min(point.parameters for point in points), larger.parameters, 50)
    for shade, characters in zip(
        np.linspace(0.35, 1, len(CHARACTERS) + 1), (*CHARACTERS, MORE_CHARACTERS), strict=True
    ):
        color = (*mpl.colors.to_rgb(BLUE if characters != MORE_CHARACTERS else ORANGE), shade)
        axes.plot(sizes, law(sizes, characters), color=color, label=f"{characters:,} characters")
        here = [point for point in points if point.characters == characters]
        axes.scatter([p.parameters for p in here], [p.loss for p in here], color=color, s=16, zorder=3)
    low, high = found["prediction_interval"]
    ends = [larger.parameters], [(low + high) / 2], (high - low) / 2
    axes.errorbar(*ends, color=GREY, capsize=4, fmt="none", label="predicted")
    axes.scatter([larger.parameters], [larger.loss], color=ORANGE, marker="*", s=70, zorder=4, label="measured")
    axes.set_xscale("log")


def main() -> None:
    """Trains, fits, draws and prints."""
    options = tyro.cli(Options, prog="python -m train.configs.scaling_law", config=(tyro.conf.FlagCreatePairsOff,))
    with exit_on(RunError, ValueError, OSError):
        studies = {name: study(name, options.run_dir) for name in options.models}
        kept = RECORD if options.record else options.run_dir / RECORD.name
        write_json(kept, studies)
        draw(studies).savefig(kept.with_suffix(".png"), dpi=100)
    for name, found in studies.items():
        law, ends = found["law"], found["intervals"]
        constants = ", ".join(f"{key} {law[key]:.4g} ({ends[key][0]:.4g} to {ends[key][1]:.4g})" for key in law)
        low, high = found["prediction_interval"]
        print(f"{name}: {constants}")
        print(f"  larger: {found['prediction']:.4f} ({low:.4f} to {high:.4f}) predicted, {found['larger']['loss']:.4f}")
    print(f"figure: {kept.with_suffix('.png')}")


if __name__ == "__main__":
    main()
