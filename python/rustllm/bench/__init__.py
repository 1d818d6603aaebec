"""`rustllm bench`: the speed of a model on this machine, and of a server with clients.

`command` reads the flags, `rows` measures the engine's forward passes, `show` prints them; `load`
drives a running server and `latency` sums up what its clients saw.
"""
