"""Classifiers slid over larger images, against PyTorch networks of convolutions with the same weights, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.weights import from_foreign
from tests.reference import cases
from tests.reference.case import NUM_CLASSES
from tests.reference.heat_map_cases import HEAT_MAPS, images
from tests.reference.random_values import random_images, random_weights
from tests.reference.stored import FOLDER, read

RELATIVE = 1e-10
EXPECTED = np.load(FOLDER / "heat_maps.npz")


def network(name):
    """A network of the short ones with its random weights, in float64."""
    case, shapes = cases.SHORT[name], read(cases.training_file(name)).shapes
    model = cases.NETWORKS[name](num_classes=NUM_CLASSES, dtype=jnp.float64)
    return model, from_foreign(model, random_weights(shapes, case.damped), case.layout, dtype=jnp.float64)


@partial(jax.jit, static_argnums=0)
def run(model, variables, image):
    return model.apply(variables, image, train=False)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * np.std(expected))


@pytest.mark.parametrize("case", HEAT_MAPS)
def test_heat_map_of_larger_images(case):
    name, _, _ = HEAT_MAPS[case]
    with jax.enable_x64(True):
        model, variables = network(name)
        found = run(jv.convolutionalize(model), variables, jnp.asarray(images(case).transpose(0, 2, 3, 1), jnp.float64))
    assert min(found.shape[1:3]) > 1
    assert_close(found, EXPECTED[case])


def test_lenet_says_of_each_place_what_it_says_of_that_place_alone():
    """It pads nothing, so that a place is seen as if it were an image; places are four pixels apart."""
    with jax.enable_x64(True):
        model = jv.create_model("lenet5", dtype=jnp.float64)
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), jv.init(model, jax.random.key(0)))
        image = jnp.asarray(random_images(1, (1, 40, 36)).transpose(0, 2, 3, 1), jnp.float64)
        heat_map = np.asarray(run(jv.convolutionalize(model), variables, image))
        places = [image[0, 4 * i : 4 * i + 32, 4 * j : 4 * j + 32] for i, j in np.ndindex(heat_map.shape[1:3])]
        logits = np.asarray(run(model, variables, jnp.stack(places)))
    assert heat_map.shape == (1, 3, 2, 10)
    assert_close(heat_map.reshape(-1, 10), logits)


@pytest.mark.parametrize(("name", "size"), [("vgg_short", 56), ("resnet8", 32)])
def test_one_pixel_is_the_classifier(name, size):
    with jax.enable_x64(True):
        model, variables = network(name)
        image = jnp.asarray(random_images(2, (3, size, size)).transpose(0, 2, 3, 1), jnp.float64)
        heat_map, logits = (np.asarray(run(m, variables, image)) for m in (jv.convolutionalize(model), model))
    assert heat_map.shape == (2, 1, 1, NUM_CLASSES)
    assert_close(heat_map[:, 0, 0], logits)


def test_finest_map_has_the_logits_as_its_mean():
    with jax.enable_x64(True):
        model, variables = network("resnet8")
        image = jnp.asarray(random_images(2, (3, 32, 40)).transpose(0, 2, 3, 1), jnp.float64)
        heat_map, logits = (np.asarray(run(m, variables, image)) for m in (jv.convolutionalize(model, 1), model))
    assert heat_map.shape == (2, 8, 10, NUM_CLASSES)
    assert_close(heat_map.mean((1, 2)), logits)


@pytest.mark.parametrize(
    "name", ["mlp", "convnet", "lenet5", "alexnet", "vgg11_bn", "nin_imagenet", "resnet18", "resnetv2_18"]
)
def test_variables_are_those_of_the_classifier(name):
    model = jv.create_model(name)
    heat_map = jv.convolutionalize(model)
    variables = abstract_variables(heat_map)
    assert variables == abstract_variables(model)
    output = jax.eval_shape(lambda *arrays: heat_map.apply(*arrays, train=False), variables, model.example_input())
    assert output.shape == (1, 1, 1, model.num_classes)
    assert heat_map.torch_names() == model.torch_names()


def test_fully_connected_layers_are_convolutions_of_the_map():
    model = jv.create_model("vgg11", num_classes=0)
    shapes = abstract_variables(model), jax.ShapeDtypeStruct((1, 288, 320, 3), jnp.float32)
    text = jax.jit(lambda *arrays: jv.convolutionalize(model).apply(*arrays, train=False)).lower(*shapes).as_text()
    assert "(tensor<1x9x10x512xf32>, tensor<7x7x512x4096xf32>) -> tensor<1x3x4x4096xf32>" in text


def test_pooled_features_of_each_window_and_stages():
    model = jv.convolutionalize(jv.create_model("resnet20", num_classes=0))
    variables, image = abstract_variables(model), jax.ShapeDtypeStruct((1, 40, 36, 3), jnp.float32)
    run = lambda **options: jax.eval_shape(
        lambda *arrays: model.apply(*arrays, train=False, **options), variables, image
    )
    assert run().shape == (1, 3, 2, 64)
    assert [stage.shape[-1] for stage in run(method="features")] == [16, 32, 64]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: jv.convolutionalize("resnet18"), TypeError, "must be a classifier, as create_model gives it; got str"),
    (lambda: jv.convolutionalize(jv.create_model("resnet20"), 0), ValueError, r"1 or more in both .* got \(0, 0\)"),
    (lambda: jv.convolutionalize(jv.create_model("vgg11"), 1), ValueError, "window=1: the fully connected .* of VGG"),
    (lambda: jv.convolutionalize(jv.create_model("vit_b_32")), TypeError, r"ViT gives tokens \(1, 50, 768\)"),
    (lambda: heat_map_of("resnet20", 16), ValueError, "the head sees 8x8 pixels of the feature map, which has 4x4"),
    (lambda: heat_map_of("vgg11", 192), ValueError, "the first layer sees 7x7 pixels, the map has 6x6"),
])  # fmt: skip
def test_what_cannot_be_done(call, error, message):
    with pytest.raises(error, match=message):
        call()


def heat_map_of(name, size):
    model = jv.convolutionalize(jv.create_model(name))
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(lambda *arrays: model.apply(*arrays, train=False), abstract_variables(model), image)
