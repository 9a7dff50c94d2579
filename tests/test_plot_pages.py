"""Pages, notebooks, and a house without Matplotlib."""

import pickle
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from plot_cases import four_ends, history, result, runs

import jaxgd as gd


def labels(figure):
    return [ax.get_ylabel() for ax in figure.axes]


def test_a_page_of_one_run():
    bowl = gd.landscapes.Booth()
    run = gd.minimize(bowl, jnp.zeros(2), gd.Adam(0.1), 50, record=gd.Record(params=True))
    page = run.plot(bowl)
    assert isinstance(page, Figure)
    assert labels(page) == ["loss", "largest gradient entry", "params[1]", "loss"]
    assert page.get_suptitle() == f"MAX_STEPS after 50 steps, loss {float(run.loss):.6g}"
    np.testing.assert_array_equal(page.axes[0].lines[0].get_ydata(), run.history.loss)
    assert page._repr_png_().startswith(b"\x89PNG")
    assert len(labels(result([2.0, 1.0]).plot())) == 2
    assert len(labels(result([]).plot())) == 2


def test_a_page_of_many_runs():
    many, _ = four_ends(60)
    page = many.plot()
    assert labels(page) == ["final loss", "", "start of params[1]"]
    assert page.get_suptitle().startswith("60 runs: 60 MAX_STEPS; best loss ")
    bare = runs([1.0, 2.0], np.zeros((2, 3)))
    assert labels(bare.plot()) == ["final loss", ""]
    full = runs([1.0, 2.0], np.zeros((2, 2)), starts=np.ones((2, 2)),
                history=history([[3.0, 1.0], [4.0, 2.0]]))  # fmt: skip
    assert labels(full.plot()) == ["final loss", "", "loss", "start of params[1]"]
    for figure in (page, full.plot()):
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_axes_that_are_given_are_used_and_returned():
    given = Figure().subplots()
    assert gd.plot.convergence(result([2.0, 1.0]), given) is given
    assert gd.plot.waterfall(result([2.0, 1.0]), ax=given) is given


def test_a_picture_can_be_pickled():
    ax = gd.plot.convergence(result([2.0, 1.0]))
    again = pickle.loads(pickle.dumps(ax.figure))
    np.testing.assert_array_equal(again.axes[0].lines[0].get_ydata(), [2, 1])


def run(code):
    command, here = [sys.executable, "-W", "error", "-c", code], Path(__file__).parent
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=here).stdout


def test_pictures_need_neither_pyplot_nor_a_backend():
    run(
        "import sys, jaxgd as gd\n"
        "assert 'plot' in dir(gd) and 'matplotlib' not in sys.modules\n"
        "gd.plot.learning_rate(0.1, 9)._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert gd.plot is sys.modules['jaxgd.plot']"
    )


def test_without_matplotlib_one_line_says_what_to_install():
    said = run(
        "import sys, numpy as np\n"
        "sys.modules['matplotlib'] = None\n"
        "import jaxgd as gd\n"
        "from jaxgd import *\n"
        "from plot_cases import result\n"
        "for draw in (lambda: gd.plot, result([2.0, 1.0]).plot):\n"
        "    try:\n"
        "        draw()\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    assert said.splitlines() == ['pictures need Matplotlib: pip install "jaxgd[plot]"'] * 2


def test_what_gd_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'plots'"):
        gd.plots  # noqa: B018


def test_a_notebook_shows_axes_and_pages_once_whether_or_not_pyplot_is_used(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    cells = [
        "import jaxgd as gd\nax = gd.plot.learning_rate(gd.CosineDecay(0.1, steps=9), 9)\nax",
        "ax.figure",
        "from matplotlib import pyplot\nax",
        "%matplotlib inline\nax.figure",
        "figure, own = pyplot.subplots()\n_ = gd.plot.learning_rate(0.1, 9, own)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell in notebook.cells:
        shown = [o for o in cell.outputs if "image/png" in o.get("data", {})]
        assert len(shown) == 1, cell.source
