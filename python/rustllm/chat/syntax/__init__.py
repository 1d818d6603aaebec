"""The machinery behind `chat/tools`: reading answers that arrive in pieces, and grammars for them.

- `reader.Reader` holds the text that came and was not read; what reads it is a generator, which
  yields where it needs more. So a syntax is written as plain recursive descent, and how the text
  was cut cannot matter.
- `events` is what comes out, `turn.Turn` what a reading generator works with.
- `calls.Calls` is how calls stand in an answer; a `Body` (`json_body`, `named_body`, `tagged_body`,
  `python_body`) is how one call is written. Both read, and both give their grammar to `lark.Lark`.
"""
