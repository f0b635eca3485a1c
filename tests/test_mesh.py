"""One device equals eight: data parallelism and FSDP, with BatchNorm, in float64, where only the order of sums differs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from train.shared.feed import ShuffledOrder, resident
from train.shared.mesh import check_batch_size, make_mesh, state_sharding
from train.shared.state import create_state, ema
from train.shared.step import make_train_step

RANDOM = np.random.RandomState(0)
ARRAYS = {"image": RANDOM.randn(48, 8, 8, 3), "label": RANDOM.randint(0, 10, 48)}


def run(model, variables, mesh, *, steps_per_dispatch=1, accumulate=1):
    """Three steps of SGD on the given mesh; returns the state and the summed metrics."""

    def loss_fn(params, model_state, batch, rng, step):
        del rng, step
        logits, model_state = model.apply(
            {"params": params, **model_state}, batch["image"], train=True, mutable=["batch_stats"]
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return (loss.sum(), jnp.float64(len(loss))), (model_state, {})

    optimizer = optax.sgd(0.1, momentum=0.9)
    state = create_state(variables, optimizer, jax.random.key(0), average=True)
    step = make_train_step(loss_fn, optimizer, after_update=ema(0.9), accumulate=accumulate)
    order = ShuffledOrder(48, 16, seed=3)
    advance, state = resident(step, ARRAYS, order, state, mesh, steps_per_dispatch=steps_per_dispatch)
    return advance(state, 0, 3)


@pytest.fixture(scope="module", params=["resnet8", "preact_resnet20"])
def reference(request):
    """A model in float64, its variables, and where one device takes them."""
    with jax.enable_x64(True):
        model = jv.create_model(request.param, dtype=jnp.float64, depths=(1, 1, 1))
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), jv.init(model, jax.random.key(0)))
        return model, variables, jax.device_get(run(model, variables, make_mesh(1)))


@pytest.mark.parametrize("fsdp", [1, 8, 2])
def test_eight_devices_end_where_one_does(reference, fsdp):
    model, variables, expected = reference
    with jax.enable_x64(True):
        mesh = make_mesh(8, fsdp)
        state, metrics = run(model, variables, mesh)
        largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
        assert largest.addressable_shards[0].data.size == largest.size // fsdp
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10),
            jax.device_get((state, metrics)),
            expected,
        )


def test_many_steps_in_a_dispatch_are_the_same_steps(reference):
    model, variables, expected = reference
    with jax.enable_x64(True):
        state, metrics = jax.device_get(run(model, variables, make_mesh(1), steps_per_dispatch=3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), (state, metrics), expected)


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
        (lambda: ShuffledOrder(10, 11, 0), "--batch-size 11 is larger than the training set of 10 examples"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
