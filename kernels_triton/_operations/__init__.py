"""Every operation once: its peers, and the inputs on which it is compared and compiled.

`operation` says what an entry is, `table` holds them all, and the other modules fill it, one family
of operations a file. `crosscheck`, `compile_report`, the tests of `kernels_triton.jax` and
`benchmarks/gpu.py` run over the table.
"""
