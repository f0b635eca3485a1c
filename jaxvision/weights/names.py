import dataclasses


@dataclasses.dataclass(frozen=True)
class Line:
    foreign: str
    transform: str | None = None
