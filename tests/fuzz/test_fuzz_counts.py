"""How many cases there are."""

import test_fuzz_configs
import test_fuzz_data
import test_fuzz_descriptions
import test_fuzz_runs


def test_there_are_three_thousand_cases():
    modules = (test_fuzz_configs, test_fuzz_data, test_fuzz_descriptions, test_fuzz_runs)
    counts = {module.__name__: sum(module.COUNTS.values()) for module in modules}
    counts["test_fuzz_data"] += (len(test_fuzz_data.TABLE) + len(test_fuzz_data.ARRAY)) * test_fuzz_data.EACH
    assert sum(counts.values()) >= 3000, counts
