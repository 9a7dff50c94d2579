"""The picture of the ratios: a bar for each of our two rows, and where the target is."""

import pathlib
from typing import Any

from benchmarks.case import BEST, LAST

COLOURS = {LAST: "#1f6f8b", BEST: "#99c1d6"}
ALSO_FIRST = 'jaxgd, keep="last", gtol'
"""The first row of the cases in which the tests are the point."""
ELSEWHERE = {"rates", "second-call", "million"}
"""Cases whose targets are not about the best peer or the limit."""
PANELS = {
    "times_as_fast_as_best_peer": (
        "times as fast as the best peer (longer is better)",
        "best peer",
    ),
    "times_the_limit": ("times the time of the limit (shorter is better)", "limit"),
}


def draw(known: dict[str, dict], path: pathlib.Path) -> bool:
    """Bars by case; whether there is a matplotlib to draw them."""
    pyplot = _pyplot()
    if pyplot is None:
        return False
    named = [
        name
        for name, case in known.items()
        if name not in ELSEWHERE and any(_of(case, row, key) for row in COLOURS for key in PANELS)
    ]
    figure, axes = pyplot.subplots(
        1, 2, sharey=True, figsize=(10, 1.4 + 0.42 * len(named)), layout="constrained"
    )
    for axis, (key, (title, over)) in zip(axes, PANELS.items(), strict=True):
        _panel(axis, known, named, key, over)
        axis.set_title(title, fontsize=10)
    axes[0].set_yticks(range(len(named)), named, fontsize=9)
    axes[0].set_ylim(len(named) - 0.4, -0.6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=9, frameon=False)  # fmt: skip
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not installed")
        return None
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _of(case: dict, row: str, key: str) -> float | None:
    names = {LAST: (LAST, ALSO_FIRST)}.get(row, (row,))
    return next((one[key] for one in case["rows"] if one["contender"] in names), None)


def _panel(axis: Any, known: dict[str, dict], named: list[str], key: str, over: str) -> None:
    for offset, (row, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
        values = [_of(known[name], row, key) for name in named]
        places = [i + offset for i, value in enumerate(values) if value]
        values = [value for value in values if value]
        axis.barh(places, [value - 1 for value in values], 0.36, left=1, color=colour, label=row)
        for place, value in zip(places, values, strict=True):
            axis.annotate(
                f"{value:.3g}", (value, place), (3 if value >= 1 else -3, 0), fontsize=7,
                textcoords="offset points", va="center", ha="left" if value >= 1 else "right",
            )  # fmt: skip
    aims = [(_aim(known[name], over), i) for i, name in enumerate(named)]
    aims = [(aim, i) for aim, i in aims if aim]
    places, rows = [aim for aim, _ in aims], [i for _, i in aims]
    axis.plot(places, rows, "|", color="#b03a2e", ms=16, mew=2, label="target of the first row")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.margins(x=0.12)
    axis.grid(axis="x", which="both", linewidth=0.3)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.spines[["top", "right"]].set_visible(False)


def _aim(case: dict, over: str) -> float | None:
    """The number in the words of the first row's target."""
    for verdict in case["targets"]:
        if verdict["row"] in (LAST, ALSO_FIRST) and verdict["wanted"].endswith(over):
            return float(verdict["wanted"].split()[1])
    return None


SHORT_AXIS = 20
"""How much higher the end of a logarithmic axis is that has room for numbers between the powers."""


def draw_scaling(axes_of: dict[str, tuple[str, dict]], path: pathlib.Path) -> bool:
    """Time above and memory below, a column for what is varied, with the slopes written in."""
    pyplot = _pyplot()
    if pyplot is None:
        return False
    kinds = {"ms": "milliseconds", "mib": "peak memory, MiB"}
    figure, panels = pyplot.subplots(
        2, len(axes_of), figsize=(2.9 * len(axes_of), 5.6), sharex="col", layout="constrained"
    )
    axes = enumerate(axes_of.items())
    for column, (at, (name, (field, figures))) in zip(panels.T, axes, strict=True):
        for axis, (key, words) in zip(column, kinds.items(), strict=True):
            xs = [row[field] for row in figures["rows"]]
            axis.loglog(xs, [row[key] for row in figures["rows"]], "o-", color=COLOURS[LAST], ms=4)
            if key == "mib":
                ys = [row["before_mib"] for row in figures["rows"]]
                axis.loglog(xs, ys, ":", color="grey", label="before the first call")
                axis.set_xlabel(name)
            slope = figures[f"slope_{key}"]
            if slope is not None:
                told = f"slope {slope:.2f}"
                axis.text(0.05, 0.93, told, transform=axis.transAxes, va="top", fontsize=9)
            axis.set_ylabel("" if at else words)
            axis.yaxis.set_major_formatter("{x:g}")
            low, high = axis.get_ylim()
            if high < SHORT_AXIS * low:  # it has one major number at most
                axis.yaxis.set_minor_formatter("{x:g}")
            axis.grid(which="both", linewidth=0.2)
            axis.spines[["top", "right"]].set_visible(False)
        column[0].set_title(figures["words"].replace(", ", ",\n"), fontsize=8)
    panels[1, 0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
