"""The JSON Schema of summary.json: `python -m iqattack.runs.schema` prints it."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from iqattack.runs.summary import Summary


class _NaNIsNull(GenerateJsonSchema):
    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {**super().float_schema(schema), "type": ["number", "null"]}


def summary_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of `Summary` as JSON: NaN and infinity are null."""
    schema = Summary.model_json_schema(mode="serialization", schema_generator=_NaNIsNull)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "summary.json"}


if __name__ == "__main__":
    print(json.dumps(summary_schema(), indent=2, ensure_ascii=False))
