"""Tables with named columns, and CSV files with one pixel per column."""
