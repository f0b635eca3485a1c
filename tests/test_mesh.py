"""One device equals eight, in float64, where only the order of sums differs: a network of each kind of block."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from tests.reference.cases import TINY
from train.shared import mesh as mesh_module
from train.shared.feed import ShuffledOrder, resident, streaming
from train.shared.mesh import PMAP_AXIS, check_batch_size, make_mesh, state_sharding
from train.shared.state import create_state, ema
from train.shared.step import make_train_step

QUICK = ("mlp", "lenet5", "basic", "dense_cifar", "mobilenet_v2_tiny", "convnext", "lstm_rows", "vit")
# The others are made of their parts.
AT_ONCE = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TINY]
RANDOM = np.random.RandomState(0)
LABELS = RANDOM.randint(0, 10, 48)


def run(name, mesh, *, compilation="jit", steps_per_dispatch=1, accumulate=1, streamed=False):
    """Three steps of SGD on the given mesh; returns the state and the summed metrics, in float64."""
    with jax.enable_x64(True):
        model, size = TINY[name].build(num_classes=10, dtype=jnp.float64), TINY[name].size
        arrays = {"image": np.random.RandomState(1).randn(48, size, size, 3), "label": LABELS}

        def loss_fn(params, model_state, batch, rng, step):
            del rng, step
            variables, mutable = {"params": params, **model_state}, list(model_state)
            logits, model_state = model.apply(variables, batch["image"], train=True, mutable=mutable)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return (loss.sum(), jnp.float64(len(loss))), (model_state, {})

        optimizer = optax.sgd(0.1, momentum=0.9)
        make_state = lambda variables: create_state(variables, optimizer, jax.random.key(0), average=True)
        state = jax.jit(make_state)(in_float64(jv.init(model, jax.random.key(0))))
        axis_name = PMAP_AXIS if compilation == "pmap" else None
        step = make_train_step(loss_fn, optimizer, after_update=ema(0.9), accumulate=accumulate, axis_name=axis_name)
        order = ShuffledOrder(48, 16, seed=3)
        if streamed:
            batches = lambda start: ({name: array[order(i)] for name, array in arrays.items()} for i in range(start, 9))
            advance, state = streaming(step, batches, state, mesh, compilation=compilation)
        else:
            options = {"compilation": compilation, "steps_per_dispatch": steps_per_dispatch}
            advance, state = resident(step, arrays, order, state, mesh, **options)
        state, metrics = advance(state, 0, 3)
        return state, metrics


def in_float64(variables):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)


def assert_close(found, expected):
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10)
    jax.tree.map(close, jax.device_get(found), jax.device_get(expected))


@cache
def alone(name):
    """What one device arrives at."""
    return run(name, make_mesh(1))


@pytest.mark.parametrize("name", AT_ONCE)
def test_eight_devices_end_where_one_does(name, monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    state, metrics = run(name, make_mesh(8, fsdp=2))
    largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    assert largest.addressable_shards[0].data.size == largest.size // 2
    assert_close((state, metrics), alone(name))


@pytest.mark.parametrize("fsdp", [1, 8])
def test_data_parallel_alone_and_fsdp_alone(fsdp, monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    assert_close(run("resnet8", make_mesh(8, fsdp)), alone("resnet8"))


@pytest.mark.parametrize("name", ["lenet5", "basic", "resnet8"])
def test_pmap_ends_where_jit_does(name):
    assert_close(run(name, make_mesh(8), compilation="pmap"), alone(name))


def test_microbatches_and_many_steps_in_a_dispatch_are_the_same_under_pmap():
    jitted, mapped = (
        run("resnet8", make_mesh(4), compilation=compilation, accumulate=2, steps_per_dispatch=3)
        for compilation in ("jit", "pmap")
    )
    assert_close(mapped, jitted)


def test_many_steps_in_a_dispatch_are_the_same_steps():
    assert_close(run("resnet8", make_mesh(1), steps_per_dispatch=3), alone("resnet8"))


def test_streamed_batches_are_the_same_batches(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    assert_close(run("resnet8", make_mesh(8, fsdp=2), streamed=True), alone("resnet8"))
    assert_close(run("resnet8", make_mesh(8), streamed=True, compilation="pmap"), alone("resnet8"))


def test_a_stream_is_gone_on_with_and_begun_anew():
    started = []

    def batches(start):
        started.append(start)
        return ({"x": np.full(8, float(step))} for step in range(start, 100))

    def train_step(state, batch):
        return state + batch["x"].sum(), {"sum": batch["x"].sum()}

    advance, state = streaming(train_step, batches, jnp.zeros(()), make_mesh(8))
    for start, stop, begun in [(0, 2, [0]), (2, 5, [0]), (5, 6, [0]), (3, 5, [0, 3]), (6, 7, [0, 3, 6])]:
        before = float(state)
        state, metrics = advance(state, start, stop)
        expected = 8 * sum(range(start, stop))
        assert (float(metrics["sum"]), float(state) - before, started) == (expected, expected, begun)


def test_microbatches_are_the_same_on_eight_devices():
    assert_close(run("lenet5", make_mesh(8), accumulate=2), run("lenet5", make_mesh(1), accumulate=2))


def test_fsdp_cuts_the_largest_axis_that_divides_and_leaves_small_arrays_whole():
    mesh = make_mesh(8, 4)
    shapes = {"kernel": (3, 3, 64, 128), "odd": (201, 1024), "none": (333, 77), "bias": (128,), "step": ()}
    state = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    specs = {name: tuple(sharding.spec) for name, sharding in state_sharding(state, mesh).items()}
    assert specs == {"kernel": (None, None, None, "fsdp"), "odd": (None, "fsdp"), "none": (), "bias": (), "step": ()}


def test_order_is_a_permutation_each_epoch_and_a_function_of_the_step():
    order = ShuffledOrder(10, 3, seed=1)
    epochs = [np.concatenate([order(3 * epoch + i) for i in range(3)]) for epoch in range(2)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    np.testing.assert_array_equal(ShuffledOrder(10, 3, seed=1)(4), epochs[1][3:6])
    assert list(ShuffledOrder(10, 3, seed=2)(0)) != list(epochs[0][:3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_mesh(9), r"--devices 9: this machine has 8 cpu device\(s\)"),
        (lambda: make_mesh(8, 3), r"--fsdp 3 does not divide 8 device\(s\)"),
        (lambda: check_batch_size(12, make_mesh(8)), r"--batch-size 12 is not a multiple of 8 device\(s\) x 1"),
        (lambda: run("lenet5", make_mesh(8, 2), compilation="pmap"), "--compile pmap only deals batches out: --fsdp 2"),
        (lambda: ShuffledOrder(10, 11, 0), "--batch-size 11 is larger than the training set of 10 examples"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
