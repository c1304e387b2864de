import subprocess
from types import SimpleNamespace

import pytest
from pyspark import SparkContext
from pyspark.errors import PySparkRuntimeError

from core.errors import InputError, ServiceUnavailableError
from spark_jobs import context


def test_a_missing_java_is_one_sentence_with_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(InputError, match=r"Java is missing.*openjdk-17"):
        context.spark_context("x")


def test_pyspark_is_the_version_of_its_jars(spark):
    import pyspark

    assert pyspark.__version__ == spark.version


def test_an_error_after_the_end_of_the_jvm_is_one_sentence(monkeypatch):
    with subprocess.Popen(["true"]) as process:
        monkeypatch.setattr(SparkContext, "_gateway", SimpleNamespace(proc=process))
        with (
            pytest.raises(ServiceUnavailableError, match=r"JVM has ended.*run the step again"),
            context.explained_jvm_errors(),
        ):
            raise ConnectionRefusedError


def test_a_jvm_that_does_not_start_is_one_sentence(monkeypatch):
    monkeypatch.setattr(SparkContext, "_gateway", None)
    error = PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={})
    with pytest.raises(ServiceUnavailableError, match="JVM has ended"), context.explained_jvm_errors():
        raise error


def test_other_errors_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(context, "JVM_END_SECONDS", 0.01)
    monkeypatch.setattr(SparkContext, "_gateway", None)
    with pytest.raises(KeyError), context.explained_jvm_errors():
        raise KeyError
    with subprocess.Popen(["sleep", "60"]) as process:
        monkeypatch.setattr(SparkContext, "_gateway", SimpleNamespace(proc=process))
        with pytest.raises(InputError), context.explained_jvm_errors():
            raise InputError("a mistake")
        process.kill()
