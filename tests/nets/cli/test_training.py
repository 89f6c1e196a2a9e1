"""`eft train --theory`."""

import json


def test_beside_infinitely_wide_networks(run, tmp_path):
    settings = [
        "--act",
        "erf",
        "--cw",
        "1.5",
        "--depth",
        "3",
        "--width",
        "32",
        "--nets",
        "20",
        "--samples",
        "6",
    ]
    rates = ["--optimizer", "sgd", "--learning-rate", "0.2", "--parametrization", "ntk", "--steps", "8"]
    status, out, _ = run("train", "--theory", *settings, *rates, "--out", str(tmp_path / "found"))
    assert status == 0 and "Beside infinitely wide networks" in out and "largest rate" in out
    name = "train_erf_cw=1.5_depth=3_width=32_nets=20_target=waves_optimizer=sgd_steps=8"
    given = json.loads((tmp_path / "found" / f"{name}.json").read_text())["arguments"]
    assert given["theory"] and given["parametrization"] == "ntk"
    assert (tmp_path / "found" / f"{name}.png").stat().st_size > 20_000


def test_what_the_theory_does_not_describe(run):
    for more, says in (
        ([], "optimizer must be sgd with theory; got adam"),
        (["--optimizer", "sgd", "--batch-size", "4"], "batch_size must be None with theory; got 4"),
        (["--optimizer", "sgd", "--parametrization", "mup"], "parametrization must be one of ntk, standard"),
    ):
        status, _, err = run("train", "--theory", *more)
        assert status != 0 and says in err


def test_theory_takes_the_first_kernel(run):
    args = ["--depth", "3", "--width", "32", "--nets", "20", "--samples", "6", "--optimizer", "sgd"]
    rates = ["--learning-rate", "0.2", "--parametrization", "ntk", "--steps", "4"]
    outs = [run("train", "--theory", *args, *rates, *more)[1] for more in ([], ["--K1", "0.2"])]
    assert all("Beside infinitely wide networks" in out for out in outs) and outs[0] != outs[1]
