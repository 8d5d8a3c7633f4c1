"""How good generated pictures are: close to real ones (fidelity), and to their captions (alignment)."""
