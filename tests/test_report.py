"""What a run shows people."""

import base64
import io
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxvision as jv
from train.shared import figures
from train.shared.first_layer import first_convolution
from train.shared.report import write_report

RECORDS = [
    {"step": 10, "epoch": 1.0, "train/loss": 2.0, "train/accuracy": 0.25, "learning_rate": 0.1},
    {"step": 20, "epoch": 2.0, "train/loss": float("nan"), "train/accuracy": 0.5, "learning_rate": 0.05},
    {"step": 20, "epoch": 2.0, "val/loss": 1.5, "val/accuracy": 0.4375},
]


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.fixture
def report(tmp_path):
    return write_report(
        tmp_path,
        title="<lenet5> on digits",
        summary={"test accuracy": "43.21 %", "time": "5 s"},
        config={"model": "lenet5", "optimizer": {"learning_rate": 0.1}, "note": "<script>alert('no')</script>"},
        records=RECORDS,
        figures={"Learning curves": figures.learning_curves(RECORDS), 'Tom & "Jerry"': Figure((1, 1))},
    )


def test_the_report_is_one_file(report):
    page = report.read_text()
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="(.*?)"', page))


def test_the_report_says_everything(report):
    page = report.read_text()
    assert "<dt>test accuracy</dt><dd>43.21 %</dd>" in page
    assert "<figcaption>Learning curves</figcaption>" in page
    for name, values in {
        "loss": "<td>nan</td><td>1.5</td>",
        "accuracy": "<td>0.5</td><td>0.4375</td>",
        "learning_rate": "<td>0.1</td>",
        "jax": f"<td>{jax.__version__}</td>",
    }.items():
        assert f'<tr><th scope="row">{name}</th>{values}</tr>' in page


def test_the_report_escapes_what_it_is_given(report):
    page = report.read_text()
    assert "<h1>&lt;lenet5&gt; on digits</h1>" in page
    assert "&lt;script&gt;alert(&#x27;no&#x27;)&lt;/script&gt;" in page
    assert 'alt="Tom &amp; &quot;Jerry&quot;"' in page


def test_figures_are_in_the_report_and_beside_it(report):
    inline = [base64.b64decode(data) for data in re.findall(r'base64,(.*?)"', report.read_text())]
    beside = sorted((report.parent / "figures").iterdir())
    assert [path.name for path in beside] == ["1-learning-curves.png", "2-tom-jerry.png"]
    assert [path.read_bytes() for path in beside] == inline
    assert matplotlib.image.imread(io.BytesIO(inline[1])).shape == (150, 150, 4)


def test_learning_curves_have_a_panel_for_each_metric():
    figure = figures.learning_curves(RECORDS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert {"train 0.5", "val 0.4375"} <= set(texts(figure))
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[1, 0.25], [2, 0.5]]


def test_the_epoch_whose_weights_are_kept_is_marked():
    figure = figures.learning_curves(RECORDS, best=2.0)
    assert all(axes.lines[0].get_xdata() == [2.0, 2.0] for axes in figure.axes)
    assert "kept: epoch 2" in texts(figure)


def test_shares_of_classes_are_of_their_split():
    counts = {"train": np.array([30, 10]), "val": np.array([1, 1]), "test": np.array([0, 5])}
    figure = figures.class_shares(counts, ["cat", "dog"])
    shares = [[bar.get_height() for bar in bars] for bars in figure.axes[0].containers]
    assert shares == [[0.75, 0.25], [0.5, 0.5], [0, 1]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train (40)", "val (2)", "test (5)"]


def test_curves_of_no_records():
    figures.learning_curves([]).savefig(io.BytesIO())


def test_confusion_matrix():
    counts = np.array([[3, 1], [0, 0]])
    figure = figures.confusion_matrix(counts, ["cat", "dog"])
    assert figure.axes[0].images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "1"]
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("predicted", "true")


def test_confusion_of_very_many_classes_is_its_worst_pairs():
    counts = 9 * np.eye(500, dtype=int)
    counts[7, 3], counts[2, 9] = 3, 1
    figure = figures.confusion_matrix(counts, [f"class{k}" for k in range(500)])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["class7  taken for  class3", "class2  taken for  class9"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["3 of 12", "1 of 10"]


def test_confusion_where_there_is_none():
    assert texts(figures.confused_pairs(np.eye(500, dtype=int), ["class"] * 500)) == ["No class was taken for another."]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_wrong_images_come_surest_first(channels):
    images = np.arange(4 * 2 * 2 * channels, dtype=np.uint8).reshape(4, 2, 2, channels)
    labels, predictions = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 0])
    figure = figures.wrong_images(images, labels, predictions, np.array([0.9, 0.6, 0.8, 0.7]), ["cat", "dog"])
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["dog, 80%", "cat, 70%", "cat, 60%"]
    assert [axes.texts[0].get_text() for axes in shown] == ["true: cat", "true: dog", "true: dog"]
    np.testing.assert_allclose(shown[0].images[0].get_array().mean(), images[2].mean() / 255)


def test_no_wrong_images():
    nothing = np.zeros(1, int)
    figure = figures.wrong_images(np.zeros((1, 2, 2, 1), np.uint8), nothing, nothing, np.ones(1), ["cat"])
    assert texts(figure) == ["No image is classified wrongly."]


def test_filters_and_maps_are_tiles_of_one_image():
    kernel = np.stack([np.zeros((3, 3, 1)), np.full((3, 3, 1), -2.0), np.full((3, 3, 1), 0.1)], -1)
    canvas = figures.filters(kernel).axes[0].images[0].get_array()
    assert canvas.shape == (3, 3 + 1 + 3 + 1 + 3, 3)
    assert canvas[0, :, 0].tolist() == [0.5] * 3 + [1] + [0] * 3 + [1] + [1] * 3
    assert texts(figures.feature_maps(np.zeros((4, 5, 100)))) == ["the first 64 of 100 channels"]


def test_the_first_convolution_is_the_one_called_first():
    model = jv.create_model("lenet5")
    variables = jv.init(model, jax.random.key(0))
    image = jax.random.normal(jax.random.key(1), (1, 32, 32, 1))
    kernel, maps = first_convolution(model, variables, image)
    np.testing.assert_array_equal(kernel, variables["params"]["backbone"]["c1"]["kernel"])
    expected = nn.Conv(6, (5, 5), padding="VALID").apply({"params": variables["params"]["backbone"]["c1"]}, image)
    np.testing.assert_allclose(maps, expected[0], rtol=1e-5, atol=1e-5)


def test_a_model_may_have_no_convolution():
    class Linear(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return nn.Dense(2)(image)

    variables = Linear().init(jax.random.key(0), jnp.zeros((1, 4)), train=False)
    assert first_convolution(Linear(), variables, jnp.zeros((1, 4))) is None
