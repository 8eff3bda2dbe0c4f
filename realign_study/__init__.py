"""Studies: many prompts, many λ, one machine or many. The command is `realign`; README says how it is used.

A study is a plan (YAML) on top of a workflow (API format). It becomes rows; a row is one picture, and its key is the
hash of all that decides the picture. Rows that a folder has are never made again: whatever ended a study, the same
command goes on with it.

Who does what, from below:

    errors.py      StudyError: a sentence fit to be shown, which ends the command
    version.py     which version of the pack this is
    texts.py       JSON and texts as they can be sent on
    yaml_lines.py  YAML with the line of every value      prompts.py  prompts from a text, CSV or JSONL file
    plan.py        Plan, checked; one sentence with its line for each error
    workflow.py    Workflow: which inputs of a graph the plan fills (slots.py finds them), and the graph of a row
    rows.py        Study: a plan and its workflow as rows with keys, and each row's Task
    answers.py     what a host answered, read strictly; hosts.py: Client, a ComfyUI's HTTP API
    backends/      who makes the pictures; interface.py is the seam: Task, Outcome, Backend; pool.py any number of hosts
                   that share tasks (shared_queue.py; doubts.py: the row or the host?), local.py one that is started
                   here (keeper.py ends it),
                   ray.py actors on a cluster (ray_actor.py), which keep their models (ray_rows.py)
    parts.py       records in a folder, appended and kept as Parquet; results.py: Folder, a study's pictures and records
    running.py     tasks to a back end, outcomes to the folder; scoring.py: the second stage; estimate.py: --dry-run
    searching.py   a search: rounds of rows that realign_core.Search asks, each made and scored as a study's
    report/        the study as a page and as CSV, from its table (the extra `report`)
    progress.py    what is shown meanwhile; cli.py: the command

Seams for what comes on top:

* A back end is `Backend.run(tasks) -> outcomes` (backends/interface.py), over values that can be pickled, and `close`.
  It schedules, retries and restarts as it likes; `backends.pool.Visit` makes one task on one Client and is what an
  actor runs too. `backends.backend_of` chooses; `plan.Hosts` holds its options.
* A report reads `Folder.table(study)`: one pyarrow table in the plan's order, a column `score_<reward>` for each
  reward; the same is in `table.parquet`. Pictures lie at the path in the column `picture`, in the folder.
* Nothing here imports ComfyUI, nodes/ or torch, but a search while it runs: planning, the head of a cluster and reports
  need none.
"""
