"""Sizes of the agent, named by parameter count.

They are those of docs/algorithm.md 9 and of extended data table 3 of Nature 2025. Every size keeps
32 latent groups, 8 dynamics blocks and 8 decoder blocks.
"""

from typing import NamedTuple


class Size(NamedTuple):
    """Widths that scale together."""

    deter: int  # units of the recurrent state
    hidden: int  # units of the hidden layers around it
    classes: int  # classes per latent group
    depth: int  # channels of the first convolution, before its multiple
    units: int  # units of encoder, decoder and heads


SIZES = {
    "100k": Size(128, 32, 4, 2, 32),
    "500k": Size(128, 64, 4, 4, 128),
    "1m": Size(512, 64, 4, 4, 64),
    "12m": Size(2048, 256, 16, 16, 256),
    "25m": Size(3072, 384, 24, 24, 384),
    "50m": Size(4096, 512, 32, 32, 512),
    "100m": Size(6144, 768, 48, 48, 768),
    "200m": Size(8192, 1024, 64, 64, 1024),
    "400m": Size(12288, 1536, 96, 96, 1536),
}
