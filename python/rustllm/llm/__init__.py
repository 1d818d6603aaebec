"""The Python API: a model in this process.

`llm.py` and `async_llm.py` are what users call. `requests.py` turns what they give into jobs for the engine, `jobs.py`
runs these, `dispatch.py` hands out what the engine says on a thread of its own, `answered.py` makes `results.py` of it.
`loaded.py` is the model that several of them may share.
"""
