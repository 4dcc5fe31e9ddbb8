"""Draw the numbers of runs. Nothing is read here."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from iqattack.reporting.figures.look import DASHES, GREY, MARKERS, PaperFigure, looking
from iqattack.reporting.figures.series import Curve, Scores, Seen
from iqattack.runs.numbers import number, percent

WIDTHS = {1: 3.5, 2: 7.16}  # inches: one and two columns of an IEEE page
LETTER = 0.053  # inches, of the average letter of a legend
HANDLE = 0.5  # inches, of a legend's sample and the gaps around it
MANY = 2000  # points: more are rasterised, and fainter
SIDE = 2.9  # inches: largest square facet
LOWEST = 1.6  # inches: lowest facet
LINE = 0.16  # inches, of a line of text


class Look:
    """Colour, dashes and marker of the k-th run, which also differ in grey."""

    def __init__(self, k: int) -> None:
        colours = mpl.rcParams["axes.prop_cycle"].by_key().get("color", ["black"])
        self.colour = colours[k % len(colours)]
        self.dashes = DASHES[k % len(DASHES)]
        self.marker = MARKERS[k % len(MARKERS)]

    def line(self) -> Line2D:
        """A sample for the legend."""
        return Line2D([], [], color=self.colour, linestyle=self.dashes, marker=self.marker)

    def point(self) -> Line2D:
        """A sample without a line."""
        return Line2D([], [], color=self.colour, linestyle="none", marker=self.marker)


def gain_queries(
    curves: Sequence[Curve], columns: int, height: float | None, style: Mapping[str, Any]
) -> PaperFigure:
    """Mean gain against queries, a line for each run."""
    with looking(style):
        looks = [Look(k) for k in range(len(curves))]
        labels = [_wrapped(curve.of.label, columns) for curve in curves]
        named = len(curves) > 1
        figure = _figure(columns, height, _legend_height(labels, columns) if named else 0.0, style)
        axes = figure.add_subplot()
        for k, (curve, look) in enumerate(zip(curves, looks, strict=True)):
            _line(axes, curve, look, (k + 0.5) / len(curves))
        _over_queries(axes, curves)
        axes.set_ylabel("mean gain (% of the score range)")
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        if named:
            _legend(figure, [look.line() for look in looks], labels, columns)
    return figure


def crossing(
    curves: Sequence[Sequence[Curve]],
    columns: int,
    height: float | None,
    style: Mapping[str, Any],
) -> PaperFigure:
    """The share of images that crossed a boundary against queries: for one run, a line for each
    boundary; for several, a facet for each boundary, with a line for each run. curves: by run, then
    boundary.
    """
    with looking(style):
        boundaries = [curve.boundary for curve in curves[0]]
        if len(curves) == 1:
            facets = [list(curves[0])]
            labels = [f"boundary at {percent(b, 0)}" for b in boundaries]
        else:
            facets = [[of_run[k] for of_run in curves] for k in range(len(boundaries))]
            labels = [_wrapped(of_run[0].of.label, columns) for of_run in curves]
        looks = [Look(k) for k in range(len(labels))]
        rows, across = _grid(len(facets), columns)
        figure = _figure(columns, height, _legend_height(labels, columns), style, rows, across)
        all_axes = _axes(figure, rows, across, len(facets))
        for axes in all_axes[::across]:
            axes.set_ylabel("images that crossed (%)")
        for axes, facet in zip(all_axes, facets, strict=True):
            for k, (curve, look) in enumerate(zip(facet, looks, strict=True)):
                _line(axes, curve, look, (k + 0.5) / len(facet), step=True)
            _over_queries(axes, facet)
            axes.set_ylim(-2.0, 102.0)
            if len(curves) > 1:
                axes.set_title(f"boundary at {percent(facet[0].boundary, 0)}")
        _legend(figure, [look.line() for look in looks], labels, columns)
    return figure


def scatter(
    scores: Sequence[Scores], columns: int, height: float | None, style: Mapping[str, Any]
) -> PaperFigure:
    """Attacked against clean scores, a facet for each run."""
    with looking(style):
        up, down = Look(0), Look(1)
        rows, across = _grid(len(scores), columns)
        side = min(WIDTHS[columns] / across, SIDE)
        titles = [_title(each, side, named=len(scores) > 1) for each in scores]
        lines = max(title.count("\n") + 1 for title in titles)
        figure = PaperFigure(
            figsize=(
                WIDTHS[columns],
                height or rows * (side + LINE * lines) + 0.05 + _legend_height(("",), columns),
            ),
            layout="constrained",
        )
        figure.style = style
        ways = {
            True: ("raised", "^", up.colour, up.colour),
            False: ("lowered", "v", down.colour, "none"),
        }
        all_axes = _axes(figure, rows, across, len(scores))
        better = {_better(each) for each in scores}
        for k, (axes, each) in enumerate(zip(all_axes, scores, strict=True)):
            if k % across == 0:
                axes.set_ylabel("attacked score")
            if k + across >= len(scores) or len(better) > 1:
                axes.set_xlabel(f"clean score{_better(each)}")
        for axes, each, title in zip(all_axes, scores, titles, strict=True):
            low, high = _limits([other for other in scores if _range(other) == _range(each)])
            axes.axline((low, low), slope=1.0, color=GREY, linewidth=0.7, dashes=(4, 2), zorder=1)
            for raised, (_, marker, edge, face) in ways.items():
                chosen = each.raised == raised
                axes.plot(
                    each.clean[chosen],
                    each.attacked[chosen],
                    marker=marker,
                    color=edge,
                    markerfacecolor=face,
                    markeredgewidth=0.7,
                    linestyle="none",
                    alpha=_alpha(len(each.clean)),
                    rasterized=len(each.clean) > MANY,
                )
            axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1.0)
            axes.locator_params(nbins=5)
            axes.set_title(title, parse_math=False)
        samples = [
            Line2D([], [], linestyle="none", marker=marker, color=edge, markerfacecolor=face)
            for _, marker, edge, face in ways.values()
        ]
        samples.append(Line2D([], [], color=GREY, linewidth=0.7, dashes=(4, 2)))
        names = [name for name, *_ in ways.values()]
        _legend(figure, samples, [*(f"target: {name}" for name in names), "unchanged"], columns)
    return figure


def visibility(
    seen: Sequence[Seen],
    measure: str,
    columns: int,
    height: float | None,
    style: Mapping[str, Any],
) -> PaperFigure:
    """Gain against SSIM or JOD: a faint mark for each image, and the means with their intervals."""
    with looking(style):
        looks = [Look(k) for k in range(len(seen))]
        labels = [_wrapped(each.of.label, columns) for each in seen]
        named = len(seen) > 1
        figure = _figure(columns, height, _legend_height(labels, columns) if named else 0.0, style)
        axes = figure.add_subplot()
        for each, look in zip(seen, looks, strict=True):
            axes.plot(
                each.similarity,
                100.0 * each.gain,
                marker=look.marker,
                color=look.colour,
                linestyle="none",
                markersize=2.6,
                markeredgewidth=0.0,
                alpha=0.5 * _alpha(len(each.gain)),
                rasterized=len(each.gain) > MANY,
                zorder=2,
            )
        for each, look in zip(seen, looks, strict=True):
            x, y = each.mean_similarity, each.mean_gain
            axes.errorbar(
                x.value,
                100.0 * y.value,
                xerr=_arms(x.value, x.interval),
                yerr=100.0 * _arms(y.value, y.interval),
                marker=look.marker,
                color=look.colour,
                markersize=6.0,
                markeredgecolor="white",
                markeredgewidth=0.6,
                elinewidth=1.0,
                capsize=2.0,
                zorder=3,
            )
        axes.set_xlabel("SSIM" if measure == "ssim" else "JOD (10: no visible difference)")
        axes.set_ylabel("gain (% of the score range)")
        if named:
            _legend(figure, [look.point() for look in looks], labels, columns)
    return figure


# -- parts ----------------------------------------------------------------------------------------


def _figure(
    columns: int,
    height: float | None,
    legend: float,
    style: Mapping[str, Any],
    rows: int = 1,
    across: int = 1,
) -> PaperFigure:
    """An empty figure. legend: its height in inches. rows, across: numbers of facets."""
    width = WIDTHS[columns]
    each = min(max(0.68 * width / across, LOWEST), SIDE)
    figure = PaperFigure(figsize=(width, height or rows * each + legend), layout="constrained")
    figure.style = style
    return figure


def _grid(facets: int, columns: int) -> tuple[int, int]:
    """Rows, and facets in each."""
    most = 2 * columns
    rows = -(-facets // most)
    return rows, -(-facets // rows)


def _axes(figure: PaperFigure, rows: int, across: int, facets: int) -> list[Axes]:
    return [figure.add_subplot(rows, across, k + 1) for k in range(facets)]


def _line(axes: Axes, curve: Curve, look: Look, offset: float, *, step: bool = False) -> None:
    """Draw a mean and its band. offset: shifts the markers, so that those of several lines do not
    overlap. step: whether to draw steps.
    """
    every = max(1, len(curve.queries) // 6)
    axes.plot(
        curve.queries,
        100.0 * curve.mean,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markevery=(min(int(offset * every), len(curve.queries) - 1), every),
        drawstyle="steps-post" if step else "default",
        zorder=3,
    )
    axes.fill_between(
        curve.queries,
        100.0 * curve.low,
        100.0 * curve.high,
        color=look.colour,
        alpha=0.15,
        linewidth=0.0,
        step="post" if step else None,
        zorder=2,
    )


def _over_queries(axes: Axes, curves: Sequence[Curve]) -> None:
    longest = max(int(curve.queries[-1]) for curve in curves)
    axes.set_xscale("log")
    axes.set_xlim(1.0, max(longest, 2) * 1.12)
    axes.xaxis.set_major_locator(LogLocator(10.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("queries per image")


def _legend(
    figure: PaperFigure, samples: Sequence[Line2D], labels: Sequence[str], columns: int
) -> Legend:
    """Draw the legend above the axes. Labels are user texts, not mathematics."""
    legend = figure.legend(
        samples,
        [str(k) for k in range(len(labels))],  # labels that begin with _ would be left out
        loc="outside upper center",
        ncols=_across(labels, columns),
        borderaxespad=0.1,
        handlelength=None
        if any(str(sample.get_linestyle()) != "None" for sample in samples)
        else 1.0,
    )
    for shown, label in zip(legend.get_texts(), labels, strict=True):
        shown.set_parse_math(False)
        shown.set_text(label)
    return legend


def _across(labels: Sequence[str], columns: int) -> int:
    """The number of labels that fit side by side."""
    lengths = [max(map(len, label.split("\n"))) for label in labels]
    for across in range(len(labels), 1, -1):
        rows = -(-len(labels) // across)
        longest = [max(lengths[k : k + rows]) for k in range(0, len(labels), rows)]
        if sum(LETTER * length + HANDLE for length in longest) <= WIDTHS[columns]:
            return len(longest)
    return 1


def _legend_height(labels: Sequence[str], columns: int) -> float:
    rows = -(-len(labels) // _across(labels, columns))
    lines = max(label.count("\n") + 1 for label in labels)
    return LINE * rows * lines + 0.05


def _wrapped(label: str, columns: int) -> str:
    """Wrap a label to the width of the legend."""
    return textwrap.fill(label, int((WIDTHS[columns] - HANDLE) / LETTER), break_on_hyphens=False)


def _title(scores: Scores, side: float, *, named: bool) -> str:
    """The title of a facet `side` inches wide: its run, and SROCC with its interval."""
    agreement = f"SROCC {number(scores.srocc, 2)}"
    if not math.isnan(scores.interval[0]):
        agreement += f" [{', '.join(number(end, 2) for end in scores.interval)}]"
    if not named:
        return agreement
    label = textwrap.fill(scores.of.label, max(int(side / LETTER), 8), break_on_hyphens=False)
    return f"{label}\n{agreement}"


def _range(scores: Scores) -> tuple[float, float]:
    return scores.of.run.model.score_range


def _better(scores: Scores) -> str:
    return " (lower is better)" if scores.of.run.model.lower_better else ""


def _limits(scores: Sequence[Scores]) -> tuple[float, float]:
    """The limits of both axes: all scores, with a margin."""
    values = np.concatenate([v for each in scores for v in (each.clean, each.attacked)])
    values = values[np.isfinite(values)]
    if not values.size:
        return _range(scores[0])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _arms(value: float, interval: tuple[float, float]) -> Any:
    """The lengths of error bars, (2, 1); None without an interval."""
    low, high = interval
    return np.nan_to_num(np.array([[value - low], [high - value]])).clip(min=0.0)


def _alpha(points: int) -> float:
    return 1.0 if points <= MANY // 10 else 0.6 if points <= MANY else 0.3
