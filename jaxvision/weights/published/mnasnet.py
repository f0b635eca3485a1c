"""Published weights of MNASNet: torchvision's, in its order of preference."""

from collections.abc import Mapping

from jaxvision.weights.published.row import EVALUATED_AT_232, EVALUATED_AT_256, TORCHVISION, Published

PUBLISHED: Mapping[str, Published] = {
    "mnasnet0_5.tv_in1k": Published(
        TORCHVISION + "mnasnet0.5_top1_67.823-3ffadce67e.pth", "3ffadce67e", "BSD-3-Clause", 67.734, EVALUATED_AT_256
    ),
    "mnasnet0_75.tv_in1k": Published(
        TORCHVISION + "mnasnet0_75-7090bc5f.pth", "7090bc5f", "BSD-3-Clause", 71.18, EVALUATED_AT_232
    ),
    "mnasnet1_0.tv_in1k": Published(
        TORCHVISION + "mnasnet1.0_top1_73.512-f206786ef8.pth", "f206786ef8", "BSD-3-Clause", 73.456, EVALUATED_AT_256
    ),
    "mnasnet1_3.tv_in1k": Published(
        TORCHVISION + "mnasnet1_3-a4c69d6f.pth", "a4c69d6f", "BSD-3-Clause", 76.506, EVALUATED_AT_232
    ),
}
