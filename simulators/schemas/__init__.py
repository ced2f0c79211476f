"""
JSON and its rules: `validation` walks a table of fields, `strict_schemas` knows what structured outputs allow,
`json_documents` makes a document that follows a schema.
"""
