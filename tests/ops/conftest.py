"""Airflow writes its settings where AIRFLOW_HOME says as soon as it is imported: not into anybody's home."""

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="undercurrent-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
