"""The benchmarks that need another machine, or none: they run here, on small models, in a process of their own."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

PACK = Path(__file__).resolve().parents[2]


def run(script, out, *arguments, small=True):
    """The table rows of what a script writes, without heads: (section, cells)."""
    command = [sys.executable, str(PACK / "benchmarks" / script), "--host", os.environ["REALIGN_HOST"]]
    command += ["--small"] * small
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--out", str(out), *arguments], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    (file,) = out.glob("*.md")
    rows, section = [], ""
    for line in file.read_text(encoding="utf-8").splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if line.startswith("| ") and not line.startswith(
            ("| ---", "| models", "| method", "| network |", "| anchors |")
        ):
            rows.append((section, [cell.strip() for cell in line.strip("| ").split(" | ")]))
    return rows


@pytest.mark.thorough
def test_memory_of_cards(tmp_path):
    """A card's streamed weights are what does not fit of all; none where all does."""
    rows = run("memory.py", tmp_path, "--kinds", "sdxl", "--cards", "1.75", "2.1", "24")
    (_, in_all), *cards = rows
    assert in_all[1] == "**GiB in all**"
    stock, full, *_ = map(float, in_all[2:])
    assert full > stock
    assert [cells[1] for _, cells in cards] == ["1.75 GB", "2.1 GB", "24 GB"]
    small, _, large = (cells[2:] for _, cells in cards)
    assert set(large) == {"fits"}
    assert float(small[1]) == pytest.approx(full - (1.75 - 0.5), abs=0.11)  # each figure is rounded
    assert small[0] != "fits"


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "number_format"), [("sd35", "bf16"), ("flux", "fp8")])
def test_every_run_on_a_gpu(tmp_path, kind, number_format):
    rows = run("gpu.py", tmp_path, "--kinds", kind, "--formats", number_format, "--steps", "2", "--repeats", "1")
    passes = {(cells[0], cells[1]): cells[3] for _, cells in rows if re.match(r"[\d.]+ \(", cells[2])}
    left_out = {(cells[0], cells[1]): cells[2] for _, cells in rows if (cells[0], cells[1]) not in passes}
    assert left_out == ({("RealignGuider", "low rank"): "needs 16 bit weights"} if number_format == "fp8" else {})
    assert len(rows) == 11
    assert passes["KSampler, one model", "–"] == "1"
    for method in ("RealignGuider", "RealignSampler"):
        assert passes[method, "LoRA"] == passes[method, "full"] == "2"
    assert passes["DualModelGuider", "full"] == "2"
    assert 1 < float(passes["RealignGuider, difference reuse", "full"]) < 2
    assert 1 < float(passes["RealignGuider, control variate", "LoRA"]) < 2
    assert {cells[4] for _, cells in rows if (cells[0], cells[1]) in passes} <= {"–"} or _has_cuda()


@pytest.mark.thorough
def test_overhead_and_load_times(tmp_path):
    """Every case is measured, of two clones in turns, and what is asked in it is what its name says."""
    rows = run("overhead.py", tmp_path, "--repeats", "1", "--before", str(PACK))
    cases = {(section, *cells[:2]): cells[2:] for section, cells in rows if cells[0] != "case"}
    assert [clone for _, _, clone in cases] == ["before", "after"] * (len(cases) // 2)
    of = {
        title: {case: cells for (section, case, _), cells in cases.items() if section == title} for title, *_ in cases
    }
    assert {title: len(found) for title, found in of.items()} == {
        "Per step": 10,
        "Per layer with a LoRA": 2,
        "Loading": 2,
    }
    calls = {case.split(",")[0]: cells[2] for case, cells in of["Per step"].items()}
    assert calls == {"stock": "1.00", "guider": "2.00", "sampler": "2.00"}
    ratios = [cells[-1] for (*_, clone), cells in cases.items() if clone == "after"]
    assert all(math.isfinite(float(ratio.split()[0])) for ratio in ratios)  # noise may be more than what is measured


@pytest.mark.thorough
def test_rewards_side_by_side(tmp_path):
    """Every method for both rewards, each with figures that can be told apart, and a plot."""
    rows = run("rewards.py", tmp_path)
    found = {section: {cells[0]: cells[1:] for title, cells in rows if title == section} for section, _ in rows}
    families = {section: [name.split(", strength")[0] for name in methods] for section, methods in found.items()}
    without = ["unguided", "best of 16, the best 4", "FK steering, difference", "FK steering, max"]
    both = ["λ 0.5 + reward", "λ of the anchor, λ 0.5"]
    assert families == {"colourfulness": [*without, "ours", *both], "JPEG compressibility": [*without, *both]}
    for methods in found.values():
        assert [cells[0] for cells in methods.values()] == ["16", *["4"] * (len(methods) - 2), "8"]
        rewards = {name: float(cells[1].split(" ± ")[0]) for name, cells in methods.items()}
        assert rewards["best of 16, the best 4"] > rewards["unguided"]
        kl = {name: float(cells[2].split(" ± ")[0]) for name, cells in methods.items()}
        assert kl["unguided"] == 0 < kl["λ of the anchor, λ 0.5"]
    assert (tmp_path / "rewards.png").stat().st_size > 0


def test_the_kl_of_the_best(monkeypatch):
    monkeypatch.syspath_prepend(str(PACK / "benchmarks"))
    from rewards_runs import kl_best

    for of in (2, 4, 16):
        assert kl_best(1, of) == pytest.approx(math.log(of) - (of - 1) / of, abs=1e-3)  # the sum's own error
        assert kl_best(of, of) == pytest.approx(0, abs=1e-9)
    assert 0 < kl_best(8, 16) < kl_best(4, 16) < kl_best(2, 16) < kl_best(1, 16)


def test_lines_before_are_kept_with_what_they_were_measured_on(monkeypatch):
    monkeypatch.syspath_prepend(str(PACK / "benchmarks"))
    import overhead

    options, case = SimpleNamespace(repeats=2, small=False), ("loads", "LoRA, 794 layers")
    values = {"before": [[8.0, 2.0, 4.0]] * 2, "after": [[4.0, 2.0, 2.0]] * 2}
    made = {"before": "commit aaaa, here", "after": "commit bbbb, here"}
    both = overhead.report(overhead.Measured(made, {case: values}), options, "")
    assert "| LoRA, 794 layers | after | 4.00 | 2.00 | 2.00 | 0.50 (0.50 … 0.50) |" in both
    later = overhead.Measured({"after": "commit cccc, elsewhere"}, {case: {"after": [[3.0, 1.0, 3.0]]}})
    for committed in (both, overhead.report(later, options, both)):  # kept again and again
        text = overhead.report(later, options, committed)
        assert text.count("Before: commit aaaa, here; in turns with “after” of commit bbbb.") == 1
        assert text.count("not measured together") == 1
        assert "After: commit cccc, elsewhere." in text
        assert "| LoRA, 794 layers | before | 8.00 | 2.00 | 4.00 | – |" in text
        assert "| LoRA, 794 layers | after | 3.00 | 1.00 | 3.00 | – |" in text
    assert "| before |" not in overhead.report(later, options, both.replace("Before: ", ""))  # of nobody knows what


def _has_cuda():
    import torch

    return torch.cuda.is_available()


@pytest.mark.thorough
def test_two_rewards_at_once(tmp_path):
    """Every method has its volume and its runs, of as many pictures as its model calls give; the plot is drawn."""
    rows = run("front.py", tmp_path)
    fronts = {cells[0]: cells[1:] for section, cells in rows if section == "Fronts"}
    assert {family: cells[0] for family, cells in fronts.items()} == {
        "unguided": "32",  # two runs of 16
        "λ of two anchors": "24",  # 8 where two models are asked, 16 where the anchor is asked alone
        "Realign Particles": "8",
    }
    for mean, low, high in (map(float, re.findall(r"-?[\d.]+", cells[2])) for cells in fronts.values()):
        assert 0 < low <= mean <= high
    runs = [cells for section, cells in rows if section == "Runs"]
    assert [cells[0] for cells in runs] == [family for family in fronts for _ in range(2)]
    assert all(
        math.isfinite(float(number)) for cells in runs for number in re.findall(r"-?[\d.]+", " ".join(cells[2:]))
    )
    with Image.open(tmp_path / "front.png") as plot:
        assert plot.width > 1000


@pytest.mark.thorough
def test_lambda_beside_retraining_in_pictures(tmp_path):
    """Networks that have learned next to nothing, two captions and two seeds: all is trained, sampled by the studies'
    command, scored and drawn; a second run samples nothing."""
    options = ("evidence.py", tmp_path, "--network", "trial", "--cache", str(tmp_path / "cache"))
    rows = run(*options, small=False)
    networks = [cells for section, cells in rows if section == "The networks by themselves"]
    assert [cells[0] for cells in networks[:3]] == ["reference", "tilted, β 0.06", "tilted, β 0.1"]
    assert len(networks) == 10
    errors = [cells for section, cells in rows if section == "λ beside retraining"]
    assert {cells[2] for cells in errors} == {"step by step", "corrected", "RLG, deterministic", "merged weights"}
    for plot in ("evidence_trial.png", "evidence_trial_pictures.png"):
        with Image.open(tmp_path / plot) as picture:
            assert picture.width > 500
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.*")}
    assert run(*options, small=False) == rows
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.*")} == made


SHIPPED = """
import sys
from pathlib import Path
from evidence.learned_cases import ONE_ANCHOR
from evidence.learned_networks import train
train(ONE_ANCHOR.reference, Path(sys.argv[1]), Path(sys.argv[2]), 1)
"""


def test_the_reference_of_the_shipped_network_is_what_ships(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PACK / "benchmarks"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SHIPPED, os.environ["REALIGN_HOST"], str(tmp_path)]
    subprocess.run(command, check=True, env=environment, timeout=600)
    ours = load_file(tmp_path / "shipped-reference.safetensors")
    theirs = load_file(PACK / "demo" / "reference.safetensors")
    names = {"caption_tokens": "tokens.weight"}
    assert len(ours) == len(theirs)
    for name, value in theirs.items():
        mine = ours[names.get(name, name.replace("diffusion_model.", "unet."))]
        assert torch.equal(mine, value.float()), name


@pytest.mark.thorough
def test_the_steps_of_diffusers(tmp_path):
    """With the diffusers of the tests. Of few steps, so the largest rounding may lie above the bar of the whole run."""
    rows = run("peer.py", tmp_path)
    same = [cells for section, cells in rows if section == "The same σ, noise and start" and cells[0] != "predicts"]
    assert [cells[0] for cells in same] == ["epsilon"] * 12 + ["v_prediction"] * 12 + ["flow"] * 3
    for cells in same:
        assert 0 < float(cells[5]) < 4e-6, cells
    spacings = [cells for section, cells in rows if section == "Each with its own spacing"]
    rms = [float(cells[4]) for cells in spacings]
    assert rms[0] < rms[1] / 5  # SDXL's spacing is that of an offset of 1
    assert rms[3] < 1e-5 < rms[4]  # RLG: normal, not simple


def test_a_gpu_is_asked_for():
    command = [sys.executable, str(PACK / "benchmarks" / "gpu.py"), "--host", os.environ["REALIGN_HOST"]]
    if _has_cuda():
        pytest.skip("there is one")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "needs a CUDA or MPS device" in done.stdout
