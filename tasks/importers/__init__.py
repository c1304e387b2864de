"""Public releases → landing form, one file a release; each documents the release's own column names."""
