"""Airflow writes its settings to AIRFLOW_HOME on import. This keeps them out of the user's home."""

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="undercurrent-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
