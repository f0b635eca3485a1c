"""`create_model` and `list_models`: names, options and the errors they end in."""

import itertools

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
    ("mlp", ((2, 1, 1, 512), (2, 1, 1, 512))),
    ("convnet", ((2, 37, 37, 10), (2, 17, 17, 20), (2, 7, 7, 40))),  # as the course has them
    ("lstm_rows", ((2, 32, 1, 128),)),
    ("lenet5", ((2, 14, 14, 6), (2, 5, 5, 16), (2, 1, 1, 120))),
    ("alexnet", ((2, 27, 27, 64), (2, 13, 13, 192), (2, 6, 6, 256))),
    ("alexnet_paper", ((2, 27, 27, 96), (2, 13, 13, 256), (2, 6, 6, 256))),  # 9,216 pixels in the end
    ("nin", ((2, 16, 16, 96), (2, 8, 8, 192), (2, 8, 8, 192))),
    ("nin_imagenet", ((2, 27, 27, 96), (2, 13, 13, 256), (2, 6, 6, 384), (2, 6, 6, 1024))),
    ("vgg16", ((2, 112, 112, 64), (2, 56, 56, 128), (2, 28, 28, 256), (2, 14, 14, 512), (2, 7, 7, 512))),
    ("resnet20", ((2, 32, 32, 16), (2, 16, 16, 32), (2, 8, 8, 64))),
    ("resnet50", ((2, 56, 56, 256), (2, 28, 28, 512), (2, 14, 14, 1024), (2, 7, 7, 2048))),
    ("densenet121", ((2, 56, 56, 256), (2, 28, 28, 512), (2, 14, 14, 1024), (2, 7, 7, 1024))),
    ("googlenet", ((2, 112, 112, 64), (2, 56, 56, 192), (2, 28, 28, 480), (2, 14, 14, 832), (2, 7, 7, 1024))),
    ("vit_tiny_patch16_224", ((2, 197, 192),) * 12),
    ("deit_tiny_distilled_patch16_224", ((2, 198, 192),) * 12),
    ("simple_vit_s_16", ((2, 196, 384),) * 12),
    ("swin_tiny_patch2_window4_32", ((2, 16, 16, 96), (2, 8, 8, 192), (2, 4, 4, 384))),
    ("inception_v3", ((2, 147, 147, 64), (2, 71, 71, 192), (2, 35, 35, 288), (2, 17, 17, 768), (2, 8, 8, 2048))),
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


@pytest.mark.parametrize(("name", "dim"), [
    ("mlp", 512), ("convnet", 1960), ("lenet5", 84), ("alexnet", 4096), ("nin", 192), ("vgg11_bn", 4096),
    ("lstm_rows", 128), ("resnet20", 64), ("resnet50", 2048),
    ("resnetv2_18", 512),
    ("mobilenet_v2", 1280), ("mobilenet_v3_small", 1024), ("squeezenet1_0", 512), ("shufflenet_v2_x2_0", 2048),
    ("vit_b_32", 768), ("deit_tiny_distilled_patch16_224", 192), ("simple_vit_s_16", 384),
])  # fmt: skip
def test_no_classes_gives_pooled_features(name, dim):
    model = jv.create_model(name, num_classes=0)
    assert shapes(model, (3, *model.example_input().shape[1:])) == (3, dim)
    assert set(abstract_variables(model)["params"]) == {"backbone"}


@pytest.mark.parametrize(("name", "channels"), [
    ("mlp", 1), ("convnet", 1), ("lenet5", 3), ("alexnet_paper", 1), ("nin", 1), ("vgg11", 1), ("resnet20", 1),
    ("lstm_rows", 1), ("resnet18", 5), ("vit_tiny_patch16_224", 1),
])  # fmt: skip
def test_in_channels(name, channels):
    model = jv.create_model(name, in_channels=channels, num_classes=4)
    image = model.example_input().shape
    assert image[-1] == channels
    assert shapes(model, (2, *image[1:])) == (2, 4)


@pytest.mark.parametrize(("name", "channels"), [
    ("mobilenet_v2", [16, 24, 32, 96, 320]),
    ("mobilenet_v3_large", [16, 24, 40, 112, 160]),
    ("mobilenet_v3_small", [16, 24, 48, 96]),
    ("mnasnet1_0", [16, 24, 40, 96, 320]),
    ("squeezenet1_1", [64, 128, 256, 512]),
    ("shufflenet_v2_x1_0", [116, 232, 464]),
    ("swin_b", [128, 256, 512, 1024]),
])  # fmt: skip
def test_each_stage_halves_the_resolution_of_the_one_before(name, channels):
    stages = shapes(jv.create_model(name), (1, 256, 192, 3), method="features")
    assert [shape[-1] for shape in stages] == channels
    areas = [height * width for _, height, width, _ in stages]
    assert all(large == pytest.approx(4 * small, rel=0.1) for large, small in itertools.pairwise(areas))


def test_residual_networks_take_images_of_any_size():
    assert shapes(jv.create_model("resnet18"), (1, 65, 131, 3), method="features")[-1] == (1, 3, 5, 512)
    assert shapes(jv.create_model("resnet18"), (1, 1, 1, 3)) == (1, 1000)


@pytest.mark.parametrize(("name", "size"), [
    ("mlp", 32), ("alexnet", 63), ("alexnet_paper", 67), ("nin", 4), ("nin_imagenet", 39), ("vgg11", 32), ("swin_t", 4),
])  # fmt: skip
def test_smallest_images(name, size):
    model = jv.create_model(name)
    assert shapes(model, (1, size, size, 3)) == (1, model.num_classes)
    assert shapes(model, (1, size, size, 3), method="features")[-1][1:3] == (1, 1)


def test_efficientnet_gives_one_feature_map_for_each_resolution():
    """As timm's feature_info says: reductions 2 to 32."""
    maps = shapes(jv.create_model("efficientnet_b0"), (1, 224, 224, 3), method="features")
    assert maps == ((1, 112, 112, 16), (1, 56, 56, 24), (1, 28, 28, 40), (1, 14, 14, 112), (1, 7, 7, 320))
    maps = shapes(jv.create_model("efficientnet_v2_s", out_indices=(1, -1)), (1, 64, 64, 3), method="features")
    assert maps == ((1, 16, 16, 48), (1, 2, 2, 256))


@pytest.mark.parametrize(("name", "options", "message"), [
    ("mlp", {"widths": (), "image_size": 64}, "widths must name one hidden layer or more, got none"),
    ("alexnet", {"response_norm": "before"}, "response_norm must be one of none, .*, got 'before'"),
    ("resnet18", {"groups": 32}, "groups=32 and width_per_group=64 are for Bottleneck, not for BasicBlock"),
    ("resnetv2_50", {"width_per_group": 4}, "groups=1 and width_per_group=4 are .* not for PreActBottleneck"),
    ("resnetv2_18", {"squeeze_excite": True}, "squeeze_excite, .* are not for PreActBasicBlock"),
    ("resnetv2_18", {"stem": "deep"}, 'stem="deep" are not for PreActBasicBlock'),
    ("resnet18", {"stem": "imagnet"}, "stem must be one of imagenet, deep, cifar, got 'imagnet'"),
    ("resnet18", {"shortcut": "pool"}, "shortcut must be one of projection, pooled, pad, none, got 'pool'"),
    ("densenet121", {"stem": "deep"}, "stem must be one of imagenet, cifar, got 'deep'"),
    ("googlenet", {"form": "caffe"}, "form must be one of torchvision, paper, got 'caffe'"),
    ("googlenet", {"transform_input": True, "in_channels": 1}, "transform_input is for images of 3 channels"),
    ("regnet_x_400mf", {"group_widths": (16, 16, 16, 48)}, "group_widths must divide widths, got 48 for 400"),
    ("efficientnet_b0", {"stages": (Stage("fuse", 1, 3, 1, 8, 1),)}, "must be one of mbconv, fused, got 'fuse'"),
    ("vit_b_16", {"pooling": "max"}, "pooling must be class_token or mean, got 'max'"),
    ("vit_b_16", {"distilled": True, "pooling": "mean"}, 'distilled=True is for pooling="class_token"'),
    ("vit_b_16", {"distilled": True}, 'distilled=True is for .* and a second head, as the deit_.*_distilled models'),
    ("deit_tiny_patch16_224", {"distilled": True}, 'distilled=True is for .* and a second head'),
    ("deit_tiny_distilled_patch16_224", {"distilled": False}, "distilled=False is for the models of one head"),
    ("deit_tiny_distilled_patch16_224", {"pooling": "mean"}, 'distilled=True is for pooling="class_token"'),
    ("vit_b_16", {"image_size": 72}, "image_size must be a multiple of the patches' 16 pixels, got 72"),
    ("vit_b_16", {"image_size": (224, 224)}, r"image_size must be a whole number, got \(224, 224\)"),
    ("vit_b_16", {"patch_size": 0}, "patch_size must be 1 or more, got 0"),
    ("vit_b_16", {"depth": 0}, "depth must be 1 or more, got 0"),
    ("vit_b_16", {"dim": 0}, "dim must be 1 or more, got 0"),
    ("vit_b_16", {"num_heads": 0}, "num_heads must be 1 or more, got 0"),
    ("vit_b_16", {"in_channels": 0}, "in_channels must be 1 or more, got 0"),
    ("vit_b_16", {"dropout_rate": 1.0}, "dropout_rate must be from 0 to below 1, got 1.0"),
    ("vit_b_16", {"attention_dropout_rate": -0.1}, "attention_dropout_rate must be from 0 to below 1, got -0.1"),
    ("vit_b_16", {"stochastic_depth_rate": 1.5}, "stochastic_depth_rate must be from 0 to below 1, got 1.5"),
    ("vit_b_16", {"num_heads": 7}, "num_heads=7 does not divide the dimension 768"),
    ("vit_b_16", {"resizing": "keras"}, "resizing must be one of torchvision, timm, transformers, got 'keras'"),
    ("swin_t", {"version": 3}, "version must be 1 or 2, got 3"),
    ("swin_t", {"patch_size": 0}, "patch_size must be 1 pixel or more, got 0"),
    ("swin_t", {"mlp_ratio": 0}, "mlp_ratio must be 1 or more, got 0"),
    ("swin_t", {"mlp_ratio": 2.5}, "mlp_ratio must be a whole number, got 2.5"),
    ("swin_t", {"width": 0}, "width must be 1 or more, got 0"),
    ("swin_t", {"in_channels": 0}, "in_channels must be 1 or more, got 0"),
    ("swin_t", {"depths": ()}, "depths must name one stage or more, got none"),
    ("swin_t", {"depths": (2, 0, 6, 2)}, r"depths\[1\] must be 1 or more, got 0"),
    ("swin_t", {"num_heads": (3, 6, 12, -1)}, r"num_heads\[3\] must be 1 or more, got -1"),
    ("swin_t", {"window": 1}, "window must be 2 tokens or more, got 1"),
    ("swin_t", {"width": 100}, r"num_heads must divide .* stages, \[100, 200, 400, 800\]; got \(3, 6, 12, 24\)"),
    ("swin_v2_t", {"depths": (2, 2)}, r"num_heads must divide .* stages, \[96, 192\]; got \(3, 6, 12, 24\)"),
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
    ("mlp", (1, 32, 33, 3), "float32", ValueError, "32x32 pixels alone, got 32x33"),
    ("lstm_rows", (1, 32, 28, 3), "float32", ValueError, "32x32 pixels alone, got 32x28"),
    ("convnet", (1, 39, 38, 3), "float32", ValueError, "39x39 pixels or more, got 39x38"),
    ("convnet", (1, 47, 39, 3), "float32", ValueError, r"\(images of 39x39\), got 9x7: convolutionalize slides"),
    ("lenet5", (1, 28, 28, 1), "float32", ValueError, "32x32 pixels or more, got 28x28"),
    ("lenet5", (1, 40, 36, 1), "float32", ValueError, r"\(images of 32x32\), got 3x2: convolutionalize slides"),
    ("squeezenet1_0", (1, 21, 20, 3), "float32", ValueError, "21x21 pixels or more, got 21x20"),
    ("squeezenet1_1", (1, 16, 17, 3), "float32", ValueError, "17x17 pixels or more, got 16x17"),
    ("alexnet", (1, 64, 62, 3), "float32", ValueError, "63x63 pixels or more, got 64x62"),
    ("alexnet_paper", (1, 66, 67, 3), "float32", ValueError, "67x67 pixels or more, got 66x67"),
    ("airbench94", (1, 9, 8, 3), "float32", ValueError, "9x9 pixels or more, got 9x8"),
    ("nin", (1, 3, 4, 3), "float32", ValueError, "4x4 pixels or more, got 3x4"),
    ("nin_imagenet", (1, 38, 39, 3), "float32", ValueError, "39x39 pixels or more, got 38x39"),
    ("vgg11", (1, 32, 31, 3), "float32", ValueError, "32x32 pixels or more, got 32x31"),
    ("densenet121", (1, 24, 32, 3), "float32", ValueError, "2x2 pixels or more are halved, got 1x2: too small images"),
    ("inception_v3", (1, 75, 74, 3), "float32", ValueError, "75x75 pixels or more, got 75x74"),
    ("googlenet", (1, 32, 8, 3), "float32", ValueError, r"3x3 windows, .* got 4x1: the images are too small"),
    ("convnext_tiny", (1, 32, 31, 3), "float32", ValueError, "32x32 pixels or more, got 32x31"),
    ("vit_b_16", (1, 224, 232, 3), "float32", ValueError, "a multiple of 16 pixels high and wide, got 224x232"),
    ("swin_t", (1, 4, 3, 3), "float32", ValueError, "4x4 pixels or more, got 4x3"),
    ("swin_tiny_patch2_window4_32", (1, 1, 2, 3), "float32", ValueError, "2x2 pixels or more, got 1x2"),
])  # fmt: skip
def test_images_that_cannot_be_right(name, image, dtype, error, message):
    with pytest.raises(error, match=message):
        shapes(jv.create_model(name), image, dtype=dtype)


@pytest.mark.parametrize(("name", "options"), [("vit_b_16", {"image_size": (224, 224)}), ("swin_t", {"depths": ()})])
def test_images_of_options_that_cannot_be(name, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must "):
        jv.create_model(name, **options).example_input()


def test_train_has_no_default():
    model = jv.create_model("lenet5")
    with pytest.raises(TypeError, match="train"):
        jax.eval_shape(model.apply, abstract_variables(model), model.example_input())
