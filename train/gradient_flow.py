"""Draws how far back in time gradients reach: `python -m train.gradient_flow --output gradient_flow.png`.

The gradient of an output by the states before it, by how many steps before: through a vanilla RNN it goes through a
product of matrices, so that it vanishes or explodes, and through the cell of an LSTM it can stay (Bengio, Simard and
Frasconi 1994; Pascanu et al. 2013, https://arxiv.org/abs/1211.5063). Beside it, what clipping by the global norm does
for a network whose gradients explode. Shapes: B batch, T time, H hidden units, D input.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxvision as jv
from jaxvision.layers import LSTM, RNN
from jaxvision.layers.recurrent import Recurrent
from train import language_model
from train.shared.figures import BLUE, GREEN, GREY, ORANGE, STYLE, WIDTH
from train.shared.files import new_file
from train.shared.optimizer import OptimizerConfig
from train.shared.run import exit_on
from train.shared.step import means

HIDDEN, INPUTS, STEPS, BATCH = 64, 16, 100, 16
FORGET_BIAS = 4.0  # of the LSTM that remembers: its forget gates are about 0.98
RADII = {0.9: BLUE, 1.1: GREEN, 1.5: ORANGE}
CLIP_NORM = 1.0
TEXT = language_model.Config(  # on which an RNN learns whose recurrent weights are too large
    max_characters=300_000, model="rnn", hidden=HIDDEN, embedding=INPUTS, batch_size=BATCH, chunk=STEPS, devices=1
)
RADIUS_ON_TEXT, RATE_ON_TEXT = 2.0, 0.3


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw the gradient by distance in time, RNN against LSTM, and what clipping does."""

    output: Path = Path("gradient_flow.png")
    """The picture; a file that is there already is left alone."""
    updates: int = 150
    """Steps of learning with and without clipping."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.updates < 1:
            raise ValueError(f"--updates must be 1 or more, got {self.updates}")


def gradient_norms(layer: Recurrent, variables: Any, x: jax.Array, direction: jax.Array) -> np.ndarray:  # -> [T + 1]
    """Returns the norms of the gradient of the last output by the states 0 to T steps before it.

    Args:
        layer: of one layer and direction.
        variables: of the layer.
        x: [B, T, D].
        direction: [B, H], the sum of whose products with the output is differentiated.

    Returns:
        Root mean squares over the batch of the norms, of all arrays of the state together.
    """
    steps = x.shape[1]
    state = tuple(jnp.zeros((1, len(x), layer.hidden), x.dtype) for _ in range(layer.cell.num_states))

    def last_output(changes):  # [T + 1, 1, B, H] each, added to the states
        def body(state, at):
            now, change = at
            _, state = layer.apply(variables, now[:, None], jax.tree.map(jnp.add, state, change), train=False)
            return state, None

        before_steps = jax.tree.map(lambda change: change[:-1], changes)
        state_at_end, _ = jax.lax.scan(body, state, (x.swapaxes(0, 1), before_steps))
        return ((state_at_end[0][0] + changes[0][-1, 0]) * direction).sum()

    gradients = jax.jit(jax.grad(last_output))(tuple(jnp.zeros((steps + 1, *part.shape), x.dtype) for part in state))
    squares = sum(jnp.square(gradient).sum((1, 2, 3)) for gradient in gradients)
    return np.sqrt(np.asarray(squares) / len(x))[::-1]


def with_radius(variables: Any, radius: float) -> Any:
    """Returns the variables of a layer with its recurrent weights scaled to a spectral radius."""
    layer = variables["params"]["layer1_forward"]
    kernel = np.asarray(layer["hidden"]["kernel"])
    scaled = kernel * np.float32(radius / np.abs(np.linalg.eigvals(kernel)).max())
    return {"params": {"layer1_forward": {**layer, "hidden": {**layer["hidden"], "kernel": jnp.asarray(scaled)}}}}


def with_forget_bias(variables: Any, bias: float) -> Any:
    """Returns the variables of an LSTM with the same bias of all its forget gates."""
    layer = variables["params"]["layer1_forward"]
    gates = jnp.split(layer["input"]["bias"], 4)
    biases = jnp.concatenate([gates[0], jnp.full_like(gates[1], bias), *gates[2:]])
    return {"params": {"layer1_forward": {**layer, "input": {**layer["input"], "bias": biases}}}}


def flows() -> dict[str, tuple[str, np.ndarray]]:
    """Returns the colours and norms by distance of random networks on random input."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = 0.3 * jax.random.normal(keys[0], (BATCH, STEPS, INPUTS))
    direction = jax.random.normal(keys[1], (BATCH, HIDDEN))
    direction /= jnp.linalg.norm(direction, axis=1, keepdims=True)
    rnn, lstm = RNN(HIDDEN, in_features=INPUTS), LSTM(HIDDEN, in_features=INPUTS)
    of_rnn, of_lstm = jv.init(rnn, keys[2]), jv.init(lstm, keys[3])
    found = {
        f"RNN, spectral radius {radius}": (color, gradient_norms(rnn, with_radius(of_rnn, radius), x, direction))
        for radius, color in RADII.items()
    }
    found["LSTM as drawn"] = "#CC79A7", gradient_norms(lstm, of_lstm, x, direction)
    remembering = with_forget_bias(of_lstm, FORGET_BIAS)
    found[f"LSTM, forget bias {FORGET_BIAS:g}"] = "#000000", gradient_norms(lstm, remembering, x, direction)
    return found


def learning(clip_norm: float | None, updates: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient norm, before clipping, and the loss of each update of an RNN with exploding gradients."""
    rule = OptimizerConfig("sgd", RATE_ON_TEXT, schedule="constant", warmup=0.0, weight_decay=0.0, ema=None)
    rule = dataclasses.replace(rule, clip_norm=clip_norm)
    experiment = language_model.build(dataclasses.replace(TEXT, optimizer=rule))
    params = experiment.state.params
    recurrent = with_radius({"params": params["recurrent"]}, RADIUS_ON_TEXT)["params"]
    state = experiment.state.replace(params={**params, "recurrent": recurrent})
    records = []
    for update in range(updates):
        state, totals = experiment.advance(state, update, update + 1)
        records.append(means(totals))
    return tuple(np.array([record[name] for record in records]) for name in ("gradient_norm", "loss"))


@mpl.rc_context(STYLE)
def draw(updates: int) -> Figure:
    """Draws the norms by distance, and the gradient norms and losses of learning with and without clipping."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _draw_flows(panels[0])
    for clip_norm, label, color in ((None, "not clipped", ORANGE), (CLIP_NORM, f"clipped at {CLIP_NORM:g}", BLUE)):
        norms, losses = learning(clip_norm, updates)
        panels[1].plot(norms, color=color, label=label)
        panels[2].plot(losses, color=color, label=label)
    panels[1].axhline(CLIP_NORM, color=GREY, linewidth=0.8, linestyle="--")
    panels[1].set(title="Norm of the gradient, before clipping", xlabel="update", yscale="log")
    panels[2].set(title="Loss, nats per character", xlabel="update")
    panels[2].legend()
    return figure


def _draw_flows(axes: Axes) -> None:
    for label, (color, norms) in flows().items():
        axes.plot(norms, color=color, label=label)
    axes.set(title="Gradient of an output by the state before", xlabel="steps before", yscale="log", ylim=(1e-10, 1e9))
    axes.legend(fontsize=7.5, loc="upper left")


def main() -> None:
    """Draws as the command line says."""
    with exit_on(ValueError, OSError):
        options = tyro.cli(Options, prog="python -m train.gradient_flow")
        with new_file(options.output) as file:
            draw(options.updates).savefig(file, format="png", dpi=150)
    print(options.output)


if __name__ == "__main__":
    main()
