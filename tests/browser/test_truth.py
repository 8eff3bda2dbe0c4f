"""What the page says of λ is what the next run does; a click writes what its button names, where it comes from."""

from __future__ import annotations

import pytest
from graphs import (
    ALL,
    CURRENT,
    build,
    caption,
    click,
    compare_graph,
    js,
    line_is,
    press,
    press_run,
    run_compare,
    sent,
    set_widget,
    shown,
    slide,
    value_of,
    visible,
)

LINK = """([from, output, to, input]) => {
  const { made } = window, slot = made[to].inputs.findIndex((i) => i.name === input);
  if (slot < 0 || !made[from].connect(output, made[to], slot)) throw new Error(`no link to ${to}.${input}`);
}"""
ADD = """([name, kind, values]) => {
  const node = window.made[name] = window.LiteGraph.createNode(kind);
  node.pos = [0, 560]; window.app.graph.add(node);
  for (const w of node.widgets ?? []) if (w.name in values) w.value = values[w.name];
}"""
SLIDER = """() => {
  const w = window.made.sampler.widgets.find((one) => one.name === 'lambda_');
  return { off: Boolean(w.disabled || w.computedDisabled), why: w.tooltip ?? '' };
}"""
SWEEP_CFG = {"values": "list", "listed": "0, 1", "seeds": 1}
BUTTON = "() => document.querySelector('.realign-use').textContent"
SAID = "() => document.querySelector('.realign-said').textContent"


def add(tab, name, kind, **values):
    js(tab, ADD, [name, kind, values])


def link(tab, *ends):
    js(tab, LINK, list(ends))


def test_a_linked_number_is_said_and_written_at_its_source(tab):
    compare_graph(tab)
    add(tab, "number", "PrimitiveFloat", value=0.4)
    add(tab, "noise", "PrimitiveInt", value=40)
    link(tab, "number", 0, "sampler", "lambda_")
    link(tab, "noise", 0, "sampler", "seed")
    js(tab, "() => { window.made.sweep.mode = 4; window.made.number.title = 'My λ'; }")
    line_is(tab, "from “My λ”: strength 0.4 (β is known after a run)")
    js(tab, "() => { window.made.sweep.mode = 0; }")
    run_compare(tab)
    assert caption(tab).startswith("λ 0.5 ")  # nearest to 0.4
    slide(tab, 2)
    press(tab, "ArrowDown")
    assert js(tab, BUTTON) == "Use λ 0.75, seed 41"
    click(tab, ".realign-use")
    assert (value_of(tab, "number", "value"), value_of(tab, "noise", "value")) == (0.75, 41)
    assert (value_of(tab, "sampler", "lambda_"), value_of(tab, "sampler", "seed")) == (0.3, 7)
    line_is(tab, "from “My λ”: anchor β 500 · λ 0.75 → β 666.7 (stronger pull to the reference)")
    click(tab, ALL)
    assert (value_of(tab, "number", "value"), value_of(tab, "noise", "value")) == (0.75, 40)
    assert tab.errors == []


def test_a_computed_number_cannot_be_set_and_that_is_said(tab):
    compare_graph(tab)
    add(tab, "half", "PrimitiveFloat", value=0.2)
    add(tab, "sum", "ComfyMathExpression", expression="a + 0.2")
    link(tab, "half", 0, "sum", "values.a")
    link(tab, "sum", 0, "sampler", "lambda_")
    js(tab, "() => { window.made.sum.title = 'My sum'; window.made.sweep.mode = 4; }")
    line_is(tab, "λ comes from “My sum”")
    js(tab, "() => { window.made.sweep.mode = 0; }")
    run_compare(tab)
    slide(tab, 2)
    click(tab, ".realign-use")
    assert js(tab, SAID) == "λ 0.75 cannot be set here: it comes from “My sum”."
    assert js(tab, "() => window.made.sweep.mode") == 0
    assert value_of(tab, "sampler", "lambda_") == 0.3
    assert tab.errors == []


def test_the_slider_is_grey_while_something_else_decides(tab):
    compare_graph(tab)
    line_is(tab, "λ comes from the connected schedule/sweep")
    assert js(tab, SLIDER) == {"off": True, "why": "λ comes from the connected schedule/sweep"}
    tab.shot("slider_grey")
    js(tab, "() => { window.made.sweep.mode = 4; }")
    line_is(tab, "strength 0.3 (β is known after a run)")
    assert js(tab, SLIDER)["off"] is False
    assert "schedule/sweep" not in js(tab, SLIDER)["why"]
    add(tab, "own", "RealignAnchorLambda")
    add(tab, "schedule", "LambdaSchedule")
    link(tab, "demo", 1, "own", "anchor")
    link(tab, "schedule", 0, "own", "lambda_schedule")
    link(tab, "own", 0, "sampler", "anchor")
    line_is(tab, "λ comes from the anchor's own schedule (Anchor λ)")
    assert js(tab, SLIDER)["off"] is True
    add(tab, "number", "PrimitiveFloat", value=0.4)
    link(tab, "demo", 1, "sampler", "anchor")
    link(tab, "number", 0, "sampler", "lambda_")
    line_is(tab, "from “Float”: strength 0.4 (β is known after a run)")


def test_the_button_names_all_that_it_writes(tab):
    """λ, and what the next run needs to be that picture: seed, cfg and η where they are others now."""
    compare_graph(tab, {**SWEEP_CFG, "rows": "cfg", "row_values": "2, 4"})
    run_compare(tab)
    set_widget(tab, "sampler", "seed", 1234)  # as after a run with a random seed
    slide(tab, 1)
    press(tab, "ArrowDown")
    assert js(tab, BUTTON) == "Use λ 1, seed 7, cfg 4"
    before = widgets(tab)
    click(tab, ".realign-use")
    changed = {key for key, value in widgets(tab).items() if value != before[key]}
    assert changed == {"sampler.lambda_", "sampler.seed", "sampler.cfg", "compare.picked"}
    assert js(tab, SAID) == "λ 1, seed 7, cfg 4 is set: the next run samples it alone."
    assert sent(tab, "RealignSampler", "lambda_", "seed", "cfg") == (1, 7, 4)


WIDGETS = """() => Object.fromEntries(Object.entries(window.made).flatMap(([name, node]) => (node.widgets ?? [])
  .filter((w) => !w.name.startsWith('realign_') && typeof w.value !== 'object')
  .map((w) => [`${name}.${w.name}`, w.value])))"""


def widgets(tab):
    return js(tab, WIDGETS)


def test_eta_of_the_cell_is_taken(tab):
    compare_graph(tab, {**SWEEP_CFG, "rows": "η", "row_values": "0.2, 0.9"})
    run_compare(tab)
    slide(tab, 1)
    press(tab, "ArrowDown")
    assert js(tab, BUTTON) == "Use λ 1, η 0.9"
    click(tab, ".realign-use")
    assert sent(tab, "RealignSampler", "lambda_", "seed", "eta") == (1, 7, 0.9)


@pytest.mark.parametrize("control", ["randomize", "increment"])
@pytest.mark.parametrize("mode", ["after", "before"])
def test_one_run_after_use_has_the_seed_of_the_cell(tab, control, mode):
    """Also where the page changes a seed before a run, not after it."""
    setting = "(mode) => window.app.ui.settings.setSettingValueAsync('Comfy.WidgetControlMode', mode)"
    js(tab, setting, mode)
    try:
        compare_graph(tab)
        set_widget(tab, "sampler", "control_after_generate", control)
        run_compare(tab)
        ran = js(tab, "() => window.app.nodeOutputs[window.made.compare.id].realign_compare[0].seed")
        slide(tab, 2)
        press(tab, "ArrowDown")
        click(tab, ".realign-use")
        before = shown(tab)
        press_run(tab)
        tab.page.wait_for_function(f"(b) => document.querySelector('{CURRENT}')?.dataset.file !== b", arg=before)
        now = js(tab, "() => window.app.nodeOutputs[window.made.compare.id].realign_compare[0].seed")
        assert now == ran + 1
        click(tab, ALL)
        assert value_of(tab, "sampler", "control_after_generate") == control
    finally:
        js(tab, setting, "after")


def test_a_seed_of_another_sampler_is_left_alone(tab):
    """The seed is that of the noise this λ was sampled from, not that of whatever else lies before the pictures."""
    guided_graph(tab)
    add(tab, "second", "KSampler", seed=99, control_after_generate="fixed", steps=1, denoise=0.2, cfg=1)
    for output, name in enumerate(("model", None, "positive", "negative")):
        if name:
            link(tab, "demo", output, "second", name)
    link(tab, "sampler", 0, "second", "latent_image")
    link(tab, "second", 0, "decode", "samples")
    run_compare(tab)
    set_widget(tab, "noise", "noise_seed", 500)
    slide(tab, 1)
    press(tab, "ArrowDown")
    assert js(tab, BUTTON) == "Use λ 1.5, seed 12, cfg 3"
    click(tab, ".realign-use")
    assert (value_of(tab, "noise", "noise_seed"), value_of(tab, "second", "seed")) == (12, 99)
    assert (value_of(tab, "guider", "cfg"), value_of(tab, "second", "cfg")) == (3, 1)


def guided_graph(tab, trace=False):
    """A sweep of 2 λ × 2 cfg by Realign Guider, whose noise comes from RandomNoise."""
    nodes = [
        ["demo", "RealignDemoModels", [0, 0], {}],
        ["empty", "EmptyLatentImage", [0, 330], {"width": 64, "height": 64}],
        [
            "sweep",
            "RealignSweep",
            [0, 560],
            {"values": "list", "listed": "1, 1.5", "rows": "cfg", "row_values": "2, 3"},
        ],
        ["guider", "RealignGuider", [320, 0], {"lambda_": 1.0}],
        ["noise", "RandomNoise", [320, 560], {"noise_seed": 12}],
        ["name", "KSamplerSelect", [320, 700], {"sampler_name": "euler"}],
        ["sigmas", "BasicScheduler", [640, 560], {"steps": 2}],
        ["sampler", "SamplerCustomAdvanced", [720, 0], {}],
        ["trace", "RealignTrace", [720, 160], {}],
        ["decode", "VAEDecode", [720, 300], {}],
        ["compare", "RealignCompare", [1000, 0], {}],
        ["grid", "RealignGrid", [1000, 520], {}],
    ]
    links = [
        *(["demo", i, "guider", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["demo", 0, "sigmas", "model"],
        ["empty", 0, "sweep", "latent"],
        ["sweep", 0, "sampler", "latent_image"],
        ["sweep", 1, "guider", "lambda_schedule"],
        ["noise", 0, "sampler", "noise"],
        ["guider", 0, "sampler", "guider"],
        ["name", 0, "sampler", "sampler"],
        ["sigmas", 0, "sampler", "sigmas"],
        ["sampler", 0, "trace", "latent"],
        ["guider", 0, "trace", "guider"],
        ["trace", 0, "decode", "samples"],
        ["demo", 4, "decode", "vae"],
        ["decode", 0, "compare", "images"],
        ["sweep", 1, "compare", "sweep"],
        ["decode", 0, "grid", "images"],
        ["sweep", 1, "grid", "sweep"],
        *([["trace", 1, "compare", "trace"], ["trace", 1, "grid", "trace"]] if trace else []),
    ]
    build(tab, nodes, links)
    js(tab, "() => { for (const n of Object.values(window.made)) for (const w of n.widgets ?? [])"
            " if (w.name === 'control_after_generate') w.value = 'fixed'; }")  # fmt: skip


def test_use_one_with_guider_and_trace_runs_to_the_end(tab):
    """λ 1 alone is the anchor's own run, which has a trace too: λ Grid takes it."""
    guided_graph(tab, trace=True)
    run_compare(tab)
    slide(tab, 0)
    click(tab, ".realign-use")
    before = shown(tab)
    press_run(tab)
    tab.page.wait_for_function(f"(b) => document.querySelector('{CURRENT}')?.dataset.file !== b", arg=before)
    done = "() => window.app.nodeOutputs[window.made.grid.id]?.images?.length"
    tab.page.wait_for_function(f"() => ({done})() === 1")
    assert js(tab, "() => window.app.lastExecutionError?.exception_message ?? null") is None
    assert caption(tab).startswith("λ 1")


def test_a_sweep_that_the_sampler_does_not_get_offers_no_lambda(tab):
    """The pictures are all at the slider's λ; the sweep is still what λ Compare is connected to."""
    compare_graph(tab)
    js(tab, "() => { const { sampler } = window.made;"
            " sampler.disconnectInput(sampler.inputs.findIndex((i) => i.name === 'lambda_schedule')); }")  # fmt: skip
    run_compare(tab)
    for column in range(4):
        slide(tab, column)
        assert "λ 0.3" in caption(tab).split(" | ")[0]
        assert not visible(tab, ".realign-use")
    tab.shot("unplugged")


def test_the_panel_shows_the_nodes_own_inputs_only(tab):
    """Classic renderer, panel of inputs open: our widgets stay on the node, as wide as it is."""
    compare_graph(tab)
    run_compare(tab)
    width = "() => document.querySelector('.realign-compare').getBoundingClientRect().width"
    before = js(tab, width)
    setting = "(on) => window.app.ui.settings.setSettingValueAsync('Comfy.RightSidePanel.IsOpen', on)"
    js(tab, setting, True)
    try:
        for name in ("sampler", "compare"):
            js(tab, "(n) => { window.app.canvas.deselectAll(); window.app.canvas.selectNode(window.made[n]); }", name)
            tab.page.wait_for_function("() => document.body.innerText.includes('Parameters')")
            tab.page.wait_for_timeout(300)
            tab.shot(f"panel_{name}")
            text = js(tab, "() => document.body.innerText")
            assert "realign_" not in text
            assert "$$" not in text
    finally:
        js(tab, setting, False)
    assert js(tab, width) == pytest.approx(before, abs=1)


LONGEST = [(0.333, 2345.0), (2.75, 123456.0)]


@pytest.mark.parametrize("kind", ["RealignSampler", "RealignGuider", "RealignModel"])
@pytest.mark.parametrize("width", [300, 380])
def test_the_line_below_the_slider_is_whole(tab, kind, width):
    nodes = [
        ["load", "CheckpointLoaderSimple", [0, 0], {}],
        ["from", "RealignAnchorFromModel", [0, 200], {"beta_source": "typed"}],
        ["node", kind, [360, 0], {}],
    ]
    build(tab, nodes, [["load", 0, "from", "model"], ["load", 0, "node", "model"], ["from", 0, "node", "anchor"]])
    js(tab, "(width) => { const { node } = window.made; node.setSize([width, node.size[1]]); }", width)
    line = """() => {
      const line = document.querySelector('.realign-line');
      return [line.textContent, line.scrollHeight <= line.clientHeight + 1, line.scrollWidth <= line.clientWidth + 1];
    }"""
    for lam, beta in LONGEST:
        set_widget(tab, "from", "beta", beta)
        set_widget(tab, "node", "lambda_", lam)
        tab.page.wait_for_function(f"(t) => ({line})()[0].includes(t)", arg=f"λ {lam}")
        assert js(tab, line)[1:] == [True, True], js(tab, line)[0]


def test_a_masked_run_is_labelled_so(tab):
    """With the λ that was set, not with its mean over the mask."""
    compare_graph(tab)
    add(tab, "mask", "SolidMask", value=0.5, width=64, height=64)
    link(tab, "mask", 0, "sampler", "lambda_mask")
    js(tab, "() => { window.made.sweep.mode = 4; }")
    run_compare(tab)
    assert caption(tab).startswith("λ 0.3 · masked")


def test_pictures_that_the_host_no_longer_has_are_said(tab):
    compare_graph(tab)
    run_compare(tab)
    lose = """async () => {
      const saved = window.app.graph.serialize();
      const { properties } = saved.nodes.find((node) => node.type === 'RealignCompare');
      const [run] = properties.realign_compare.runs;
      for (const name of ['files', 'thumbs']) run[name] = run[name].map((file) => `gone_${file}`);
      delete properties.realign_memory;
      await window.app.loadGraphData({ ...saved, id: crypto.randomUUID() }, false);
    }"""
    js(tab, lose)
    gone = "() => document.querySelector('.realign-stage')?.innerText.includes('press Run to make it again')"
    tab.page.wait_for_function(gone)
    tab.page.wait_for_function("() => document.querySelector('.realign-runs').innerText.includes('(gone)')")
    tab.shot("gone")
    tab.errors.clear()  # the page's own, about pictures that are not there
