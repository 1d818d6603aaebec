"""`python -m rustllm` is the command `rustllm`."""

from rustllm.cli import main

main()
