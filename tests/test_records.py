"""Every public record reads at a glance: as text, as a table, as xarray and pandas, and as a figure.

All from one description of its fields, whose axes are those of the annotations. Values are compared with the
fields themselves. The control: a record with a field that is not described.
"""

import doctest
import inspect
import json
import subprocess
import sys
import typing
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from small_records import PUBLIC, made

import eft
import nets
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.records import DESCRIPTIONS, METHODS, Description, Field, columns, text
from nets.comparison import Comparison

BATCHES = [(), (3,), (2, 3)]
WITHOUT_FIGURE = {
    "eft.LogLikelihood", "eft.Candidate", "eft.StartingPoint", "nets.LayerReport", "nets.Prediction",
    "nets.Factor",
}  # fmt: skip
"""Numbers alone: nothing to draw."""

STANDING_ALONE = {
    "eft.Moments",
    "eft.SlopeMoments",
    "eft.PairMoments",
    "eft.Expectation",
    "eft.Sum",
    "nets.Estimate",
}
"""Records without an axis of their own, which are drawn along that of a batch."""


def batched(name: str) -> bool:
    fields = DESCRIPTIONS[PUBLIC[name].__name__].fields.values()
    return any(isinstance(field, Field) and field.axes[:1] == ("...",) for field in fields)


CASES = [(name, batch) for name in PUBLIC for batch in BATCHES if not batch or batched(name)]


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


# --- descriptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLIC)
def test_every_field_is_described(name):
    kind = PUBLIC[name]
    about = DESCRIPTIONS[kind.__name__]
    assert set(about.fields) == set(kind._fields)
    assert all(entry is None or entry.long_name for entry in about.fields.values())
    names = ("__repr__", "_repr_html_", "table", "to_xarray", "to_pandas", "plot")
    assert tuple(inspect.getattr_static(kind, each) for each in names) == METHODS
    assert set(about.main) <= {column.name for column in columns(made(kind))}


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.startswith("eft.")])
def test_axes_are_those_of_the_annotations(name):
    """As many, and "..." where the annotation has a star."""
    kind = PUBLIC[name]
    for field, hint in typing.get_type_hints(kind, include_extras=True).items():
        entry = DESCRIPTIONS[kind.__name__].fields[field]
        hints = [each for each in (hint, *typing.get_args(hint)) if hasattr(each, "dim_str")]
        if hints and isinstance(entry, Field):
            dims = hints[0].dim_str.split()
            axes = [axis for axis in entry.axes if not axis.endswith("?")]
            assert len(dims) == len(axes), (field, dims, axes)
            assert [dim.startswith("*") for dim in dims] == [axis == "..." for axis in axes], (field, dims)


class Undescribed(NamedTuple):
    """A record with a field too many."""

    K: np.ndarray
    more: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Wrong(NamedTuple):
    """A record whose field has an axis too many."""

    K: np.ndarray


def test_a_field_that_is_not_described_is_noticed(monkeypatch):
    """The control."""
    record = Undescribed(np.ones(3), np.ones(3))
    with pytest.raises(ArgumentTypeError, match="described; got Undescribed"):
        record.table()
    about = Description("a test", {"K": Field(("layer",), "kernel")}, ("K",))
    monkeypatch.setitem(DESCRIPTIONS, "Undescribed", about)
    for call in (record.table, record.to_xarray, record.to_pandas, record.plot, record._repr_html_):
        with pytest.raises(ArgumentTypeError, match="Undescribed and its description differ in more"):
            call()
    assert repr(record) == "Undescribed(K=float64[3], more=float64[3])"
    with pytest.raises(ArgumentError, match="K of Wrong must have the axes layer; got shape"):
        monkeypatch.setitem(DESCRIPTIONS, "Wrong", about)
        columns(Wrong(np.ones((2, 3))))


# --- every record -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_text(name, batch):
    record = made(PUBLIC[name], batch)
    assert text._short(record) == repr(record)
    lines = repr(record).split("\n")
    assert PUBLIC[name].__name__ in lines[0] and len(lines) <= 10
    assert len(lines) == 1 or max(map(len, lines)) <= 80
    table = record.table().split("\n")
    assert max(map(len, table)) <= 80 and 2 <= len(table) <= 45
    page = record._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") <= 20 + len(columns(record))


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_arrays(name, batch):
    """Every array is there, with its values, its axes and a coordinate of each axis."""
    record = made(PUBLIC[name], batch)
    data = record.to_xarray()
    assert (data.sizes and not batch) or len(batch) <= len(data.sizes)
    for column in columns(record):
        if isinstance(column.values, str):
            assert column.name in data.attrs if not column.axes else column.name in data
            continue
        parts = {column.name: column.values}
        if column.error is not None:
            parts = {f"{column.name}_mean": column.values, f"{column.name}_stderr": column.error}
        for part, values in parts.items():
            assert data[part].dims == column.axes
            np.testing.assert_array_equal(data[part].values, np.asarray(values))
            assert part in data.coords or data[part].attrs["long_name"]
            assert data[part].attrs["units"]
    assert all(axis in data.coords for axis in data.sizes)
    if "layer" in data.sizes and name != "nets.Comparison":
        np.testing.assert_array_equal(data.layer, np.arange(1, data.sizes["layer"] + 1))
    frame = record.to_pandas()
    assert frame.size or not columns(record)


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_figures(name, batch):
    record = made(PUBLIC[name], batch)
    if name in WITHOUT_FIGURE or (name in STANDING_ALONE and not batch):
        with pytest.raises(ArgumentError, match=r"nothing to draw|must have an axis"):
            record.plot()
        return
    if name == "eft.Expansion":
        field = {"field": "K"} if batch else {}
        drawn = record.plot(**field)
    else:
        drawn = record.plot()
    assert isinstance(drawn, Axes) and drawn.has_data()
    assert (drawn.get_xlabel() or name == "eft.FixedPoint") and (drawn.get_ylabel() or drawn.get_legend())
    drawn.figure.canvas.draw()
    if drawn.get_legend() is not None:
        assert not drawn.get_legend().get_window_extent().overlaps(drawn.get_window_extent())
    lines = [line for line in drawn.get_lines() if str(line.get_gid()).startswith("eft")]
    lines = [line for line in lines if line.get_marker() != "_"]  # the caps of error bars
    assert len({(str(line.get_linestyle()), line.get_marker()) for line in lines}) == len(lines)


ARRAYS = [
    name for name in PUBLIC if all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(made(PUBLIC[name])))
]


@pytest.mark.parametrize("name", ARRAYS)
def test_inside_jit(name):
    """The text of traced values names them; the record remains the pytree that it was."""
    record = made(PUBLIC[name])
    seen = []

    @jax.jit
    def run(r):
        seen.append((repr(r), r._repr_html_()))
        with pytest.raises(ArgumentTypeError, match="must hold numbers; got traced values in"):
            r.to_xarray()
        return jax.tree.map(lambda a: a, r)

    found = run(record)
    assert type(found) is PUBLIC[name] and len(seen[0][0]) < 400
    assert "traced" in seen[0][0] or seen[0][0].startswith(f"{PUBLIC[name].__name__}(")
    for a, b in zip(jax.tree.leaves(record), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_text_of_odd_contents():
    """JAX puts anything into the fields of pytrees; some arrays cannot be read any more."""
    flow = made(eft.KernelFlow)
    for odd in (None, 0, object(), "K", jax.ShapeDtypeStruct((4,), jnp.float64)):
        assert len(repr(jax.tree.map(lambda _, odd=odd: odd, flow))) < 600
    gone = jnp.ones(4)
    gone.delete()
    assert repr(flow._replace(K=gone)).startswith("KernelFlow(K=float64[4], ")
    assert repr(flow._replace(K=np.zeros(0))).startswith("KernelFlow")
    assert "nan" in repr(flow._replace(K=np.full(4, np.nan)))
    last = jax.tree.map(lambda a: a[-1], flow)
    assert f"K={float(last.K):.4g}, " in repr(last) and "valid=yes" in repr(last)

    def traced(cw):
        found = eft.kernel_flow("relu", cw, 3)
        assert "traced: K float" in repr(found) and "traced" in found._repr_html_()
        return found.K[-1]

    jax.grad(traced)(1.0)
    jax.vmap(traced)(jnp.ones(2))
    jax.jit(jax.vmap(jax.grad(traced)))(jnp.ones(2))
    assert len(repr(made(eft.KernelFlow, (1000,))).split("\n")) < 9


# --- values -------------------------------------------------------------------------------------


def test_by_layer_and_setting():
    """What varied in the call names the axes; two that vary together are coordinates of one axis."""
    cw, cb = np.array([[0.8], [1.2]]), np.array([0.0, 0.1, 0.2])
    flow = eft.kernel_flow("relu", cw, 5, cb=cb)
    data = flow.to_xarray(cw=cw, cb=cb, x2=1.0)
    assert data.K.dims == ("cw", "cb", "layer") and data.x2 == 1.0
    np.testing.assert_array_equal(data.K.sel(layer=3, cw=1.2, cb=0.1), flow.K[1, 1, 2])
    assert data.K.attrs == {"long_name": "kernel", "units": "1"}
    plain = flow.to_xarray()
    assert plain.K.dims == ("setting_0", "setting_1", "layer")
    both = made(eft.KernelFlow, (3,)).to_xarray(
        cw=[1.0, 2.0, 3.0], act=["tanh", np.tanh, eft.activation("relu")]
    )
    assert both.K.dims == ("setting", "layer") and both.act.values.tolist() == ["tanh", "tanh", "relu"]
    frame = flow.to_pandas("K", "V", cw=cw, cb=cb)
    assert frame.index.names == ["cw", "cb", "layer"] and list(frame.columns) == ["K", "V"]
    assert frame.loc[(1.2, 0.1, 3), "K"] == float(flow.K[1, 1, 2])
    assert "0.8" in flow.table(cw=cw, cb=cb) and "setting_0" in flow.table()


def test_the_table_shows_the_numbers():
    flow = made(eft.KernelFlow)
    rows = [row.split() for row in flow.table("K", "V").split("\n")[1:]]
    assert rows[0] == ["layer", "K", "V"]
    assert rows[3] == ["3", f"{flow.K[2]:.4g}", f"{flow.V[2]:.4g}"]
    seen = made(nets.Measurement)
    assert f"{seen.K.mean[2]:.3f} ± " in seen.table() or f"{seen.K.mean[2]:.4f} ± " in seen.table()
    deep = made(eft.KernelFlow)
    deep = jax.tree.map(lambda a: np.tile(a, 250), deep)
    layers = [row.split()[0] for row in deep.table(rows=7).split("\n")[2:9]]
    assert layers[0] == "1" and layers[-1] == "1,000" and len(layers) == 7


@pytest.mark.parametrize(
    ("mean", "error", "words"),
    [
        (0.39428, 0.0012, "0.3943 ± 0.0012"), (1234.5, 12.3, "1234 ± 12"), (1.2, 0.0, "1.2 ± 0"),
        (3.1e-7, 2.2e-9, "3.100e-07 ± 2.2e-09"), (1e300, np.inf, "1e+300 ± inf"), (np.nan, 1.0, "nan ± 1"),
        (-0.5, 0.25, "-0.50 ± 0.25"), (99999.0, 0.001, "99999.0000 ± 0.0010"),
    ],
)  # fmt: skip
def test_digits_of_a_measurement(mean, error, words):
    found = text.measured(mean, error)
    value, _, stderr = found.partition(" ± ")
    np.testing.assert_allclose(float(value), mean, rtol=1e-3)
    np.testing.assert_allclose(float(stderr), error, rtol=0.05)
    assert len(found) <= len(words) + 3


def test_files_and_records_have_the_same_arrays(tmp_path):
    """One mechanism: the variables of a NetCDF file are those of `to_xarray`."""
    xarray = pytest.importorskip("xarray")
    for kind in (nets.Measurement, nets.GramMeasurement, nets.InputMeasurement, nets.TrainingRun):
        record = made(kind)
        fields = {"n_nets", "n_overflowed", "widths", "steps"} & set(kind._fields)
        whole = record._replace(**{f: np.ceil(getattr(record, f)).astype(int) for f in fields})
        nets.results.save(whole, tmp_path / "a.nc")
        with xarray.open_dataset(tmp_path / "a.nc") as saved:
            data = whole.to_xarray()
            assert set(saved.data_vars) == set(data.data_vars) and set(saved.coords) == set(data.coords)
            for name, variable in data.variables.items():
                assert saved[name].dims == variable.dims
                assert dict(variable.attrs).items() <= saved[name].attrs.items()
                np.testing.assert_array_equal(saved[name], variable)


# --- figures ------------------------------------------------------------------------------------


def test_lines_and_points_are_the_numbers():
    """Theory as a line, measured as points with error bars; K with its 1/n correction."""
    flow, seen = made(eft.KernelFlow, seed=1), made(nets.Measurement)
    seen = seen._replace(widths=np.array([8, 16, 16, 16, 1]))
    ax = seen.plot(theory=flow)
    infinite, finite, points = ax.get_lines()[:3]
    np.testing.assert_array_equal(infinite.get_ydata(), flow.K)
    np.testing.assert_allclose(finite.get_ydata(), flow.K + flow.G1 / np.array([8.0, 16.0, 16.0, 16.0]))
    np.testing.assert_array_equal(points.get_ydata(), seen.K.mean)
    assert (
        points.get_linestyle() == "None" and infinite.get_linestyle() == "-" and infinite.get_marker() == ""
    )
    (bars,) = ax.containers[0].lines[2]
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends.T, [seen.K.mean - seen.K.stderr, seen.K.mean + seen.K.stderr])
    labels = [each.get_text() for each in ax.get_legend().get_texts()]
    assert labels == ["theory, infinite width", "theory with $1/n$", "measured"]


def test_what_is_not_valid_is_not_drawn():
    flow = made(eft.KernelFlow)._replace(valid=np.array([True, True, False, False]))
    (line,) = flow.plot().get_lines()
    assert np.isnan(line.get_ydata()).tolist() == [False, False, True, True]


def test_axes_that_are_given_and_those_that_are_current():
    _, (left, right) = pyplot.subplots(1, 2)
    flow = made(eft.KernelFlow, (2,))
    assert flow.plot(left, field="V", cw=[1.0, 2.0]) is left and not right.has_data()
    assert [each.get_text() for each in left.get_legend().get_texts()] == ["$C_W$ = 1", "$C_W$ = 2"]
    assert flow.plot() is right and len(flow.plot(right).get_lines()) == 4
    curves = flow.plot(left, field="chi_perp", x="cw", cw=[1.0, 2.0], color="black", label="mine").get_lines()
    assert curves[-1].get_color() == "black" and curves[-1].get_label() == "mine"
    np.testing.assert_array_equal(curves[-1].get_xdata(), [1.0, 2.0])
    run = made(nets.TrainingRun)
    (line, *_) = run.plot(
        pyplot.figure().add_subplot(), field="K", input=1, snapshot=run.steps[2]
    ).get_lines()
    np.testing.assert_array_equal(line.get_ydata(), run.K.mean[2, :, 1])


# --- bad input ----------------------------------------------------------------------------------

BAD = [
    (lambda r: r.plot(field="k"), ArgumentError, ["field", "'k'", "chi_parallel"]),
    (lambda r: r.plot(colour="red"), ArgumentError, ["colour", "layer", "cw", "properties|property"]),
    (lambda r: r.plot(3), ArgumentTypeError, ["ax", "Axes", "int"]),
    (lambda r: r.plot(x="depth"), ArgumentError, ["x", "layer", "'depth'"]),
    (lambda r: r.plot(layer=9), ArgumentError, ["layer", "1, 2, 3, 4", "9"]),
    (lambda r: r.plot(theory=3), ArgumentTypeError, ["theory", "record", "int"]),
    (lambda r: r.plot(theory=made(eft.GramFlow), field="V"), ArgumentError, ["theory", "Theta", "'V'"]),
    (lambda r: r.plot(curve=3), ArgumentError, ["curve"]),
    (lambda r: r.table("k"), ArgumentError, ["field", "'k'"]),
    (lambda r: r.table(3), ArgumentTypeError, ["field", "name", "3"]),
    (lambda r: r.table(rows=0), ArgumentError, ["rows", "0"]),
    (lambda r: r.to_xarray(cv=1.0), ArgumentError, ["cv", "cw", "setting"]),
    (lambda r: r.to_xarray(cw=[1.0, 2.0]), ArgumentError, ["cw", "(2,)", "(3,)"]),
    (lambda r: r.to_xarray(cw=object()), ArgumentTypeError, ["cw", "numbers or words"]),
    (lambda r: r.to_xarray(cw=None), ArgumentTypeError, ["cw", "None"]),
    (lambda r: r.to_xarray(layer=[1, 2]), ArgumentError, ["layer", "(4,)", "(2,)"]),
    (lambda r: r.to_pandas("k"), ArgumentError, ["field", "'k'"]),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error) as found:
        call(made(eft.KernelFlow, (3,)))
    assert all(any(each in str(found.value) for each in word.split("|")) for word in words), found.value
    assert not pyplot.get_fignums()


def test_nothing_to_draw():
    with pytest.raises(ArgumentError, match="Diagnosis has no layers: nothing to draw"):
        nets.Diagnosis((), (), (), 1, 1).plot()
    with pytest.raises(ArgumentError, match="K of KernelFlow is empty: nothing to draw"):
        jax.tree.map(lambda a: a[:0], made(eft.KernelFlow)).plot()
    with pytest.raises(ArgumentError, match="K of KernelFlow has no number that is valid: nothing to draw"):
        jax.tree.map(np.zeros_like, made(eft.KernelFlow)).plot()
    with pytest.raises(ArgumentError, match="has no critical point: nothing to draw"):
        made(eft.Universality)._replace(candidates=()).plot()
    with pytest.raises(ArgumentError, match="CriticalCurve is empty"):
        jax.tree.map(lambda a: a[:0], made(eft.CriticalCurve)).plot()
    with pytest.raises(ArgumentError, match="theory must be left out: PhaseDiagram is drawn without"):
        made(eft.PhaseDiagram).plot(theory=made(eft.KernelFlow))
    with pytest.raises(ArgumentError, match="quantity must be 'K' or 'V'"):
        made(Comparison).plot(quantity="W")
    assert not pyplot.get_fignums()
    for empty in (nets.Diagnosis((), (), (), 1, 1), nets.Tuning({}, ())):
        assert empty.table() and repr(empty) and empty._repr_html_() and empty.to_xarray() is not None


@pytest.mark.parametrize(("module", "method"), [("xarray", "to_xarray"), ("pandas", "to_pandas")])
def test_a_missing_extra_is_named(monkeypatch, module, method):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{method} needs {module}: pip install 'eft-nets\[netcdf\]'"):
        getattr(made(eft.KernelFlow), method)()
    assert made(eft.KernelFlow).table() and made(eft.KernelFlow).plot()


# --- modules ------------------------------------------------------------------------------------

LAZY = """
import sys, json
import eft, nets
before = sorted({"matplotlib", "xarray", "pandas"} & set(sys.modules))
shown = [dir(eft), dir(nets)]
reached = [eft.figures.__name__, nets.plots.__name__, nets.results.__name__, nets.comparison.__name__]
print(json.dumps([before, shown, reached, "matplotlib" in sys.modules]))
"""


def test_modules_are_reached_and_loaded_late():
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    before, (of_eft, of_nets), reached, after = json.loads(done.stdout)
    assert before == [] and after
    assert set(of_eft) == {*eft.__all__, "figures"}
    assert set(of_nets) == {*nets.__all__, "plots", "results", "comparison"}
    assert reached == ["eft.figures", "nets.plots", "nets.results", "nets.comparison"]
    with pytest.raises(AttributeError, match="'eft' has no attribute 'figure'"):
        eft.figure  # noqa: B018


@pytest.mark.promotes
@pytest.mark.parametrize("thing", [*METHODS[2:], nets.Estimate], ids=lambda thing: thing.__name__)
def test_examples(thing):
    names = {"eft": eft, "nets": nets, "np": np}
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(thing), names, "example", None, None)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert example.examples and not report, "".join(report)


def test_what_a_notebook_shows():
    """Figures made without pyplot as pictures, records as tables. The control: a Figure of matplotlib."""
    formatters = pytest.importorskip("IPython.core.formatters")
    flow = made(eft.KernelFlow)

    def shown(thing):
        return formatters.DisplayFormatter().format(thing)[0]

    for figure in (
        nets.plots.flow_figure("a flow", flow),
        eft.figures.susceptibility_figure(np.arange(1.0, 3.0), {}, ""),
    ):
        assert shown(figure)["image/png"].startswith(b"\x89PNG")
    assert "image/png" not in shown(Figure())
    assert "<th>chi_perp</th>" in shown(flow)["text/html"] and "K" in shown(flow)["text/plain"]
