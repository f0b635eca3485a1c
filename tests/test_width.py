"""Numbers of channels."""

import pytest

from jaxvision.layers.width import round_width


@pytest.mark.parametrize(
    ("width", "divisor", "expected"),
    [
        (17.6, 8, 16),  # 16 channels of EfficientNet-B0 in B2
        (44.8, 8, 48),  # 32 in B4
        (179.2, 8, 176),  # 112 in B5, table 1 of the paper times 1.6
        (10, 8, 16),  # 8 would be less than nine tenths
        (3, 8, 8),
        (456, 264, 528),  # the first stage of RegNetY-128GF
        (2904, 264, 2904),
    ],
)
def test_multiples(width, divisor, expected):
    assert round_width(width, divisor) == expected


@pytest.mark.reference
def test_multiples_are_torchvisions():
    make_divisible = pytest.importorskip("torchvision.models._utils")._make_divisible
    cases = [(width / 10, divisor) for width in range(10, 3000, 7) for divisor in (8, 16, 24, 112)]
    assert [round_width(*case) for case in cases] == [make_divisible(*case) for case in cases]
