"""The report of a run: one HTML file that holds everything it shows."""

import base64
import io
import math
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import flax
import jax
from matplotlib.figure import Figure

import jaxvision
from train.shared.files import write_atomically
from train.shared.metrics import Record
from train.shared.run import flatten

TEMPLATE = Path(__file__).with_name("report.html")
DOTS_PER_INCH = 150
CSS_PIXELS_PER_INCH = 96


def write_report(
    directory: Path,
    *,
    title: str,
    summary: Mapping[str, str],
    config: Mapping[str, Any],
    records: Sequence[Record],
    figures: Mapping[str, Figure],
) -> Path:
    """Writes `report.html`, which needs no other file, and the figures as PNG files under `figures/`.

    Args:
        directory: of the run.
        title: of the report.
        summary: the numbers to see first, by name; the first of them stands out.
        config: the options of the run; groups may be nested.
        records: as `read_metrics` gives them.
        figures: by caption.

    Returns:
        The path of the report.
    """
    (directory / "figures").mkdir(exist_ok=True)
    images = []
    for number, (caption, figure) in enumerate(figures.items(), start=1):
        png = _png(figure)
        slug = re.sub(r"[^a-z0-9]+", "-", caption.lower())[:40].strip("-")
        write_atomically(directory / "figures" / f"{number}-{slug}.png", png)
        images.append(_figure(caption, png, round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)))
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        written=escape(datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z")),
        numbers="\n".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in summary.items()),
        figures="\n".join(images),
        metrics_hidden="" if records else " hidden",
        metrics="\n".join(_row(name, *values) for name, values in _last(records).items()),
        environment="\n".join(_row(name, value) for name, value in _environment().items()),
        config="\n".join(_row(name, value) for name, value in flatten(dict(config)).items()),
    )
    path = directory / "report.html"
    write_atomically(path, page)
    return path


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def _figure(caption: str, png: bytes, width: int) -> str:
    data = base64.b64encode(png).decode("ascii")
    image = f'<img alt="{escape(caption)}" width="{width}" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{escape(caption)}</figcaption><div>{image}</div></figure>"


def _row(name: str, *values: Any) -> str:
    cells = "".join(f"<td>{escape(str(value))}</td>" for value in values)
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _last(records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """Returns the last value of each metric in training and in validation, and of what has no such sides."""
    last = {name: value for record in records for name, value in record.items()}
    names = dict.fromkeys(name.removeprefix("train/").removeprefix("val/") for name in last)
    sides = {name: (last.get(f"train/{name}", last.get(name)), last.get(f"val/{name}")) for name in names}
    return {name.replace("_", " "): tuple(map(_number, pair)) for name, pair in sides.items()}


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1000 else f"{value:.5g}"


def _environment() -> dict[str, str]:
    devices = Counter(device.device_kind for device in jax.devices())
    return {
        "devices": ", ".join(f"{count} × {kind}" for kind, count in devices.items()),
        "jaxvision": jaxvision.__version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
