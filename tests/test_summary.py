"""Counts against the published figures and against small ones made by hand."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jaxvision as jv
from jaxvision.__main__ import main
from jaxvision.ops.arithmetic import multiply_adds
from jaxvision.summary import Layer, summarize, table, totals
from tests.proofs import README

# Parameters and multiply-adds (in thousands of millions) as torchvision publishes them with its weights.
PUBLISHED = {
    "alexnet": (61_100_840, 0.714),
    "vgg11": (132_863_336, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg19": (143_667_240, 19.632),
    "vgg11_bn": (132_868_840, 7.609),
    "vgg13_bn": (133_053_736, 11.308),
    "vgg16_bn": (138_365_992, 15.470),
    "vgg19_bn": (143_678_248, 19.632),
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "resnext50_32x4d": (25_028_904, 4.230),
    "resnext101_32x8d": (88_791_336, 16.414),
    "resnext101_64x4d": (83_455_272, 15.460),
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
    "mobilenet_v2": (3_504_872, 0.301),
    "mobilenet_v3_large": (5_483_032, 0.217),
    "mobilenet_v3_small": (2_542_856, 0.057),
    "mnasnet0_5": (2_218_512, 0.104),
    "mnasnet0_75": (3_170_208, 0.215),
    "mnasnet1_0": (4_383_312, 0.314),
    "mnasnet1_3": (6_282_256, 0.526),
    "squeezenet1_0": (1_248_424, 0.819),
    "squeezenet1_1": (1_235_496, 0.349),
    "shufflenet_v2_x0_5": (1_366_792, 0.040),
    "shufflenet_v2_x1_0": (2_278_604, 0.145),
    "shufflenet_v2_x1_5": (3_503_624, 0.296),
    "shufflenet_v2_x2_0": (7_393_996, 0.583),
    "densenet121": (7_978_856, 2.834),
    "densenet161": (28_681_000, 7.728),
    "densenet169": (14_149_480, 3.36),
    "densenet201": (20_013_928, 4.291),
    "inception_v3": (27_161_264, 5.713),
    "convnext_tiny": (28_589_128, 4.456),
    "convnext_small": (50_223_688, 8.684),
    "convnext_base": (88_591_464, 15.355),
    "convnext_large": (197_767_336, 34.361),
    "swin_t": (28_288_354, 4.491),
    "swin_s": (49_606_258, 8.741),
    "swin_b": (87_768_224, 15.431),
    "swin_v2_t": (28_351_570, 5.94),
    "swin_v2_s": (49_737_442, 11.546),
    "swin_v2_b": (87_930_848, 20.325),
    "regnet_y_400mf": (4_344_144, 0.402),
    "regnet_y_800mf": (6_432_512, 0.834),
    "regnet_y_1_6gf": (11_202_430, 1.612),
    "regnet_y_3_2gf": (19_436_338, 3.176),
    "regnet_y_8gf": (39_381_472, 8.473),
    "regnet_y_16gf": (83_590_140, 15.912),
    "regnet_y_32gf": (145_046_770, 32.28),
    "regnet_y_128gf": (644_812_894, 127.518),
    "regnet_x_400mf": (5_495_976, 0.414),
    "regnet_x_800mf": (7_259_656, 0.8),
    "regnet_x_1_6gf": (9_190_136, 1.603),
    "regnet_x_3_2gf": (15_296_552, 3.177),
    "regnet_x_8gf": (39_572_648, 7.995),
    "regnet_x_16gf": (54_278_536, 15.941),
    "regnet_x_32gf": (107_811_560, 31.736),
    "efficientnet_b0": (5_288_548, 0.386),
    "efficientnet_b1": (7_794_184, 0.687),
    "efficientnet_b2": (9_109_994, 1.088),
    "efficientnet_b3": (12_233_232, 1.827),
    "efficientnet_b4": (19_341_616, 4.394),
    "efficientnet_b5": (30_389_784, 10.266),
    "efficientnet_b6": (43_040_704, 19.068),
    "efficientnet_b7": (66_347_960, 37.746),
    "efficientnet_v2_s": (21_458_488, 8.366),
    "efficientnet_v2_m": (54_139_356, 24.582),
    "efficientnet_v2_l": (118_515_272, 56.08),
    "vit_b_16": (86_567_656, 17.564),
    "vit_b_32": (88_224_232, 4.409),
    "vit_l_16": (304_326_632, 61.555),
    "vit_l_32": (306_535_400, 15.378),
    "vit_h_14": (632_045_800, 167.295),
}


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


class Recurrent(nn.Module):
    """A scan over time, a checkpointed layer, a layer called twice, one for training alone and a bare parameter."""

    @nn.compact
    def __call__(self, x, *, train):  # [B, T, D]
        cell = nn.scan(nn.SimpleCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        _, x = cell(8, name="cell")(jnp.zeros((len(x), 8)), x)
        x = nn.remat(nn.Dense)(16, name="mlp")(x)
        twice = nn.Dense(16, name="twice")
        x = twice(twice(x)[:, 0]) + self.param("offset", nn.initializers.zeros, (16,))
        if train or self.is_initializing():
            nn.Dense(5, name="auxiliary")(x)
        return x @ x.T

    def example_input(self):
        return shape(1, 7, 4)


def test_totals_are_the_published_ones():
    """Of the table in the README, which tests/test_readme.py makes anew: to 0.1 million multiply-adds there."""
    rows = re.findall(r"^\|`(\w+)`\|([\d,]+)\|([\d,.]+)\|", README.read_text(), re.MULTILINE)
    found = {name: [float(number.replace(",", "")) for number in numbers] for name, *numbers in rows}
    for name, (parameters, products) in PUBLISHED.items():
        assert found[name][0] == parameters, name
        assert found[name][1] / 1e3 == pytest.approx(products, abs=0.5e-3 + 0.05e-3), name


def test_totals_of_googlenet_are_published_without_its_auxiliary_heads():
    parameters, multiply_adds = totals(summarize(jv.create_model("googlenet", aux_logits=False)))
    assert (parameters, round(multiply_adds / 1e9, 3)) == (6_624_904, 1.498)


def test_layers_of_lenet5():
    assert summarize(jv.create_model("lenet5")) == [
        Layer("backbone/c1", "Conv", ((1, 28, 28, 6),), (5, 5), (5 * 5 + 1) * 6, 28 * 28 * 6 * 25),
        Layer("backbone/c3", "Conv", ((1, 10, 10, 16),), (14, 14), (5 * 5 * 6 + 1) * 16, 10 * 10 * 16 * 150),
        Layer("backbone/c5", "Conv", ((1, 1, 1, 120),), (32, 32), (5 * 5 * 16 + 1) * 120, 120 * 400),
        Layer("backbone/f6", "Dense", ((1, 84),), (32, 32), (120 + 1) * 84, 84 * 120),
        Layer("head", "Dense", ((1, 10),), (32, 32), (84 + 1) * 10, 10 * 84),
    ]


def test_layers_under_transformations():
    layers = {layer.path: layer for layer in summarize(Recurrent())}
    assert list(layers) == ["", "cell/i", "cell/h", "mlp", "twice", "auxiliary"]
    assert layers["cell/h"].multiply_adds == 7 * 8 * 8
    assert layers["cell/h"].shapes == ((1, 8),)
    assert layers["mlp"].multiply_adds == 7 * 8 * 16
    assert layers["twice"].multiply_adds == 8 * 16 * 16
    assert layers["twice"].shapes == ((1, 7, 16), (1, 16))
    assert (layers["auxiliary"].parameters, layers["auxiliary"].multiply_adds) == (85, 0)
    assert (layers[""].parameters, layers[""].multiply_adds) == (16, 16)


def test_input_other_than_the_example():
    model = jv.create_model("resnet18", num_classes=0)
    (_, at_224), (_, at_448) = totals(summarize(model)), totals(summarize(model, shape(1, 448, 448, 3)))
    assert at_448 == 4 * at_224


def test_input_of_the_finetuned_swag_weights():
    """torchvision publishes the multiply-adds of the largest RegNet at 384x384 pixels, and of the largest ViT, too."""
    _, multiply_adds = totals(summarize(jv.create_model("regnet_y_128gf"), shape(1, 384, 384, 3)))
    assert round(multiply_adds / 1e9, 3) == 374.57
    parameters, multiply_adds = totals(summarize(jv.create_model("vit_h_14", image_size=518)))
    assert (parameters, round(multiply_adds / 1e9, 3)) == (633_470_440, 1016.717)


@pytest.mark.parametrize(
    ("groups", "kernel", "options", "expected"),
    [
        (1, (3, 3, 4, 6), {}, 64 * 9 * 4 * 6),
        (2, (3, 3, 2, 6), {}, 64 * 9 * 2 * 6),
        (4, (3, 3, 1, 4), {}, 64 * 9 * 4),
        (1, (3, 3, 4, 6), {"rhs_dilation": (2, 2), "padding": "VALID"}, 16 * 9 * 4 * 6),
        (1, (3, 3, 4, 6), {"window_strides": (2, 2)}, 16 * 9 * 4 * 6),
        (1, (4, 4, 4, 6), {"lhs_dilation": (2, 2), "padding": [(2, 2), (2, 2)]}, 64 * 16 * 4 * 6),
        (2, (4, 4, 2, 6), {"lhs_dilation": (2, 2), "padding": [(2, 2), (2, 2)]}, 64 * 16 * 2 * 6),
    ],
)
def test_convolutions(groups, kernel, options, expected):
    options = {"window_strides": (1, 1), "padding": "SAME"} | options

    def convolve(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, dimension_numbers=layout, feature_group_count=groups, **options)

    assert multiply_adds(convolve, shape(1, 8, 8, 4), shape(*kernel)) == expected


def test_products():
    assert multiply_adds(jnp.dot, shape(5, 7), shape(7, 3)) == 5 * 7 * 3
    assert multiply_adds(lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k), shape(2, 5, 3, 4), shape(2, 6, 3, 4)) == (
        2 * 3 * 5 * 6 * 4
    )
    assert multiply_adds(lambda x: jax.nn.relu(x) * x + 1, shape(5, 7)) == 0
    assert multiply_adds(jax.vmap(jnp.dot), shape(9, 7), shape(9, 7)) == 9 * 7


def test_control_flow():
    def square(x):
        return x @ x

    def nested(x):
        return lax.scan(lambda x, _: (lax.fori_loop(0, 2, lambda _, x: square(x), x), None), x, length=3)

    once, x = 5 * 5 * 5, shape(5, 5)
    assert multiply_adds(lambda x: lax.fori_loop(0, 10, lambda _, x: square(x), x), x) == 10 * once
    assert multiply_adds(nested, x) == 3 * 2 * once
    assert multiply_adds(lambda x: lax.while_loop(lambda x: x[0, 0] < 1, square, x), x) == once
    assert multiply_adds(lambda x: lax.cond(x[0, 0] < 1, square, lambda x: square(square(x)), x), x) == 2 * once
    assert (
        multiply_adds(lambda x: lax.platform_dependent(x, cpu=lambda x: square(square(x)), default=square), x) == once
    )
    assert multiply_adds(jax.jit(jax.checkpoint(square)), x) == once


def test_table_ends_with_the_totals():
    lines = table(summarize(jv.create_model("lenet5"))).splitlines()
    assert lines[2].split() == ["backbone/c1", "Conv", "1x28x28x6", "5x5", "156", "117,600"]
    assert lines[-1].split() == ["total", "61,706", "416,520"]
    assert len({len(line) for line in lines}) == 1


def test_commands(capsys):
    main(["list", "lenet*"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["lenet5", "61,706", "0.0004"]
    main(["summary", "resnet20", "--image-size", "64", "--num-classes", "7", "--in-channels", "1"])
    printed = capsys.readouterr().out
    assert "1x64x64x16" in printed
    assert "1x7 " in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "resnet5"], "did you mean resnet5"),
        (["summary", "lenet5", "--image-size", "28"], "images of 32x32 pixels or more, got 28x28"),
        (["list", "no-such-*"], "no model matches"),
    ],
)
def test_commands_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
