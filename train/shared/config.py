"""The options that every training script has beside those of its own."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

from train.shared.mesh import Compilation
from train.shared.optimizer import OptimizerConfig
from train.shared.seeds import check_seed


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long to train, how, and where; a script's `Config` inherits these and says what is trained, and on what."""

    epochs: int = 1
    """Passes over the training set."""
    batch_size: int = 32
    """Examples per step, over all devices."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and reductions are float32."""
    seed: int = 0
    """Of all that is random: initial parameters, data order, augmentation, dropout."""
    evaluate_every: int = 1
    """Epochs between evaluations on the validation split, each followed by a checkpoint."""
    patience: int | None = None
    """Evaluations in a row without a new best after which the run ends; None for never. One as good as the best is no
    new best, but the latest of them is what is kept."""
    max_nonfinite: int = 10
    """Steps in a row with a loss that is not finite before the run stops; each such step is skipped."""
    devices: int | None = None
    """Devices to use; None for all."""
    fsdp: int = 1
    """Devices over which each copy of the parameters is cut up."""
    compile: Compilation = "jit"
    """How steps are compiled: jit, or pmap, pure data parallelism with a copy of the program for each device."""
    run_dir: Path | None = None
    """Directory of the run, by default one below runs/. An unfinished run in it is gone on with."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """Options of the optimizer."""

    def __post_init__(self):
        """Names the option that cannot be.

        Raises:
            ValueError: an option outside its range.
        """
        self.check_least(1, "epochs", "evaluate_every", "max_nonfinite")
        check_seed(self.seed)
        if self.patience is not None:
            self.check_least(1, "patience")

    def check_least(self, least: float, *names: str) -> None:
        """Raises ValueError for the first of the options named that is below `least`, or not finite."""
        for name in names:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"--{name.replace('_', '-')} must be finite, got {getattr(self, name)}")
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(self, name)}")

    def check_rates(self, *names: str) -> None:
        """Raises ValueError for the first of the options named that is not from 0 to below 1."""
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be from 0 to below 1, got {getattr(self, name)}")

    @property
    def name(self) -> str:
        """What is trained, on what, and the seed."""
        raise NotImplementedError

    @property
    def directory(self) -> Path:
        """The directory of the run."""
        return self.run_dir or Path("runs", self.name)
