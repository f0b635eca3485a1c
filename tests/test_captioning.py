"""Training a captioner: the loss, what is measured, and a short run."""

import itertools
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from scipy.special import log_softmax

import jaxvision as jv
from jaxvision.rnn.captioner import CaptionedImages, Captioner
from tests.backbone import Backbone
from tests.reference import captioner_cases as cases
from train import caption, captioning
from train.backbone import BackboneConfig
from train.captioner import Batch, TrainedCaptioner, Writer, forced, read_captioner
from train.captioning import Config, make_loss_fn, uncovered
from train.data.captions import CaptionedSplit, CaptionSet, framed
from train.data.image_files import ReadingConfig
from train.data.images import Preprocessing, Split
from train.data.parallel import END, PAD, START, UNKNOWN, Vocabulary
from train.shared import mesh as mesh_module
from train.shared.feed import ShuffledOrder, resident
from train.shared.mesh import PMAP_AXIS, make_mesh
from train.shared.metrics import read_metrics
from train.shared.optimizer import OptimizerConfig
from train.shared.run import RunError, start_run
from train.shared.state import create_state
from train.shared.step import make_train_step
from train.shared.text_scores import bleu_of_any, exact_of_any

RANDOM = np.random.RandomState(0)
PREPROCESSING = Preprocessing((0.5,) * 2, (0.3,) * 2, 4)
VOCABULARY, KEY = 7, jax.random.key(0)
IMAGES = np.zeros((1, *cases.IMAGE), np.uint8)
COLORS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def small(dtype=jnp.float32, **fields):
    """A model and its variables."""
    model = Captioner(Backbone(dtype), VOCABULARY, **{"hidden": 4, "embedding": 3, "dtype": dtype, **fields})
    variables = jv.init(model, jax.random.key(0))
    return model, jax.tree.map(lambda leaf: np.asarray(2 * leaf, dtype), variables)


def split_of(size):
    """Images with one caption or two."""
    images = Split(RANDOM.randint(0, 256, (size, *cases.IMAGE)).astype(np.uint8), np.arange(size, dtype=np.int32))
    tokens = np.full((size, 2, 6), PAD, np.int32)
    for n, place in enumerate(tokens):
        rows = [RANDOM.randint(3, VOCABULARY, RANDOM.randint(1, 5)).tolist() for _ in range(1 + n % 2)]
        place[: len(rows)] = framed(rows, 4)
    return CaptionedSplit(images, [[str(n)] for n in range(size)], tokens)


def expected_sums(logits, targets):
    """Loss, right tokens and tokens, one by one."""
    loss = correct = count = 0
    for said, token in zip(np.float64(logits).reshape(-1, logits.shape[-1]), targets.ravel(), strict=True):
        if token != PAD:
            loss, correct, count = loss - log_softmax(said)[token], correct + (said.argmax() == token), count + 1
    return loss, correct, count


def test_measures_are_of_the_whole_split_and_of_no_padding():
    model, variables = small(frozen=True)  # so that training sees what use does
    split = split_of(7)
    batch = Batch(split.images.images, split.tokens)
    captioned, targets = forced(batch, PREPROCESSING)
    force = jax.jit(partial(model.apply, train=False))
    loss, correct, count = expected_sums(force(variables, captioned), np.asarray(targets))
    wider = batch._replace(tokens=np.pad(batch.tokens, ((0, 0), (0, 1), (0, 2)), constant_values=PAD))
    loss_fn = jax.jit(make_loss_fn(model, PREPROCESSING))
    sums, (_, metrics) = loss_fn(variables["params"], {"batch_stats": variables["batch_stats"]}, wider, KEY, 0)
    np.testing.assert_allclose((*sums, metrics["accuracy"]), (loss, count, correct), rtol=1e-5)
    writer = Writer(model, PREPROCESSING, 5, make_mesh(2), batch_size=3)
    assert writer.measure(variables, split) == pytest.approx(
        {"loss": loss / count, "accuracy": correct / count}, rel=1e-5
    )
    written, places = writer.write(variables, split)
    np.testing.assert_array_equal(places, np.arange(7))
    before = np.concatenate([split.tokens[:, 0, :1], written[:, :-1]], 1)
    logits = np.array(force(variables, CaptionedImages(captioned.image, before)))
    logits[..., [PAD, START, UNKNOWN]] = -np.inf
    likeliest = logits.argmax(-1)
    np.testing.assert_array_equal(written, np.where(np.cumsum(before == END, 1) > 0, END, likeliest))


def test_each_place_is_to_be_looked_at_once():
    shares, targets = RANDOM.uniform(size=(2, 3, 4)), np.array([[5, 6, END], [5, END, PAD]])
    expected = sum((1 - shares[0, :, place].sum()) ** 2 + (1 - shares[1, :2, place].sum()) ** 2 for place in range(4))
    assert uncovered(jnp.asarray(shares), jnp.asarray(targets)) == pytest.approx(expected, rel=1e-6)
    nothing = np.full((1, 3), PAD)  # a caption that is not there
    assert uncovered(jnp.asarray(shares[:1]), jnp.asarray(nothing)) == 0


def test_scores_of_captions():
    references = [["a b c d e", "x y"], ["f"]]
    assert exact_of_any(["x y", "g"], references) == 0.5
    # Every word is in one reference or the other, three of four pairs, two of three triples and one of two quadruples;
    # the other image has fewer references, and one word more.
    assert bleu_of_any(["a b c d x"], references[:1]) == pytest.approx(100 * (5 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert bleu_of_any(["a b c d x", "f"], references) == pytest.approx(100 * (6 / 6 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_eight_devices_end_where_one_does(monkeypatch):
    monkeypatch.setattr(mesh_module, "SMALLEST_SHARDED", 64)
    split = split_of(16)

    def steps(mesh, compilation="jit"):
        model, variables = small(jnp.float64)
        axis_name, optimizer = PMAP_AXIS if compilation == "pmap" else None, optax.sgd(0.3, momentum=0.9)
        state = create_state(variables, optimizer, jax.random.key(0))
        step = make_train_step(make_loss_fn(model, PREPROCESSING, 0.5), optimizer, axis_name=axis_name)
        batch, order = Batch(split.images.images, split.tokens), ShuffledOrder(16, 8, 0)
        advance, state = resident(step, batch, order, state, mesh, compilation=compilation)
        return jax.device_get(advance(state, 0, 2))

    with jax.enable_x64(True):
        one, eight, mapped = steps(make_mesh(1)), steps(make_mesh(8, 2)), steps(make_mesh(2), "pmap")
    for found in (eight, mapped):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, one)  # the loss is of float32


def photographs(directory):
    """Files in COCO's layout: of three colours, some with two captions."""
    (directory / "annotations").mkdir()
    for part, count in (("train2017", 60), ("val2017", 12)):
        (directory / part).mkdir()
        images, rows = [], []
        for n, name in zip(range(count), itertools.cycle(COLORS), strict=False):
            Image.new("RGB", (40, 32), COLORS[name]).save(directory / part / f"{n}.png")
            images.append({"id": n, "file_name": f"{n}.png"})
            rows += [
                {"image_id": n, "caption": text} for text in (f"All here is {name}.", f"It is {name} here")[: 1 + n % 2]
            ]
        content = json.dumps({"images": images, "annotations": rows})
        (directory / "annotations" / f"captions_{part}.json").write_text(content)
    return directory


def config(directory, run_dir, **options):
    optimizer = OptimizerConfig(learning_rate=1e-2, weight_decay=0.0, clip_norm=1.0, ema=None)
    fields = {"hidden": 16, "embedding": 8, "batch_size": 18, "epochs": 40, "evaluate_every": 20, "beams": 2}
    place = {
        "data": "coco",
        "data_dir": directory,
        "run_dir": run_dir,
        "devices": 1,
        "backbone": BackboneConfig("lenet5"),
    }
    rest = {"image_size": 32, "reading": ReadingConfig(workers=0), "optimizer": optimizer}
    return Config(**{**place, **fields, **rest, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped, and its result."""
    directory = tmp_path_factory.mktemp("whole")
    asked = config(photographs(directory), directory / "run")
    return asked, captioning.run(asked)


def test_a_short_run_learns_and_reports(whole):
    asked, result = whole
    assert result["exact"] == 1.0
    assert result["bleu"] == pytest.approx(100)
    losses = {
        record["step"]: record["val/loss"]
        for record in read_metrics(asked.directory / "metrics.jsonl")
        if "val/loss" in record
    }
    assert len(losses) == 2
    assert losses[result["step"]] == min(losses.values())
    page = (asked.directory / "report.html").read_text()
    assert "What the captioner says" in page
    assert "Where it looks for each word" in page
    assert captioning.run(asked) == result


def test_a_run_is_read_back_and_says_what_photographs_show(whole, tmp_path, monkeypatch, capsys):
    folder, picture = tmp_path / "photographs", tmp_path / "new.png"
    folder.mkdir()
    for name, color in COLORS.items():
        Image.new("RGB", (32, 40), color).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no image")
    monkeypatch.setattr("sys.argv", ["", str(whole[0].directory), str(folder), "--attention", str(picture)])
    with pytest.raises(SystemExit) as ended:
        caption.main()
    said, complaint = capsys.readouterr()
    assert ended.value.code == 1
    assert "broken.png cannot be read as an image" in complaint
    lines = [line.rsplit("/", 1)[1].split(": ") for line in said.splitlines()]
    assert [name for name, _ in lines] == ["blue.png", "green.png", "red.png"]
    for name, text in lines:
        color = name.removesuffix(".png")
        assert text in (f"all here is {color}", f"it is {color} here")
    with Image.open(picture) as image:
        assert min(image.size) > 100


@pytest.mark.parametrize(("num_cut", "told"), [(0, ""), (1234, "1,234 captions cut after --max-length 9 words; ")])
def test_captions_that_are_cut_are_told(num_cut, told):
    splits = (CaptionedSplit(Split(IMAGES, np.zeros(size, np.int32)), (), None) for size in (3, 1, 2))
    data = CaptionSet(*splits, Vocabulary(("a", "b"), words=True), "", num_cut)
    said = captioning.summary(Config(max_length=9), data)
    assert said == f"images: train 3, val 1, test 2; 2 tokens; {told}"


def test_captions_that_cannot_be(tmp_path):
    with pytest.raises(RunError, match="holds no complete run"):
        read_captioner(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "model.json").write_text('{"vocabulary": "abc"}')
    with pytest.raises(RunError, match=r"holds no captioner \(its model.json has no preprocessing\)"):
        read_captioner(tmp_path)
    for fields, message in (
        ({"beams": 0}, "--beams must be 1 or more, got 0"),
        ({"length_penalty": -1.0}, "--length-penalty must be 0 or more, got -1.0"),
        ({"images": ()}, "there is nothing to say"),
        ({"attention": tmp_path / "new.pdf"}, "--attention must be a .png file"),
        ({"attention": tmp_path / "there.png"}, "there.png exists: give another"),
    ):
        (tmp_path / "there.png").write_bytes(b"mine")
        with pytest.raises(ValueError, match=message):
            caption.Options(**{"run_dir": tmp_path, "images": (tmp_path,), **fields})
    with pytest.raises(ValueError, match="this captioner has no attention to draw"):
        caption.draw(TrainedCaptioner(small(conditioning="start")[0], None, PREPROCESSING, None, 5), IMAGES, [""])


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(captioning.Experiment, "evaluate", lambda self, state: {"loss": -float(state.step)})
    monkeypatch.setattr(captioning, "conclude", lambda config, experiment, variables, step: variables)

    def trained(name, dies_at=None):
        asked = config(whole[0].data_dir, tmp_path / name, epochs=3, evaluate_every=1)
        experiment = captioning.build(asked)
        advance = experiment.advance

        def advance_or_die(state, start, stop):
            if start == dies_at:
                raise KeyboardInterrupt
            return advance(state, start, stop)

        experiment.advance = advance_or_die
        with start_run(asked.directory, asked):
            return jax.device_get(captioning.train(asked, experiment))

    expected = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("killed", dies_at=6)
    jax.tree.map(np.testing.assert_array_equal, trained("killed"), expected)


@pytest.mark.parametrize(("options", "message"), [
    ({"beams": 0}, "--beams must be 1 or more, got 0"),
    ({"length_penalty": -1.0}, "--length-penalty must be 0 or more"),
    ({"dropout": 1.0}, "--dropout must be from 0 to below 1, got 1.0"),
    ({"coverage": 1.0, "conditioning": "start"}, "--coverage is of attention, --conditioning start has none"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)
