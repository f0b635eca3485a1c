"""Searches for hyperparameters: on scores that are known, against SciPy's statistics, against single runs."""

import dataclasses
import itertools
import json
import math
import re
import shlex
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from scipy import stats

from train import classification, sweep, sweep_trials
from train.shared.optimizer import OptimizerConfig, make_optimizer, make_schedule
from train.shared.run import RunError
from train.shared.space import LEARNING, Choices, Range, Sampler, draw, expected_best, grid, importance, parse
from train.shared.state import create_state, stack
from train.shared.step import make_train_step

RANDOM = np.random.RandomState(0)
KINDS = {"learning_rate": float, "batch_size": int, "optimizer": str}
SPACE = ("learning_rate=1e-4..1:log", "weight_decay=0..0.04", "batch_size=32,64")


def quadratic(point) -> float:
    """Highest, and zero, at a learning rate of 0.01, a weight decay of 0.01 and batches of 64."""
    distance = (math.log10(point["learning_rate"]) + 2) ** 2 + (100 * point["weight_decay"] - 1) ** 2
    return -distance - (point["batch_size"] == 32)


def scored(points):
    return [(quadratic(point), -quadratic(point)) for point in points]


def searching(directory, *kinds, **options) -> sweep.Config:
    directory.mkdir(exist_ok=True)
    training = classification.Config(run_dir=directory)
    return sweep.Config(space=SPACE, search=kinds, training=training, **options)


def test_spaces_are_read():
    assert parse("learning_rate=1e-4..1e-1:log", KINDS) == ("learning_rate", Range(1e-4, 0.1, log=True, integer=False))
    assert parse("batch_size=16..64", KINDS) == ("batch_size", Range(16, 64, log=False, integer=True))
    assert parse("optimizer=sgd,adamw", KINDS) == ("optimizer", Choices(("sgd", "adamw")))
    space = dict(parse(text, KINDS) for text in ("learning_rate=1e-4..1e-1:log", "batch_size=16,32"))
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    expected = [{"learning_rate": rate, "batch_size": size} for rate, size in itertools.product(rates, (16, 32))]
    assert grid(space, 4) == expected
    kinds = sweep_trials.searchable()
    found = [kinds[name] for name in ("clip_norm", "batch_size", "optimizer", "loss", "temperature")]
    assert found == [float, int, str, str, float]
    assert not {"seed", "data_dir", "group_rates", "milestones", "nesterov", "weights", "reading"} & kinds.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "expected name=low..high"),
        ("learning=1,2", "learning cannot be searched; what can: batch_size, learning_rate, optimizer"),
        ("batch_size=1.5,2", "'1.5' is not a whole number"),
        ("learning_rate=0..1:log", "expected low < high, both above 0"),
        ("learning_rate=1..1", "expected low < high"),
        ("learning_rate=1..2:lin", "the scale can be log, got lin"),
        ("learning_rate=1..inf", "inf is not finite"),
        ("optimizer=adam..sgd", "not a number, so name its values"),
        ("batch_size=32,32", "names a value twice"),
    ],
)
def test_spaces_that_cannot_be_read_are_named(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse(text, KINDS)
    assert f"--space {text}" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": ("optimizer=adamw,adamm",)}, "--optimizer must be one of .*got adamm"),
        ({"space": ("learning_rate=-1..1",)}, "--learning-rate must be 0 or more, got -1"),
        ({"space": ("seed=1,2",)}, "seed cannot be searched"),
        ({"space": ("epochs=1,2", "epochs=3,4")}, "each once"),
        ({"search": ("grid",), "trials": 7}, "the grid has 8 points, more than --trials 7"),
        ({"search": ("cmaes",)}, "--search cmaes needs two ranges or more in --space, got learning_rate=1e-4"),
        ({"search": ("grid", "grid")}, "--search must name searches, each once, got grid grid"),
        ({"training": classification.Config(patience=3)}, "--patience ends the run of one classifier"),
        ({"training": classification.Config(seed=2**32)}, "--seed must be 4294967295 or less, got 4294967296"),
        ({"subset": 0.0}, "--subset must be above 0 and at most 1, got 0.0"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sweep.Config(**options)


def test_draws_are_uniform_on_their_scale_and_fixed_by_their_number():
    space = dict(parse(text, sweep_trials.searchable()) for text in SPACE)
    draws = [draw(space, 3, trial) for trial in range(400)]
    column = lambda name: [point[name] for point in draws]
    assert stats.kstest(column("learning_rate"), stats.loguniform(1e-4, 1).cdf).pvalue > 0.01
    assert stats.kstest(column("weight_decay"), stats.uniform(0, 0.04).cdf).pvalue > 0.01
    assert stats.binomtest(column("batch_size").count(32), 400).pvalue > 0.01
    assert draw(space, 3, 7) == draws[7] != draw(space, 4, 7)


def test_a_grid_finds_an_optimum_that_lies_on_it_and_random_search_comes_near(tmp_path):
    config = searching(tmp_path / "search", "grid", "random", trials=60, points=5)
    trials = sweep.carry_out(config, config.dimensions, scored)
    by = lambda kind: [trial for trial in trials if trial["search"] == kind]
    assert [len(by("grid")), len(by("random"))] == [5 * 5 * 2, 60]
    best = sweep.ranked(by("grid"))[0]
    assert best["parameters"] == {"learning_rate": 0.01, "weight_decay": 0.01, "batch_size": 64}
    assert best["score"] == pytest.approx(0, abs=1e-12)
    # Scores above -1 are a circle of radius 1 in a square of side 4, for one of two batch sizes: all 60 draws miss it
    # with a probability of (1 - pi / 32)^60 = 0.002.
    assert sweep.ranked(by("random"))[0]["score"] > -1


def needs(kind):
    if kind != "random":
        pytest.importorskip("optuna")
    if kind == "cmaes":
        pytest.importorskip("cmaes")


@pytest.mark.parametrize("kind", ["random", "qmc", *LEARNING])
def test_a_search_that_was_killed_ends_with_the_table_of_one_that_was_not(kind, tmp_path):
    needs(kind)
    whole = searching(tmp_path / "whole", kind, trials=12, at_once=3)
    expected = sweep.carry_out(whole, whole.dimensions, scored)
    killed, calls = dataclasses.replace(whole, training=classification.Config(run_dir=tmp_path / "killed")), []
    killed.directory.mkdir()

    def dying(points):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(points)
        return scored(points)

    with pytest.raises(KeyboardInterrupt):
        sweep.carry_out(killed, killed.dimensions, dying)
    kept = sweep.read_trials(killed.directory / "trials.jsonl")
    assert len(kept) == sum(map(len, calls)) > 0
    seen = []
    assert (
        sweep.carry_out(killed, killed.dimensions, lambda points: (seen.extend(points), scored(points))[1]) == expected
    )
    assert len(seen) == 12 - len(kept)
    file = "trials.jsonl"
    assert (killed.directory / file).read_text() == (whole.directory / file).read_text()


@pytest.mark.parametrize("kind", LEARNING)
def test_samplers_learn_where_the_optimum_is(kind):
    needs(kind)
    space = dict(parse(text, sweep_trials.searchable()) for text in SPACE)
    sampler, scores = Sampler(kind, space, 0), []
    for _ in range(40):
        scores.append(quadratic(sampler.ask()))
        sampler.tell(scores[-1])
    random = [quadratic(draw(space, 0, trial)) for trial in range(200)]
    assert np.median(scores[20:]) > np.quantile(random, 0.75)


def test_quasi_random_points_are_sobols():
    pytest.importorskip("optuna")
    space = dict(parse(text, sweep_trials.searchable()) for text in SPACE[:2])
    config = sweep.Config(space=SPACE[:2], trials=17)
    first, *points = sweep.planned("qmc", space, config)
    assert space["learning_rate"].low <= first["learning_rate"] <= space["learning_rate"].high  # at random, says Optuna
    seed = int(np.random.SeedSequence([0, 3]).generate_state(1)[0])
    shares = stats.qmc.Sobol(2, scramble=True, seed=seed).random(16)
    expected = [[space[name].at(share) for name, share in zip(sorted(space), row, strict=True)] for row in shares]
    np.testing.assert_allclose([[point[name] for name in sorted(space)] for point in points], expected, rtol=1e-5)
    assert sweep.planned("qmc", space, dataclasses.replace(config, trials=5)) == [first, *points[:4]]


def test_trials_of_another_version_of_optuna_are_not_gone_on_with(tmp_path):
    pytest.importorskip("optuna")
    config = searching(tmp_path / "search", "tpe", trials=3)
    trials = sweep.carry_out(config, config.dimensions, scored)
    changed = [trial | {"parameters": trial["parameters"] | {"weight_decay": 0.03}} for trial in trials[:2]]
    (tmp_path / "search" / "trials.jsonl").write_text("".join(f"{json.dumps(trial)}\n" for trial in changed))
    with pytest.raises(RunError, match="trial 0 of tpe is not what this version of Optuna draws"):
        sweep.carry_out(config, config.dimensions, scored)


@pytest.mark.parametrize(
    ("kind", "package", "extras"), [("tpe", "optuna", "search"), ("cmaes", "cmaes", "search,cmaes")]
)
def test_without_a_package_the_error_says_what_to_install(kind, package, extras, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=re.escape(f'--search {kind} needs {package}: pip install -e ".[{extras}]"')):
        Sampler(kind, {}, 0)


def test_importance_is_the_variance_explained():
    a, b = (np.ravel(x) for x in np.meshgrid([1.0, 2.0, 4.0], [0, 1, 2, 3], indexing="ij"))
    noise = RANDOM.randn(12)
    scores = 3 * np.log2(a) + 0.2 * b + 0.1 * noise
    for values, others in ((a, 3), (b, 4)):
        groups = [scores[values == value] for value in np.unique(values)]
        f = stats.f_oneway(*groups).statistic
        expected = max(0, (f - 1) / (f + (12 - others) / (others - 1)))  # epsilon squared by F
        assert importance(list(values), scores, categorical=True) == pytest.approx(expected, abs=1e-12)
        assert importance(list(values), scores, categorical=False) == pytest.approx(expected, abs=1e-12)
    assert importance(list(a), scores, True) > 0.9
    many = RANDOM.rand(100)
    assert importance(list(many), np.floor(5 * stats.rankdata(many) / 100.1), categorical=False) == 1
    assert importance([1, 1, 2, 2], [0.5] * 4, True) == importance([1, 1], [0.1, 0.9], True) == 0


def test_expected_best_is_the_mean_over_all_choices_of_trials():
    scores = list(RANDOM.rand(6))
    expected = [np.mean([max(chosen) for chosen in itertools.combinations(scores, n)]) for n in range(1, 7)]
    np.testing.assert_allclose(expected_best(scores), expected, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
def test_steps_of_traced_rates_equal_those_of_constant_ones(optimizer):
    def loss_fn(params, model_state, batch, rng, step):
        return (((batch @ params["w"]) ** 2).sum(), jnp.float32(len(batch))), (model_state, {})

    common = {"optimizer": optimizer, "warmup": 0.3, "schedule": "cosine"}
    configs = [OptimizerConfig(learning_rate=r, weight_decay=d, **common) for r, d in ((0.1, 0.0), (0.003, 0.4))]
    variables = {"params": {"w": jnp.array(RANDOM.randn(3, 2), jnp.float32)}}
    begin = lambda rule: create_state(variables, rule, jax.random.key(0))
    rules = [sweep_trials.traced_optimizer(config, 10) for config in configs]
    state = stack(list(map(begin, rules)))
    together = jax.jit(jax.vmap(make_train_step(loss_fn, rules[0]), (0, None)))
    single_rules = [make_optimizer(config, make_schedule(config, 10)) for config in configs]
    alone = [(jax.jit(make_train_step(loss_fn, rule)), begin(rule)) for rule in single_rules]
    for _ in range(8):
        batch = jnp.array(RANDOM.randn(4, 3), jnp.float32)
        state, _ = together(state, batch)
        alone = [(step, step(single, batch)[0]) for step, single in alone]
    for index, (_, single) in enumerate(alone):
        np.testing.assert_allclose(state.params["w"][index], single.params["w"], rtol=2e-5, atol=1e-7)


def test_trials_score_what_runs_of_their_own_do(tmp_path, capsys):
    training = classification.Config(
        epochs=1,
        batch_size=256,
        augment="none",
        devices=1,
        run_dir=tmp_path / "sweep",
        optimizer=OptimizerConfig(ema=None),
    )
    config = sweep.Config(space=("learning_rate=0.001,0.01",), search=("grid",), subset=1.0, training=training)
    result = sweep.run(config)
    trials = sweep.read_trials(tmp_path / "sweep" / "trials.jsonl")
    alone = classification.build(sweep_trials.configure(training, trials[1]["parameters"]))
    state, _ = alone.advance(alone.state, 0, alone.steps_per_epoch)
    expected = alone.evaluator(state.variables, alone.data.val)[0]
    assert trials[1]["parameters"] == {"learning_rate": 0.01}
    assert trials[1]["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert trials[1]["score"] == pytest.approx(expected["accuracy"], abs=1.5 / 360)
    assert result["best"] == max(trials, key=lambda trial: trial["score"])
    assert "<html" in (tmp_path / "sweep" / "report.html").read_text()
    assert sweep.run(config) == result
    sweep.show(config, result)
    assert "python -m train.classification --epochs 1" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"subset: 1\.0 there, 0\.5 asked for"):
        sweep.run(dataclasses.replace(config, subset=0.5))


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (("warmup=0,0.1", "schedule=onecycle,cosine"), {}, "--warmup 0.0 is too small"),
        (("train_size=32,16",), {}, "--model lenet5 of --image-size 32 cannot take --train-size 16"),
        (("model=lenet5,resnet8",), {"group_rates": ("backbone/c1=0",)}, "no parameter is below backbone/c1"),
    ],
)
def test_points_that_cannot_be_trained_are_refused_before_the_search(space, options, message, tmp_path):
    training = classification.Config(devices=1, run_dir=tmp_path, optimizer=OptimizerConfig(**options))
    with pytest.raises(ValueError, match=message):
        sweep.build(sweep.Config(space=space, search=("grid",), training=training))


class Halving:
    """Takes batches of an even number."""

    def check(self, config):
        if config.batch_size % 2:
            raise ValueError(f"--batch-size {config.batch_size} is odd")

    def __call__(self, configs):
        return [(config.batch_size / 1000, 1.0) for config in configs]


def test_points_that_a_sampler_finds_impossible_are_told(tmp_path, capsys):
    needs("tpe")
    config = sweep.Config(
        space=("batch_size=200..300",), search=("tpe",), trials=8, training=classification.Config(run_dir=tmp_path)
    )
    result = sweep.train(config, Halving())
    trials = sweep.read_trials(tmp_path / "trials.jsonl")
    failed = [trial for trial in trials if trial["parameters"]["batch_size"] % 2]
    assert 0 < len(failed) < len(trials) == 8
    for trial in trials:
        expected = f"--batch-size {trial['parameters']['batch_size']} is odd" if trial in failed else None
        assert trial.get("error") == expected
    assert result["best"]["score"] == max(trial["score"] for trial in trials) > 0
    assert f"8, {len(failed)} of which could not be trained" in (tmp_path / "report.html").read_text()
    sweep.show(config, result)
    assert f"{failed[0]['parameters']['batch_size']} is odd" in " ".join(capsys.readouterr().out.split())


def test_a_search_of_which_nothing_can_be_trained(tmp_path):
    config = sweep.Config(training=classification.Config(run_dir=tmp_path))
    trial = {"search": "tpe", "number": 0, "parameters": {}, "score": 0.0, "loss": None, "error": "it is odd"}
    with pytest.raises(RunError, match="none of the 1 trials could be trained, the first because of it is odd"):
        sweep.conclude(config, [trial])


def test_the_command_line_is_that_of_the_config():
    config = sweep_trials.configure(
        classification.Config(model="resnet8", norm_momentum=0.8),
        {"learning_rate": 0.000123, "weight_decay": 0.0, "batch_size": 64, "optimizer": "sgd", "loss": "focal"},
    )
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, ema=None, nesterov=True, milestones=(0.3, 0.6))
    )
    words = shlex.split(sweep.command_line(config))
    flags = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    assert words[:3] == ["python", "-m", "train.classification"]
    assert tyro.cli(classification.Config, args=words[3:], config=flags) == config
