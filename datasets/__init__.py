"""Public data sets, one module each: its files and columns, its landing form, and its evaluation split."""
