"""`zoo reproduce` evaluates shipped checkpoints in processes of their own."""

import pytest


@pytest.mark.slow
def test_a_shipped_checkpoint_is_reproduced(cli, folder):
    outcome = cli("reproduce", "lenet5-digits")
    assert (outcome.status, outcome.err) == (0, "")
    assert "reproduced" in outcome.out
