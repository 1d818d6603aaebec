import sys

import atheris

with atheris.instrument_imports(include=["rustllm", "jinja2"]):
    from fuzz.python.tool_calls import check

atheris.Setup(sys.argv, check)
atheris.Fuzz()
