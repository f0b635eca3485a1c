"""bfloat16 computation: near the float32 one, with parameters, statistics and sums kept in float32."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.layers import BatchNorm
from jaxvision.weights import from_foreign
from tests.reference import cases
from tests.reference.case import NUM_CLASSES, to_run_once
from tests.reference.random_values import random_images, random_weights
from tests.reference.stored import read

ROUNDING = 2.0**-8  # largest relative rounding error of bfloat16
ONE_OF_EACH_KIND = [
    "mlp", "convnet", "lstm_rows",
    "lenet5", "resnet18", "resnet50", "plain18", "resnetv2_18", "resnetv2_50", "resnet8", "plain8", "preact_resnet20",
    "seresnet18", "seresnext26d_32x4d", "alexnet_paper", "nin", "vgg11_bn",
    "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "squeezenet1_1", "shufflenet_v2_x0_5",
    "densenet_bc100_12", "googlenet", "googlenet_paper", "inception_v3",
    "convnext_tiny", "regnet_y_400mf", "efficientnet_b0", "efficientnet_v2_s",
    "vit_b_16", "deit_tiny_distilled_patch16_224", "simple_vit_s_16",
    "swin_t", "swin_v2_t",
]  # fmt: skip
WINDOWED = ("lenet5", "nin", "seresnext26d_32x4d", "densenet_bc100_12", "inception_v3")  # by XLA's sums over windows
# Adaptive pooling has one for each row and column; the paper's AlexNet has maps that fit, LeNet-5 sums windows, and
# others only flatten their last map or take one token of it. Each block of attention has the sum of its softmax; the
# lengths of queries and keys, which the second Swin Transformer divides by, are roots of one sum each.
POOLING_SUMS = {
    "mlp": 0, "lstm_rows": 0, "convnet": 0, "lenet5": 0, "alexnet_paper": 0, "vgg11_bn": 7 + 7,
    "vit_b_16": 2, "deit_tiny_distilled_patch16_224": 2 + 1, "simple_vit_s_16": 2 + 1,
    "swin_t": 12 + 1, "swin_v2_t": 12 + 1 - 2 * 12,
}  # fmt: skip
HEADS = {"googlenet": 2, "googlenet_paper": 2, "inception_v3": 1}  # auxiliary ones
SUMS_IN_HEADS = {"googlenet": 4 + 4, "googlenet_paper": 4 + 4, "inception_v3": 5 + 5 + 1}  # rows, columns, all pixels
QUICK = (
    "mlp", "convnet", "lenet5", "resnet18", "resnet50", "preact_resnet20", "vgg11_bn", "mobilenet_v2", "squeezenet1_1",
)  # fmt: skip
LOGITS_AT_ONCE = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ONE_OF_EACH_KIND]
# Logits of one or two tokens: the errors of an image are nearly one random number, and 2 images too few to measure it.
OF_FEW_TOKENS = {"vit_b_16": 16, "deit_tiny_distilled_patch16_224": 16}


def small_model(name, dtype=jnp.bfloat16):
    return jv.create_model(name, num_classes=NUM_CLASSES, dtype=dtype, **cases.INFERENCE[name].fields)


@pytest.mark.parametrize("name", LOGITS_AT_ONCE)
def test_logits_are_near_those_of_the_reference(name):
    case, stored = cases.INFERENCE[name], read(cases.inference_file(name))
    model = small_model(name)
    variables = from_foreign(model, random_weights(stored.shapes, case.damped), case.layout)
    images = random_images(OF_FEW_TOKENS.get(name, 2), case.image).transpose(0, 2, 3, 1)
    run = lambda model: to_run_once(lambda variables, images: model.apply(variables, images, train=False))
    logits, expected = run(model)(variables, images), stored.logits
    if name in OF_FEW_TOKENS:  # of more images than are stored: ours in float32, which tests/test_models.py compares
        expected = np.asarray(run(small_model(name, jnp.float32))(variables, images), np.float64)
        np.testing.assert_allclose(expected[:2], stored.logits, atol=1e-4 * stored.logits.std())
    assert logits.dtype == jnp.bfloat16
    error = np.asarray(logits, np.float64) - expected
    # Where logits are means of ReLUs, and so not centred, what is rounded is as large as they are.
    size = np.sqrt(np.mean(expected**2)) if (expected >= 0).all() else expected.std()
    assert np.sqrt(np.mean(error**2)) < 4 * ROUNDING * size


class Traced(NamedTuple):
    """A forward pass in training mode: the model's name, its variables, its operations, and the new statistics."""

    name: str
    variables: dict
    equations: list
    updated: dict


@pytest.fixture(scope="module", params=ONE_OF_EACH_KIND)
def traced(request):
    channels, height, width = cases.INFERENCE[request.param].image
    images = jax.ShapeDtypeStruct((2, height, width, channels), jnp.float32)
    model = small_model(request.param)
    variables, options = abstract_variables(model), {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
    forward = lambda variables, images: model.apply(variables, images, train=True, **options)
    program, (_, updated) = jax.make_jaxpr(forward, return_shape=True)(variables, images)
    return Traced(request.param, variables, list(operations(program.jaxpr)), updated)


def test_sums_are_of_float32(traced):
    """Of the statistics of BatchNorm and the means of pixels: a sum in bfloat16 stops growing at 256 equal terms."""
    name, equations = traced.name, traced.equations
    sums = [equation for equation in equations if equation.primitive.name == "reduce_sum"]
    normalisations = sum(equation.primitive.name == "rsqrt" for equation in equations)
    parameters = flatten_dict(traced.variables["params"])
    squeezes = sum(path[-3:] == ("se", "fc1", "kernel") for path in parameters)
    heads = HEADS.get(name, 0) * SUMS_IN_HEADS.get(name, 0)
    assert len(sums) == 2 * normalisations + squeezes + POOLING_SUMS.get(name, 1) + heads
    windows = [equation for equation in equations if equation.primitive.name == "reduce_window_sum"]
    assert bool(windows) == (name in WINDOWED)
    types = {operand.aval.dtype for equation in sums + windows for operand in equation.invars}
    assert types <= {jnp.dtype(jnp.float32)}


def test_convolutions_and_products_are_of_bfloat16(traced):
    products = [e for e in traced.equations if e.primitive.name in ("conv_general_dilated", "dot_general")]
    assert {operand.aval.dtype for equation in products for operand in equation.invars} == {jnp.dtype(jnp.bfloat16)}


def test_statistics_stay_float32(traced):
    assert {leaf.dtype for leaf in jax.tree.leaves(traced.updated)} <= {jnp.dtype(jnp.float32)}


def test_statistics_of_bfloat16_images_are_those_of_their_float64_values():
    x = jnp.asarray(np.random.RandomState(0).normal(3, 1, (4, 9, 9, 5)), jnp.bfloat16)
    norm = BatchNorm(train=True, momentum=0.0, dtype=jnp.bfloat16)
    y, updated = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    values = np.asarray(x, np.float64).reshape(-1, 5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], values.var(0, ddof=1), rtol=1e-5)
    expected = (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)
    np.testing.assert_allclose(np.asarray(y, np.float64).reshape(-1, 5), expected, rtol=1.01 * ROUNDING, atol=1e-5)


def operations(jaxpr):
    """Yields the equations of a program and of the programs within it."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            for part in parameter if isinstance(parameter, tuple | list) else (parameter,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from operations(inner)


def test_statistics_of_a_mean_large_beside_the_deviation():
    x = np.float32(1000 + 0.1 * np.random.RandomState(0).randn(4096, 1))
    norm = BatchNorm(True)
    running = {"mean": jnp.full(1, 999.5), "var": jnp.ones(1)}
    variables = {"params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}, "batch_stats": running}
    _, updated = norm.apply(variables, jnp.asarray(x), mutable=["batch_stats"])
    expected = 0.9 + 0.1 * x.astype(np.float64).var(ddof=1)
    np.testing.assert_allclose(updated["batch_stats"]["var"], expected, rtol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.9 * 999.5 + 0.1 * x.mean(dtype=np.float64), rtol=1e-6)
