"""Initial variables against the rules of the papers and of torchvision (torchvision/models/resnet.py, 0.28)."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import jaxvision as jv
from jaxvision.cnn.efficientnet import Stage

SIGMAS = 5  # of the estimate: with fixed keys a rare deviation is not met again


def initial(name, seed=0, **options):
    variables = jv.init(jv.create_model(name, **options), jax.random.key(seed))
    return {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(variables).items()}


def assert_normal(values, std):
    uncertainty = std / np.sqrt(values.size)
    assert abs(values.mean()) < SIGMAS * uncertainty
    assert abs(values.std() - std) < SIGMAS * uncertainty / np.sqrt(2)
    share = 0.0455  # of a normal distribution beyond two standard deviations; 0 of a uniform one
    assert abs((np.abs(values) > 2 * std).mean() - share) < SIGMAS * np.sqrt(share / values.size)


def assert_uniform(values, bound):
    assert np.abs(values).max() <= bound
    uncertainty = bound / np.sqrt(3 * values.size)
    assert abs(values.mean()) < SIGMAS * uncertainty
    assert abs(np.abs(values).mean() - bound / 2) < SIGMAS * uncertainty


@pytest.mark.parametrize(
    ("name", "fan_axis", "options"),
    [
        ("resnet18", -1, {}),  # torchvision: fan_out
        ("resnet50", -1, {"depths": (1, 1, 1, 1)}),
        ("resnetv2_50", -1, {"depths": (1, 1, 1, 1)}),
        ("resnet20", -2, {}),  # He et al., 2015, as the CIFAR networks cite it: fan_in
        ("preact_resnet20", -2, {}),
    ],
)
def test_residual_networks(name, fan_axis, options):
    variables = initial(name, **options)
    heads = {path: variables.pop(path) for path in ("params/head/kernel", "params/head/bias")}
    for values in heads.values():
        assert_uniform(values, len(heads["params/head/kernel"]) ** -0.5)
    for path, values in variables.items():
        if path.endswith("kernel"):  # [H, W, I, O]
            assert_normal(values, np.sqrt(2 / (values.shape[0] * values.shape[1] * values.shape[fan_axis])))
        else:
            assert (values == (1 if path.endswith(("scale", "var")) else 0)).all(), path


@pytest.mark.parametrize(("name", "last"), [("seresnext26d_32x4d", "norm3"), ("seresnet18", "norm2")])
def test_residual_networks_of_timm(name, last):
    """As timm.models.resnet.ResNet.init_weights (1.0.31): fan_out everywhere, and branches that start at zero."""
    variables = initial(name, depths=(1,), widths=(64,))
    for path, values in variables.items():
        *_, layer, leaf = path.split("/")
        if layer == "head":
            assert_uniform(values, len(variables["params/head/kernel"]) ** -0.5)
        elif leaf == "kernel":
            assert_normal(values, np.sqrt(2 / (np.prod(values.shape[:-2], initial=1) * values.shape[-1])))
        elif layer in ("fc1", "fc2"):  # of squeeze and excitation, whose biases are PyTorch's
            assert_uniform(values, len(variables[path.replace("bias", "kernel")]) ** -0.5)
        else:
            ends_a_branch = "block" in path and layer == last
            start = 1 if leaf == "var" or (leaf == "scale" and not ends_a_branch) else 0
            assert (values == start).all(), path


def test_convnext():
    """As torchvision.models.convnext.ConvNeXt.__init__ (0.28): cut off where a normal distribution has nothing."""
    variables = initial("convnext_tiny", depths=(1, 1), widths=(48, 96))
    for path, values in variables.items():
        if path.endswith("kernel"):
            assert_normal(values, 0.02)
        else:
            start = {"scale": 1, "bias": 0, "layer_scale": np.float32(1e-6)}[path.rpartition("/")[2]]
            assert (values == start).all(), path


def test_regnet():
    """As torchvision.models.regnet.RegNet.__init__ (0.28), which leaves the biases of squeeze and excitation alone."""
    variables = initial("regnet_y_400mf", depths=(1, 1), widths=(32, 64), group_widths=(8, 16))
    for path, values in variables.items():
        *_, layer, leaf = path.split("/")
        if path == "params/head/kernel":
            assert_normal(values, 0.01)
        elif leaf == "kernel":
            assert_normal(values, np.sqrt(2 / (np.prod(values.shape[:-2], initial=1) * values.shape[-1])))
        elif layer in ("fc1", "fc2"):
            assert_uniform(values, len(variables[path.replace("bias", "kernel")]) ** -0.5)
        else:
            assert (values == (leaf in ("scale", "var"))).all(), path


def test_efficientnet():
    """As torchvision.models.efficientnet.EfficientNet.__init__ (0.28)."""
    stages = (Stage("fused", 1, 3, 1, 32, 1), Stage("fused", 2, 3, 2, 32, 1), Stage("mbconv", 4, 3, 1, 32, 1))
    variables = initial("efficientnet_v2_s", stages=stages, stem_width=32, final_width=128)
    for path, values in variables.items():
        if path == "params/head/kernel":
            assert_uniform(values, values.shape[-1] ** -0.5)
        elif path.endswith("kernel"):
            assert_normal(values, np.sqrt(2 / (np.prod(values.shape[:-2], initial=1) * values.shape[-1])))
        else:
            assert (values == path.endswith(("scale", "var"))).all(), path


def test_lenet5():
    variables = initial("lenet5")
    fan_ins = {"backbone/c1": 25, "backbone/c3": 150, "backbone/c5": 400, "backbone/f6": 120, "head": 84}
    assert set(variables) == {f"params/{layer}/{leaf}" for layer in fan_ins for leaf in ("kernel", "bias")}
    for path, values in variables.items():
        assert_uniform(values, 2.4 / fan_ins[path.removeprefix("params/").rpartition("/")[0]])


def test_key_decides_every_value():
    first, again, other = initial("resnet8"), initial("resnet8"), initial("resnet8", seed=1)
    assert all(np.array_equal(first[path], again[path]) for path in first)
    drawn = [path for path in first if path.endswith("kernel") or path == "params/head/bias"]
    assert not any((first[path] == other[path]).any() for path in drawn)


def test_layers_draw_independently():
    variables = initial("resnet20")
    kernels = [values for path, values in variables.items() if values.shape == (3, 3, 16, 16)]
    correlations = np.corrcoef([kernel.ravel() for kernel in kernels]) - np.eye(len(kernels))
    assert len(kernels) == 6
    assert np.abs(correlations).max() < SIGMAS / np.sqrt(kernels[0].size)


def test_variables_are_float32_whatever_the_type_of_the_computation():
    assert {values.dtype for values in initial("resnet8", dtype="bfloat16").values()} == {np.dtype("float32")}


def test_init_within_another_program_is_the_same_draw():
    """As where each device draws its part of the parameters."""
    model, key = jv.create_model("lenet5"), jax.random.key(0)
    alone = jv.init(model, key)
    for draw in (jax.jit(lambda: jv.init(model, key)), lambda: jax.jit(lambda key: jv.init(model, key))(key)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), draw(), alone)
    shapes = jax.eval_shape(lambda key: jv.init(model, key), key)
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, alone)
