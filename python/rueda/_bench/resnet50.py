"""The parameters of ResNet-50 as shapes: He et al. 2016, doi:10.1109/CVPR.2016.90, table 1."""

from __future__ import annotations

RESNET50_ELEMENTS = 25_557_032

Layer = tuple[tuple[int, ...], int]


def resnet50_layers() -> list[Layer]:
    """Return ResNet-50's 161 parameters as torchvision orders them: shape, and multiplications.

    The multiplications are those of one image of 224 x 224; normalisation and biases count as none.
    """
    layers = _convolution((64, 3, 7, 7), 112)
    inputs, side = 64, 56
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            # As in torchvision, the second convolution of a stage's first block has the stride.
            before, side = side, side // 2 if block == 0 and width > 64 else side
            layers += _convolution((width, inputs, 1, 1), before)
            layers += _convolution((width, width, 3, 3), side)
            layers += _convolution((4 * width, width, 1, 1), side)
            if block == 0:
                layers += _convolution((4 * width, inputs, 1, 1), side)
            inputs = 4 * width
    return [*layers, ((1000, 2048), 1000 * 2048), ((1000,), 0)]


def resnet50_shapes() -> list[tuple[int, ...]]:
    """Return the shapes alone."""
    return [shape for shape, _ in resnet50_layers()]


def _convolution(shape: tuple[int, int, int, int], side: int) -> list[Layer]:
    """Return a convolution and its normalisation; ``side`` is that of what comes out."""
    outputs, inputs, height, width = shape
    work = outputs * inputs * height * width * side * side
    return [(shape, work), ((outputs,), 0), ((outputs,), 0)]
