"""Many runs: sweeps and their tables, cross-validation, and searches for hyper-parameters."""
