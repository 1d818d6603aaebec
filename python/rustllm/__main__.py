"""`python -m rustllm` is the command `rustllm`."""

import sys

from rustllm.cli import main

sys.exit(main())
