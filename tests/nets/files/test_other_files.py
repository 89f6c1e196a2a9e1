"""Files that are not what was written: damaged anywhere, or whole and of other content. None is read."""

import hashlib
import io
import json
import zipfile

import h5py
import numpy as np
import pytest
import xarray

import nets
from nets.files import archive
from nets.results import fields, netcdf, saving

X = np.array([[1.0, -0.5], [0.2, 0.8]])
SUFFIXES = (".npz", ".nc")


@pytest.fixture(scope="module")
def measured():
    return nets.measure("tanh", 1.2, 3, 8, 20, method="metric")


@pytest.fixture(scope="module")
def whole(measured, tmp_path_factory):
    """Arrays and words of a file that is as it should be."""
    path = tmp_path_factory.mktemp("whole") / "a.npz"
    saving.save(measured, path, {"cw": 1.2})
    return archive.load(path)


def put(path, arrays, words):
    """A file with its digest, whatever its content."""
    if path.suffix == ".npz":
        archive.save(path, arrays, words)
    else:
        path.write_bytes(netcdf.content("Measurement", arrays, words))


# --- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_damage_passes_wherever_it_is(measured, suffix, tmp_path):
    """Zeros over 1 byte to 4 KiB, flipped bits, bytes added and cut off. The control: it was read before."""
    path, rng = tmp_path / f"a{suffix}", np.random.default_rng(0)
    saving.save(measured, path)
    data = path.read_bytes()
    for i in range(400):
        damaged, at = bytearray(data), int(rng.integers(len(data)))
        if i % 4 == 0:
            size = min(int(2 ** rng.uniform(0, 12)), len(data) - at)
            damaged[at : at + size] = bytes(size)
        elif i % 4 == 1:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif i % 4 == 2:
            del damaged[at:]
        else:
            damaged += rng.bytes(int(rng.integers(1, 100)))
        if damaged == data:
            continue
        path.write_bytes(damaged)
        with pytest.raises(archive.ArchiveError, match="is damaged"):
            saving.load(path)
    path.write_bytes(data)
    np.testing.assert_array_equal(saving.load(path).result.G, measured.G)


# --- whole, and of other content -------------------------------------------------------------------

ARRAYS = {
    "a field is missing": lambda a: a.pop("n_nets"),
    "half an estimate": lambda a: a.pop("K/stderr"),
    "half an optional estimate": lambda a: a.update({"A/mean": a["K/mean"]}),
    "a field too many": lambda a: a.update(more=np.ones(3)),
    "single precision": lambda a: a.update(G=a["G"].astype(np.float32)),
    "integers": lambda a: a.update({"V/mean": a["V/mean"].astype(int)}),
    "text": lambda a: a.update({"V/mean": a["V/mean"].astype(str)}),
    "another axis": lambda a: a.update(G=a["G"][0]),
    "another size": lambda a: a.update(n_nets=a["n_nets"][:2]),
    "other networks": lambda a: a.update(G=a["G"][:7]),
    "other widths": lambda a: a.update(widths=a["widths"][:2]),
    "a number that is none": lambda a: a.update(seconds=np.ones(1)),
    "no arrays": lambda a: a.clear(),
}
WORDS = {
    "another kind": lambda w: w.update(kind="TrainingRun"),
    "a kind that is none": lambda w: w.update(kind="Comparison"),
    "a kind that is a list": lambda w: w.update(kind=["Measurement"]),
    "no kind": lambda w: w.pop("kind"),
    "no format": lambda w: w.pop("format"),
    "another format": lambda w: w.update(format=saving.FORMAT + 1),
    "no arguments": lambda w: w.pop("arguments"),
    "versions that are none": lambda w: w.update(versions=3),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("change", [*ARRAYS, *WORDS])
def test_other_content_is_refused(change, suffix, whole, tmp_path):
    """The control: the same without the change is read."""
    path, arrays, words = tmp_path / f"a{suffix}", dict(whole.arrays), dict(whole.attributes)
    put(path, arrays, words)
    assert saving.load(path).arguments == {"cw": 1.2}
    ARRAYS.get(change, WORDS.get(change))(arrays if change in ARRAYS else words)
    try:
        put(path, arrays, words)
    except ValueError:
        pytest.skip("no such NetCDF can be made")
    with pytest.raises(archive.ArchiveError):
        saving.load(path)


def test_what_could_not_be_read_back_is_not_written(measured, tmp_path):
    for changed in (measured._replace(G=measured.G[0]), measured._replace(K=None)):
        with pytest.raises(TypeError, match="result must be a Measurement as it was measured"):
            saving.save(changed, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def zipped(members, compression=zipfile.ZIP_STORED):
    """A zip with a digest of its own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as into:
        for name, content in members:
            into.writestr(name, content)
        into.comment = b"0" * archive.DIGEST
    return archive.sealed(file.getvalue()[: -archive.DIGEST])


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def announcing(shape):
    """A header that announces an array of that shape, and 8 bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(8)


EMPTY = ("attributes.json", "{}")
ZIPS = {
    "no zip": lambda: archive.sealed(b"no such thing"),
    "nothing": lambda: archive.sealed(b""),
    "no attributes": lambda: zipped([("a.npy", npy(np.ones(3)))]),
    "attributes that are a list": lambda: zipped([("attributes.json", "[]")]),
    "attributes that are no JSON": lambda: zipped([("attributes.json", "{")]),
    "attributes without end": lambda: zipped([("attributes.json", "[" * 10**6)]),
    "a number without end": lambda: zipped([("attributes.json", "1" * 10**5)]),
    "compressed": lambda: zipped([EMPTY, ("a.npy", npy(np.zeros(2**20)))], zipfile.ZIP_DEFLATED),
    "of any size": lambda: zipped([EMPTY, ("a.npy", announcing((2**40,)))]),
    "of a negative size": lambda: zipped([EMPTY, ("a.npy", announcing((-1,)))]),
    "of no size": lambda: zipped([EMPTY, ("a.npy", announcing((0,)))]),
    "of objects": lambda: zipped([EMPTY, ("a.npy", npy(np.array([{}])))]),
    "no array": lambda: zipped([EMPTY, ("a.npy", b"text")]),
    "netCDF": lambda: archive.sealed(bytes(xarray.Dataset({"a": 3}).to_netcdf(engine="h5netcdf"))),
}


@pytest.mark.parametrize("name", ZIPS)
def test_whole_files_of_other_things(name, tmp_path):
    """The control: what is made in the same way of an array and a dictionary."""
    path = tmp_path / "a.npz"
    path.write_bytes(ZIPS[name]())
    with pytest.raises(archive.ArchiveError):
        archive.load(path)
    path.write_bytes(zipped([EMPTY, ("a.npy", npy(np.ones(3)))]))
    np.testing.assert_array_equal(archive.load(path).arrays["a"], np.ones(3))


def hdf5(make):
    file = io.BytesIO()
    with h5py.File(file, "w") as into:
        make(into)
    return archive.sealed(file.getvalue())


def compressed(whole):
    found = netcdf.dataset("Measurement", whole.arrays, whole.attributes)
    found.attrs = {"description": json.dumps(whole.attributes)}
    encoding = {"G": {"zlib": True, "_FillValue": None}}
    return archive.sealed(bytes(found.to_netcdf(engine="h5netcdf", encoding=encoding)))


HDF5 = {
    "no HDF5": lambda _: archive.sealed(b"no such thing"),
    "a zip": lambda _: zipped([EMPTY]),
    "nothing in it": lambda _: hdf5(lambda into: None),
    "of any size": lambda _: hdf5(lambda into: into.create_dataset("a", (2**40,), "f8")),
    "compressed": compressed,
}


@pytest.mark.parametrize("name", HDF5)
def test_whole_hdf5_of_other_things(name, whole, tmp_path):
    path = tmp_path / "a.nc"
    path.write_bytes(HDF5[name](whole))
    with pytest.raises(archive.ArchiveError):
        saving.load(path)


def test_the_digest_is_that_of_the_bytes(measured, tmp_path):
    """Of both kinds of file, for whoever wants to check one by hand."""
    for suffix in SUFFIXES:
        saving.save(measured, path := tmp_path / f"a{suffix}")
        data = path.read_bytes()
        assert data[-64:].decode() == hashlib.sha256(data[:-64]).hexdigest()


# --- names -----------------------------------------------------------------------------------------


def test_every_field_has_a_name_and_axes():
    """And no other has: the tables are complete."""
    for name, kind in (fields.KINDS | fields.RECORDS).items():
        assert (
            set(fields.FIELDS[name]) | {"parameters", "ntk"} >= set(kind._fields) >= set(fields.FIELDS[name])
        )
        assert all(field.long_name for field in fields.FIELDS[name].values())


NETCDF = {
    "one input": lambda: nets.measure("tanh", 1.2, 3, 8, 20, ntk=True),
    "inputs": lambda: nets.measure("tanh", 1.2, 3, 8, 20, x=X, ntk=True),
    "many inputs": lambda: nets.measure_inputs("repu", 1.2, 3, 8, 4, X),
    "training": lambda: nets.train(
        "tanh", 1.2, 3, 8, 5, (X, X[:, 0]), steps=10, snapshots=(2, 10), progress=False
    ),
}


@pytest.mark.sweep("one input", "training")
@pytest.mark.parametrize("name", NETCDF)
def test_labels_mean_what_they_say(name, tmp_path):
    """Each axis has a coordinate; layers count from 1, snapshots by steps; each variable says what it is."""
    result = NETCDF[name]()
    saving.save(result, tmp_path / "a.nc", {"act": "tanh"})
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as found:
        assert set(found.sizes) <= set(found.coords)
        for variable, values in found.variables.items():
            assert str(variable).isidentifier()
            assert variable == "act" or (
                values.attrs["long_name"] and values.attrs["units"] in ("1", "s", "")
            )
        assert found.layer.values.tolist() == [1, 2, 3]
        for layer in (1, 2, 3):
            assert int(found.widths.sel(place=layer)) == result.widths[layer]
        if name == "training":
            assert found.snapshot.values.tolist() == [2, 10]
            np.testing.assert_array_equal(found.K_mean.sel(layer=1, snapshot=10), result.K.mean[1, 0])
            kernel = found.parameters_layer_1_kernel.sel(member=3)
            np.testing.assert_array_equal(kernel, result.parameters["layers"][0]["kernel"][3])
        elif name == "many inputs":
            np.testing.assert_array_equal(found.log_K.sel(layer=2, input=1), result.log_K[:, 1, 1])
        else:
            np.testing.assert_array_equal(found.K_mean.sel(layer=1), result.K.mean[0])
            assert (found.V_mean.sel(layer=1) == 0).all() and (found.V_mean.sel(layer=2) != 0).any()
            assert found.V_stderr.attrs["long_name"].startswith("standard error of four-point vertex")
