"""A λ sweep: its cells, what it refuses, and that each element is the run of its own λ with no model call too many."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from realign_core import (
    Cell,
    Exact,
    LambdaSchedule,
    NoiseLevel,
    Sweep,
    Trace,
    even_values,
    lambdas_for_betas,
    realigned_sample,
)

LEVELS = [NoiseLevel(*(torch.tensor(v, dtype=torch.float64) for v in (1.0, s))) for s in (8.0, 3.0, 1.0, 0.3, 0.0)]
LAMBDAS = [0.0, 0.5, 1.0, 1.5]


def models(seen):
    """Two linear denoisers; `seen` collects how many elements each was called for."""

    def ask(x, level, called, merged):
        gains = (1 / (1 + level.sigma**2), 1 / (1 + 0.5 * level.sigma**2))
        seen.append(called.sum(1).tolist())
        answers = {k: x * gain.to(x) + shift for k, (gain, shift) in enumerate(zip(gains, (0.0, 0.4)))}
        return {k: answer for k, answer in answers.items() if called[k].any()}

    return ask


def run(lambdas, x, seen, every=False):
    generator = torch.Generator().manual_seed(3)
    draw = [torch.randn(1, *x.shape[1:], generator=generator) for _ in LEVELS]
    steps = iter(draw)
    rows = [[torch.tensor(lambdas)]] * (len(LEVELS) - 1)
    noise = lambda *_: next(steps).expand_as(x)  # noqa: E731
    return realigned_sample(models(seen), x, LEVELS, rows, noise=noise, evaluator=Exact(every))


def test_each_element_is_the_run_of_its_own_lambda():
    x = 8 * torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    whole = run(LAMBDAS, x.expand(4, -1, -1, -1), [])
    for i, lam in enumerate(LAMBDAS):
        alone = run([lam], x, [])
        assert torch.allclose(whole.x[i], alone.x[0], atol=1e-6)
        assert whole.trace.kl_reference()[i] == pytest.approx(alone.trace.kl_reference()[0])
    assert (whole.x[1] - whole.x[2]).abs().max() > 0.01


def test_elements_at_the_ends_need_one_model():
    seen = []
    trace = run(LAMBDAS, torch.randn(4, 2, 3, 3), seen).trace
    assert seen == [[3, 3]] * 4
    assert trace.calls[0] == pytest.approx(1.5)
    assert trace.kl_reference()[2] is None
    assert trace.kl_reference()[0] == 0
    assert trace.kl_anchors()[0][0] is None
    assert all(trace.kl_reference()[i] > 0 for i in (1, 3))


def test_every_model_on_request_so_that_every_kl_is_known():
    seen = []
    trace = run(LAMBDAS, torch.randn(4, 2, 3, 3), seen, every=True).trace
    assert seen == [[4, 4]] * 4
    assert all(value is not None for value in trace.kl_reference() + trace.kl_anchors()[0])


def test_cells_are_row_by_row():
    sweep = Sweep((0.0, 1.0), seeds=2, images=2, cfgs=(3.0, 7.0))
    cells = sweep.cells()
    assert (sweep.columns, sweep.rows, len(cells)) == (2, 8, 16)
    assert [c.value for c in cells[:4]] == [0, 1, 0, 1]
    assert [c.image for c in cells[:4]] == [0, 0, 1, 1]
    assert [c.seed for c in cells[:8:2]] == [0, 0, 1, 1]
    assert [c.cfg for c in cells[::8]] == [3, 7]
    assert all(c.eta is None for c in cells)
    assert json.loads(json.dumps(sweep.to_dict()))["cells"][15] == cells[15]._asdict()


def test_prompts_are_rows_between_cfg_and_seed():
    sweep = Sweep((0.0, 1.0), seeds=2, cfgs=(3.0, 7.0), prompts=("a cat", ""), draft=True)
    cells = sweep.cells()
    assert (sweep.rows, len(cells)) == (8, 16)
    assert [(c.cfg, c.prompt, c.seed) for c in cells[::2]] == list(itertools.product((3, 7), (0, 1), (0, 1)))
    told = json.loads(json.dumps(sweep.to_dict()))
    assert (told["prompts"], told["draft"], told["cells"][4]["prompt"]) == (["a cat", ""], True, 1)
    assert {cell.prompt for cell in Sweep((0.0,)).cells()} == {None}
    assert Cell(0.5, 0, 0, None, None) == Cell(0.5, 0, 0, None, None, prompt=None)


def test_only_one_picture_of_a_sweep():
    """It keeps its λ, seed, image and settings; the prompt is the only one that is left."""
    images = {"images": 2, "batch_index": (4, 7)}
    for sweep in (
        Sweep((0.0, 0.5, 1.0), seeds=2, cfgs=(3.0, 7.0), prompts=("a", "b"), **images, draft=True, measure_ends=True),
        Sweep((0.0, 0.5), seeds=3, etas=(0.0, 1.0), batch_size=2, schedule=LambdaSchedule(shape="cosine")),
        Sweep((0.7,), first_seed=5),
    ):
        for i, cell in enumerate(sweep.cells()):
            one = sweep.only(i // sweep.columns + 1, i % sweep.columns + 1)
            assert (one.rows, one.columns) == (1, 1)
            assert one.cells() == [cell if cell.prompt is None else cell._replace(prompt=0)]
            assert cell.prompt is None or one.prompts == (sweep.prompts[cell.prompt],)
            for name in ("schedule", "batch_size", "measure_ends", "draft", "batch", "batch_index"):
                assert getattr(one, name) == getattr(sweep, name)
            assert one.only(1, 1) == one
        for row, column in ((0, 1), (1, 0), (sweep.rows + 1, 1), (1, sweep.columns + 1), (-1, 1)):
            with pytest.raises(ValueError, match=f"no picture in row {row}, column {column}"):
                sweep.only(row, column)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"values": ()}, "empty"),
        ({"values": (math.nan,)}, "finite"),
        ({"values": (1.0,), "cfgs": (math.inf,)}, "finite"),
        ({"values": (1.0,), "cfgs": (1.0,), "etas": (1.0,)}, "one second axis"),
        ({"values": (1.0,), "etas": (1.5,)}, "η must be"),
        ({"values": (1.0,), "seeds": 0}, "at least one seed"),
        ({"values": (1.0,), "first_seed": -1}, "counted from 0"),
        ({"values": (0.0, 1.0), "seeds": 64, "prompts": ("",) * 33}, "4,224 pictures.*fewer λ, prompts"),
        ({"values": (0.5, 1.0, 0.5)}, "λ 0.5 more than once"),
        ({"values": (1.0,), "cfgs": (3.0, 3.0)}, "cfg 3 more than once"),
        ({"values": (1.0,), "etas": (1.0, 1.0)}, "η 1 more than once"),
        ({"values": (10.5,)}, "λ must be from -10 to 10 in a sweep, but one is 10.5"),
        ({"values": (-11.0,)}, "λ must be"),
        ({"values": (1.0,), "cfgs": (101.0,)}, "cfg must be from 0 to 100"),
        ({"values": (1.0,), "seeds": 10**9}, "1,000,000,000 pictures.*at most 4,096"),
        ({"values": (0.0, 1.0), "images": 2049, "batch_index": ()}, "4,098 pictures"),
        ({"values": (0.0, 1.0), "seeds": 64, "images": 8, "cfgs": (1.0, 2.0, 3.0, 4.0, 5.0)}, "5,120 pictures"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sweep(**wrong)


def test_values_from_ranges_lists_and_betas():
    assert even_values(0, 1.5, 7) == (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)
    assert even_values(0, 0.9, 4) == (0, 0.3, 0.6, 0.9)
    assert even_values(0.4, 2, 1) == (0.4,)
    assert lambdas_for_betas((10000.0, 5000.0, 2500.0, math.inf), 5000.0) == (0.5, 1, 2, 0)
    for wrong, message in (
        ((0, 1, 10**9), "count is 1,000,000,000"),
        ((0, 1, 0), "count is 0"),
        ((1, 1, 2), "the same"),
    ):
        with pytest.raises(ValueError, match=message):
            even_values(*wrong)
    with pytest.raises(ValueError, match="known β"):
        lambdas_for_betas((1.0,), None)
    with pytest.raises(ValueError, match="above 0"):
        lambdas_for_betas((0.0,), 1.0)
    with pytest.raises(ValueError, match=r"β 100 .* λ 50: .* β from 500"):
        lambdas_for_betas((5000.0, 100.0), 5000.0)
    assert lambdas_for_betas((500.0,), 5000.0) == (10,)


def test_the_largest_sweep_is_taken():
    assert (
        len(Sweep((0.0, 1.0), seeds=64, images=8, batch_index=tuple(range(8)), cfgs=(1.0, 2.0, 3.0, 4.0)).cells())
        == 4096
    )


def test_traces_of_parts_join_into_that_of_the_whole():
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(5))
    whole = run(LAMBDAS, x, []).trace
    parts = [([i for i in which], run([LAMBDAS[i] for i in which], x[which], []).trace) for which in ([2, 0], [1, 3])]
    joined = Trace.join(parts)
    assert joined.kl_reference() == pytest.approx(whole.kl_reference(), nan_ok=True)
    assert joined.kl_anchors()[0] == pytest.approx(whole.kl_anchors()[0])
    assert joined.lambdas.tolist() == whole.lambdas.tolist()
    assert joined.model_calls == pytest.approx(whole.model_calls)


def test_a_schedule_goes_with_the_sweep():
    sweep = Sweep((1.0,), schedule=LambdaSchedule(shape="cosine"))
    assert sweep.to_dict()["schedule"]["shape"] == "cosine"
