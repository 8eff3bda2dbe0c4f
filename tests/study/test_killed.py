"""A study that is killed at random moments loses no row and doubles none. On real processes."""

from __future__ import annotations

import random
import signal
import time

from conftest import realign, records, started, table_of, written

KILLS = 20


def test_killed_twenty_times_no_row_is_lost_or_doubled(fake, write_plan, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    host = fake(delay=0.05, log=log)
    plan = write_plan(seeds=list(range(20)))
    arguments = ("study", plan, "--server", host.url, "--out", out)
    dice, before, killed = random.Random(0), [], 0
    for kill in range(KILLS):
        process = started(*arguments)
        if kill % 2:  # while rows are being made; else at any moment since its start
            while process.poll() is None and len(written(out)) <= len(before):
                time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3 if kill % 2 else 1.0))
        process.kill()  # SIGKILL
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        now = written(out)
        assert now[: len(before)] == before
        assert len(set(now)) == len(now)
        before = now
    assert killed > KILLS // 2 <= len(before)
    done = realign(*arguments)
    assert done.returncode == 0, done.stderr
    rows = table_of(out)
    assert len(rows) == len({row["key"] for row in rows}) == len(records(out)) == 120
    # A row is made again only where the kill came between the host's taking it and its record.
    assert len(log.read_text().splitlines()) <= 120 + KILLS
    assert all((out / row["picture"]).stat().st_size == row["bytes"] for row in rows)
