"""What all parts share: parameters, tables, landing records, run manifests and the step CLI.

No module of this package imports torch or pyspark. So the scheduler can import it in milliseconds.
"""
