"""Finds hidden units that know where in source code they are: `python -m train.hidden_units runs/lstm-python-0`.

For each property of the text, such as being inside quotes, the unit whose activation tells it best is chosen on some
files and measured on others, none of which the model was trained on; and so is one of the same network untrained. What
the units do is shown as coloured text, after Karpathy, Johnson and Fei-Fei 2015, https://arxiv.org/abs/1506.02078.
Shapes: N characters, L layers, H hidden units, U activations of all layers.
"""

import dataclasses
import html
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy.stats import rankdata

import jaxvision as jv
from jaxvision.rnn.language_model import LanguageModel
from train.data.source_code import properties
from train.data.text import TEXTS, TextFile, cut, encode, standard_library, validation_start
from train.language_model import Config
from train.shared.figures import STYLE, WIDTH
from train.shared.files import write_atomically
from train.shared.run import RunError, exit_on, from_json, read_json, write_json
from train.trained import read_language_model

TEMPLATE = Path(__file__).parent / "shared" / "hidden_units.html"
CHUNK = 512  # characters of a dispatch
BLOCK = 32  # activations ranked at a time
LEAST_FILES = 10  # that a text to choose or measure on is made of
WHOLE_LIBRARY = 10**9  # characters, and more
MOST_CHARACTERS = 80_000
LINES, COLUMNS = 24, 96  # of the picture of a unit
BLUE, RED = (0.0, 0.3, 1.0), (1.0, 0.1, 0.1)
MONOSPACE_ADVANCE = 0.602  # width of a character of DejaVu Sans Mono, in heights


@dataclasses.dataclass(frozen=True)
class Options:
    """Find and show hidden units of a language model that know where in source code they are."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete run of `train.language_model` on Python source."""
    output: Path | None = None
    """Directory of the page, the pictures and the figures; by default hidden_units in that of the run."""
    characters: int = MOST_CHARACTERS
    """Most characters to choose units on, and to measure them on."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        if self.characters < 1:
            raise ValueError(f"--characters must be 1 or more, got {self.characters}")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A text and where its properties hold, bool [N] each."""

    text: str
    holds: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Found:
    """A unit that was chosen for a property.

    Attributes:
        unit: place among the U activations.
        sign: 1 where it is high while the property holds, -1 where it is low.
        chosen, measured: area under the ROC curve on the text it was chosen on, and on the other.
    """

    unit: int
    sign: int
    chosen: float
    measured: float


def activations(model: LanguageModel, variables: Any, tokens: np.ndarray) -> np.ndarray:  # [N] -> [N, U]
    """Returns what each unit is after each token, from -1 to 1: of each layer the outputs, then tanh of LSTM cells.

    They are of half precision, to take half the memory.
    """

    @jax.jit
    def run(state, tokens):  # [L, 1, H] each, [T]
        def body(state, token):
            _, state = model.apply(variables, token[None, None], state, train=False)
            parts = (state[0], *map(jnp.tanh, state[1:]))
            return state, jnp.concatenate([part.reshape(-1) for part in parts]).astype(jnp.float16)

        return jax.lax.scan(body, state, tokens)

    state, found = model.initial_state(1), []
    for first in range(0, len(tokens), CHUNK):
        part = tokens[first : first + CHUNK]
        state, units = run(state, np.pad(part, (0, CHUNK - len(part))))
        found.append(np.asarray(units)[: len(part)])
    return np.concatenate(found)


def unit_name(model: LanguageModel, unit: int) -> str:
    """Returns what a place among the U activations is of."""
    kind, unit = divmod(unit, model.num_layers * model.hidden)
    layer, unit = divmod(unit, model.hidden)
    return f"{('output', 'cell')[kind]} {unit} of layer {layer + 1}"


def areas(units: np.ndarray, marks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:  # [N, U], bool [N] -> [U]
    """Returns the area under each unit's ROC curve: how often it is higher where a property holds than elsewhere.

    From the ranks of its activations, equals sharing theirs (Mann and Whitney). The property holds somewhere and
    somewhere not.

    Args:
        units: activations [N, U].
        marks: where each property holds, bool [N].

    Returns:
        [U] for each property.
    """
    holds = np.stack(list(marks.values())).astype(np.float64)  # [P, N]
    columns = [
        np.ascontiguousarray(units[:, first : first + BLOCK].T, np.float32) for first in range(0, units.shape[1], BLOCK)
    ]
    sums = np.concatenate([holds @ rankdata(block, axis=1).T for block in columns], 1)  # [P, U]
    positive = holds.sum(1, keepdims=True)
    found = (sums - positive * (positive + 1) / 2) / (positive * (len(units) - positive))
    return dict(zip(marks, found, strict=True))


def varying(*texts: Labelled) -> list[str]:
    """Returns the properties that hold somewhere and somewhere not in each of the texts."""
    return [name for name in texts[0].holds if all(0 < text.holds[name].sum() < len(text.text) for text in texts)]


def search(choosing: tuple[np.ndarray, Labelled], measuring: tuple[np.ndarray, Labelled]) -> dict[str, Found]:
    """Returns the unit that tells each property best, chosen on one text's activations [N, U], measured on another's.

    Properties that hold nowhere or everywhere in one of them are left out.
    """
    (units, text), (other_units, other) = choosing, measuring
    chosen = areas(units, {name: text.holds[name] for name in varying(text, other)})
    best = {name: int(np.abs(found - 0.5).argmax()) for name, found in chosen.items()}
    found = {}
    for name, unit in best.items():
        sign = 1 if chosen[name][unit] >= 0.5 else -1
        measured = areas(sign * other_units[:, unit : unit + 1], {name: other.holds[name]})[name][0]
        area = chosen[name][unit] if sign > 0 else 1 - chosen[name][unit]
        found[name] = Found(unit, sign, float(area), float(measured))
    return found


def unseen_files(files: Sequence[TextFile]) -> list[TextFile]:
    """Returns the files of a run's text that lie wholly in its validation part."""
    ends = list(itertools.accumulate(len(file.content) for file in files))
    boundary = validation_start(ends[-1])
    return [file for file, end in zip(files, ends, strict=True) if end - len(file.content) >= boundary]


def labelled(files: Sequence[TextFile], most: int, vocabulary: str) -> Labelled:
    """Joins the beginnings of files with their properties, up to a number of characters.

    Of each file a tenth of that number is taken at most: one file of nothing but strings would stand for all. Those
    with characters that are not in the vocabulary are left out.

    Raises:
        RunError: a file is no Python source, or none is left.
    """
    texts, holds, left = [], [], most
    for file in files:
        if left == 0:
            break
        text = file.content[: min(left, -(-most // LEAST_FILES))]
        if not {*text} <= {*vocabulary}:
            continue
        try:
            marks = properties(file.content)
        except SyntaxError as error:
            raise RunError(f"{file.path} is no Python source, of which properties could be told: {error}") from error
        texts.append(text)
        holds.append({name: part[: len(text)] for name, part in marks.items()})
        left -= len(text)
    if not texts:
        raise RunError(
            f"each of the {len(files)} files begins with characters that the model has not met: train it on more text"
        )
    return Labelled("".join(texts), {name: np.concatenate([part[name] for part in holds]) for name in holds[0]})


def read_texts(run_dir: Path, most: int) -> tuple[Labelled, Labelled]:
    """Returns the text to choose units on and the one to measure them on: every other file that training left out.

    Of the standard library these are modules after those of the run's text; of files, those of its validation part.

    Raises:
        RunError: the text of the run is not there any more, or has not two files left out.
    """
    config = from_json(Config, read_json(run_dir / "config.json"))
    files = TEXTS[config.data](config.data_dir, config.max_characters)
    about = read_json(run_dir / "model.json")
    if cut(files).digest != about["sha256"]:
        raise RunError(f"{run_dir} was trained on another text than --data {config.data} is now")
    is_library = config.data == "python"
    unseen = standard_library(None, WHOLE_LIBRARY)[len(files) :] if is_library else unseen_files(files)
    if len(unseen) < 2:
        raise RunError(f"{len(unseen)} whole file(s) were left out of the training of {run_dir}, 2 are needed")
    return tuple(labelled(unseen[first::2], most, about["vocabulary"]) for first in (0, 1))


def window(holds: np.ndarray, text: str) -> slice:  # bool [N]
    """Returns some lines of a text: those in which the property begins most often."""
    starts = [0, *(index + 1 for index, character in enumerate(text) if character == "\n")]
    begins = np.concatenate([[0], np.cumsum(np.diff(holds.astype(int)) > 0)])
    count = max(len(starts) - LINES, 1)
    ends = [starts[n + LINES] if n + LINES < len(starts) else len(text) for n in range(count)]
    best = max(range(count), key=lambda n: begins[ends[n] - 1] - begins[starts[n]])
    return slice(starts[best], ends[best])


def colored(text: str, values: np.ndarray) -> str:  # [N]
    """Returns text as HTML, the background of each character blue at 1, red at -1 and none at 0."""
    levels = np.round(10 * np.asarray(values, np.float32)).astype(int)
    parts = []
    for level, group in itertools.groupby(zip(text, levels, strict=True), key=lambda pair: pair[1]):
        red, green, blue = (round(255 * part) for part in (BLUE if level > 0 else RED))
        inside = html.escape("".join(character for character, _ in group))
        parts.append(f'<span style="background:rgb({red} {green} {blue}/{abs(level) / 10:.1f})">{inside}</span>')
    return "".join(parts)


@mpl.rc_context(STYLE)
def picture(text: str, values: np.ndarray, title: str) -> Figure:  # [N]
    """Draws text on the colours of `colored`, lines cut where they are very long."""
    colors, lines = np.ones((LINES, COLUMNS, 3)), []
    places = itertools.accumulate((len(line) + 1 for line in text.split("\n")), initial=0)
    for row, (start, line) in enumerate(zip(places, text.split("\n")[:LINES], strict=False)):
        part = np.asarray(values[start : start + min(len(line), COLUMNS)], np.float32)[:, None]
        colors[row, : len(part)] = 1 - np.abs(part) * (1 - np.where(part > 0, BLUE, RED))
        lines.append(line[:COLUMNS])
    width = WIDTH / COLUMNS
    figure = Figure((WIDTH, LINES * 1.9 * width + 0.4))
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    axes = figure.add_axes((0, 0, 1, 1 - 0.4 / figure.get_figheight()))
    axes.imshow(colors, aspect="auto", interpolation="nearest", extent=(0, COLUMNS, LINES, 0))
    for row, line in enumerate(lines):
        size = 72 * width / MONOSPACE_ADVANCE
        axes.text(0, row + 0.5, line, family="DejaVu Sans Mono", fontsize=size, va="center_baseline", parse_math=False)
    axes.set_axis_off()
    return figure


def main() -> None:
    """Searches and shows as the command line says."""
    with exit_on(RunError, ValueError, OSError):
        options = tyro.cli(Options, prog="python -m train.hidden_units")
        show(options.run_dir, options.output or options.run_dir / "hidden_units", options.characters)


def show(run_dir: Path, directory: Path, most: int) -> None:
    """Searches the units of a run, prints what was found, and writes page, pictures and `found.json`.

    Raises:
        RunError: the run is not complete, not of Python source, or of a Transformer, or the texts are too short.
        FileExistsError: the directory exists.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} exists: give another --output")
    trained = read_language_model(run_dir)
    if not isinstance(trained.model, LanguageModel):
        raise RunError(f"{run_dir} holds a Transformer: hidden units are those of recurrent layers")
    texts = read_texts(run_dir, most)
    if not varying(*texts):
        sizes = " and ".join(str(len(part.text)) for part in texts)
        raise RunError(
            f"no property of source code holds in a part of both texts, of {sizes} characters: give more --characters"
        )
    untrained = jv.init(trained.model, jax.random.key(read_json(run_dir / "config.json")["seed"]))
    tokens = [encode(part.text, trained.vocabulary) for part in texts]
    run = lambda variables: [activations(trained.model, variables, part) for part in tokens]
    units = run(trained.variables)
    found = search(*zip(units, texts, strict=True))
    before = search(*zip(run(untrained), texts, strict=True))
    directory.mkdir(parents=True)
    write_json(
        directory / "found.json",
        {
            name: {
                "unit": unit_name(trained.model, unit.unit),
                **dataclasses.asdict(unit),
                "untrained": before[name].measured,
                "share": float(texts[1].holds[name].mean()),
            }
            for name, unit in found.items()
        },
    )
    sections = []
    for number, (name, unit) in enumerate(found.items(), start=1):
        title = (
            f"{name}: {unit_name(trained.model, unit.unit)}{' (low)' if unit.sign < 0 else ''}, "
            f"AUROC {unit.measured:.3f}, untrained {before[name].measured:.3f}"
        )
        print(f"{title}; {unit.chosen:.3f} where it was chosen")
        shown = window(texts[1].holds[name], texts[1].text)
        text, values = texts[1].text[shown], units[1][shown, unit.unit]
        sections.append(f"<h2>{html.escape(title)}</h2><pre>{colored(text, values)}</pre>")
        picture(text, values, title).savefig(directory / f"{number}-{name.replace(' ', '-')}.png", dpi=150)
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    write_atomically(
        directory / "hidden_units.html", page.substitute(run=html.escape(str(run_dir)), units="".join(sections))
    )
    print(directory / "hidden_units.html")


if __name__ == "__main__":
    main()
