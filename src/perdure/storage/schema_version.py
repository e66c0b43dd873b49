"""The number of the schema: what a file, and every process that may have to take it over, must agree on."""

SCHEMA_VERSION = 2
