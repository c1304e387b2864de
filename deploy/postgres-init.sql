-- One database for each user of the server. PostgreSQL runs this file once, with an empty data folder.
CREATE DATABASE airflow;
CREATE DATABASE lake;
CREATE DATABASE mlflow;
