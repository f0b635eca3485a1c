"""What explains a classifier, against class activation maps, differences and a loop over squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.explain import attention_maps, attention_rollout, grad_cam, occlusion
from jaxvision.transformer.gpt import GPT
from tests.reference.case import NUM_CLASSES
from tests.reference.random_values import random_images
from tests.test_convolutional import network

CLASSES = [2, 0]


def images_of(size):
    return jnp.asarray(random_images(2, (3, size, size)).transpose(0, 2, 3, 1), jnp.float64)


def test_grad_cam_is_the_class_activation_map_of_mean_features():
    with jax.enable_x64(True):
        model, variables = network("resnet8")
        images = images_of(32)
        feature_map = np.asarray(model.apply(variables, images, train=False, method="features")[-1])
        columns = np.asarray(variables["params"]["head"]["kernel"])[:, CLASSES].T
        activation = np.einsum("bhwc,bc->bhw", feature_map, columns) / np.prod(feature_map.shape[1:3])
        found = np.asarray(jax.jit(grad_cam, static_argnums=0)(model, variables, images, jnp.array(CLASSES)))
    assert (activation < 0).any()
    assert (activation > 0).any()
    np.testing.assert_allclose(found, np.maximum(activation, 0), rtol=1e-10, atol=1e-12)


def test_grad_cam_weighs_by_what_raising_a_channel_does():
    """Of a network with fully connected layers: central differences stand for the gradient."""
    with jax.enable_x64(True):
        model, variables = network("vgg_short")
        images = images_of(32)
        feature_map = model.apply(variables, images, train=False, method="features")[-1]
        logits = jax.jit(lambda x: model.apply(variables, x, train=False, method="logits"))
        h, w, channels = feature_map.shape[1:]
        weights = np.zeros((2, channels))
        for channel in range(channels):
            step = 1e-5 * jnp.zeros(channels).at[channel].set(1)
            difference = np.asarray(logits(feature_map + step) - logits(feature_map - step)) / 2e-5
            weights[:, channel] = difference[np.arange(2), CLASSES] / (h * w)
        expected = np.maximum(np.einsum("bhwc,bc->bhw", feature_map, weights), 0)
        found = grad_cam(model, variables, images, CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8 * np.abs(weights).max())


def test_occlusion_is_a_loop_over_squares():
    with jax.enable_x64(True):
        model, variables = network("resnet8")
        images = images_of(32)
        apply = jax.jit(lambda x: jax.nn.softmax(model.apply(variables, x, train=False)))
        found = occlusion(model, variables, images, CLASSES, size=12, stride=9, fill=0.25)
        whole = np.asarray(apply(images))[np.arange(2), CLASSES]
        expected = np.zeros((2, 3, 3))
        for i, j in np.ndindex(3, 3):
            covered = np.array(images)
            covered[:, 9 * i : 9 * i + 12, 9 * j : 9 * j + 12] = 0.25
            expected[:, i, j] = whole - np.asarray(apply(jnp.asarray(covered)))[np.arange(2), CLASSES]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ([0], {}, r"classes must be \[2\], one for each image; got \(1,\)"),
        ([0, NUM_CLASSES], {}, f"classes must be from 0 to {NUM_CLASSES - 1}, got"),
        ([0, 1], {"num_classes": 0}, "num_classes=0"),
    ],
)
def test_errors(classes, options, message):
    model = jv.create_model("resnet8", **{"num_classes": NUM_CLASSES, **options})
    for explain in (grad_cam, lambda *arguments: occlusion(*arguments, size=4, stride=4)):
        with pytest.raises(ValueError, match=message):
            explain(model, None, jnp.zeros((2, 32, 32, 3)), classes)


def test_a_square_larger_than_the_image_is_an_error():
    with pytest.raises(ValueError, match="window of 40 pixels"):
        occlusion(jv.create_model("resnet8"), None, jnp.zeros((1, 32, 32, 3)), [0], size=40, stride=4)


def of_transformer(function, model, variables, images):
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(function, static_argnums=0, compiler_options=options)(model, variables, images)


@pytest.mark.parametrize(("name", "rows"), [("vit_distilled", [0, 1]), ("simple_vit", range(6))])
def test_attention_is_followed_as_in_its_paper(name, rows):
    """From queries and keys, in NumPy, by the equations of https://arxiv.org/abs/2005.00928, section 3."""
    with jax.enable_x64(True):
        model, variables = network(name)
        images = jnp.asarray(random_images(2, (3, 24, 16)).transpose(0, 2, 3, 1), jnp.float64)
        capture = lambda module, _: type(module).__name__ == "_Projections"
        run = lambda v: model.apply(v, images, train=False, capture_intermediates=capture, mutable=["intermediates"])
        blocks = jax.jit(run)(variables)[1]["intermediates"]["backbone"]
        maps = of_transformer(attention_maps, model, variables, images)
        rollout = of_transformer(attention_rollout, model, variables, images)
    flow = None
    for number, found in enumerate(maps, start=1):
        query, key, _ = blocks[f"block{number}"]["attention"]["qkv"]["__call__"][0]
        query, key = (np.asarray(part).reshape(2, -1, 3, 8) for part in (query, key))
        scores = np.exp(np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(8))
        weights = scores / scores.sum(-1, keepdims=True)
        of_rows = weights[:, :, list(rows), -6:].mean(2).transpose(0, 2, 1).reshape(2, 3, 2, 3)
        np.testing.assert_allclose(found, of_rows, rtol=1e-6)
        mixed = 0.5 * weights.mean(1) + 0.5 * np.eye(weights.shape[-1])
        flow = mixed if flow is None else np.matmul(mixed, flow)
    np.testing.assert_allclose(rollout, flow[:, list(rows), -6:].mean(1).reshape(2, 3, 2), rtol=1e-5)


def test_attention_is_of_transformers():
    for function in (attention_maps, attention_rollout):
        with pytest.raises(TypeError, match="attention is shown of Transformers upon patches; ResNet has none"):
            function(jv.create_model("resnet8"), None, jnp.zeros((1, 32, 32, 3)))
        with pytest.raises(TypeError, match="attention is shown of Transformers upon patches; GPT has none"):
            function(GPT(4), None, jnp.zeros((1, 2), int))
