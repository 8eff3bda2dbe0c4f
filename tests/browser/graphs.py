"""Graphs that the page's tests build, and what they do with λ Compare on them."""

from __future__ import annotations

from contextlib import suppress

from conftest import PATIENCE
from playwright.sync_api import TimeoutError

from tools.workflows.workflow_names import TITLES

CARDS = "[data-testid^='template-workflow-']"

# Nodes by name, their widgets, and links [from, output, to, input], on a page that is cleared first.
BUILD = """([nodes, links]) => {
  const graph = window.app.graph, made = {};
  graph.clear();
  // The page keeps widget values by node id: new nodes get new ids.
  graph.state.lastNodeId = window.lastId = (window.lastId ?? 1000) + 100;
  for (const [name, kind, pos, widgets] of nodes) {
    const node = window.LiteGraph.createNode(kind);
    node.pos = pos;
    graph.add(node);
    for (const w of node.widgets ?? []) if (w.name in widgets) w.value = widgets[w.name];
    made[name] = node;
  }
  for (const [from, output, to, input] of links) {
    const slot = made[to].inputs.findIndex((i) => i.name === input);
    if (slot < 0 || !made[from].connect(output, made[to], slot)) throw new Error(`no link ${from} → ${to}.${input}`);
  }
  window.made = made;
  const ds = window.app.canvas.ds;
  ds.scale = 1; ds.offset = [90, 90];
  graph.setDirtyCanvas(true, true);
  return Object.fromEntries(Object.entries(made).map(([name, node]) => [name, node.id]));
}"""


SAVED = "() => window.app.graph.serialize()"
LOAD = "(graph) => window.app.loadGraphData(graph)"
FIXED = {"control_after_generate": "fixed"}  # of a seed


def kind(name):
    """The first node of a kind."""
    return f"(window.app.rootGraph ?? window.app.graph).nodes.find((n) => n.type === '{name}')"


def text_on(name):
    """What the first node of a kind says of its run; "" where it says nothing."""
    return f"() => {kind(name)}?.widgets.find((w) => w.name === '$$node-text-preview')?.value ?? ''"


def pictures_on(name):
    """Width and height of each picture that it shows, in either renderer."""
    return f"""() => [...document.querySelector(`[data-node-id="${{{kind(name)}.id}}"]`)?.querySelectorAll('img')
      ?? {kind(name)}.imgs ?? []].filter((i) => i.naturalWidth).map((i) => [i.naturalWidth, i.naturalHeight])"""


def build(tab, nodes, links):
    tab.errors.clear()
    tab.page.evaluate(BUILD, [nodes, links])
    tab.page.wait_for_timeout(400)


def name_nodes(tab):
    """`window.made` has the nodes by their kinds: after a workflow was opened, which makes all of them anew."""
    js(tab, "() => { window.made = Object.fromEntries(window.app.graph.nodes.map((n) => [n.type, n])); }")


def open_graph(tab, graph):
    """A workflow as it was saved."""
    js(tab, LOAD, graph)
    name_nodes(tab)


def until(act, locator, again=1000):
    """Act until it shows, as an artist does: a page that has only just opened does not hear everything."""
    _until(act, lambda: locator.wait_for(timeout=again), again, locator)


def until_true(act, tab, code, again=1000):
    """The same until a function of the page says so."""
    _until(act, lambda: tab.page.wait_for_function(code, timeout=again), again, code)


def _until(act, wait, again, wanted):
    for _ in range(PATIENCE // again):
        act()
        with suppress(TimeoutError):
            wait()
            return
    raise AssertionError(f"in vain: {wanted}")


def js(tab, code, arg=None):
    return tab.page.evaluate(code, arg)


def press_run(tab):
    button = tab.page.locator('[data-testid*="queue-button"]').first
    inner = button.locator("button")
    (inner.first if inner.count() else button).click()


def set_widget(tab, name, widget, value):
    code = "([n, w, v]) => { window.made[n].widgets.find((x) => x.name === w).value = v; }"
    js(tab, code, [name, widget, value])


def sent(tab, kind, *names):
    """What the next run would give the node of that kind."""
    code = """async ([kind, names]) => {
      const nodes = Object.values((await window.app.graphToPrompt()).output);
      const { inputs } = nodes.find((node) => node.class_type === kind);
      return names.map((name) => inputs[name]);
    }"""
    return tuple(js(tab, code, [kind, names]))


def value_of(tab, name, widget):
    return js(tab, "([n, w]) => window.made[n].widgets.find((x) => x.name === w).value", [name, widget])


SWEEP = {"values": "list", "listed": "0, 0.5, 0.75, 1.25", "seeds": 2}


def compare_graph(tab, sweep=SWEEP, sampler=None):
    nodes = [
        ["demo", "RealignDemoModels", [0, 0], {"shape": "heart"}],
        ["empty", "EmptyLatentImage", [0, 330], {"width": 64, "height": 64}],
    ]
    links = [
        *(["demo", i, "sampler", name] for i, name in enumerate(("model", "anchor", "positive", "negative"))),
        ["empty", 0, "sweep", "latent"],
        ["demo", 4, "decode", "vae"],
        ["sampler", 2, "compare", "trace"],
    ]
    settings = {"steps": 2, "seed": 7, "lambda_": 0.3, **FIXED, **(sampler or {})}
    swept_graph(tab, settings, nodes, links, sweep)


def swept_graph(tab, sampler, nodes=(), links=(), sweep=None):
    """λ Compare behind a sweep, and what is put before it: without that it cannot run."""
    chain = [
        ["sweep", "RealignSweep", [300, 330], sweep or {}],
        ["sampler", "RealignSampler", [620, 0], sampler],
        ["decode", "VAEDecode", [300, 200], {}],
        ["compare", "RealignCompare", [1020, 0], {}],
    ]
    along = [
        ["sweep", 0, "sampler", "latent_image"],
        ["sweep", 1, "sampler", "lambda_schedule"],
        ["sampler", 0, "decode", "samples"],
        ["decode", 0, "compare", "images"],
        ["sweep", 1, "compare", "sweep"],
    ]
    build(tab, [*nodes, *chain], [*links, *along])


def finish(tab, run):
    """λ Compare gets the record of this run, as when the host ends one."""
    js(tab, "(run) => window.made.compare.onExecuted({ realign_compare: [run] })", run)


CURRENT = ".realign-compare .realign-current"  # the picture that is looked at
ALL = ".realign-switch button:first-child"  # the switch's side that sweeps


def run_compare(tab):
    press_run(tab)
    tab.page.wait_for_function(f"() => Boolean(document.querySelector('{CURRENT}')?.dataset.file)")


def shown(tab):
    """The file of the picture that is looked at, once it is drawn."""
    drawn = (
        f"() => {{ const {{ file, wanted }} = document.querySelector('{CURRENT}').dataset; return file === wanted; }}"
    )
    tab.page.wait_for_function(drawn)
    return js(tab, f"() => document.querySelector('{CURRENT}').dataset.file")


def click(tab, selector):
    js(tab, "(s) => document.querySelector(`.realign-compare ${s}`).click()", selector)


def visible(tab, selector):
    return js(tab, "(s) => !document.querySelector(`.realign-compare ${s}`).hidden", selector)


def slide(tab, column):
    """To a column of the row that is looked at."""
    look_at(tab, column)


def look_at(tab, column, row=None):
    """row: None for the one that is looked at."""
    code = """([column, row]) => {
      const root = document.querySelector('.realign-compare'), cells = [...root.querySelectorAll('.realign-cell')];
      const columns = root.querySelectorAll('.realign-head').length;
      const now = cells.findIndex((cell) => cell.getAttribute('aria-current'));
      cells[(row ?? Math.floor(now / columns)) * columns + column].click();
    }"""
    js(tab, code, [column, row])


def is_sweeping(tab):
    """What the switch says of the next run."""
    return js(tab, f"() => document.querySelector('.realign-compare {ALL}').getAttribute('aria-pressed') === 'true'")


def caption(tab):
    return js(tab, "() => document.querySelector('.realign-caption').textContent")


def press(tab, key):
    tab.page.mouse.move(5, 5)
    js(tab, "() => document.querySelector('.realign-compare .realign-stage').focus()")
    tab.page.keyboard.press(key)


LINE = """() => Object.values(window.made).flatMap((node) => node.widgets ?? [])
  .find((widget) => widget.name === 'realign_beta_line')?.element.textContent"""


def line_is(tab, text):
    tab.page.wait_for_function(f"(t) => ({LINE})() === t", arg=text)


def schedule_graph(tab):
    nodes = [
        ["schedule", "LambdaSchedule", [0, 0], {}],
        ["demo", "RealignDemoModels", [0, 0], {}],
        ["sweep", "RealignSweep", [450, 0], {}],
        ["sampler", "RealignSampler", [850, 0], {"steps": 12}],
    ]
    links = [["schedule", 0, "sweep", "lambda_schedule"], ["sweep", 1, "sampler", "lambda_schedule"]]
    build(tab, nodes, links)
    js(tab, "() => window.app.graph.remove(window.made.demo)")


INK = """() => {
  const canvas = document.querySelector('.realign-plot canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + data[i + 3] * 7) % 1000003;
  return [canvas.width, canvas.height, sum];
}"""


def open_templates(tab, category="Realign"):
    """The Templates dialog, at the pack's part of it."""
    tab.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_text(category, exact=True).first.click()
    dialog.locator(CARDS, has_text=TITLES["realign_demo"]).wait_for()
    return dialog


def open_template(tab, name):
    """A shared workflow, by its card in the dialog. name: as in workflow_names.py."""
    open_templates(tab).get_by_text(TITLES[name], exact=True).first.click()
    opened = "(title) => window.app.extensionManager.workflow.activeWorkflow?.filename?.startsWith(title)"
    tab.page.wait_for_function(opened, arg=TITLES[name])
    tab.page.wait_for_function("() => !document.querySelector('[role=dialog]')")


def told(rows):
    """A run of two λ, as the host tells the page of it; its files are none."""
    own = {"seed_offset": 0, "cfg": None, "eta": None}
    columns = [{"name": f"λ {value:g}", "lambda": value, "beta": None, "masked": False} for value in (0.5, 1.0)]
    files = [f"realign_none_{i}.png" for i in range(2 * len(rows))]
    run = {"run": "abc", "time": 1.0, "seed": 7, "swept": True, "columns": columns, "files": files, "thumbs": files}
    return {**run, "rows": [{**own, "prompt": text, "says": [["prompt", text or "prompt 2"]]} for text in rows]}
