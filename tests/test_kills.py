"""Jobs that are killed at any moment, also in the middle of a write, end as if nothing had been.

JAXGD_KILLS says how often each kind of job is killed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lives import DEATHS

KILLS = int(os.environ.get("JAXGD_KILLS", "8"))
KINDS = {"single": ("single", "watched"), "many": ("recorded", "halved"),
         "mini-batch": ("batches", "mapped")}  # fmt: skip
LIVES = Path(__file__).with_name("lives.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="lives are forked")
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_killed_again_and_again_ends_with_the_same_bits(kind, tmp_path):
    jobs = KINDS[kind]
    each = -(-KILLS // len(jobs))
    command = [sys.executable, str(LIVES), str(tmp_path), str(each), kind, *jobs]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120 + 10 * KILLS
    )
    assert done.returncode == 0, done.stderr
    for job in jobs:
        deaths = json.loads((tmp_path / f"{job}-deaths.json").read_text())
        assert len(deaths) == each
        assert set(deaths) <= set(DEATHS)
        whole, killed = (np.load(tmp_path / f"{job}-{name}.npz") for name in ("whole", "killed"))
        assert list(whole) == list(killed)
        differ = [name for name in whole if not _same(whole[name], killed[name])]
        assert not differ, (job, deaths, differ)
        assert int(np.max(whole["steps"])) > each  # it had a way to go


def _same(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
