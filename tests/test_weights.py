"""Name maps, reading weights and saving them."""

import os
import re
import stat
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import jaxvision as jv
from jaxvision.initialize import abstract_variables
from jaxvision.weights import WeightsError, from_foreign, to_foreign
from jaxvision.weights.names import OWN_LAYOUT, Line, name_maps
from tests.reference import cases

SMALL = ["lenet5", "resnet8", "plain8", "preact_resnet20"]


class Toy(nn.Module):
    """A bare parameter and two linear layers, named by the given table."""

    lines: tuple[tuple[str, Any], ...]

    @nn.compact
    def __call__(self, x, *, train):  # [B, 4]
        x = x + self.param("class_token", nn.initializers.normal(), (4,))
        x = nn.Dense(6, name="block1_qkv")(x)
        return nn.Dense(5, name="head")(x)

    def torch_names(self):
        return {"torch": dict(self.lines)}

    def example_input(self):
        return jax.ShapeDtypeStruct((1, 4), jnp.float32)


def toy(**changes):
    lines = {"class_token": "cls", "block{i}_{kind}": "blocks.{2*i-1}.{kind}", "head": "head"} | changes
    return Toy(tuple((key, line) for key, line in lines.items() if line is not None))


def random_variables(model):
    draw = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), abstract_variables(model))


def shapes(arrays):
    return {key: array.shape for key, array in arrays.items()}


def assert_same(variables, expected):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), variables, expected)


def every_layout(names):
    return [(name, layout) for name in names for layout in [*jv.create_model(name).torch_names(), OWN_LAYOUT]]


@pytest.mark.parametrize(("name", "layout"), every_layout(SMALL))
def test_small_models_return_bit_equal(name, layout, tmp_path):
    model, file = jv.create_model(name), tmp_path / "weights.safetensors"
    variables = random_variables(model)
    jv.save_weights(model, variables, file, layout=layout)
    loaded = jv.load_weights(model, file)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
    assert_same(loaded, variables)


@pytest.mark.parametrize("name", cases.others_in_slow_set())
def test_every_model_has_a_key_for_each_variable(name):
    maps = name_maps(jv.create_model(name))
    for names in maps.values():
        keys = [key for entry in names.entries for key in entry.keys]
        assert all(entry.keys for entry in names.entries)
        assert len(names.entries) == len(maps[OWN_LAYOUT].entries)
        assert len(set(keys)) == len(keys)
        for entry in names.entries:
            parts = [np.broadcast_to(np.float32(0), shape) for shape in entry.shapes().values()]
            assert entry.read(parts).shape == entry.shape


def test_keys_and_shapes_of_torchvision():
    """Of the first layers of torchvision.models.resnet50."""
    model = jv.create_model("resnet50", num_classes=7)
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), abstract_variables(model))
    found = shapes(to_foreign(model, zeros, "torchvision"))
    assert found["conv1.weight"] == (64, 3, 7, 7)
    assert found["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert found["layer1.0.downsample.1.num_batches_tracked"] == ()
    assert found["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert found["layer4.2.bn3.running_var"] == (2048,)
    assert (found["fc.weight"], found["fc.bias"]) == ((7, 2048), (7,))
    assert len(found) == 320


def test_kernels_turn():
    model = jv.create_model("preact_resnet20")
    variables = random_variables(model)
    arrays = to_foreign(model, variables, "timm")
    params = variables["params"]
    np.testing.assert_array_equal(
        arrays["stem.conv.weight"], params["backbone"]["conv1"]["kernel"].transpose(3, 2, 0, 1)
    )
    np.testing.assert_array_equal(arrays["head.fc.weight"][:, :, 0, 0], params["head"]["kernel"].T)
    assert arrays["head.fc.weight"].shape == (10, 64, 1, 1)
    assert arrays["norm.num_batches_tracked"].dtype == np.int64
    assert all(array.flags.c_contiguous for array in arrays.values())


def test_templates():
    model = toy(head="classifier_{leaf}.0")
    assert shapes(to_foreign(model, random_variables(model), "torch")) == {
        "cls": (4,),
        "blocks.1.qkv.weight": (6, 4),
        "blocks.1.qkv.bias": (6,),
        "classifier_weight.0": (5, 6),
        "classifier_bias.0": (5,),
    }


def test_several_foreign_layers_are_one_of_ours():
    model = toy(**{"block{i}_{kind}": ("q{i}", "k{i}", "v{i}")})
    variables = random_variables(model)
    arrays = to_foreign(model, variables, "torch")
    dense = variables["params"]["block1_qkv"]
    np.testing.assert_array_equal(arrays["k1.weight"], dense["kernel"][:, 2:4].T)
    np.testing.assert_array_equal(arrays["v1.bias"], dense["bias"][4:])
    assert_same(from_foreign(model, arrays), variables)


def with_a_constant():
    """Names the class token's line with an index that files hold beside it."""
    index = {"blocks.index": np.arange(3)}
    return toy(class_token=Line("cls", constants=index))


def test_constants_are_written_and_may_be_missing():
    model = with_a_constant()
    variables = random_variables(model)
    arrays = to_foreign(model, variables, "torch", dtype=np.float64)
    np.testing.assert_array_equal(arrays["blocks.index"], np.arange(3), strict=True)
    assert_same(from_foreign(model, arrays), variables)
    del arrays["blocks.index"]
    assert_same(from_foreign(model, arrays), variables)


@pytest.mark.parametrize("found", [np.arange(1, 4), np.arange(4), np.float32([0, 1, 2.001])])
def test_other_constants_are_refused(found):
    model = with_a_constant()
    arrays = to_foreign(model, random_variables(model), "torch")
    message = re.escape(f"blocks.index: expected int64 (3,), found {found.dtype} {found.shape}")
    with pytest.raises(WeightsError, match=rf"of another architecture \(1\):\n    {message}"):
        from_foreign(model, arrays | {"blocks.index": found})


def test_constants_that_were_rounded_are_the_same():
    offsets = np.float32([-1 / 3, 0, 1 / 3])
    model = toy(class_token=Line("cls", constants={"offsets": offsets}))
    variables = random_variables(model)
    for dtype in (ml_dtypes.bfloat16, np.float16, np.float64):
        assert_same(
            from_foreign(model, to_foreign(model, variables, "torch") | {"offsets": offsets.astype(dtype)}), variables
        )


def test_a_constant_cannot_have_the_key_of_a_variable():
    with pytest.raises(ValueError, match=r"several variables share the keys head\.bias"):
        name_maps(toy(class_token=Line("cls", constants={"head.bias": np.arange(3)})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_token": None}, "'torch': no line for the variable params/class_token"),
        ({"block1_{kind}": "x"}, "'block{i}_{kind}' and 'block1_{kind}' for the variable params/block1_qkv/bias"),
        ({"head": "blocks.1.qkv"}, "several variables share the keys blocks.1.qkv.bias, blocks.1.qkv.weight"),
    ],
)
def test_wrong_tables(changes, message):
    with pytest.raises(ValueError, match="name map") as raised:
        name_maps(toy(**changes))
    assert message in str(raised.value)


@pytest.fixture
def lenet():
    model = jv.create_model("lenet5")
    return model, random_variables(model)


def test_all_differences_are_in_one_error(lenet, tmp_path):
    model, variables = lenet
    arrays = to_foreign(model, variables, "torch")
    del arrays["c1.weight"], arrays["c3.bias"]
    arrays |= {"extra": np.zeros(3, np.float32), "c5.bias": np.zeros(4, np.float64), "f6.bias": np.zeros(84, np.int64)}
    file = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(arrays, file)
    with pytest.raises(WeightsError) as raised:
        jv.load_weights(model, file)
    assert str(raised.value).splitlines() == [
        f"{file}: the weights do not fit the model (layout 'torch')",
        "  missing (2):",
        "    c1.weight: expected (6, 1, 5, 5)",
        "    c3.bias: expected (16,)",
        "  misshapen (1):",
        "    c5.bias: expected (120,), found float64 (4,)",
        "  unused (1):",
        "    extra: found float32 (3,)",
        "  not floating-point (1):",
        "    f6.bias: expected (84,), found int64 (84,)",
    ]


def test_values_that_are_no_tensors_are_named(lenet):
    model, variables = lenet
    with pytest.raises(
        WeightsError, match=r"c1.bias: expected \(6,\), found str\n    f6.bias: expected \(84,\), found None"
    ):
        from_foreign(model, to_foreign(model, variables, "torch") | {"c1.bias": "text", "f6.bias": None})


def test_other_number_of_channels_is_misshapen(lenet):
    model, variables = lenet
    with pytest.raises(WeightsError, match=r"c1.weight: expected \(6, 3, 5, 5\), found float32 \(6, 1, 5, 5\)"):
        from_foreign(jv.create_model("lenet5", in_channels=3), to_foreign(model, variables, "torch"))


@pytest.mark.parametrize("layout", ["torch", OWN_LAYOUT])
def test_other_number_of_classes_needs_a_new_head(lenet, layout):
    model, variables = lenet
    arrays, other, key = (
        to_foreign(model, variables, layout),
        jv.create_model("lenet5", num_classes=7),
        jax.random.key(3),
    )
    with pytest.raises(WeightsError, match="classes: 7 in the model, 10 in the file; new_head"):
        from_foreign(other, arrays)
    without_head = {name: array for name, array in arrays.items() if "output" not in name and "head" not in name}
    with pytest.raises(WeightsError, match="classes: 7 in the model, none in the file; new_head"):
        from_foreign(other, without_head)
    fresh = jv.init(other, key)["params"]["head"]
    for given in [arrays, without_head]:
        loaded = from_foreign(other, given, new_head=key)["params"]
        assert_same(loaded["backbone"], variables["params"]["backbone"])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), loaded["head"], fresh)


@pytest.mark.parametrize("layout", ["torch", OWN_LAYOUT])
def test_model_without_head_leaves_the_head_alone(lenet, layout):
    model, variables = lenet
    arrays, headless = to_foreign(model, variables, layout), jv.create_model("lenet5", num_classes=0)
    assert_same(from_foreign(headless, arrays), {"params": {"backbone": variables["params"]["backbone"]}})
    with pytest.raises(WeightsError, match=r"unused \(1\):\n    head2.bias"):
        from_foreign(headless, arrays | {"head2.bias": np.zeros(10, np.float32)})
    with pytest.raises(WeightsError, match="this one has none"):
        from_foreign(headless, arrays, new_head=jax.random.key(0))


def test_counters_of_batches_may_be_missing():
    model = jv.create_model("resnet8")
    variables = random_variables(model)
    arrays = to_foreign(model, variables, "akamaster")
    old = {key: array for key, array in arrays.items() if not key.endswith("num_batches_tracked")}
    assert len(arrays) - len(old) == 7
    assert_same(from_foreign(model, old), variables)


def test_layout_is_found_or_named(lenet):
    model, variables = lenet
    with pytest.raises(WeightsError, match=r"no key belongs to a layout of the model.*torch: c1.bias.*found a, b"):
        from_foreign(model, {"a": 1, "b": 2})
    with pytest.raises(
        WeightsError, match=r"unknown layout 'torhc'; the model has torch, jaxvision; did you mean 'torch'?"
    ):
        to_foreign(model, variables, "torhc")
    with pytest.raises(WeightsError, match=r"missing \(10\)"):
        from_foreign(model, to_foreign(model, variables, "torch"), layout=OWN_LAYOUT)


def test_prefix_of_parallel_training_is_taken_away(lenet, tmp_path):
    model, variables = lenet
    arrays = {f"module.{key}": array for key, array in to_foreign(model, variables, "torch").items()}
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    assert_same(jv.load_weights(model, tmp_path / "weights.safetensors"), variables)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_other_types_become_float32(lenet, dtype, tmp_path):
    model, variables = lenet
    arrays = {key: array.astype(dtype) for key, array in to_foreign(model, variables, "torch").items()}
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    rounded = jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), variables)
    assert_same(jv.load_weights(model, tmp_path / "weights.safetensors"), rounded)


def test_float64_is_kept_on_demand(lenet):
    model, variables = lenet
    doubles = jax.tree.map(lambda leaf: leaf.astype(np.float64) / 3, variables)
    arrays = to_foreign(model, doubles, "torch", dtype=np.float64)
    with jax.enable_x64(True):
        assert_same(from_foreign(model, arrays, dtype=np.float64), doubles)


def test_variables_share_no_memory_with_the_arrays(lenet):
    model, variables = lenet
    for _ in range(10):  # jnp.array copies too, but often later
        arrays = to_foreign(model, variables)
        loaded = from_foreign(model, arrays)
        for array in arrays.values():
            array[...] = 7
        assert_same(loaded, variables)
    assert_same(random_variables(model), variables)


def test_only_fitting_variables_are_saved(lenet, tmp_path):
    model, variables = lenet
    params = variables["params"] | {"head": {"kernel": np.zeros((84, 9)), "scale": 3}}
    with pytest.raises(WeightsError) as raised:
        jv.save_weights(model, {"params": params}, tmp_path / "weights.safetensors", layout="torch")
    for line in ["head/bias: expected (10,)", "kernel: expected (84, 10), found float64 (84, 9)", "scale: found int"]:
        assert line in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_saving_replaces_only_on_demand(lenet, tmp_path):
    model, variables = lenet
    file = tmp_path / "weights.safetensors"
    file.write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        jv.save_weights(model, variables, file)
    assert file.read_text() == "precious"
    jv.save_weights(model, variables, file, overwrite=True)
    assert_same(jv.load_weights(model, str(file)), variables)


def test_saving_is_atomic(lenet, tmp_path, monkeypatch):
    model, variables = lenet
    file = tmp_path / "weights.safetensors"
    file.write_text("precious")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        jv.save_weights(model, variables, file, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "precious"


def test_saved_files_have_the_usual_permissions(lenet, tmp_path):
    model, variables = lenet
    jv.save_weights(model, variables, tmp_path / "weights.safetensors")
    (tmp_path / "other").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_unknown_kinds_of_files(lenet, tmp_path):
    model, variables = lenet
    with pytest.raises(WeightsError, match=r"weights are written as .safetensors"):
        jv.save_weights(model, variables, tmp_path / "weights.pth")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(WeightsError, match=r"weights.h5: unknown kind of file; known are .safetensors, .pth, .pt"):
        jv.load_weights(model, tmp_path / "weights.h5")
    with pytest.raises(FileNotFoundError, match=r"nowhere.pth"):
        jv.load_weights(model, tmp_path / "nowhere.pth")


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}"])
def test_malformed_safetensors(lenet, data, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=r"weights.safetensors: (malformed|no key)"):
        jv.load_weights(lenet[0], file)


def test_safetensors_of_unknown_types(lenet, tmp_path):
    header = b'{"c1.bias":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(WeightsError, match=r"unknown types: c1.bias"):
        jv.load_weights(lenet[0], tmp_path / "weights.safetensors")
