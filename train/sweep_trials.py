"""Trials of a search for hyperparameters: a point of the space as a config, and configs that are trained at once.

Shapes: T trials at once.
"""

import dataclasses
import functools
import shlex
import types
import typing
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Literal

import flax.linen as nn
import jax
import optax

from train import classification, transfer
from train.data.images import Split, stratified_split
from train.shared.evaluator import Evaluator
from train.shared.feed import Advance, ShuffledOrder, resident, streaming
from train.shared.losses import DistillationConfig, LossConfig
from train.shared.mesh import check_batch_size, replicated
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import FREE, flatten, to_json
from train.shared.space import Parameters
from train.shared.state import TrainState, create_state, ema, stack
from train.shared.step import make_train_step

MOST_PROGRAMS = 8  # kept compiled
TRACED = ("learning_rate", "weight_decay")
FIXED = FREE | {
    "data",
    "data_dir",
    "image_size",
    "resize",
    "seed",
    "evaluate_every",
    "max_nonfinite",
    "compile",
    "patience",
}
GROUPS = {"optimizer": OptimizerConfig, "loss": LossConfig, "distillation": DistillationConfig}
"""Groups of options that can be searched, by their names in the config; a rule in a group may have the same name."""


def option_types() -> dict[str, Any]:
    """Returns the type of each option, those of the groups too."""
    hints = map(typing.get_type_hints, (classification.Config, *GROUPS.values()))
    return {name: hint for group in hints for name, hint in group.items()}


def searchable() -> dict[str, type]:
    """Returns the options that can be searched and their types: numbers and names."""
    kinds = {name: _kind(hint) for name, hint in option_types().items() if name not in FIXED}
    return {name: kind for name, kind in kinds.items() if kind}


def _kind(hint: Any) -> type | None:
    if typing.get_origin(hint) is Literal:
        return str
    plain = [kind for kind in (int, float, str) if hint in (kind, kind | None)]
    return plain[0] if plain else None


def configure(config: classification.Config, parameters: Parameters) -> classification.Config:
    """Returns a config with other values of some options, those of its groups too.

    Raises:
        ValueError: a value that cannot be.
    """
    hints, changed, left = option_types(), {}, dict(parameters)
    for name, value in parameters.items():
        if typing.get_origin(hints[name]) is Literal and value not in typing.get_args(hints[name]):
            raise ValueError(f"--{name.replace('_', '-')} must be one of {typing.get_args(hints[name])}, got {value}")
    for group, kind in GROUPS.items():
        names = {field.name for field in dataclasses.fields(kind)} & left.keys()
        changed[group] = dataclasses.replace(getattr(config, group), **{name: left.pop(name) for name in names})
    return dataclasses.replace(config, **changed, **left)


def command_line(config: classification.Config) -> str:
    """Returns the command that trains as a config says."""
    default = flatten(to_json(classification.Config()))
    words = ["python", "-m", "train.classification"]
    for name, value in flatten(to_json(config)).items():
        if value != default[name] and name != "run_dir":
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else map(str, value if isinstance(value, list) else [value])
    return shlex.join(words)


def traced_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """Returns the update rule of a config with learning rate and weight decay as part of its state."""
    shape = make_schedule(dataclasses.replace(config, learning_rate=1.0), total_steps)

    def make(learning_rate: jax.Array, weight_decay: jax.Array) -> optax.GradientTransformation:
        # Not an OptimizerConfig, which checks its values: here they are traced.
        options = types.SimpleNamespace(**(vars(config) | {"weight_decay": weight_decay}))
        return make_optimizer(options, lambda step: learning_rate * shape(step))

    return optax.inject_hyperparams(make)(learning_rate=config.learning_rate, weight_decay=config.weight_decay)


class ImpossibleTrial(Exception):
    """A point that cannot be trained; the message names the option."""


class Objective:
    """Trains trials that differ in learning rate and weight decay alone at once, and scores them."""

    def __init__(self, config: classification.Config, share: float):
        """Loads the data.

        Args:
            config: of training; trials are trained on its data.
            share: of the training set that they see.

        Raises:
            ValueError: an option that cannot be.
        """
        self._task = classification.prepare(config)
        self._models: dict[tuple, nn.Module] = {}
        self._variables: dict[tuple, Any] = {}
        self._compiled = functools.lru_cache(MOST_PROGRAMS)(self._compile)
        train = self._task.data.train
        if isinstance(train, Split):
            arrays = {"image": train.images, "label": train.labels}
            self._arrays = jax.device_put(arrays, replicated(self._task.mesh))  # once for all programs
        self._subset = stratified_split(train.labels, (share, 1 - share), config.seed)[0]

    def check(self, config: classification.Config) -> None:
        """Raises ValueError for a config that cannot be trained."""
        check_batch_size(config.batch_size, self._task.mesh, config.optimizer.accumulate)
        order = ShuffledOrder(len(self._subset), config.batch_size, config.seed)
        _, variables = self._model(config)
        rule = traced_optimizer(config.optimizer, config.epochs * order.steps_per_epoch)
        jax.eval_shape(rule.init, variables["params"])

    def _model(self, config: classification.Config) -> tuple[nn.Module, Any]:
        """Returns the model and the variables that every trial of it starts from."""
        key, data = (config.model, config.precision, config.norm_momentum), self._task.data
        checked = (*key, config.train_size)
        if checked not in self._models:
            shape = (config.image_size, config.image_size, data.shape[-1])
            self._models[checked] = classification.create_model(config, len(data.classes), shape)
        model = self._models[checked]
        if key not in self._variables:
            init_key = jax.random.split(jax.random.key(config.seed))[0]
            self._variables[key] = transfer.initial_variables(config.transfer, config.model, model, init_key)
        return model, self._variables[key]

    def __call__(self, configs: Sequence[classification.Config]) -> list[tuple[float, float]]:
        """Returns accuracy and loss on the validation split of each config after its last epoch."""
        # Without what is traced: trials one after another find their program compiled.
        common = configure(configs[0], dict.fromkeys(TRACED, 0.0))
        steps, advance, evaluator = self._compiled(common, len(configs))
        state, _ = advance(self._initial_states(configs, steps), 0, steps)
        members = [jax.tree.map(itemgetter(index), state.variables) for index in range(len(configs))]
        scores = [evaluator(variables, self._task.data.val)[0] for variables in members]
        return [(score["accuracy"], score["loss"]) for score in scores]

    def _compile(self, config: classification.Config, count: int) -> tuple[int, Advance, Evaluator]:
        """Returns the steps of a trial, the function that runs them for `count` at once, and what scores each."""
        task, (model, _) = self._task, self._model(config)
        order = ShuffledOrder(len(self._subset), config.batch_size, config.seed)
        steps = config.epochs * order.steps_per_epoch
        train_step = make_train_step(
            classification.make_loss_fn(model, task.preprocessing, config, task.teacher),
            traced_optimizer(config.optimizer, steps),
            accumulate=config.optimizer.accumulate,
            after_update=ema(config.optimizer.ema) if config.optimizer.ema else None,
            max_nonfinite=config.max_nonfinite,
        )
        state = self._initial_states([config] * count, steps)
        advance = self._feed(jax.vmap(train_step, (0, None)), order, state, steps)
        return steps, advance, Evaluator(model, task.preprocessing, task.evaluator.batch_size, task.mesh)

    def _feed(self, step: Callable, order: ShuffledOrder, state: TrainState, total: int) -> Advance:
        chosen, data = lambda number: self._subset[order(number)], self._task.data.train
        if isinstance(data, Split):
            return resident(step, self._arrays, chosen, state, self._task.mesh)[0]
        return streaming(step, lambda start: data.batches(chosen, start, total), state, self._task.mesh)[0]

    def _initial_states(self, configs: Sequence[classification.Config], steps: int) -> TrainState:
        """Returns the states before the first step, stacked [T, ...]: of the same weights, each of its own rates."""
        (_, variables), key = self._model(configs[0]), jax.random.split(jax.random.key(configs[0].seed))[1]
        options = [config.optimizer for config in configs]
        return stack(
            [create_state(variables, traced_optimizer(one, steps), key, average=one.ema is not None) for one in options]
        )
