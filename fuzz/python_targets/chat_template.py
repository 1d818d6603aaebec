import sys

import atheris

with atheris.instrument_imports(include=["rustllm", "jinja2"]):
    from fuzz.python.chat_template import check

atheris.Setup(sys.argv, check)
atheris.Fuzz()
