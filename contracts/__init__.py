"""What every part shares: parameters, tables, the lake, receipts and the step command line.

Nothing in here imports torch or pyspark when it is imported, so a scheduler can read it in milliseconds.
"""
