"""From measurements to verdicts: which layer is at fault, how, and what would mend it."""

import math
from collections.abc import Sequence

import numpy as np

from nets.models import advice
from nets.models.advice import Setting
from nets.models.diagnosis import LayerReport, Verdict
from nets.models.forms import Stage
from nets.models.layers import Layer, Network
from nets.models.probe import Probe, merges
from nets.models.theory import Kind, deep, understood

MAX_DEAD, MAX_FLAT = 0.6, 0.8
"""Parts of dead neurons and of flat slopes above which they are a fault: half of both is usual for ReLU."""

MIN_NEURONS = 16
"""Fewer neurons are not judged by such parts."""

ODD_GAIN, ODD_END = 1.5, 4.0
"""Ratio of C_W to that of the other layers that is a fault: within, and of the first and the last layer."""

ALIKE = 1.25
"""Ratio of the C_W of most layers up to which they are said to have been meant to be the same."""

STEADY = 0.03
"""|log χ⊥| and |log K′/K| a layer, deep down, up to which a network counts as critical."""

STEADY_MEASURED = 0.1
"""The same where it is only measured, in the later half of the layers, which may not be deep."""

NO_BIAS = 1e-6
"""C_b up to which there are no biases."""


def chains(network: Network) -> list[tuple[int, ...]]:
    """The layers as sequences in which each is made from the one before, or its skip starts there."""
    at = {layer.z: i for i, layer in enumerate(network.layers)}
    left, found = set(range(len(network.layers))), []
    while left:
        chain: list[int] = []
        now: int | None = max(left)
        while now is not None and now in left:
            chain.append(now)
            left.discard(now)
            layer = network.layers[now]
            origin = layer.skip if layer.inner else layer.source
            now = None if origin is None else at.get(origin)
        found.append(tuple(chain[::-1]))
    return found[::-1]


def judged(network: Network, probes: Sequence[Probe], reports: Sequence[LayerReport]) -> tuple[Verdict, ...]:
    """All verdicts; faults first."""
    broken = next((i for i, probe in enumerate(probes) if probe.finite < 1), None)
    found = [] if broken is None else [_broken(reports[broken], probes[broken])]
    sound = set(range(len(probes)))
    if broken is not None:
        sound = {i for i in sound if probes[i].finite == 1}
    idle = {i: _units(reports[i]) for i in sorted(sound)}
    found += [verdict for each in idle.values() for verdict in each]
    touched = {i for i in idle if idle[i]} | {i for i in sound if idle.get((reports[i].source or 0) - 1)}
    for chain in chains(network):
        steps = tuple(i for i in chain if i in sound)
        if len(steps) >= 3:
            odd = _odd_gains(steps, network, probes, reports)
            found += odd.values()
            found += _trend(steps, touched.union(odd), network, probes, reports)
    return tuple(sorted(found, key=lambda verdict: verdict.kind == "critical"))


def _broken(report: LayerReport, probe: Probe) -> Verdict:
    kind = "overflow" if probe.fault.startswith("overflow") else "nan"
    part = f"{_percent(1 - probe.finite)} of its entries are not finite"
    mend = {
        "overflow": "scale the layers down, or use a type of larger range (bfloat16, float32)",
        "nan": "later layers are not judged",
    }[kind]
    return Verdict(
        kind, report.number, f"layer {report.number} ({report.path}): {probe.fault}; {part}; {mend}"
    )


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.01 else f"{100 * part:.1g} %"


def _units(report: LayerReport) -> list[Verdict]:
    """Dead neurons and saturated activations."""
    if report.width < MIN_NEURONS:
        return []
    name = f"layer {report.number} ({report.path})"
    if report.dead > max(MAX_DEAD, 0.5 + 2 / math.sqrt(report.width)):
        words = (
            f"{name}: {_percent(report.dead)} of {report.width} neurons are dead, without slope at every "
            f"input (half is usual at most); check its biases, mean b² = {float(report.cb.mean):.3g}"
        )
        if report.dead == 1:
            words += ", and whether the activation that follows has a slope at all"
        return [Verdict("dead", report.number, words)]
    if report.flat > MAX_FLAT:
        words = (
            f"{name}: {_percent(report.flat)} of its entries are where the activation is flat, "
            f"K = {float(report.K.mean):.3g}; scale its input or its weights down"
        )
        return [Verdict("saturated", report.number, words)]
    return []


def _odd_gains(steps, network: Network, probes: Sequence[Probe], reports) -> dict[int, Verdict]:
    """Layers of a chain, and of the branches that end there, whose C_W is unlike that of the others."""
    members = _members(steps, network)
    logs = {i: math.log(float(probes[i].cw.mean)) for i in members if probes[i].cw.mean > 0}
    ends = {members[0], members[-1]}
    if any(network.layers[i].skip is not None for i in members):  # branches are scaled for their number
        logs = {i: log for i, log in logs.items() if i not in ends}
    inside = [i for i in logs if i not in ends]
    if len(inside) < 3:
        return {}
    found = {}
    for i in logs:
        others = [logs[j] for j in inside if j != i]
        middle = float(np.median(others))
        if np.quantile(np.abs(np.array(others) - middle), 0.75) > math.log(ALIKE):
            continue
        ratio = logs[i] - middle
        error = float(probes[i].cw.stderr / probes[i].cw.mean)
        limit = math.log(ODD_END if i in ends else ODD_GAIN)
        if abs(ratio) > max(limit, 6 * error) and not (i == members[-1] and ratio < 0):
            report, times = reports[i], math.exp(ratio)
            words = (
                f"layer {report.number} ({report.path}): C_W = {float(probes[i].cw.mean):.3g} is {times:.3g} "
                f"times that of the other layers, {math.exp(middle):.3g}; multiply its weights by "
                f"{math.exp(-ratio / 2):.3g}"
            )
            found[i] = Verdict("gain", report.number, words)
    return found


def _members(steps: Sequence[int], network: Network) -> list[int]:
    """The layers of the chain and those within its blocks, in order."""
    at = {layer.z: i for i, layer in enumerate(network.layers)}
    members = set(steps)
    for i in steps:
        members |= set(_within(network, i, at))
    return sorted(members)


def _within(network: Network, i: int, at: dict[int, int]) -> list[int]:
    """The layers between the start of the skip that ends at layer i and that layer, in order."""
    layer, inside = network.layers[i], []
    while layer.inner and layer.source is not None and layer.source in at and len(inside) < len(at):
        j = at[layer.source]
        inside.append(j)
        if network.layers[j].source == layer.skip:
            break
        layer = network.layers[j]._replace(skip=layer.skip)
    return inside[::-1]


def _chi(report: LayerReport, layer: Layer) -> float:
    return float((report.chi_block if layer.inner else report.chi_perp).mean)


def _kinds(
    steps: Sequence[int], network: Network, probes: Sequence[Probe]
) -> tuple[list[Kind], float] | None:
    """The block that repeats, with C_W and C_b averaged over its repetitions, and γ² of its skip; or None."""
    at = {layer.z: i for i, layer in enumerate(network.layers)}
    blocks = [(*_within(network, i, at), i) for i in steps]
    shape = [_signature(network.layers[i], probes[i]) for i in blocks[0]]
    if any([_signature(network.layers[i], probes[i]) for i in block] != shape for block in blocks):
        return None
    if not all(understood(probes[i].forms) for i in blocks[0]):
        return None
    kinds = []
    for column in zip(*blocks, strict=True):
        layer = network.layers[column[0]]
        every = [float(probes[i].cw.mean) for i in column]
        if not 0 < max(every) < ALIKE * min(every):
            return None
        cw = float(np.mean(every))
        cb = float(np.mean([float(probes[i].cb.mean) for i in column]))
        alone = 0.0 if layer.skip is None or layer.inner else float(layer.gamma or 0.0) ** 2
        kinds.append(Kind(probes[column[0]].forms, cw, cb, alone))
    if not math.isfinite(deep(kinds, float(probes[steps[0]].K.mean)).log_chi):  # σ jumps
        return None
    last = network.layers[blocks[0][-1]]
    return kinds, float(last.gamma or 0.0) ** 2 if last.inner else 0.0


def _signature(layer: Layer, probe: Probe) -> tuple:
    gamma = None if layer.gamma is None else round(layer.gamma, 3)
    return tuple(form.words for form in probe.forms), layer.skip is not None, layer.inner, gamma


def _trend(steps, odd: set[int], network: Network, probes, reports) -> list[Verdict]:
    """Where the layers of a chain lead: ordered, chaotic, vanishing, exploding, or critical."""
    ends = {steps[-1]} if network.layers[steps[-1]].z in network.program.outputs and len(steps) > 3 else set()
    inside = [
        i for i in steps[1:] if i not in odd and i not in ends and not merges(network, network.layers[i])
    ]
    chis = {i: _chi(reports[i], network.layers[i]) for i in inside}
    inside = [i for i in inside if math.isfinite(chis[i]) and chis[i] > 0 and probes[i].K.mean > 0]
    if len(inside) < 2:
        return []
    logs = np.log([chis[i] for i in inside])
    sizes = np.log([float(probes[i].K.mean) for i in inside])
    repeated = _kinds(inside, network, probes)
    first, last = reports[inside[0]].number, reports[inside[-1]].number
    way = "grow" if logs.mean() > 0 else "shrink"
    said = (
        f"on the way back from layer {last} to {reports[steps[0]].number} squared gradients {way} by "
        f"{math.exp(logs.mean()):.3g} a layer, {_power(float(logs.sum()))} in all"
    )
    if repeated is None:
        half = len(inside) // 2
        growth = float((sizes[-1] - sizes[half]) / max(len(inside) - 1 - half, 1))
        rate, steady = float(logs[half:].mean()), STEADY_MEASURED
        kind = _kind(rate, growth, steady, len(inside), 2.0)
        words = f"{said}; K from {math.exp(sizes[0]):.3g} to {math.exp(sizes[-1]):.3g}"
        return [Verdict(kind, first, f"{words}; by measurement alone")]
    kinds, gamma2 = repeated
    flow = deep(kinds, float(probes[steps[0]].K.mean), gamma2)
    error = float(np.sqrt(np.mean([float(probes[i].cw.stderr / probes[i].cw.mean) ** 2 for i in inside])))
    steady = STEADY + 3 * error / math.sqrt(len(inside))
    kind = _kind(flow.log_chi, flow.log_growth, steady, len(inside), 1.0)
    if kind == "critical":
        return [Verdict(kind, first, f"{said}; deep down by {math.exp(flow.log_chi):.3g} a layer")]
    said += f"; deep down by {math.exp(flow.log_chi):.3g}, and K by {math.exp(flow.log_growth):.3g}, a layer"
    skips = sum(network.layers[i].skip is not None for i in steps)
    setting = _setting(steps, network, probes, kinds, gamma2)
    return _faults(kind, first, said, kinds, skips, setting)


def _setting(
    steps, network: Network, probes: Sequence[Probe], kinds: Sequence[Kind], gamma2: float
) -> Setting | None:
    """The network of these layers, if they are layers of the kind that `eft.recipe` knows."""
    act, norm = _activation(kinds[-1].forms), _norm(kinds[-1].forms)
    first, *others = (network.layers[i] for i in steps)
    x2, widths = float(np.mean(probes[steps[0]].second)), {layer.fan_in for layer in others}
    if act is None or len(kinds) > 1 or gamma2 or not (x2 > 0 and math.isfinite(x2)):
        return None
    if len(widths) > 1 or any(layer.kind != "dense" for layer in (first, *others)):
        return None
    skip = math.sqrt(kinds[0].gamma2)
    if norm and not skip:
        return None
    return Setting(act, len(steps), widths.pop(), first.fan_in, x2, skip, norm)


def _kind(rate: float, growth: float, steady: float, depth: int, least: float) -> str:
    """The name of a trend; changes of less than e^least over the whole depth are none."""
    limit = max(steady, least / depth)
    if rate > limit:
        return "exploding" if growth > limit else "chaotic"
    if rate < -limit:
        return "vanishing" if growth < -limit else "ordered"
    return "exploding" if growth > limit else "vanishing" if growth < -limit else "critical"


def _faults(
    kind: str, layer: int, said: str, kinds: Sequence[Kind], skips: int, setting: Setting | None
) -> list[Verdict]:
    """The verdict on a chain that is not critical, with its reason where there is one, and how to mend it."""
    act = _activation(kinds[-1].forms)
    if any(_norm(each.forms) for each in kinds):
        return [Verdict(kind, layer, f"{said}; {advice.normalized(skips > 0)}", setting)]
    if skips:
        return [Verdict(kind, layer, f"{said}; {advice.residual(skips)}", setting)]
    if act is None:
        return [Verdict(kind, layer, f"{said}; C_W should be 1")]
    u, cw, cb = advice.universality(act), kinds[-1].cw, kinds[-1].cb
    mend = advice.initialization(act)
    if not u.candidates:
        start = setting if setting is not None and setting.has_start else None
        return [Verdict("no critical point", layer, mend, start), Verdict(kind, layer, said)]
    if cb <= NO_BIAS < u.cb and abs(math.log(cw / u.cw)) < math.log(ALIKE):
        words = f"{said}; the biases have no variance, but {mend}: draw them with C_b"
        return [Verdict("bias variance", layer, words, setting)]
    return [Verdict(kind, layer, f"{said}; C_W = {cw:.4g}, C_b = {cb:.3g}, but {mend}", setting)]


def _activation(forms: Sequence[Stage]):
    return next((form.act for form in forms if form.act is not None), None)


def _norm(forms: Sequence[Stage]) -> str | None:
    return next((form.kind for form in forms if form.kind in ("rms", "layer")), None)


_DIGITS = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")


def _power(log: float) -> str:
    """e⁻⁹, or a plain number if it is near 1."""
    return f"{math.exp(log):.2g}" if abs(log) < 2 else "e" + f"{log:.0f}".translate(_DIGITS)
