"""Draws the figures of docs/concepts.md and docs/physics.md: python docs/hooks/figures.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.patches
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

IMAGES = Path(__file__).parents[1] / "images" / "concepts"
INK, SOFT, FORWARD, BACK, FILL = "#1d2733", "#5b6877", "#2a6fdb", "#e8702a", "#eef2f6"

SOURCE, MODES, WIDTH = 0.5, (-1.1, 1.1), 0.25
"""Spread of the noise, and means and spread of the two latents that the first figure aims at."""
STEPS = 8


def velocity(z: np.ndarray, u: float) -> np.ndarray:
    """The field that carries the noise to two modes: E[z_1 - z_0 | z_u = z], in closed form."""
    spread = (1 - u) ** 2 * SOURCE**2 + u**2 * WIDTH**2
    weights = np.stack([np.exp(-((z - u * m) ** 2) / (2 * spread)) for m in MODES])
    weights /= weights.sum(0)
    slope = (u * WIDTH**2 - (1 - u) * SOURCE**2) / spread
    return sum(w * (m + slope * (z - u * m)) for w, m in zip(weights, MODES, strict=True))


def flow_policy() -> Figure:
    """Noise becomes actions in K steps."""
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    noise, path, actions = figure.subplots(1, 3, width_ratios=(1, 3.2, 1), sharey=False)
    many = rng.normal(size=20_000) * SOURCE
    ends = many.copy()
    for k in range(STEPS):
        ends += velocity(ends, k / STEPS) / STEPS
    few = np.sort(many[:30])
    u, lines = np.linspace(0, 1, STEPS + 1), [few]
    for k in range(STEPS):
        lines.append(lines[-1] + velocity(lines[-1], k / STEPS) / STEPS)
    path.plot(u, np.stack(lines), "-", color=FORWARD, lw=0.8, alpha=0.75)
    path.plot(u, np.stack(lines), ".", color=FORWARD, ms=2.5)
    path.set(xlabel="flow time u", xlim=(0, 1), ylim=(-2, 2), yticks=[])
    path.set_title(f"{STEPS} steps of dz/du = v(z, u, s)", fontsize=9)
    for panel, values, title in ((noise, many, "noise z₀"), (actions, np.tanh(ends), "action")):
        limit = 2.0 if panel is noise else 1.0
        panel.hist(values, np.linspace(-limit, limit, 60), orientation="horizontal", color=BACK)
        panel.set(ylim=(-limit, limit), xticks=[])
        panel.set_title(title, fontsize=9)
    noise.invert_xaxis()
    actions.yaxis.tick_right()
    actions.set_title("a = tanh(z at u = 1)", fontsize=9)
    for panel in (noise, path, actions):
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(labelsize=8, length=2)
    return figure


def box(panel: Axes, x: float, y: float, text: str, width: float = 1.5, tall: float = 0.8) -> None:
    """A rounded box around a text."""
    corner = (x - width / 2, y - tall / 2)
    patch = matplotlib.patches.FancyBboxPatch(
        corner, width, tall, boxstyle="round,pad=0,rounding_size=.12", fc=FILL, ec=INK, lw=1
    )
    panel.add_patch(patch)
    panel.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK)


def arrow(
    panel: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = FORWARD
) -> None:
    """An arrow between two points."""
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", end, start, arrowprops=style)


def sheet(width: float, height: float, inches: float = 7.2) -> tuple[Figure, Axes]:
    """An empty drawing of so many units."""
    figure = Figure(figsize=(inches, inches * height / width))
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set(xlim=(0, width), ylim=(0, height))
    panel.axis("off")
    return figure, panel


def gradient_through_physics() -> Figure:
    """One backward pass through physics and flow."""
    figure, panel = sheet(12, 5.6)
    for i, x in enumerate((2.4, 6.4, 10.4)):
        t = "t" if i == 0 else f"t + {i}"
        box(panel, x, 4.7, f"noise at {t}", 1.9, 0.6)
        box(panel, x, 3.5, "flow: K steps", 1.9)
        box(panel, x, 1.8, "physics: a step", 1.9)
        panel.text(x, 0.45, f"reward at {t}", ha="center", va="center", fontsize=8.5, color=INK)
        arrow(panel, (x - 0.15, 4.4), (x - 0.15, 3.9))
        arrow(panel, (x - 0.15, 3.1), (x - 0.15, 2.2))
        arrow(panel, (x + 0.15, 2.2), (x + 0.15, 3.1), BACK)
        arrow(panel, (x - 0.15, 1.4), (x - 0.15, 0.7))
        arrow(panel, (x + 0.15, 0.7), (x + 0.15, 1.4), BACK)
        panel.text(x - 0.28, 2.65, "action", ha="right", va="center", fontsize=8, color=SOFT)
    for x in (3.35, 7.35):
        arrow(panel, (x, 1.95), (x + 2.1, 1.95))
        arrow(panel, (x + 2.1, 1.65), (x, 1.65), BACK)
        panel.text(x + 1.05, 2.1, "state", ha="center", va="bottom", fontsize=8, color=SOFT)
        arrow(panel, (x + 1.35, 1.95), (x + 2.1, 3.35))
        arrow(panel, (x + 2.1, 3.65), (x + 1.1, 1.95), BACK)
    arrow(panel, (0.4, 1.95), (1.45, 1.95))
    arrow(panel, (0.55, 1.95), (1.45, 3.35))
    panel.text(0.4, 2.3, "state", ha="center", va="bottom", fontsize=8, color=SOFT)
    arrow(panel, (11.35, 1.95), (11.9, 1.95))
    arrow(panel, (11.9, 1.65), (11.35, 1.65), BACK)
    panel.text(0.2, 5.25, "forward: the rollout", fontsize=9, color=FORWARD)
    panel.text(3.2, 5.25, "backward: d(return) / d(everything)", fontsize=9, color=BACK)
    return figure


def two_terms() -> Figure:
    """What the flow is matched to."""
    rng = np.random.default_rng(1)
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    own = np.concatenate([rng.normal(m, 0.12, 12) for m in (-0.5, 0.75)])
    uniform = np.arctanh(rng.uniform(-0.999, 0.999, 24))
    titles = (
        "L_past: towards latents\nthat the policy drew itself",
        "L_uni: towards latents\nof uniform actions",
    )
    for panel, targets, title in zip(panels, (own, uniform), titles, strict=True):
        starts = rng.normal(size=len(targets)) * SOURCE
        for start, end in zip(starts, targets, strict=True):
            panel.plot([0, 1], [start, end], color=FORWARD, lw=0.8, alpha=0.7)
        panel.plot(np.zeros(len(starts)), starts, ".", color=SOFT, ms=4)
        panel.plot(np.ones(len(targets)), targets, "o", color=BACK, ms=4)
        panel.set_title(title, fontsize=9)
        panel.set(xlabel="flow time u", xticks=(0, 1), ylim=(-3.3, 3.3))
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    panels[0].set_ylabel("latent z")
    return figure


def chunks() -> Figure:
    """When a policy looks and when it acts."""
    figure, panel = sheet(12, 4.4)
    steps = 12
    for row, (size, name) in enumerate(((1, "C = 1"), (4, "C = 4"))):
        y = 3.1 - 2.0 * row
        panel.text(0.15, y, name, fontsize=10, va="center", color=INK)
        for i in range(steps):
            x = 1.6 + 0.85 * i
            first = i % size == 0
            shade = FORWARD if first else "#9dbdee"
            panel.add_patch(matplotlib.patches.Rectangle((x, y - 0.28), 0.75, 0.56, fc=shade))
            panel.text(x + 0.375, y, f"a{i}", fontsize=8, ha="center", va="center", color="#fff")
            if first:
                arrow(panel, (x + 0.375, y + 0.82), (x + 0.375, y + 0.3), BACK)
    panel.text(1.6, 4.1, "the policy sees the state and draws noise", fontsize=8.5, color=BACK)
    arrow(panel, (1.6, 0.35), (11.8, 0.35), SOFT)
    panel.text(6.7, 0.05, "control steps", fontsize=8.5, color=SOFT, ha="center")
    return figure


def from_mjcf() -> Figure:
    """The way of docs/physics.md."""
    figure, panel = sheet(12, 10.6, 6.6)
    w = 5.4
    box(panel, 6, 10.1, "robot.xml (MJCF)", w)
    box(
        panel,
        6,
        8.7,
        "mjcf/parse.py: links, inertias, contacts\nmjcf/support.py refuses the rest",
        w,
    )
    box(panel, 6, 7.3, "model.py: Model\nplain arrays: a row a link, joint, contact", w)
    box(panel, 3.1, 5.9, "articulated_model.h: one array\nof integers, one of reals", w)
    box(panel, 9.0, 5.9, "native/*.h: equations, step,\nadjoint, contact law", w)
    box(panel, 3.1, 4.5, "kernel: step\nall substeps of a control step", w)
    box(panel, 9.0, 4.5, "kernel: adjoint\nthe step again, then backwards", w)
    box(panel, 6, 3.1, "bridge.py: one JAX function\njit, scan, vmap, grad", w)
    box(panel, 6, 1.8, "articulated.py: Articulated.step\n(state, control) to state", w)
    box(panel, 6, 0.5, "envs: task, Batch", w)
    arrow(panel, (6, 9.7), (6, 9.1))
    panel.text(6.2, 9.4, "the mujoco package compiles it", fontsize=8, va="center", color=SOFT)
    arrow(panel, (6, 8.3), (6, 7.7))
    arrow(panel, (5.2, 6.9), (3.6, 6.3))
    arrow(panel, (3.1, 5.5), (3.1, 4.9))
    arrow(panel, (3.9, 5.5), (8.0, 4.9))
    arrow(panel, (8.4, 5.5), (4.2, 4.9))
    arrow(panel, (9.0, 5.5), (9.0, 4.9))
    panel.text(9.2, 5.2, "Warp compiles it", fontsize=8, va="center", color=SOFT)
    arrow(panel, (3.6, 4.1), (5.2, 3.5))
    arrow(panel, (8.5, 4.1), (6.8, 3.5))
    arrow(panel, (6, 2.7), (6, 2.2))
    arrow(panel, (6, 1.4), (6, 0.9))
    return figure


FIGURES = (flow_policy, gradient_through_physics, two_terms, chunks, from_mjcf)


def main() -> None:
    """Write them all; the same figure is the same file."""
    matplotlib.rcParams |= {
        "svg.hashsalt": "rfo",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
    }
    IMAGES.mkdir(parents=True, exist_ok=True)
    for draw in FIGURES:
        path = IMAGES / f"{draw.__name__}.svg"
        draw().savefig(path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
