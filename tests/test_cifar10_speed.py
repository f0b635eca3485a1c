"""The speed run on CIFAR-10: each part of its recipe against NumPy, and that the whole learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.cnn.airbench import partial_identity, whitening_kernel
from train.configs import cifar10_speed
from train.data.images import Split
from train.shared.state import create_state
from train.shared.step import make_train_step

RANDOM = np.random.RandomState(0)


def test_the_first_layer_whitens_patches():
    images = RANDOM.randn(5, 9, 8, 3).astype(np.float32)
    images[..., 1] += 0.7 * images[..., 0]
    kernel = np.asarray(whitening_kernel(jnp.asarray(images), epsilon=0.5))
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2)).reshape(-1, 12)  # channel, row, column
    outputs = patches @ kernel.transpose(2, 0, 1, 3).reshape(12, 24)
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    expected = np.diag(variances / (variances + 0.5))  # the largest first
    np.testing.assert_allclose(outputs[:, :12].T @ outputs[:, :12] / len(outputs), expected, atol=1e-5)
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])


def test_the_first_outputs_of_a_convolution_start_as_its_inputs():
    variables = jv.init(jv.create_model("airbench94", widths=(8, 12, 16)), jax.random.key(0))["params"]["backbone"]
    kernel = variables["group2_conv1"]["kernel"]  # [3, 3, 8, 12]
    identity = np.zeros((3, 3, 8, 8))
    identity[1, 1] = np.eye(8)
    np.testing.assert_array_equal(kernel[..., :8], identity)
    bound = 1 / np.sqrt(9 * 8)  # PyTorch's
    assert 0.9 * bound < np.abs(kernel[..., 8:]).max() <= bound
    assert partial_identity(jax.random.key(0), (3, 3, 24, 8))[1, 1, :8].tolist() == np.eye(8).tolist()


def test_updates_are_those_of_the_recipe():
    """SGD as PyTorch writes it, parameter by parameter, and the pull to the slow weights, in NumPy."""
    batch, total, per_epoch = 16, 14, 4
    params = {
        "backbone": {
            "whiten": {"kernel": RANDOM.randn(2, 3), "bias": RANDOM.randn(3)},
            "group1_conv1": {"kernel": RANDOM.randn(3, 4)},
            "group1_norm1": {"scale": RANDOM.randn(4), "bias": RANDOM.randn(4)},
        },
        "head": {"kernel": RANDOM.randn(4, 2)},
    }
    statistics = {"mean": RANDOM.randn(4)}
    targets = jax.tree.map(lambda p: RANDOM.randn(*p.shape), params)

    def loss_fn(params, model_state, batch, rng, step):
        del rng, step
        errors = jax.tree.map(lambda p, t: 0.5 * ((p - t) ** 2).sum(), params, targets)
        mean = 1e-3 * jax.tree.reduce(jnp.add, errors)
        model_state = {"batch_stats": {"mean": model_state["batch_stats"]["mean"] + 1.0}}
        return (len(batch) * mean, jnp.float64(len(batch))), (model_state, {})

    with jax.enable_x64(True):
        optimizer = cifar10_speed.make_optimizer(batch, total, per_epoch)
        step = jax.jit(
            make_train_step(loss_fn, optimizer, after_update=cifar10_speed.lookahead(total)), donate_argnums=0
        )
        variables = jax.tree.map(jnp.asarray, {"params": params, "batch_stats": statistics})
        state = create_state(variables, optimizer, jax.random.key(0), average=True)
        for _ in range(total):
            state, _ = step(state, jnp.zeros(batch))

    scale = 1024 * (1 + 1 / (1 - 0.85))
    rate, decay = 11.5 / scale, 0.0153 * batch / scale
    groups = {
        ("backbone", "whiten", "bias"): (rate, 3 * per_epoch),
        ("backbone", "group1_conv1", "kernel"): (rate, total),
        ("backbone", "group1_norm1", "bias"): (64 * rate, total),
        ("head", "kernel"): (rate, total),
    }
    get = lambda tree, path: tree if not path else get(tree[path[0]], path[1:])
    fast = {path: get(params, path) for path in groups} | {"mean": statistics["mean"]}
    slow, buffers = dict(fast), {}
    for index in range(total):
        peak = int(total * 0.23)
        rise, fall = index / peak, (index - peak) / (total - peak)
        factor = 0.2 * (1 - rise) + rise if index < peak else (1 - fall) + 0.07 * fall
        for path, (base, until) in groups.items():
            if index < until:
                gradient = batch * 1e-3 * (fast[path] - get(targets, path)) + decay / base * fast[path]
                buffers[path] = 0.85 * buffers.get(path, 0) + gradient
                fast[path] = fast[path] - base * factor * (gradient + 0.85 * buffers[path])
        fast["mean"] = fast["mean"] + 1.0
        done = index + 1
        if done % 5 == 0 or done == total:
            keep = 1.0 if done == total else 0.95**5 * (done / total) ** 3
            slow = {name: slow[name] + (1 - keep) * (fast[name] - slow[name]) for name in slow}
            fast = dict(slow)
    for path in groups:
        np.testing.assert_allclose(get(state.params, path), fast[path], rtol=1e-12)
    np.testing.assert_allclose(state.model_state["batch_stats"]["mean"], fast["mean"], rtol=1e-12)
    np.testing.assert_array_equal(
        get(state.params, ("backbone", "whiten", "kernel")), params["backbone"]["whiten"]["kernel"]
    )
    np.testing.assert_array_equal(
        state.params["backbone"]["group1_norm1"]["scale"], params["backbone"]["group1_norm1"]["scale"]
    )


class Recorder:
    """Stands for a model, and keeps the images it is given."""

    num_classes = 2

    def apply(self, variables, images, *, train, mutable):
        del variables, train, mutable
        self.images = np.asarray(images)
        return jnp.zeros((len(images), 2)), {}


def test_images_are_mirrored_all_at_once_every_other_epoch(monkeypatch):
    monkeypatch.setattr(cifar10_speed, "SHIFT", 0)
    recorder = Recorder()
    loss_fn = cifar10_speed.make_loss_fn(recorder, steps_per_epoch=3)
    images = RANDOM.randint(0, 256, (4, 6, 5, 3)).astype(np.uint8)
    mirrored = np.array([True, False, True, False])
    batch = {"image": images, "label": np.zeros(4, int), "mirrored": mirrored}
    whole = (images / 255 - cifar10_speed.MEAN) / cifar10_speed.STD
    for step in (0, 2, 3, 5, 6):
        loss_fn({}, {}, batch, jax.random.key(0), jnp.int32(step))
        flipped = mirrored != (step // 3 % 2 == 1)
        expected = np.where(flipped[:, None, None, None], whole[:, :, ::-1], whole)
        np.testing.assert_allclose(recorder.images, expected, atol=1e-5)


def test_images_are_shifted_over_a_reflected_edge():
    recorder = Recorder()
    loss_fn = cifar10_speed.make_loss_fn(recorder, steps_per_epoch=3)
    images = RANDOM.randint(0, 256, (64, 6, 5, 3)).astype(np.uint8)
    batch = {"image": images, "label": np.zeros(64, int), "mirrored": np.zeros(64, bool)}
    loss_fn({}, {}, batch, jax.random.key(0), jnp.int32(0))
    whole = (images / 255 - cifar10_speed.MEAN) / cifar10_speed.STD
    padded = np.pad(whole, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    seen = set()
    for found, source in zip(recorder.images, padded, strict=True):
        fits = [
            (i, j) for i in range(5) for j in range(5) if np.allclose(found, source[i : i + 6, j : j + 5], atol=1e-5)
        ]
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) > 15


def test_six_views():
    images = RANDOM.randn(2, 5, 4, 3)
    views = cifar10_speed.six_views(jnp.asarray(images))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = [(0.25, images), (0.125, padded[:, :5, :4]), (0.125, padded[:, 2:, 2:])]
    expected = [(weight, view[:, :, ::way]) for weight, view in expected for way in (1, -1)]
    assert [weight for weight, _ in views] == [weight for weight, _ in expected]
    for (_, view), (_, wanted) in zip(views, expected, strict=True):
        np.testing.assert_allclose(view, wanted, rtol=1e-6)


def test_a_run_learns(tmp_path):
    labels = np.arange(128, dtype=np.int32) % 2
    images = RANDOM.randint(0, 200, (128, 32, 32, 3)).astype(np.uint8)
    images[..., 0] += (55 * labels[:, None, None]).astype(np.uint8)
    config = cifar10_speed.Config(tmp_path, epochs=19.5, batch_size=32, widths=(4, 4, 4))
    data = Split(images, labels)
    result = cifar10_speed.train(config, data, Split(images[:50], labels[:50]), seed=0)
    assert set(result) == {"accuracy", "accuracy_of_six_views", "seconds", "images_per_second"}
    assert result["accuracy"] > 0.95
    assert result["accuracy_of_six_views"] > 0.95


@pytest.mark.parametrize(("option", "value"), [("epochs", 0), ("epochs", -1.0), ("seeds", 0)])
def test_bad_options_are_named(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"--{option} must be above 0, got {value}"):
        cifar10_speed.Config(tmp_path, **{option: value})
