"""Several models in one server, as llama-server's router mode has them.

The router loads no model itself. `catalog.py` finds the models, `models.py` decides which of them run,
`run.py` is the process of one that does: `rustllm-serve` on a Unix socket, held by a `link.py`.
`proxy.py` hands a request to that process and its answer back; `router.py` has the routes.
"""
