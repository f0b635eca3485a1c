"""torchvision's ShuffleNetV2."""

from functools import partial

from torch import nn
from torchvision.models import ShuffleNetV2

from tests.reference.torch_families.reference import Reference

WIDTHS = {
    "0_5": [24, 48, 96, 192, 1024],
    "1_0": [24, 116, 232, 464, 1024],
    "1_5": [24, 176, 352, 704, 1024],
    "2_0": [24, 244, 488, 976, 2048],
}


def with_means(widths: list[int], **options) -> ShuffleNetV2:
    """A network whose means pass through a module called `means`."""
    network = ShuffleNetV2([4, 8, 4], widths, **options)
    network.means = nn.Identity()
    network.fc.register_forward_pre_hook(lambda module, inputs: network.means(*inputs))
    return network


INFERENCE = {
    f"shufflenet_v2_x{width}": Reference(partial(with_means, widths), ("stage2", "stage3", "stage4"), "means")
    for width, widths in WIDTHS.items()
}
SHORT = {"shufflenet_v2": Reference(partial(ShuffleNetV2, [2, 1, 1], [24, 48, 96, 192, 128]), (), "")}
