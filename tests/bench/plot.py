"""Draws the plot for the README as SVG: bars that are legible on a light and on a dark page."""
import html
import math

from . import latency, results, speed

WIDTH, LEFT, RIGHT, BAR, GAP, TITLE = 860, 270, 110, 18, 8, 44
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 15px }
  .note { fill: #57606a; font-size: 12px }
  .bar { fill: #8c959f } .ours { fill: #1a7f37 } .spread { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #6e7681 } .ours { fill: #3fb950 }
    .spread { stroke: #e6edf3 }
  }"""
PANELS = (
    (speed.GROUP, "Requests per second behind nginx", "more is better; logarithmic", True),
    (speed.CPU, "CPU of the backend per request", "less is better; logarithmic; without the database's own", True),
    (latency.GROUP, "p99 latency at 1,000 requests per second", "less is better; logarithmic", True),
)


def text(x, y, content, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{html.escape(content)}</text>'


class Scale:
    """Maps values to pixels. A logarithmic scale starts at the power of ten below the least value."""

    def __init__(self, least, greatest, is_logarithmic):
        self.of = math.log10 if is_logarithmic else float
        self.low = math.floor(math.log10(least) - 0.3) if is_logarithmic else 0.0
        self.high = self.of(greatest)

    def __call__(self, value):
        share = (self.of(value) - self.low) / (self.high - self.low or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def panel(top, members, title, note, is_logarithmic):
    """Returns the lines and the height."""
    scale = Scale(min(min(s.samples) for s in members.values()), max(max(s.samples) for s in members.values()),
                  is_logarithmic)
    out = [text(0, top + 16, title, ' class="title"'),
           text(WIDTH, top + 16, note, ' class="note" text-anchor="end"')]
    y = top + TITLE - 14
    for name, series in members.items():
        middle, end = y + BAR / 2, scale(series.median)
        out.append(text(LEFT - 10, middle + 4.5, series.label, ' text-anchor="end"'))
        out.append(f'<rect class="bar{" ours" if name == "health" else ""}" x="{LEFT}" y="{y}" '
                   f'width="{max(1.0, end - LEFT):.1f}" height="{BAR}" rx="2"/>')
        out.append(f'<line class="spread" x1="{scale(min(series.samples)):.1f}" x2="{scale(max(series.samples)):.1f}" '
                   f'y1="{middle}" y2="{middle}"/>')
        out.append(text(scale(max(series.samples)) + 8, middle + 4.5, f"{results.number(series.median)} {series.unit}"))
        y += BAR + GAP
    return out, y - top + 18


def draw(found):
    out, top = [], 4
    for group, title, note, is_logarithmic in PANELS:
        lines, height = panel(top, found.series[group], title, note, is_logarithmic)
        out += lines
        top += height
    machine = found.machine
    out.append(text(0, top + 8, f"Medians; the line is the spread. {machine['cores']} cores, {machine['cpu']}, Linux "
                                f"{machine['kernel']}; nginx, wrk and the database on the same machine.",
                    ' class="note"'))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 18}" width="{WIDTH}" '
            f'height="{top + 18}" role="img" aria-label="health-api compared with its peers">\n'
            f"<style>{STYLE}\n</style>\n" + "\n".join(out) + "\n</svg>\n")
