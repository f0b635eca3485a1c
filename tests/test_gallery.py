"""The gallery: what is drawn of a photograph, and where."""

import dataclasses
import json
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxvision as jv
from jaxvision.ops.receptive_field import ALL, Span
from train import gallery
from train.data.photograph import grey, read_photo
from train.gallery import Box, box, cropped, edges, explanations, heat_maps, margins, network_image
from train.shared import photo_figures
from train.trained import read_trained

PHOTO = read_photo(None)[200:248, 100:172]  # [48, 72, 3]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Spares the tests the convergence of the learnt filter, and the trace of a deep network."""
    learn = gallery.learn_filter
    monkeypatch.setattr(gallery, "learn_filter", lambda image, target: learn(image, target, steps=3))
    monkeypatch.setattr(gallery, "WITHOUT_A_RUN", "convnet")


def complete_run(directory, name="convnet", size=39, channels=3):
    """Writes what the gallery needs of a run."""
    directory.mkdir()
    model = jv.create_model(name, num_classes=4, in_channels=channels)
    jv.save_weights(model, jv.init(model, jax.random.key(0)), directory / "weights.safetensors")
    about = {"model": name, "in_channels": channels, "resize": 2 * size, "precision": "float32", "image_size": size}
    about |= {"mean": [0.5] * channels, "std": [0.25] * channels, "classes": ["cat", "dog", "ship", "frog"]}
    (directory / "model.json").write_text(json.dumps(about))
    (directory / "result.json").write_text("{}")
    return directory


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["gallery", *map(str, arguments)])
    gallery.main()


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_of_a_run_everything_is_drawn_and_without_one_what_needs_none(tmp_path, monkeypatch, capsys, photo):
    output = tmp_path / "gallery"
    run(monkeypatch, "--output", output, "--photo", photo, "--run", complete_run(tmp_path / "run"))
    captions = ("Edges", "learnt", "Gabor", "Receptive fields", "Feature maps", "slid", "Grad-CAM", "Occlusion")
    page = (output / "report.html").read_text()
    assert page.count('<img alt="') == len(captions)
    assert all(caption in page for caption in captions)
    assert "no --run" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds a gallery: give another --output, or --overwrite"):
        run(monkeypatch, "--output", output, "--photo", photo)
    run(monkeypatch, "--output", output, "--photo", photo, "--overwrite")
    assert "no --run was given: what needs a trained network is left out" in capsys.readouterr().out
    page = (output / "report.html").read_text()
    assert page.count('<img alt="') == len(list((output / "figures").iterdir())) == 4
    assert "Receptive fields of convnet" in page
    assert "<section hidden>\n      <h2>Metrics at the end" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "mine"], r"mine is not empty and not a gallery \(it has no gallery.json\)"),
        (["--output", "mine", "--overwrite"], "mine is not empty and not a gallery"),
        (["--output", "new", "--photo", "no.png"], "no.png cannot be read as an image"),
        (
            ["--output", "new", "--photo", "small.png"],
            r"--photo small.png is smaller than the filter of \(3, 3\): \(2, 9\)",
        ),
        (["--output", "new", "--run", "mine"], "mine holds no complete run"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    Image.new("RGB", (9, 2)).save("small.png")
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *arguments)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "notes.txt", "small.png"]


def captured(monkeypatch):
    """Keeps what is laid over photographs in place of drawing it."""
    kept = []
    monkeypatch.setattr(photo_figures, "overlays", lambda shown, maps, **options: kept.append((shown, maps)))
    return kept


def test_heat_map_says_of_each_place_what_the_classifier_says_of_it(tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    classifier = read_trained(complete_run(tmp_path / "run"))
    photo = np.array(Image.fromarray(PHOTO).resize((160, 156)))  # what is four times 39 pixels is not resized
    heat_maps(photo, classifier)
    ((_, maps),) = kept
    assert len(maps) == gallery.MOST_CLASSES
    values, extent = maps[next(iter(maps))]
    assert values.shape == (30, 31)  # (156 - 39) / 4 + 1 places, and for 160
    row, column = 7, 12
    place = classifier.preprocessing.normalize(photo[4 * row :, 4 * column :][:39, :39] / 255)
    logits = classifier.model.apply(classifier.variables, jnp.float32(place)[None], train=False)
    label = classifier.classes.index(next(iter(maps)).split(",")[0])
    assert values[row, column] == pytest.approx(float(jax.nn.softmax(logits[0])[label]), rel=1e-4)
    center = extent[3] + (extent[2] - extent[3]) * (row + 0.5) / 30
    assert center == pytest.approx((4 * row + 39 / 2) / 156, abs=4 / 2 / 156)  # half a place


def test_windows_of_the_heat_map_are_of_the_size_that_was_trained(tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    monkeypatch.setattr(gallery, "ENLARGED", 1)
    classifier = read_trained(complete_run(tmp_path / "run", "resnet8", 16))  # whose example has 32 pixels
    photo = PHOTO[:16, :16]
    heat_maps(photo, classifier)
    ((_, maps),) = kept
    logits = classifier.model.apply(
        classifier.variables, classifier.preprocessing.normalize(photo[None] / np.float32(255)), train=False
    )
    found = {title.split(",")[0]: overlay.values for title, overlay in maps.items()}
    for label, probability in zip(classifier.classes, jax.nn.softmax(logits[0]), strict=True):
        if label in found:
            np.testing.assert_allclose(found[label], [[probability]], rtol=1e-4)


def test_explanations_lie_where_they_were_measured(tmp_path, monkeypatch):
    kept = captured(monkeypatch)
    classifier = read_trained(complete_run(tmp_path / "run"))
    shown = cropped(PHOTO, classifier)
    np.testing.assert_array_equal(shown, PHOTO[12:36, 24:48])  # half of 48 pixels, as 39 of 78
    captions = explanations(shown, network_image(PHOTO, classifier), classifier)
    assert "9x9 of 39x39 pixels" in list(captions)[1]
    (_, losses), (_, activations) = kept
    assert list(activations) == list(losses)
    cam, lost = next(iter(activations.values())), next(iter(losses.values()))
    assert (cam.values.shape, cam.extent) == ((7, 7), (0, 1, 1, 0))
    assert lost.values.shape == (16, 16)  # (39 - 9) / 2 + 1
    centers = lost.extent[0] + (lost.extent[1] - lost.extent[0]) * (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose(centers, (2 * np.arange(16) + 4.5) / 39)


def test_a_model_of_one_size_has_no_heat_map(tmp_path, capsys):
    classifier = read_trained(complete_run(tmp_path / "run", "mlp", 32, channels=1))
    assert network_image(PHOTO, classifier).shape == (1, 32, 32, 1)
    assert heat_maps(PHOTO, classifier) is None
    assert "no heat map of the classes: the model takes images of 32x32 pixels alone" in capsys.readouterr().out


def test_a_map_of_one_pixel_says_nothing_of_where(tmp_path, monkeypatch, capsys):
    captured(monkeypatch)
    classifier = read_trained(complete_run(tmp_path / "run", "lenet5", 32, channels=1))
    captions = explanations(cropped(PHOTO, classifier), network_image(PHOTO, classifier), classifier)
    assert [caption.split(":")[0] for caption in captions] == ["Occlusion"]
    assert "no Grad-CAM: the last feature map of the network has one pixel" in capsys.readouterr().out


def test_channels_of_one_pixel_are_on_one_scale():
    pixel = np.float32([[[0.1, -0.9, 0.5]]])
    _, *cells = photo_figures.stages(PHOTO, [pixel]).axes
    drawn = {axes.get_title(loc="center"): axes.images[0] for axes in cells if axes.images}
    assert list(drawn) == ["1", "2", "0"]
    assert {image.get_clim() for image in drawn.values()} == {(pixel.min(), pixel.max())}


def test_of_a_transformer_attention_is_drawn_and_no_heat_map(tmp_path, monkeypatch, capsys):
    kept = captured(monkeypatch)
    model = jv.create_model("vit_tiny_patch16_224", depth=1, num_classes=4)
    classifier = dataclasses.replace(
        read_trained(complete_run(tmp_path / "run", size=48)), model=model, variables=jv.init(model, jax.random.key(0))
    )
    assert heat_maps(PHOTO, classifier) is None
    assert "no heat map of the classes: ViT gives tokens (1, 197, 192)" in capsys.readouterr().out
    captions = gallery.attention(cropped(PHOTO, classifier), network_image(PHOTO, classifier), classifier)
    assert list(captions) == ["Attention, followed through all blocks", "Where each head of the last block looks"]
    (_, rollout), (_, heads) = kept
    assert rollout["rollout"].values.shape == (3, 3)
    assert list(heads) == ["head 1", "head 2", "head 3"]
    mean = np.mean([head.values for head in heads.values()], 0)
    np.testing.assert_allclose(rollout["rollout"].values, mean / 2, rtol=1e-5)  # of one block


def test_boxes_are_the_pixels_that_are_seen():
    reach = (Span(1, Fraction(4), Fraction(-3), Fraction(9)), ALL)
    assert box(reach, (2, 5), (32, 40)) == Box(top=5, left=0, bottom=17, right=39)


def test_margins_of_sliding_windows():
    assert margins(1, 0.5) == pytest.approx((0, 1))
    assert margins(5, 0.2) == pytest.approx((0, 1))
    assert margins(3, 0.5) == pytest.approx((0.125, 0.875))  # centres at 1/4, 1/2 and 3/4


def test_edges_are_those_of_each_filter():
    titles = [axes.get_title(loc="left") for axes in edges(PHOTO).axes]
    assert titles[:4] == ["photograph", "vertical", "horizontal", "prewitt"]
    assert len(titles) == 9


def test_large_photographs_are_made_smaller_and_grey_is_brightness(tmp_path):
    Image.new("RGB", (1280, 200), (255, 0, 0)).save(tmp_path / "red.png")
    small = read_photo(tmp_path / "red.png")
    assert small.shape == (100, 640, 3)
    np.testing.assert_allclose(grey(small), 0.299, rtol=1e-6)
    assert read_photo(None, sample="flower").shape == (427, 640, 3)
