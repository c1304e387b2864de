"""One file a step: read → call → publish. An importable `run` first, the command line last."""

import gc
import sys

if sys.argv[0] == "-m":  # Python looks for the step that it is to run: `python -m tasks.<step>`
    # While a step imports its packages, Python would search their objects for cycles again and again, for up
    # to 1.3 s of CPU. `core.step_cli` turns garbage collection on again.
    gc.disable()
