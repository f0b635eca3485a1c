"""`create_model` and `list_models`: names, options and the errors they end in."""

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.cnn.efficientnet import Stage
from jaxvision.initialize import abstract_variables


def shapes(model, image_shape, *, method=None, dtype=jnp.float32):
    """Returns the shapes of a model's outputs on images of the given shape, without computing any."""
    apply = lambda variables, images: model.apply(variables, images, train=False, method=method)
    outputs = jax.eval_shape(apply, abstract_variables(model), jax.ShapeDtypeStruct(image_shape, dtype))
    return jax.tree.map(lambda output: output.shape, outputs)


def test_list_models():
    assert jv.list_models("resnet?8") == ["resnet18"]
    assert jv.list_models("resnetv2_*") == [f"resnetv2_{n}" for n in (18, 34, 50, 101, 152)]
    assert jv.list_models("RESNET*") == []
    assert set(jv.list_models("lenet*") + jv.list_models("*resnet*") + jv.list_models("plain*")) <= set(
        jv.list_models()
    )
    assert len(set(jv.list_models())) == len(jv.list_models())


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"unknown model 'resnet5O'; did you mean .*resnet50"):
        jv.create_model("resnet5O")


@pytest.mark.parametrize("name", ["lenet5", "resnet50"])
def test_unknown_option_is_named_with_those_there_are(name):
    with pytest.raises(TypeError, match=r"unknown option num_class: .*in_channels.*num_classes"):
        jv.create_model(name, num_class=10)


def test_negative_num_classes():
    with pytest.raises(ValueError, match=r"num_classes must be 0 .*got -1"):
        jv.create_model("resnet18", num_classes=-1)


@pytest.mark.parametrize("name", jv.list_models())
def test_models_made_alike_are_equal_and_hash_alike(name):
    model, twin, other = jv.create_model(name), jv.create_model(name), jv.create_model(name, num_classes=7)
    assert model == twin
    assert hash(model) == hash(twin)
    assert model != other


@pytest.mark.parametrize(("name", "stages"), [
    ("lenet5", ((2, 14, 14, 6), (2, 5, 5, 16), (2, 1, 1, 120))),
    ("resnet20", ((2, 32, 32, 16), (2, 16, 16, 32), (2, 8, 8, 64))),
    ("resnet50", ((2, 56, 56, 256), (2, 28, 28, 512), (2, 14, 14, 1024), (2, 7, 7, 2048))),
])  # fmt: skip
def test_shapes_of_features(name, stages):
    image = jv.create_model(name).example_input().shape
    assert shapes(jv.create_model(name), (2, *image[1:]), method="features") == stages


@pytest.mark.parametrize(("indices", "channels"), [((0, -1), [64, 512]), ([2], [256]), ((-2, 1), [256, 128])])
def test_out_indices_choose_stages_in_their_order(indices, channels):
    model = jv.create_model("resnet18", out_indices=indices)
    assert [shape[-1] for shape in shapes(model, (1, 64, 64, 3), method="features")] == channels
    assert shapes(model, (1, 64, 64, 3)) == (1, 1000)


@pytest.mark.parametrize("index", [4, -5])
def test_out_indices_that_do_not_exist(index):
    model = jv.create_model("resnet18", out_indices=(0, index))
    with pytest.raises(ValueError, match=rf"out_indices \[{index}\] do not exist: the backbone has 4 stages"):
        shapes(model, (1, 64, 64, 3), method="features")


@pytest.mark.parametrize(("name", "dim"), [("lenet5", 84), ("resnet20", 64), ("resnet50", 2048), ("resnetv2_18", 512)])
def test_no_classes_gives_pooled_features(name, dim):
    model = jv.create_model(name, num_classes=0)
    assert shapes(model, (3, *model.example_input().shape[1:])) == (3, dim)
    assert set(abstract_variables(model)["params"]) == {"backbone"}


@pytest.mark.parametrize(("name", "channels"), [("lenet5", 3), ("resnet20", 1), ("resnet18", 5)])
def test_in_channels(name, channels):
    model = jv.create_model(name, in_channels=channels, num_classes=4)
    image = model.example_input().shape
    assert image[-1] == channels
    assert shapes(model, (2, *image[1:])) == (2, 4)


def test_residual_networks_take_images_of_any_size():
    assert shapes(jv.create_model("resnet18"), (1, 65, 131, 3), method="features")[-1] == (1, 3, 5, 512)
    assert shapes(jv.create_model("resnet18"), (1, 1, 1, 3)) == (1, 1000)


def test_efficientnet_gives_one_feature_map_for_each_resolution():
    """As timm's feature_info says: reductions 2 to 32."""
    maps = shapes(jv.create_model("efficientnet_b0"), (1, 224, 224, 3), method="features")
    assert maps == ((1, 112, 112, 16), (1, 56, 56, 24), (1, 28, 28, 40), (1, 14, 14, 112), (1, 7, 7, 320))
    maps = shapes(jv.create_model("efficientnet_v2_s", out_indices=(1, -1)), (1, 64, 64, 3), method="features")
    assert maps == ((1, 16, 16, 48), (1, 2, 2, 256))


@pytest.mark.parametrize(("name", "options", "message"), [
    ("resnet18", {"groups": 32}, "groups=32 and width_per_group=64 are for Bottleneck, not for BasicBlock"),
    ("resnetv2_50", {"width_per_group": 4}, "groups=1 and width_per_group=4 are .* not for PreActBottleneck"),
    ("resnetv2_18", {"squeeze_excite": True}, "squeeze_excite, .* are not for PreActBasicBlock"),
    ("resnetv2_18", {"stem": "deep"}, 'stem="deep" are not for PreActBasicBlock'),
    ("resnet18", {"stem": "imagnet"}, "stem must be one of imagenet, deep, cifar, got 'imagnet'"),
    ("resnet18", {"shortcut": "pool"}, "shortcut must be one of projection, pooled, pad, none, got 'pool'"),
    ("regnet_x_400mf", {"group_widths": (16, 16, 16, 48)}, "group_widths must divide widths, got 48 for 400"),
    ("efficientnet_b0", {"stages": (Stage("fuse", 1, 3, 1, 8, 1),)}, "must be one of mbconv, fused, got 'fuse'"),
])  # fmt: skip
def test_options_that_are_unknown_or_not_for_the_blocks(name, options, message):
    with pytest.raises(ValueError, match=message):
        shapes(jv.create_model(name, **options), (1, 64, 64, 3))


@pytest.mark.parametrize(("name", "image", "dtype", "error", "message"), [
    ("resnet18", (1, 64, 64, 1), "float32", ValueError, r"3 channels \(in_channels=3\), got .*64, 1\)"),
    ("resnet18", (1, 3, 64, 64), "float32", ValueError, r"3 channels \(in_channels=3\), got .*3, 64, 64\)"),
    ("resnet18", (64, 64, 3), "float32", ValueError, r"\[batch, height, width, channels\], got \(64, 64, 3\)"),
    ("resnet18", (1, 64, 64, 3), "uint8", TypeError, "floating type, got uint8"),
    ("resnet18", (1, 0, 64, 3), "float32", ValueError, r"at least one pixel, got the shape \(1, 0, 64, 3\)"),
    ("lenet5", (1, 28, 28, 1), "float32", ValueError, "32x32 pixels alone, got 28x28"),
    ("convnext_tiny", (1, 32, 31, 3), "float32", ValueError, "32x32 pixels or more, got 32x31"),
])  # fmt: skip
def test_images_that_cannot_be_right(name, image, dtype, error, message):
    with pytest.raises(error, match=message):
        shapes(jv.create_model(name), image, dtype=dtype)


def test_train_has_no_default():
    model = jv.create_model("lenet5")
    with pytest.raises(TypeError, match="train"):
        jax.eval_shape(model.apply, abstract_variables(model), model.example_input())
