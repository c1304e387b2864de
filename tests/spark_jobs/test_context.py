import pytest

from core.errors import InputError
from spark_jobs import context


def test_a_missing_java_is_one_sentence_with_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(InputError, match=r"Java is missing.*openjdk-17"):
        context.spark_context("x")


def test_pyspark_is_the_version_of_its_jars(spark):
    import pyspark

    assert pyspark.__version__ == spark.version
