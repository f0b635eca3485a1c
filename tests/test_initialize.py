"""Initial variables against the rules of the papers and of torchvision (torchvision/models, 0.28)."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import jaxvision as jv
from jaxvision.cnn.efficientnet import Stage
from jaxvision.cnn.inverted_residual import Block
from jaxvision.cnn.mnasnet import scaled
from tests.reference.families.googlenet import SHORT_BLOCKS
from tests.reference.families.inception import ONE_OF_EACH_KIND

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
    assert np.abs(values).max() <= np.nextafter(np.float32(bound), np.float32(np.inf))  # which the draw may round to
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


@pytest.mark.parametrize(("name", "options"), [
    ("mobilenet_v2", {"blocks": (Block(3, 32, 16, nn.relu6), Block(3, 96, 24, nn.relu6))}),
    ("mobilenet_v3_small", {"blocks": (Block(3, 64, 16, nn.relu, squeeze_excite=True),), "hidden_width": 256}),
    ("mnasnet0_5", scaled(0.5, depths=(1, 1))),
])  # fmt: skip
def test_networks_of_inverted_residual_blocks(name, options):
    """As __init__ in torchvision.models.mobilenetv2, mobilenetv3 and mnasnet (0.28)."""
    for path, values in initial(name, **options).items():
        layer, leaf = path.split("/")[-2:]
        if leaf != "kernel":
            assert (values == (1 if leaf in ("scale", "var") else 0)).all(), path
        elif layer == "head" and name.startswith("mnasnet"):
            assert_uniform(values, np.sqrt(3 / 1000))
        elif layer in ("head", "hidden"):
            assert_normal(values, 0.01)
        else:  # those of squeeze and excitation are 1x1 convolutions there
            assert_normal(values, np.sqrt(2 / (np.prod(values.shape[:-2], initial=1) * values.shape[-1])))


def test_squeezenet():
    """As __init__ in torchvision.models.squeezenet (0.28)."""
    for path, values in initial("squeezenet1_1").items():
        if path.endswith("bias"):
            assert not values.any(), path
        elif path == "params/head/kernel":
            assert_normal(values, 0.01)
        else:
            assert_uniform(values, np.sqrt(6 / np.prod(values.shape[:-1])))


def test_shufflenet():
    """As PyTorch draws convolutions and linear layers unless it is told otherwise."""
    variables = initial("shufflenet_v2_x0_5", widths=(24, 48, 1024), depths=(2,))
    for path, values in variables.items():
        layer, leaf = path.split("/")[-2:]
        if leaf == "kernel" or layer == "head":
            assert_uniform(values, np.prod(variables[path.replace("bias", "kernel")].shape[:-1]) ** -0.5)
        else:
            assert (values == (1 if leaf in ("scale", "var") else 0)).all(), path


@pytest.mark.parametrize("name", ["densenet121", "densenet_bc100_12"])
def test_densely_connected_networks(name):
    """As torchvision.models.DenseNet: fan_in, and a head without bias at first."""
    variables = initial(name, depths=(2, 1))
    assert_uniform(variables.pop("params/head/kernel"), len(variables["params/backbone/norm/scale"]) ** -0.5)
    for path, values in variables.items():
        if path.endswith("kernel"):
            assert_normal(values, np.sqrt(2 / np.prod(values.shape[:-1])))
        else:
            assert (values == (1 if path.endswith(("scale", "var")) else 0)).all(), path


@pytest.mark.parametrize(
    ("name", "deviation", "others", "options"),
    [
        ("googlenet", 0.01, {}, {"blocks": SHORT_BLOCKS}),
        ("inception_v3", 0.1, {"params/backbone/aux/head": 0.001}, {"stages": ONE_OF_EACH_KIND}),
    ],
)
def test_inception_networks(name, deviation, others, options):
    """As torchvision.models.GoogLeNet and Inception3 with `init_weights`."""
    variables = initial(name, **options)
    for path, values in variables.items():
        layer, _, leaf = path.rpartition("/")
        if leaf == "kernel":
            assert_normal(values, others.get(layer, deviation))
        elif f"{layer}/kernel" in variables:  # PyTorch's own, as torchvision leaves these biases
            assert_uniform(values, len(variables[f"{layer}/kernel"]) ** -0.5)
        else:
            assert (values == (1 if leaf in ("scale", "var") else 0)).all(), path


def test_googlenet_of_the_paper():
    """As Caffe's bvlc_googlenet: "xavier", which is uniform of variance 1 / fan_in, and biases of 0.2 but of logits."""
    for path, values in initial("googlenet_paper", blocks=SHORT_BLOCKS).items():
        if path.endswith("kernel"):
            assert_uniform(values, np.sqrt(3 / np.prod(values.shape[:-1])))
        else:
            np.testing.assert_allclose(values, 0.0 if "head" in path else 0.2)


def test_convnext():
    """As torchvision.models.convnext.ConvNeXt.__init__ (0.28): cut off where a normal distribution has nothing."""
    variables = initial("convnext_tiny", depths=(1, 1), widths=(48, 96))
    for path, values in variables.items():
        if path.endswith("kernel"):
            assert_normal(values, 0.02)
        else:
            start = {"scale": 1, "bias": 0, "layer_scale": np.float32(1e-6)}[path.rpartition("/")[2]]
            assert (values == start).all(), path


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
def test_swin(name):
    """As torchvision.models.swin_transformer.SwinTransformer.__init__ (0.28): cut off where nothing is of a normal."""
    for path, values in initial(name, depths=(1, 1), num_heads=(8, 8), width=64).items():
        *_, layer, leaf = path.split("/")
        if layer == "patch_embedding":  # as PyTorch draws a convolution
            assert_uniform(values, (4 * 4 * 3) ** -0.5)
        elif leaf in ("kernel", "position_table"):
            assert_normal(values, 0.02)
        else:
            start = {"scale": 1, "bias": 0, "log_scale": np.log(np.float32(10))}[leaf]
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


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_hidden_layers_with_relus_and_nothing_to_normalise(name):
    """As He et al., 2015, section 2.2: variance 2 / fan_in, biases 0; the head as PyTorch draws it."""
    for path, values in initial(name).items():
        *_, layer, leaf = path.split("/")
        if layer == "head":
            assert_uniform(values, {"mlp": 512, "convnet": 1960}[name] ** -0.5)
        elif leaf == "kernel":
            assert_normal(values, np.sqrt(2 / np.prod(values.shape[:-1])))
        else:
            assert not values.any(), path


def test_lenet5():
    variables = initial("lenet5")
    fan_ins = {"backbone/c1": 25, "backbone/c3": 150, "backbone/c5": 400, "backbone/f6": 120, "head": 84}
    assert set(variables) == {f"params/{layer}/{leaf}" for layer in fan_ins for leaf in ("kernel", "bias")}
    for path, values in variables.items():
        assert_uniform(values, 2.4 / fan_ins[path.removeprefix("params/").rpartition("/")[0]])


def test_alexnet_of_torchvision():
    """Every layer as PyTorch draws it."""
    variables = initial("alexnet", fc_dim=64)
    assert len(variables) == 16
    for path, values in variables.items():
        kernel = variables[path.replace("bias", "kernel")]
        assert_uniform(values, np.prod(kernel.shape[:-1]) ** -0.5)


def test_alexnet_of_the_paper():
    """Section 5: weights of deviation 0.01; biases of 1 where they give ReLUs positive inputs, elsewhere 0."""
    variables = initial("alexnet_paper", fc_dim=64)
    assert len(variables) == 16
    ones = ("conv2", "conv4", "conv5", "fc6", "fc7")
    for path, values in variables.items():
        *_, layer, leaf = path.split("/")
        if leaf == "kernel":
            assert_normal(values, 0.01)
        else:
            assert (values == (1 if layer in ones else 0)).all(), path


def test_vgg():
    """Convolutions of fan_out, linear layers of deviation 0.01, biases 0."""
    variables = initial("vgg11_bn", fc_dim=64, widths=(8, 16, 32, 64, 64))
    for path, values in variables.items():
        if path.endswith("kernel"):
            convolution = "stage" in path
            assert_normal(values, np.sqrt(2 / (9 * values.shape[-1])) if convolution else 0.01)
        else:
            assert (values == (1 if path.endswith(("scale", "var")) else 0)).all(), path


@pytest.mark.parametrize(("name", "narrower"), [("nin", ()), ("nin_imagenet", ("conv1", "conv3", "head"))])
def test_network_in_network(name, narrower):
    """As the authors' definitions for Caffe: deviation 0.05, of some layers 0.01; biases 0."""
    for path, values in initial(name).items():
        *_, layer, leaf = path.split("/")
        if leaf == "kernel":
            assert_normal(values, 0.01 if layer in narrower else 0.05)
        else:
            assert (values == 0).all(), path


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
