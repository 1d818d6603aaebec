"""`rustllm batch`: the requests of OpenAI's batch files, answered by a model in this process or by a server.

`requests.py` reads and checks the input, `journal.py` keeps what is answered, `source.py` is who answers,
`run.py` asks for what is left. A run may be killed at any time: what the journal has is never asked for again.
"""
