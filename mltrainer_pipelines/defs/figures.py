"""Small pictures in an asset's metadata, drawn as SVG: no library, a few kilobytes."""

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT, _MARGIN = 720, 160, 34
_MOST_POINTS = 360


def coverage_plot(symbols: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Symbols with a bar in each session, as a line over the sessions.

    `symbols` is by session, in order; at least two. Of many sessions each point is the smallest of its neighbours: a single
    thin session stays visible.
    """
    keys, counts = list(symbols), list(symbols.values())
    step = -(-len(counts) // _MOST_POINTS)
    points = [min(counts[start : start + step]) for start in range(0, len(counts), step)]
    top = max(counts) or 1
    wide, high = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    line = " ".join(
        f"{_MARGIN + wide * place / max(len(points) - 1, 1):.1f},{_HEIGHT - _MARGIN - high * point / top:.1f}"
        for place, point in enumerate(points)
    )
    base = _HEIGHT - _MARGIN
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        f'<path d="M{_MARGIN} {base}H{_WIDTH - _MARGIN}" stroke="#bbb"/>'
        f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="1.5"/>'
        f'<text x="{_MARGIN}" y="18" fill="#444">symbols a session, 0 to {top:,}</text>'
        f'<text x="{_MARGIN}" y="{_HEIGHT - 12}" fill="#444">{keys[0]}</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 12}" fill="#444" text-anchor="end">{keys[-1]}</text></svg>'
    )
    least = min(symbols, key=lambda key: symbols[key])
    return dg.MetadataValue.md(
        f"![symbols a session](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})\n\n"
        f"fewest: {symbols[least]:,} symbols on {least}; most: {top:,}"
    )


def svg_of(figure: "Figure", words: str) -> dg.MarkdownMetadataValue:
    """A figure of matplotlib."""
    drawn = BytesIO()
    figure.savefig(drawn, format="svg")
    return dg.MetadataValue.md(f"![{words}](data:image/svg+xml;base64,{b64encode(drawn.getvalue()).decode()})")
