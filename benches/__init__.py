"""Measurements beside llama.cpp; `benches/README.md` says how to repeat them."""
