"""Optimizers and schedules: one dataclass of options, one literal table each, all of it optax."""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from optax import contrib

from train.shared.state import TrainState

SCALE = "step_size"  # its name in the optimizer's state


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How the parameters are updated."""

    optimizer: Literal["sgd", "adam", "adamw", "lamb", "lars", "lion", "muon", "rmsprop"] = "adamw"
    """Rule of the update."""
    learning_rate: float = 3e-3
    """Highest learning rate, reached after the warm-up."""
    schedule: Literal["constant", "step", "cosine", "polynomial", "onecycle", "plateau"] = "cosine"
    """Shape of the learning rate after the warm-up; onecycle has its own: up from 1/25 and down, by cosines."""
    warmup: float = 0.05
    """Share of the run over which the learning rate rises: linearly from zero, but for onecycle."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """step: shares of the run after which the learning rate is multiplied by `step_factor`."""
    step_factor: float = 0.1
    """step: see `milestones`; plateau: what the learning rate is multiplied by at each."""
    plateau: int = 3
    """plateau: evaluations in a row without a new best that make one."""
    power: float = 1.0
    """polynomial: exponent of the fall to zero."""
    weight_decay: float = 2e-2
    """Decay of kernels (biases, normalisation and other vectors are spared). sgd, adam and rmsprop add it to the
    gradient, the others decouple it."""
    momentum: float = 0.9
    """sgd, lars, rmsprop: momentum."""
    epsilon: float = 1e-8
    """rmsprop: added to the root of the mean square."""
    nesterov: bool = False
    """sgd, lars, rmsprop: Nesterov's momentum."""
    group_rates: tuple[str, ...] = ()
    """PATH=FACTOR: of the learning rate of all parameters below a path, such as backbone=0.1 backbone/conv1=0; the
    longest path counts, and 0 keeps parameters as they are."""
    clip_norm: float | None = None
    """Largest global norm of the gradient."""
    accumulate: int = 1
    """Microbatches per update."""
    ema: float | None = 0.99
    """Decay of the moving average of the weights that is evaluated and kept; None evaluates the weights themselves."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        for name in ("learning_rate", "step_factor", "power", "weight_decay", "epsilon"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"--{name.replace('_', '-')} must be finite, got {getattr(self, name)}")
        for name, valid, expected in [
            ("learning_rate", self.learning_rate >= 0, "0 or more"),
            ("warmup", 0 <= self.warmup < 1, "a share of the run from 0 to below 1"),
            ("milestones", all(0 < m < 1 for m in self.milestones), "shares of the run between 0 and 1"),
            ("step_factor", self.step_factor >= 0, "0 or more"),
            ("plateau", self.plateau >= 1, "1 or more"),
            ("power", self.power >= 0, "0 or more"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("epsilon", self.epsilon > 0, "above 0"),
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0"),
            ("accumulate", self.accumulate >= 1, "1 or more"),
            ("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1"),
        ]:
            if not valid:
                raise ValueError(f"--{name.replace('_', '-')} must be {expected}, got {getattr(self, name)}")
        group_factors(self)


def make_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step."""
    warmup = 0 if config.schedule == "onecycle" else round(config.warmup * total_steps)
    after = SCHEDULES[config.schedule](config, total_steps, warmup)
    if warmup == 0:
        return after
    rise = optax.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup - 1)
    return optax.join_schedules([rise, after], [warmup])


def _constant(config: OptimizerConfig, total: int, warmup: int) -> optax.Schedule:
    del total, warmup
    return optax.constant_schedule(config.learning_rate)


def _step(config: OptimizerConfig, total: int, warmup: int) -> optax.Schedule:
    falls = collections.Counter(round(share * total) - warmup for share in config.milestones)
    factors = {step: config.step_factor**times for step, times in falls.items()}
    return optax.piecewise_constant_schedule(config.learning_rate, factors)


def _cosine(config: OptimizerConfig, total: int, warmup: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(config.learning_rate, max(total - warmup, 1))


def _polynomial(config: OptimizerConfig, total: int, warmup: int) -> optax.Schedule:
    return optax.polynomial_schedule(config.learning_rate, 0.0, config.power, max(total - warmup, 1))


def _onecycle(config: OptimizerConfig, total: int, warmup: int) -> optax.Schedule:
    """Rises and falls by half cosines, https://arxiv.org/abs/1708.07120, between the rates of PyTorch's OneCycleLR."""
    del warmup
    if int(config.warmup * total) < 1:
        raise ValueError(f"--schedule onecycle rises for a share of the run: --warmup {config.warmup} is too small")
    return optax.cosine_onecycle_schedule(total, config.learning_rate, config.warmup, 25.0, 1e4)


SCHEDULES = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "onecycle": _onecycle,
    "plateau": _constant,  # and divided as the run goes, see `set_scale`
}


def make_optimizer(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the update rule of a config, clipping first."""
    rule = _by_group(config, schedule) if config.group_rates else OPTIMIZERS[config.optimizer](config, schedule)
    if config.schedule == "plateau":
        rule = optax.chain(rule, optax.inject_hyperparams(optax.scale)(1.0))
    return rule if config.clip_norm is None else optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)


def set_scale(state: TrainState, scale: float) -> TrainState:
    """Returns a state of `--schedule plateau` with another factor of its updates, laid out on the devices as it was.

    The factor, 1 at first, is part of the optimizer's state, and so of every checkpoint.
    """
    old = optax.tree.get(state.opt_state, SCALE)
    new = jax.device_put(jnp.full(old.shape, scale, old.dtype), old.sharding)
    return state.replace(opt_state=optax.tree.set(state.opt_state, **{SCALE: new}))


def group_factors(config: OptimizerConfig) -> dict[str, float]:
    """Returns the factor of the learning rate below each path of `--group-rates`.

    Raises:
        ValueError: one of them is not PATH=FACTOR, with a factor of 0 or more.
    """
    factors = {}
    for group in config.group_rates:
        path, _, factor = group.partition("=")
        try:
            factors[path.strip("/")] = float(factor)
        except ValueError:
            raise ValueError(f"--group-rates must be PATH=FACTOR, got {group!r}") from None
        if not 0 <= factors[path.strip("/")] < math.inf:
            raise ValueError(f"--group-rates must have factors of 0 or more, got {group!r}")
    return factors


def _by_group(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Gives each group of parameters a rule of its own, at its own rate."""
    factors = group_factors(config)
    scaled = lambda factor: lambda step: factor * schedule(step)
    rules = {
        str(factor): OPTIMIZERS[config.optimizer](config, scaled(factor)) if factor else optax.set_to_zero()
        for factor in {1.0, *factors.values()}
    }

    return optax.multi_transform(rules, lambda params: _labels(params, factors))


def _labels(params: Any, factors: dict[str, float]) -> Any:
    """Returns the tree of the parameters' factors, as text."""
    labels = {path: str(factors.get(group, 1.0)) for path, group in group_of(params, factors).items()}
    return unflatten_dict(labels, sep="/")


def group_of(params: Any, factors: Mapping[str, float]) -> dict[str, str]:
    """Returns the group of each parameter, by path: the longest path of `factors` that it is below; "" for none.

    Raises:
        ValueError: there is nothing below one of them.
    """
    paths = flatten_dict(params, sep="/")
    below = lambda group: [path for path in paths if f"{path}/".startswith(f"{group}/")]
    if strangers := [group for group in factors if not below(group)]:
        tops = ", ".join(sorted({"/".join(path.split("/")[:2]) for path in paths}))
        raise ValueError(f"--group-rates: no parameter is below {', '.join(strangers)}; there are {tops}")
    chosen = dict.fromkeys(paths, "")
    for group in sorted(factors, key=len):
        chosen |= dict.fromkeys(below(group), group)
    return chosen


def kernels(params: Any) -> Any:
    """Marks what weight decay applies to: arrays of two or more axes."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _coupled(rule: Callable[..., optax.GradientTransformation], *names: str):
    """Weight decay as part of the gradient (L2 regularisation), before the rule, as PyTorch's SGD has it."""

    def make(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
        options = {name: getattr(config, name) for name in names}
        return optax.chain(optax.add_decayed_weights(config.weight_decay, kernels), rule(schedule, **options))

    return make


def _decoupled(rule: Callable[..., optax.GradientTransformation], mask: str = "mask", **options: Any):
    """Weight decay beside the rule, as AdamW has it."""

    def make(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
        return rule(schedule, weight_decay=config.weight_decay, **{mask: kernels}, **options)

    return make


def _lars(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.lars(
        schedule,
        config.weight_decay,
        kernels,
        trust_ratio_mask=kernels,
        momentum=config.momentum,
        nesterov=config.nesterov,
    )


def _rmsprop(schedule: optax.Schedule, momentum: float, nesterov: bool, epsilon: float) -> optax.GradientTransformation:
    """As PyTorch's with `alpha=0.9`: epsilon outside the root, and the rate applied to the momentum, not within it."""
    rms = optax.scale_by_rms(decay=0.9, eps=epsilon, eps_in_sqrt=False)
    return optax.chain(rms, optax.trace(momentum, nesterov), optax.scale_by_learning_rate(schedule))


def _muon(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Muon on every kernel, a convolution's as the matrix of its patches; Adam on the rest."""

    def dimensions(params: Any) -> Any:
        matrix = lambda p: contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1) if p.ndim > 1 else None
        return jax.tree.map(matrix, params)

    return contrib.muon(
        schedule,
        weight_decay=config.weight_decay,
        weight_decay_mask=kernels,
        muon_weight_dimension_numbers=dimensions,
    )


OPTIMIZERS = {
    "sgd": _coupled(optax.sgd, "momentum", "nesterov"),
    "adam": _coupled(optax.adam),
    "adamw": _decoupled(optax.adamw),
    "lamb": _decoupled(optax.lamb),
    "lars": _lars,
    "lion": _decoupled(optax.lion),
    "muon": _muon,
    "rmsprop": _coupled(_rmsprop, "momentum", "nesterov", "epsilon"),
}
