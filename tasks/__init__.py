"""One file a step: read → call → publish. An importable `run` first, the command line last."""
