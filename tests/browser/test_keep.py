"""Keep, of a draft: which graph is sampled, and what becomes of the button however the job ends."""

from __future__ import annotations

import pytest
from graphs import js

# A job "p" in a queue, which `end` takes out of it; its history tells `outputs`.
JOB = """async ([module, early, ends, queued, outputs]) => {
  const { api } = window.app, { outputOf } = await import(module), { fetchApi } = api;
  const say = (events) => events.forEach(([name, detail]) => api.dispatchCustomEvent(name, detail));
  const answer = (value) => new Response(JSON.stringify(value));
  api.fetchApi = async (path, ...rest) => {
    if (path === '/queue') return answer({ queue_running: [[0, 'other']], queue_pending: queued.map((id) => [1, id]) });
    return path.startsWith('/history/') ? answer(outputs ? { p: { outputs } } : {}) : fetchApi.call(api, path, ...rest);
  };
  try {
    const made = outputOf('saver', async () => { say(early); return 'p'; });
    await new Promise((then) => setTimeout(then));
    say(ends);
    return await Promise.race([made, new Promise((then) => setTimeout(() => then('still waits'), 1000))]);
  } finally {
    api.fetchApi = fetchApi;
  }
}"""
STATUS = ["status", {"exec_info": {"queue_remaining": 0}}]
MADE = {"images": [{"filename": "a.png"}]}
EXECUTED = ["executed", {"prompt_id": "p", "node": "saver", "output": MADE}]
OTHERS = ["executed", {"prompt_id": "other", "node": "saver", "output": {}}]


def module(host, name):
    return host.url + next(path for path in host.get("/extensions") if path.endswith(name))


@pytest.mark.parametrize(
    ("early", "ends", "queued", "outputs", "wanted"),
    [
        ([], [OTHERS, EXECUTED], ["p"], None, MADE),
        ([OTHERS, EXECUTED], [], ["p"], None, MADE),  # before the host has said which job it is
        ([], [["execution_success", {"prompt_id": "p"}]], ["p"], None, None),
        ([], [["execution_interrupted", {"prompt_id": "p"}]], ["p"], None, None),
        ([], [STATUS], [], None, None),  # taken out of the queue: no other event comes
        ([], [["reconnected", None]], [], None, None),  # the host has died
        ([], [["reconnected", None]], [], {"saver": MADE}, MADE),  # it ended while nobody listened
        ([], [STATUS], ["p"], None, "still waits"),
    ],
)
def test_a_job_is_followed_to_its_end(tab, host, early, ends, queued, outputs, wanted):
    assert js(tab, JOB, [module(host, "lib/job.js"), early, ends, queued, outputs]) == wanted


@pytest.mark.parametrize(("node", "wanted"), [("5", ["1", "2"]), ("7:6", ["3"]), ("4", None), (None, None)])
def test_the_graph_that_keep_samples_is_that_of_the_node(tab, host, node, wanted):
    """Of several that show pictures, in a subgraph or not; what has no pictures is none."""
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 7}},
        "2": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0]}},
        "3": {"class_type": "EmptyImage", "inputs": {"width": 8}},
        "4": {"class_type": "RealignReport", "inputs": {"trace": ["1", 2]}},
        "7:6": {"class_type": "RealignCompare", "inputs": {"images": ["3", 0]}},
        "5": {"class_type": "RealignPick", "inputs": {"images": ["2", 0]}},
    }
    code = "async ([m, graph, node]) => (await import(m)).savingGraph(graph, node, 'Realign/a')"
    made = js(tab, code, [module(host, "compare/keep.js"), graph, node])
    if wanted is None:
        assert made is None
        return
    saves = made.pop("realign_keep")
    assert saves["inputs"] == {"images": graph[node]["inputs"]["images"], "filename_prefix": "Realign/a"}
    assert made == {one: graph[one] for one in wanted}
