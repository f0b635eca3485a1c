"""Published weights by name, and what the table of them says."""

import dataclasses
import hashlib
import re

import jax
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.__main__ import main
from jaxvision.initialize import abstract_variables
from jaxvision.weights import WeightsError
from jaxvision.weights.published import PUBLISHED, UNPUBLISHED, Published

PREPARE = jv.preprocessing("resnet18")


def random_variables(model, seed):
    draw = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), abstract_variables(model))


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publishes random weights of a model under a name, as a file of this machine."""

    def publish(name, seed=0):
        model = jv.create_model(name.partition(".")[0])
        variables, file = random_variables(model, seed), tmp_path / f"{name}.safetensors"
        jv.save_weights(model, variables, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        monkeypatch.setitem(PUBLISHED, name, Published(str(file), digest, "MIT", 99.0, PREPARE))
        return variables, file

    return publish


def assert_same(variables, expected):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), variables, expected)


@pytest.mark.parametrize("name", ["lenet5", "lenet5.mine"])
def test_a_model_with_its_weights(publish, name):
    expected, _ = publish("lenet5.mine")
    model, variables = jv.pretrained(name)
    assert model == jv.create_model("lenet5")
    assert_same(variables, expected)


def test_the_first_row_is_what_the_bare_name_stands_for(publish):
    first, _ = publish("lenet5.first")
    publish("lenet5.second", seed=1)
    assert_same(jv.pretrained("lenet5")[1], first)


def test_options_of_the_model(publish):
    expected, _ = publish("lenet5.mine")
    model, variables = jv.pretrained("lenet5", num_classes=0)
    assert model == jv.create_model("lenet5", num_classes=0)
    assert_same(variables, {"params": {"backbone": expected["params"]["backbone"]}})
    model, variables = jv.pretrained("lenet5", num_classes=7, dtype="bfloat16", new_head=jax.random.key(1))
    assert model == jv.create_model("lenet5", num_classes=7, dtype="bfloat16")
    assert variables["params"]["head"]["bias"].shape == (7,)
    assert_same(variables["params"]["backbone"], expected["params"]["backbone"])
    with pytest.raises(WeightsError, match="classes: 7 in the model, 10 in the file; new_head="):
        jv.pretrained("lenet5", num_classes=7)
    with pytest.raises(TypeError, match="unknown option path"):
        jv.pretrained("lenet5", path="lenet5.pth")


def test_the_same_file_from_elsewhere(publish, tmp_path):
    expected, file = publish("lenet5.mine")
    file.rename(tmp_path / "moved.safetensors")
    assert_same(jv.pretrained("lenet5", source=tmp_path / "moved.safetensors")[1], expected)
    model = jv.create_model("lenet5")
    jv.save_weights(model, jax.tree.map(lambda leaf: -leaf, expected), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other.safetensors: its SHA-256 is .* damaged or another one"):
        jv.pretrained("lenet5", source=tmp_path / "other.safetensors")


def test_a_file_that_torchvision_has_fetched(publish, tmp_path, monkeypatch):
    expected, file = publish("lenet5.mine")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(
        PUBLISHED, "lenet5.mine", dataclasses.replace(PUBLISHED["lenet5.mine"], source=f"torchvision:{file.name}")
    )
    with pytest.raises(
        WeightsError, match=rf"checkpoints/{file.name} does not exist: let torchvision fetch .* source="
    ):
        jv.pretrained("lenet5")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    file.rename(tmp_path / "hub" / "checkpoints" / file.name)
    assert_same(jv.pretrained("lenet5")[1], expected)


@pytest.mark.parametrize(("name", "message"), [
    ("plain34", "no published weights of plain34 are known; create_model makes it"),
    ("resnet5O", "unknown model 'resnet5O'; did you mean .*resnet50"),
    ("resnet50.tv3_in1k", "'resnet50.tv3_in1k'; of resnet50 there are resnet50.tv_in1k, .*resnet50.tv2_in1k"),
    ("plain34.tv_in1k", "no published weights of plain34"),
])  # fmt: skip
def test_names_without_weights(name, message):
    for function in (jv.pretrained, jv.preprocessing):
        with pytest.raises(ValueError, match=message):
            function(name)


@pytest.mark.parametrize("name", [name for name, row in PUBLISHED.items() if not row.sha256])
def test_weights_of_which_nothing_is_known_are_not_fetched(name):
    with pytest.raises(WeightsError, match=rf"timm/{name}/commits/main and give source='hf:timm/{name}@COMMIT'"):
        jv.pretrained(name)


def test_every_model_is_in_the_table_or_said_to_have_no_weights():
    published = {name.partition(".")[0] for name in PUBLISHED}
    assert published.isdisjoint(UNPUBLISHED)
    assert published | set(UNPUBLISHED) == set(jv.list_models())


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_are_pinned(name):
    """By a whole commit and digest on the hub; elsewhere by a digest that begins as the file's name ends."""
    source, digest = PUBLISHED[name].source, PUBLISHED[name].sha256
    if source.startswith("hf:"):
        assert source.partition("@")[0] == f"hf:timm/{name}"
        if digest:
            assert re.fullmatch(r"[0-9a-f]{64}", digest)
            assert re.fullmatch(r"[0-9a-f]{40}", source.partition("@")[2])
    else:
        place, digits = r"(?:https://.*/|torchvision:)(?:gluon_)?", "[0-9a-f]{8}(?:[0-9a-f]{2})?"
        file, prefix = re.fullmatch(rf"{place}([a-z0-9_.-]+)-({digits})\.pth", source).groups()
        letters = lambda name: re.sub(r"\W|_", "", name)  # torchvision's "shufflenetv2_x1" is our shufflenet_v2_x1_0
        assert letters(file).startswith(letters(name.partition(".")[0].removesuffix("_0")))
        assert digest.startswith(prefix)
        assert re.fullmatch(rf"{digits}|[0-9a-f]{{64}}", digest)


def test_the_command_prints_the_table(capsys):
    main(["weights", "resnet50"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == [f"`resnet50.{tag}_in1k`" for tag in ("tv", "a1", "tv2")]
    assert len({len(line) for line in lines}) == 1
    assert lines[4].split("|")[2:-1] == [
        " torchvision:resnet50-11ad3fa6.pth                                 ",
        " whole   ",
        " BSD-3-Clause ",
        " 80.86   ",
        " 224 of 232 bilinear ",
    ]
    main(["weights", "plain?"])
    assert capsys.readouterr().out == "None are published of plain8.\n"
    with pytest.raises(SystemExit):
        main(["weights", "plane*"])
    assert "no model matches 'plane*'" in capsys.readouterr().err
